//! Passphrases: asked for once, late, and not for nothing.

use super::*;

fn armored(file: &[u8]) -> String {
    let mut armored = Vec::new();
    let format = age::armor::Format::AsciiArmor;
    let mut writer = age::armor::ArmoredWriter::wrap_output(&mut armored, format).unwrap();
    writer.write_all(file).unwrap();
    writer.finish().unwrap();
    String::from_utf8(armored).unwrap()
}

#[test]
fn a_protected_file_opens_binary_and_armored_also_with_windows_newlines() {
    let (text, recipient) = native();
    let binary = protected(&format!("# mine\r\n{text}\r\n"), "correct horse", 4);
    let armored = armored(&binary);
    let home = Home::new();
    for (name, content) in [
        ("binary", binary),
        ("windows", armored.replace('\n', "\r\n").into_bytes()),
        ("commented", format!("\n# my identity\n{armored}\n").into_bytes()),
        ("armored", armored.into_bytes()),
    ] {
        let answers = Answers::new(&["correct horse"]);
        let found = Identities::find(&explicit(home.write(name, content)), answers.clone());
        let found = found.unwrap();
        assert_eq!((answers.asked(), found.recipients().len()), (0, 0), "not asked yet: {name}");
        assert_opens(&recipient, &found);
        assert_opens(&recipient, &found);
        assert_eq!(answers.asked(), 1, "{name}");
        assert_eq!(found.recipients(), [&recipient]);
    }
}

#[test]
fn many_threads_ask_once() {
    let home = Home::new();
    let (one, two) = (native(), native());
    home.write(".config/vaultfs/identity.txt", protected(&one.0, "first", 6));
    home.write(".config/sops/age/keys.txt", protected(&two.0, "second", 6));
    let answers = Answers::new(&["first", "second"]);
    let found = Identities::find(&home.places(), answers.clone()).unwrap();
    let start = std::sync::Barrier::new(16);
    std::thread::scope(|threads| {
        for i in 0..16 {
            let (found, start, recipient) =
                (&found, &start, if i % 2 == 0 { &one.1 } else { &two.1 });
            threads.spawn(move || {
                start.wait();
                assert_opens(recipient, found);
            });
        }
    });
    assert_eq!(answers.asked(), 2, "once for each file");
}

#[test]
fn nothing_is_asked_where_another_identity_opens_the_file() {
    let home = Home::new();
    let (text, recipient) = native();
    let locked = home.write("locked", protected(&native().0, "secret", 4));
    let clear = home.write("clear", text);
    let mut places = explicit(locked);
    places.explicit.push(clear);
    let answers = Answers::new(&[]);
    let found = Identities::find(&places, answers.clone()).unwrap();
    assert_opens(&recipient, &found);
    assert_eq!(answers.asked(), 0);
}

#[test]
fn a_wrong_passphrase_may_be_corrected() {
    let home = Home::new();
    let (text, recipient) = native();
    let path = home.write("identity.txt", protected(&text, "right", 4));
    let answers = Answers::new(&["wrong", "worse", "right"]);
    let found = Identities::find(&explicit(&path), answers.clone()).unwrap();
    assert_opens(&recipient, &found);
    assert_eq!(answers.asked(), 3);
    let shown = answers.shown.lock().unwrap();
    assert_eq!(
        *shown,
        vec![format!("wrong passphrase for {} (from --identity)", path.display()); 2]
    );
}

#[test]
fn three_wrong_passphrases_are_an_error_that_stays() {
    let home = Home::new();
    let (text, recipient) = native();
    let path = home.write("identity.txt", protected(&text, "right", 4));
    let answers = Answers::new(&["wrong", "worse", "worst", "right"]);
    let found = Identities::find(&explicit(path), answers.clone()).unwrap();
    let file = encrypt_to(&recipient);
    for _ in 0..2 {
        let error = open_error(&file, &found);
        assert!(matches!(error, IdentityError::WrongPassphrase { .. }), "{error}");
    }
    assert_eq!(answers.asked(), 3);
}

#[test]
fn without_a_terminal_the_error_names_the_file() {
    let home = Home::new();
    let (text, recipient) = native();
    let path = home.write("identity.txt", protected(&text, "secret", 4));
    let found = find(&explicit(&path)).unwrap();
    let error = open_error(&encrypt_to(&recipient), &found);
    let expected = format!(
        "{} (from --identity) is protected by a passphrase, and none was given",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_excessive_work_factor_is_refused() {
    let home = Home::new();
    // The header is authenticated only after the work: a changed number gets this far.
    let mut file = protected(&native().0, "secret", 14);
    let at = file.windows(4).position(|window| window == b" 14\n").unwrap();
    file[at..at + 4].copy_from_slice(b" 23\n");
    let answers = Answers::new(&["secret", "secret", "secret"]);
    let found =
        Identities::find(&explicit(home.write("identity.txt", file)), answers.clone()).unwrap();
    let error = open_error(&encrypt_to(&native().1), &found);
    assert!(error.to_string().contains("work factor of 23; at most 22"), "{error}");
    assert_eq!(answers.asked(), 1);
}

#[test]
fn what_is_wrong_inside_a_protected_file_is_told() {
    let home = Home::new();
    for (content, expected) in [
        (protected("# mine\nsurprise", "secret", 4), "line 2 of"),
        (protected("", "secret", 4), "holds no identity"),
        (
            {
                let mut changed = protected(&native().0, "secret", 4);
                *changed.last_mut().unwrap() ^= 1;
                changed
            },
            "is damaged",
        ),
    ] {
        let places = explicit(home.write("identity.txt", content));
        let found = Identities::find(&places, Answers::new(&["secret"])).unwrap();
        let error = open_error(&encrypt_to(&native().1), &found);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
