//! SSH keys, made by ssh-keygen.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

#[test]
fn keys_in_openssh_and_pem_form_open_what_is_encrypted_to_them() {
    let home = Home::new();
    for (name, arguments) in [
        ("ed25519", &["-t", "ed25519", "-N", ""][..]),
        ("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]),
        ("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]),
    ] {
        let (path, recipient) = ssh_keygen(&home, name, arguments);
        let text = fs::read_to_string(&path).unwrap();
        let begins = if name == "pem" { "-----BEGIN RSA" } else { "-----BEGIN OPENSSH" };
        assert!(text.starts_with(begins), "{name}");
        let windows = home.write("windows", text.replace('\n', "\r\n"));
        for path in [path, windows] {
            let found = find(&explicit(&path)).unwrap();
            assert_eq!(found.recipients(), [&recipient], "{name}");
            assert_opens(&recipient, &found);
        }
    }
}

#[test]
fn the_age_program_agrees() {
    let home = Home::new();
    let (path, _) = ssh_keygen(&home, "id_ed25519", &["-t", "ed25519", "-N", ""]);
    let (plain, file) = (home.write("plain", "opened"), home.path("file.age"));
    let public = format!("{}.pub", path.display());
    run("age", &["-R", &public, "-o", file.to_str().unwrap(), plain.to_str().unwrap()]);
    let found = find(&explicit(path)).unwrap();
    assert_eq!(open(&fs::read(file).unwrap(), &found).unwrap(), b"opened");
}

#[test]
fn a_passphrase_is_asked_only_for_files_that_are_for_the_key() {
    let home = Home::new();
    for (name, kind) in [("ed25519", &["-t", "ed25519"][..]), ("rsa", &["-t", "rsa", "-b", "2048"])]
    {
        let arguments = [kind, &["-N", "a passphrase"]].concat();
        let (path, recipient) = ssh_keygen(&home, name, &arguments);
        let (_, other) = ssh_keygen(&home, &format!("{name}-other"), &arguments);
        let answers = Answers::new(&["wrong", "a passphrase"]);
        let found = Identities::find(&explicit(path), answers.clone()).unwrap();
        assert_eq!(found.recipients(), [&recipient], "known without asking");
        for file in [encrypt_to(&other), encrypt_to(&native().1)] {
            assert!(matches!(open(&file, &found), Err(DecryptError::NoMatchingKeys)));
        }
        assert_eq!(answers.asked(), 0);
        assert_opens(&recipient, &found);
        assert_opens(&recipient, &found);
        assert_eq!(answers.asked(), 2);
        assert_eq!(found.recipients(), [&recipient]);
    }
}

#[test]
fn a_key_without_its_passphrase_is_preferred_to_its_locked_copy() {
    let home = Home::new();
    let (path, recipient) = ssh_keygen(&home, ".ssh/id_ed25519", &["-t", "ed25519", "-N", ""]);
    let locked = home.write("locked", fs::read(&path).unwrap());
    run("ssh-keygen", &["-q", "-p", "-N", "a passphrase", "-f", locked.to_str().unwrap()]);
    let mut places = home.places();
    places.explicit.push(locked);
    let found = find(&places).unwrap();
    assert_eq!(found.iter().count(), 1);
    assert_opens(&recipient, &found);
}

#[test]
fn unsupported_keys_are_errors_where_named_and_left_aside_elsewhere() {
    let home = Home::new();
    for (arguments, expected) in [
        (&["-t", "ecdsa", "-N", ""][..], "keys of type ecdsa-sha2-nistp256 are not supported"),
        (&["-t", "ecdsa", "-N", "a passphrase"], "ecdsa-sha2-nistp256 are not supported"),
        (&["-t", "rsa", "-b", "1024", "-N", ""], "RSA keys under 2048 bits"),
        (&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "a passphrase"], "old PEM files"),
        (&["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", ""], "not in the form that OpenSSH"),
    ] {
        let _ = fs::remove_dir_all(home.path(".ssh"));
        let (path, _) = ssh_keygen(&home, ".ssh/id_ed25519", arguments);
        let error = find(&explicit(path)).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        let found = find(&home.places()).unwrap();
        assert!(found.is_empty() && found.warnings().is_empty(), "{:?}", found.warnings());
        assert!(matches!(found.looked_at()[2].outcome, LookOutcome::Unusable(_)));
    }
}

#[test]
fn damaged_and_public_keys_say_so() {
    let home = Home::new();
    let (path, _) = ssh_keygen(&home, "id", &["-t", "ed25519", "-N", ""]);
    let text = fs::read_to_string(&path).unwrap();
    let error =
        |content: &str| find(&explicit(home.write("damaged", content))).err().unwrap().to_string();
    assert!(error(&text[..text.len() / 2]).contains("damaged"));
    assert!(error(&text.replacen("AAAA", "AAAB", 1)).contains("damaged"));
    assert!(error(&fs::read_to_string(home.path("id.pub")).unwrap()).contains("(public)"));
    assert!(error("-----BEGIN PUBLIC KEY-----\nAAAA\n").contains("(public)"));
}

/// age takes what follows for the name of the key's type, and hands it to us to show.
#[test]
fn a_damaged_length_does_not_show_private_bytes() {
    let home = Home::new();
    let (path, _) = ssh_keygen(&home, "id", &["-t", "ed25519", "-N", ""]);
    let text = fs::read_to_string(path).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("--")).collect();
    let mut bytes = BASE64_STANDARD.decode(body).unwrap();
    let is_type = |window: &[u8]| window == b"\0\0\0\x0Bssh-ed25519";
    let private = bytes.windows(15).rposition(is_type).unwrap();
    bytes[private + 3] = 11 + 4 + 32 + 4 + 64;
    let (label, body) = ("OPENSSH PRIVATE KEY", BASE64_STANDARD.encode(&bytes));
    let damaged = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let error = find(&explicit(home.write("damaged", damaged))).err().unwrap().to_string();
    assert!(error.ends_with("keys of type unknown are not supported"), "{error}");
}
