//! Plugins, played by a shell script that speaks age's plugin protocol.
//!
//! age looks for plugins in the `PATH` of the process, so each test runs itself again with a
//! `PATH` of its own.

use std::env;

use super::*;

/// The file key is the body of the stanza of type `fake`, and the PIN 1234 gives it. As
/// `age-plugin-dies` it ends early, as `age-plugin-quotes` it quotes its identity in an error.
const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
mkdir "$here/busy" || exit 1
body() {
    data=
    while IFS= read -r line; do
        data=$data$line
        [ ${#line} -lt 64 ] && return
    done
}
say() {
    printf -- '-> %s\n%s\n' "$1" "$2"
}
ask() {
    say "$1" "$2"
    read -r _ reply _
    body
}
encoded() {
    printf %s "$1" | base64 -w0 | tr -d =
}
key=
while read -r _ command arguments; do
    body
    case "$command $arguments" in
        add-identity*) identity=$arguments ;;
        "recipient-stanza 0 fake"*) key=$data ;;
        done*) break ;;
    esac
done
case $0 in
    *dies) rmdir "$here/busy"; exit 3 ;;
    *quotes) ask "error identity 0" "$(encoded "no card for $identity")" ;;
    *)
        ask msg "$(encoded "touch the token")"
        if [ -n "$key" ]; then
            ask request-secret "$(encoded PIN)"
            if [ "$data" = "$(encoded 1234)" ]; then
                ask "file-key 0" "$key"
            else
                ask "error identity 0" "$(encoded "wrong
PIN")"
            fi
        fi ;;
esac
rmdir "$here/busy"
say done ""
"#;

/// Runs `body` in a process of its own that finds the script under each of its names.
fn with_plugins(test: &str, body: impl FnOnce()) {
    const MARK: &str = "VAULTFS_TEST_HAS_PLUGINS";
    if env::var_os(MARK).is_some() {
        return body();
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["fake", "dies", "quotes"] {
        let path = directory.path().join(format!("age-plugin-{name}"));
        fs::write(&path, SCRIPT).unwrap();
        set_mode(&path, 0o755);
    }
    let path = format!("{}:{}", directory.path().display(), env::var("PATH").unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env("PATH", path)
        .env(MARK, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{output:?}");
}

fn identity(plugin: &str) -> String {
    age::plugin::Identity::default_for_plugin(plugin).unwrap().to_string()
}

/// Encrypts to the fake plugin by giving its stanza the file key.
struct FakeRecipient;

impl age::Recipient for FakeRecipient {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, std::collections::HashSet<String>), age::EncryptError> {
        let (tag, body) = ("fake".to_owned(), file_key.expose_secret().to_vec());
        Ok((vec![Stanza { tag, args: Vec::new(), body }], std::collections::HashSet::new()))
    }
}

fn find_in(text: &str, answers: &Arc<Answers>) -> Identities {
    let home = Home::new();
    let path = home.write("identity.txt", text);
    Identities::find(&explicit(path), answers.clone()).unwrap()
}

#[test]
fn a_plugin_opens_what_is_for_it() {
    with_plugins("a_plugin_opens_what_is_for_it", || {
        let answers = Answers::new(&["1234"]);
        let found = find_in(&identity("fake"), &answers);
        let plugins: Vec<_> = found.iter().map(|i| (i.plugin(), i.recipient().is_none())).collect();
        assert_eq!(plugins, [(Some("fake"), true)]);
        assert_eq!(open(&encrypt(b"opened", &FakeRecipient), &found).unwrap(), b"opened");
        assert_eq!(*answers.shown.lock().unwrap(), ["touch the token"]);
    });
}

#[test]
fn threads_call_a_plugin_one_at_a_time() {
    with_plugins("threads_call_a_plugin_one_at_a_time", || {
        let answers = Answers::new(&["1234"; 6]);
        let found = find_in(&identity("fake"), &answers);
        let file = encrypt(b"opened", &FakeRecipient);
        std::thread::scope(|threads| {
            for _ in 0..6 {
                threads.spawn(|| assert_eq!(open(&file, &found).unwrap(), b"opened"));
            }
        });
        assert_eq!(answers.asked(), 6);
    });
}

#[test]
fn a_plugins_error_is_shown_on_one_line() {
    with_plugins("a_plugins_error_is_shown_on_one_line", || {
        let found = find_in(&identity("fake"), &Answers::new(&["4321"]));
        let error = open_error(&encrypt(b"opened", &FakeRecipient), &found);
        assert!(error.to_string().starts_with("age-plugin-fake failed with the identity in /"));
        assert!(error.to_string().ends_with("wrong PIN"), "{error}");
    });
}

#[test]
fn a_plugin_that_ends_early_or_quotes_its_identity_is_an_error_without_it() {
    let test = "a_plugin_that_ends_early_or_quotes_its_identity_is_an_error_without_it";
    with_plugins(test, || {
        let file = encrypt(b"opened", &FakeRecipient);
        let error = open_error(&file, &find_in(&identity("dies"), &Answers::new(&[])));
        assert!(error.to_string().ends_with("it ended before it answered"), "{error}");
        let error = open_error(&file, &find_in(&identity("quotes"), &Answers::new(&[])));
        assert!(!format!("{error} {error:?}").contains("AGE-PLUGIN-QUOTES-1"), "{error:?}");
    });
}

#[test]
fn a_missing_plugin_is_named_and_does_no_harm_to_others() {
    let (text, recipient) = native();
    let found = find_in(&format!("{}\n{text}\n", identity("absent")), &Answers::new(&[]));
    assert_opens(&recipient, &found);
    let error = open_error(&encrypt_to(&native().1), &found);
    assert!(matches!(error, IdentityError::PluginMissing { .. }));
    assert!(error.to_string().starts_with("age-plugin-absent is not installed"), "{error}");
}
