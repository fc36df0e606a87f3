//! The places, their order, and what may be in them.

use super::*;

fn origins(identities: &Identities) -> Vec<String> {
    identities.iter().map(|identity| identity.origin().to_string()).collect()
}

#[test]
fn all_places_are_combined_in_the_documented_order() {
    let home = Home::new();
    let text = || native().0;
    let explicit = [home.write("one", text()), home.write("two", text())];
    let paths = [home.write("own", text()), home.write("sops", text()), home.write("ssh", text())];
    home.write("credentials/identity", text());
    home.write(".config/vaultfs/identity.txt", text());
    home.write(".config/sops/age/keys.txt", text());
    ssh_keygen(&home, ".ssh/id_ed25519", &["-t", "ed25519", "-N", ""]);
    ssh_keygen(&home, ".ssh/id_rsa", &["-t", "rsa", "-b", "2048", "-N", ""]);
    ssh_keygen(&home, "host", &["-t", "ed25519", "-N", ""]);
    let (in_variable, printed) = (text(), home.write("printed", text()));
    let lookup = |name: &str| {
        Some(match name {
            "VAULTFS_IDENTITY" => paths[0].clone().into(),
            "CREDENTIALS_DIRECTORY" => home.path("credentials").into(),
            "SOPS_AGE_KEY" => in_variable.clone().into(),
            "SOPS_AGE_KEY_FILE" => paths[1].clone().into(),
            "SOPS_AGE_KEY_CMD" => format!("cat {}", printed.display()).into(),
            "SOPS_AGE_SSH_PRIVATE_KEY_FILE" => paths[2].clone().into(),
            _ => return None,
        })
    };
    let mut places =
        IdentityPlaces::from_lookup(lookup, Some(home.path("")), current_uid()).unwrap();
    places.explicit = explicit.to_vec();
    places.ssh_host_key = Some(home.path("host"));

    let found = find(&places).unwrap();
    let at = |below: &str| home.path(below).display().to_string();
    let expected = [
        format!("{} (from --identity)", at("one")),
        format!("{} (from --identity)", at("two")),
        format!("{} (from VAULTFS_IDENTITY)", at("own")),
        format!("{} (from CREDENTIALS_DIRECTORY)", at("credentials/identity")),
        "SOPS_AGE_KEY".to_owned(),
        format!("{} (from SOPS_AGE_KEY_FILE)", at("sops")),
        "SOPS_AGE_KEY_CMD".to_owned(),
        at(".config/vaultfs/identity.txt"),
        at(".config/sops/age/keys.txt"),
        format!("{} (from SOPS_AGE_SSH_PRIVATE_KEY_FILE)", at("ssh")),
        at(".ssh/id_ed25519"),
        at(".ssh/id_rsa"),
        at("host"),
    ];
    assert_eq!(origins(&found), expected);
    assert_eq!(found.recipients().len(), expected.len());
    for recipient in found.recipients() {
        assert_opens(recipient, &found);
    }
    assert!(found.warnings().is_empty(), "{:?}", found.warnings());
}

fn ssh_keygen(home: &Home, below: &str, arguments: &[&str]) -> PathBuf {
    super::ssh_keygen(home, below, arguments).0
}

#[test]
fn the_host_key_is_looked_for_by_root_alone() {
    let for_uid = |uid| IdentityPlaces::from_lookup(|_| None, None, uid).unwrap().ssh_host_key;
    assert_eq!(for_uid(0), Some("/etc/ssh/ssh_host_ed25519_key".into()));
    assert_eq!(for_uid(1000), None);
}

#[test]
fn an_empty_variable_is_as_good_as_unset() {
    let places = IdentityPlaces::from_lookup(|_| Some("".into()), None, 1000).unwrap();
    assert!(find(&places).unwrap().is_empty());
}

#[test]
fn absent_usual_places_are_listed_and_not_an_error() {
    let home = Home::new();
    let mut places = home.places();
    places.credentials_directory = Some(home.path("credentials"));
    let found = find(&places).unwrap();
    assert!(found.is_empty() && found.warnings().is_empty());
    assert_eq!(found.looked_at().len(), 5);
    assert!(found.looked_at().iter().all(|l| matches!(l.outcome, LookOutcome::Absent)));
}

#[test]
fn what_was_named_must_exist() {
    let missing = PathBuf::from("/nonexistent/identity.txt");
    let error = find(&explicit(&missing)).err().unwrap();
    assert_eq!(
        error.to_string(),
        "identity file /nonexistent/identity.txt (from --identity) does not exist"
    );
    let places = IdentityPlaces { sops_age_key_file: Some(missing), ..IdentityPlaces::default() };
    let error = find(&places).err().unwrap();
    assert!(error.to_string().contains("(from SOPS_AGE_KEY_FILE) does not exist"), "{error}");
}

#[test]
fn a_file_of_age_keygen_opens_what_was_encrypted_to_it() {
    let home = Home::new();
    let path = home.path("identity.txt");
    run("age-keygen", &["-o", path.to_str().unwrap()]);
    let recipient: Recipient = run("age-keygen", &["-y", path.to_str().unwrap()]).parse().unwrap();
    let found = find(&explicit(&path)).unwrap();
    assert_eq!(found.recipients(), [&recipient]);
    assert_opens(&recipient, &found);
}

#[test]
fn windows_newlines_spaces_comments_and_a_byte_order_mark_do_no_harm() {
    let (one, two) = (native(), native());
    let text = format!("\u{FEFF}# created: now\r\n\r\n  {} \t\r\n# last\r\n{}", one.0, two.0);
    let home = Home::new();
    let found = find(&explicit(home.write("identity.txt", text))).unwrap();
    assert_eq!(found.recipients(), [&one.1, &two.1]);
}

#[test]
fn a_bad_line_is_told_by_its_number() {
    let good = native().0;
    let cases = [
        ("surprise".to_owned(), "line 3 of FILE is not an age identity"),
        (good[..70].to_owned(), "the identity on line 3 of FILE is damaged: its checksum fails"),
        (
            "AGE-PLUGIN-X-1QQ".into(),
            "the identity on line 3 of FILE is damaged: its checksum fails",
        ),
        (
            native().1.to_string(),
            "line 3 of FILE is a recipient (public), not an identity (private)",
        ),
        (
            "AGE-SECRET-KEY-PQ-1QQQ".into(),
            "the identity on line 3 of FILE is a post-quantum one, which vaultfs can't use yet",
        ),
    ];
    let home = Home::new();
    for (line, expected) in cases {
        let path = home.write("identity.txt", format!("# comment\n{good}\n{line}\n"));
        let error = find(&explicit(&path)).err().unwrap();
        let name = format!("{} (from --identity)", path.display());
        assert_eq!(error.to_string(), expected.replace("FILE", &name));
    }
    let path = home.write("bytes", b"\xFF\xC0\n");
    let error = find(&explicit(path)).err().unwrap();
    assert!(matches!(error, IdentityError::NotAnIdentity { line: 1, .. }), "{error}");
}

#[test]
fn a_bad_line_in_a_usual_place_is_left_aside_with_a_warning() {
    let home = Home::new();
    let (good, recipient) = native();
    home.write(".config/sops/age/keys.txt", format!("AGE-SECRET-KEY-PQ-1QQQ\n{good}\n"));
    let found = find(&home.places()).unwrap();
    assert_eq!(found.recipients(), [&recipient]);
    assert_eq!(found.warnings().len(), 1);
    assert!(found.warnings()[0].to_string().contains("line 1 of"), "{:?}", found.warnings());
}

#[test]
fn files_that_are_no_identity_files_say_what_they_are() {
    let home = Home::new();
    let utf16: Vec<u8> = "\u{FEFF}AGE".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (content, expected) in [
        (utf16, "is UTF-16 text"),
        (b"\n# nothing here\n".to_vec(), "holds no identity"),
        (vec![b'x'; (1 << 20) + 1], "larger than 1 MiB"),
        (encrypt(b"", &age::x25519::Identity::generate().to_public()), "encrypted to recipients"),
        (b"age-encryption.org/v1\n-> scr".to_vec(), "is damaged"),
    ] {
        let path = home.write("identity.txt", content);
        let error = find(&explicit(path)).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = find(&explicit(home.path(""))).err().unwrap();
    assert!(matches!(error, IdentityError::NotAFile { .. }), "{error}");
}

#[test]
fn a_fifo_in_a_usual_place_does_not_hang() {
    let home = Home::new();
    fs::create_dir_all(home.path(".config/vaultfs")).unwrap();
    run("mkfifo", &[home.path(".config/vaultfs/identity.txt").to_str().unwrap()]);
    let found = find(&home.places()).unwrap();
    assert!(found.is_empty());
    assert!(found.warnings()[0].to_string().contains("not a regular file"));
}

#[test]
fn a_fifo_that_was_named_is_read() {
    let home = Home::new();
    let (text, recipient) = native();
    let fifo = home.path("fifo");
    run("mkfifo", &[fifo.to_str().unwrap()]);
    let writer = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::write(fifo, text).unwrap())
    };
    let found = find(&explicit(&fifo)).unwrap();
    writer.join().unwrap();
    assert_eq!(found.recipients(), [&recipient]);
    assert!(found.warnings().is_empty(), "a pipe has no permissions to warn of");
}

#[test]
fn symbolic_links_are_followed() {
    let home = Home::new();
    let (text, recipient) = native();
    let target = home.write("elsewhere/identity.txt", text);
    fs::create_dir_all(home.path(".config/vaultfs")).unwrap();
    std::os::unix::fs::symlink(target, home.path(".config/vaultfs/identity.txt")).unwrap();
    assert_eq!(find(&home.places()).unwrap().recipients(), [&recipient]);
}

#[test]
fn the_same_identity_counts_once() {
    let home = Home::new();
    let (text, recipient) = native();
    let path = home.write(".config/vaultfs/identity.txt", &text);
    home.write(".config/sops/age/keys.txt", &text);
    let mut places = home.places();
    places.vaultfs_identity = Some(path);
    let found = find(&places).unwrap();
    assert_eq!(found.recipients(), [&recipient]);
    assert!(found.iter().next().unwrap().origin().to_string().contains("VAULTFS_IDENTITY"));
    let outcomes: Vec<&LookOutcome> = found.looked_at().iter().map(|l| &l.outcome).collect();
    assert!(matches!(
        outcomes[..3],
        [LookOutcome::Found(1), LookOutcome::ReadBefore, LookOutcome::Found(1)]
    ));
}

#[test]
fn permissions_for_others_are_warned_of() {
    let home = Home::new();
    let path = home.write("identity.txt", native().0);
    for (mode, expected) in [(0o644, "(mode 0644)"), (0o640, "(mode 0640)"), (0o602, "(mode 0602)")]
    {
        set_mode(&path, mode);
        let found = find(&explicit(&path)).unwrap();
        assert!(found.warnings()[0].to_string().contains(expected), "{:?}", found.warnings());
        assert_eq!(found.iter().count(), 1, "a warning, not an error");
    }
    set_mode(&path, 0o400);
    assert!(find(&explicit(&path)).unwrap().warnings().is_empty());
}

#[test]
fn a_foreign_owner_is_warned_of() {
    let home = Home::new();
    let path = home.write("identity.txt", native().0);
    let mut places = explicit(&path);
    places.uid = current_uid() + 1;
    let warnings = find(&places).unwrap().warnings().len();
    assert_eq!(warnings, usize::from(current_uid() != 0), "root's files are trusted");
    if current_uid() == 0 {
        std::os::unix::fs::chown(&path, Some(1), None).unwrap();
        let found = find(&places).unwrap();
        assert_eq!(found.warnings().len(), usize::from(places.uid != 1), "it is our own then");
        places.uid = 7;
        assert!(find(&places).unwrap().warnings()[0].to_string().contains("uid 1"));
    }
}

#[test]
fn credentials_of_systemd_get_no_permission_warning() {
    let home = Home::new();
    set_mode(&home.write("identity", native().0), 0o440);
    let mut places = IdentityPlaces { uid: current_uid(), ..IdentityPlaces::default() };
    places.credentials_directory = Some(home.path(""));
    assert!(find(&places).unwrap().warnings().is_empty());
}

#[test]
fn several_identities_in_a_variable_all_count() {
    let (one, two) = (native(), native());
    let text = format!("{}\n{}", one.0, two.0);
    let lookup = |name: &str| (name == "SOPS_AGE_KEY").then(|| text.clone().into());
    let places = IdentityPlaces::from_lookup(lookup, None, current_uid()).unwrap();
    assert_eq!(find(&places).unwrap().recipients(), [&one.1, &two.1]);
}
