//! No error, warning or other text may hold anything of an identity or a passphrase. Each failure
//! is forced with identities and passphrases known to the test, and all its texts are searched.

use std::error::Error;

use super::*;

/// All that can be printed of an error and its causes.
fn texts(error: &(dyn Error + 'static)) -> String {
    let one = |error: &(dyn Error + 'static)| format!("{error}\n{error:?}\n{error:#?}\n");
    iter::successors(Some(error), |&error| error.source()).map(one).collect::<Vec<_>>().concat()
}

/// Eight characters in a row of a canary are as bad as all of it.
#[track_caller]
fn assert_free_of(canaries: &[&str], texts: &str) {
    let texts = texts.to_ascii_lowercase();
    for canary in canaries {
        let canary = canary.to_ascii_lowercase();
        for part in canary.as_bytes().windows(8) {
            let part = str::from_utf8(part).unwrap();
            assert!(!texts.contains(part), "{part} of a canary in {texts}");
        }
    }
}

const PASSPHRASE: &str = "canaryphrase";

/// Finds what is in the text, or tries to; then tries to open with it a file that is for others.
fn texts_with(text: &[u8], passphrase: &'static str) -> String {
    let home = Home::new();
    let mut all = Vec::new();
    let mut keep = |found: Result<Identities, IdentityError>, file: &[u8]| match found {
        Err(error) => all.push(texts(&error)),
        Ok(found) => {
            all.push(format!("{:?}{:?}", found.looked_at(), found.warnings()));
            all.extend(found.warnings().iter().map(|warning| texts(warning)));
            all.extend(found.iter().map(|identity| identity.origin().to_string()));
            all.extend(open(file, &found).err().map(|error| texts(&error)));
        }
    };
    let other = encrypt_to(&native().1);
    let answers = || Answers::new(&[passphrase; 3]);
    let named = explicit(home.write("named", text));
    keep(Identities::find(&named, answers()), &other);
    keep(Identities::find(&named, Arc::new(NoPrompter)), &other);
    keep(Identities::find(&named, answers()), &other[..other.len() / 2]);
    home.write(".config/vaultfs/identity.txt", text);
    home.write(".ssh/id_rsa", text);
    set_mode(&home.path(".ssh/id_rsa"), 0o644);
    keep(Identities::find(&home.places(), answers()), &other);
    let sops_age_key = Some(Value::copy_of(text).unwrap());
    let mut places = IdentityPlaces { sops_age_key, ..IdentityPlaces::default() };
    keep(Identities::find(&places, answers()), &other);
    places.sops_age_key = None;
    for command in [format!("cat {}", home.path("named").display()), "echo canary; exit 9".into()] {
        places.sops_age_key_cmd = Some(command.into());
        keep(Identities::find(&places, answers()), &other);
    }
    all.concat()
}

/// The part of an identity that identifies no kind.
fn body(identity: &str) -> &str {
    identity.strip_prefix("AGE-SECRET-KEY-").unwrap()
}

#[test]
fn native_identities_whole_damaged_and_among_others_stay_secret() {
    let canary = native().0;
    let canaries = [body(&canary)];
    for text in [
        canary.clone(),
        canary[..canary.len() - 1].to_owned(),
        canary.replacen("KEY-1", "KEY-PQ-1", 1),
        canary.replacen("SECRET-KEY-1", "PLUGIN-CANARY-1", 1),
        format!("{canary}{canary}"),
        format!("{canary}\nsurprise"),
        format!("identity = {canary}"),
        format!("\u{FEFF}{canary} # mine"),
        format!("-----BEGIN {canary}-----"),
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{canary}\n"),
        format!("-----BEGIN AGE ENCRYPTED FILE-----\n{canary}\n"),
        format!("age-encryption.org/v1\n-> {canary}\n"),
        format!("age1{canary}"),
        format!("ssh-ed25519 {canary}"),
    ] {
        assert_free_of(&canaries, &texts_with(text.as_bytes(), PASSPHRASE));
    }
    let utf16: Vec<u8> =
        format!("\u{FEFF}{canary}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_free_of(&canaries, &texts_with(&utf16, PASSPHRASE));
}

#[test]
fn passphrases_and_what_they_protect_stay_secret() {
    let canary = native().0;
    let canaries = [body(&canary), PASSPHRASE];
    for (text, passphrase) in [
        (canary.clone(), PASSPHRASE),
        (canary.clone(), "wrong"),
        (canary[..canary.len() - 1].to_owned(), PASSPHRASE),
        (format!("{canary}\n{canary}surprise"), PASSPHRASE),
    ] {
        let file = protected(&text, passphrase, 2);
        assert_free_of(&canaries, &texts_with(&file, PASSPHRASE));
    }
}

#[test]
fn ssh_keys_stay_secret() {
    let home = Home::new();
    for (name, arguments) in [
        ("clear", &["-t", "ed25519", "-N", ""][..]),
        ("locked", &["-t", "ed25519", "-N", PASSPHRASE]),
        ("rsa", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]),
        ("ecdsa", &["-t", "ecdsa", "-N", ""]),
    ] {
        let (path, _) = ssh_keygen(&home, name, arguments);
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
        // The first two lines of OpenSSH's form hold the public half.
        let canaries: Vec<&str> =
            lines[2..].iter().copied().chain([PASSPHRASE]).filter(|l| l.len() >= 8).collect();
        for text in [text.clone(), text.replacen(lines[2], "", 1), text.replace('\n', "")] {
            assert_free_of(&canaries, &texts_with(text.as_bytes(), "wrong"));
            assert_free_of(&canaries, &texts_with(text.as_bytes(), PASSPHRASE));
        }
    }
}

#[test]
fn new_identities_that_cannot_be_written_stay_secret() {
    let home = Home::new();
    let new = NewIdentity::generate(jiff::Timestamp::UNIX_EPOCH).unwrap();
    let text = str::from_utf8(new.text().expose_bytes()).unwrap();
    let canary = body(text.lines().last().unwrap());
    let file = home.write("file", "");
    for path in [file.join("below"), file, PathBuf::from("/")] {
        assert_free_of(&[canary], &texts(&new.write_to(&path).unwrap_err()));
    }
}

/// Else the tests above would prove nothing.
#[test]
#[should_panic(expected = "of a canary in")]
fn a_canary_is_noticed() {
    let canary = native().0;
    let error = std::io::Error::other(format!("bad line {canary}"));
    assert_free_of(&[body(&canary)], &texts(&error));
}
