//! The life of a secret on the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Ran, Sandbox};

#[test]
fn a_value_comes_back_byte_for_byte() {
    let sandbox = Sandbox::new();
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for (name, value) in [("prod/A", &b"hunter2"[..]), ("B", b"with\nnewline\n"), ("C", &binary)] {
        sandbox.add(name, value);
        assert_eq!(sandbox.reveal(name), value);
    }
}

#[test]
fn files_are_private_to_their_owner() {
    let sandbox = Sandbox::new();
    sandbox.add("prod/A", b"1");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(sandbox.file("prod/A")), 0o600);
    assert_eq!(mode(sandbox.path("vault/secrets")), 0o700);
    assert_eq!(mode(sandbox.path("vault/secrets/prod")), 0o700);
    assert_eq!(mode(sandbox.path("vault/vaultfs.yaml")), 0o600);
    assert_eq!(mode(sandbox.identity()), 0o600);
    fs::set_permissions(sandbox.file("prod/A"), fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.rotate("prod/A", b"2");
    assert_eq!(mode(sandbox.file("prod/A")), 0o600, "a rotation replaces what was wider");
}

#[test]
fn git_is_told_that_the_files_are_binary() {
    let sandbox = Sandbox::new();
    let attributes = sandbox.path("vault/.gitattributes");
    assert_eq!(fs::read_to_string(attributes).unwrap(), "*.age binary\n");
    let own = sandbox.path("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join(".gitattributes"), "mine\n").unwrap();
    sandbox.ok(&["init", own.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(own.join(".gitattributes")).unwrap(), "mine\n");
}

#[test]
fn rotation_counts_generations_and_removal_does_not_restart_them() {
    let sandbox = Sandbox::new();
    let generation = || {
        let list = sandbox.ok(&["list", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        list[0]["generation"].as_u64().unwrap()
    };
    sandbox.add("A", b"1");
    assert_eq!(generation(), 1);
    sandbox.rotate("A", b"2");
    assert_eq!(generation(), 2);
    assert_eq!(sandbox.reveal("A"), b"2");
    sandbox.ok(&["remove", "A", "--yes"]);
    assert!(!sandbox.file("A").exists());
    let policy = fs::read_to_string(sandbox.path("vault/vaultfs.yaml")).unwrap();
    assert!(policy.contains("A: 2"), "{policy}");
    sandbox.add("A", b"3");
    assert_eq!(generation(), 3);
}

#[test]
fn rename_and_copy_follow_the_policy_of_the_new_name() {
    let sandbox = Sandbox::new();
    let bob = sandbox.path("bob.txt");
    let recipient = sandbox.ok(&["keygen", "-o", bob.to_str().unwrap()]);
    sandbox.edit_policy("recipients:\n", &format!("recipients:\n  bob: {recipient}"));
    sandbox.edit_policy("rules:\n", "rules:\n  - {path: \"shared/**\", to: [owners, bob]}\n");
    sandbox.add("A", b"value");
    sandbox.ok(&["copy", "A", "shared/A"]);
    sandbox.ok(&["rename", "A", "B"]);
    assert!(!sandbox.file("A").exists());
    for name in ["B", "shared/A"] {
        assert_eq!(sandbox.reveal(name), b"value");
    }
    // Bob alone, without alice's identity in the usual place.
    let as_bob = |name: &str| {
        let mut command = sandbox.command(&["show", name, "--reveal", "--identity"]);
        command.arg(&bob).env("HOME", sandbox.path("nobody"));
        Ran::of(command.output().unwrap())
    };
    assert_eq!(as_bob("shared/A").expect_ok().bytes, b"value");
    let refused = "no identity at hand opens B, which is encrypted to alice";
    as_bob("B").expect_error(&[refused, "vaultfs keygen"]);
}

#[test]
fn a_rename_that_was_cut_off_is_finished_by_doing_it_again() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"value");
    let before = fs::read(sandbox.file("A")).unwrap();
    sandbox.ok(&["rename", "A", "B"]);
    // As it is when the process dies between writing the new file and removing the old one.
    fs::write(sandbox.file("A"), before).unwrap();
    sandbox.edit_policy("A: 1", "Z: 1");
    sandbox.ok(&["rename", "A", "B"]);
    assert!(!sandbox.file("A").exists());
    assert_eq!(sandbox.reveal("B"), b"value");
    // Another value under the new name is never overwritten.
    sandbox.add("C", b"other");
    sandbox.run(&["rename", "B", "C"]).expect_error(&["the secret C exists already"]);
    assert_eq!(sandbox.reveal("C"), b"other");
}

#[test]
fn generated_values_have_the_promised_form() {
    let sandbox = Sandbox::new();
    sandbox.append_to_policy("secrets:\n  COOKIE:\n    bytes: [32]\n    generate: {bytes: 32}\n");
    let ran = sandbox.run(&["add", "A", "--generate=hex:16"]).expect_ok();
    assert!(ran.stderr.contains("128.0 bits"));
    let value = sandbox.reveal("A");
    assert!(value.len() == 32 && value.iter().all(u8::is_ascii_hexdigit));
    sandbox.ok(&["add", "COOKIE", "--generate"]);
    assert_eq!(sandbox.reveal("COOKIE").len(), 32);
    sandbox.ok(&["add", "B", "--generate"]);
    assert_eq!(sandbox.reveal("B").len(), 43);
}

#[test]
fn show_writes_a_new_private_file_and_never_replaces_one() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"value");
    let out = sandbox.path("out");
    let arguments = ["show", "A", "--out", out.to_str().unwrap()];
    sandbox.ok(&arguments);
    assert_eq!(fs::read(&out).unwrap(), b"value");
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    sandbox.run(&arguments).expect_error(&["can't be written", "exists"]);
    sandbox.run(&["show", "A"]).expect_usage_error(&["--reveal"]);
}

#[test]
fn status_names_what_needs_attention() {
    let sandbox = Sandbox::new();
    sandbox.append_to_policy("secrets:\n  MISSING: {required: true}\n  OLD: {rotate_every: 1h}\n");
    sandbox.add("FINE", b"1");
    sandbox.add("OLD", b"1");
    fs::write(sandbox.file("BROKEN"), "not age").unwrap();
    fs::copy(sandbox.file("FINE"), sandbox.file("MOVED")).unwrap();
    let ran = sandbox.run(&["status", "--json", "--check"]);
    assert_eq!(ran.code, Some(1));
    let rows: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let state = |name: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        row["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state("FINE"), "present");
    assert_eq!(state("OLD"), "present");
    assert_eq!(state("MISSING"), "missing");
    assert_eq!(state("BROKEN"), "damaged");
    assert_eq!(state("MOVED"), "other-name");
    sandbox.run(&["status", "FINE", "--check"]).expect_ok();
}

#[test]
fn migrate_moves_entries_verifies_them_and_changes_nothing_twice() {
    let sandbox = Sandbox::new();
    let text = "A=1\nexport B='two words'\nC=\"line\\nbreak\"\n";
    let file = sandbox.write("service.env", text);
    let file_name = file.to_str().unwrap();
    let arguments = ["migrate", file_name, "--prefix", "prod", "--yes"];
    let plan = "add   prod/A (1 bytes), readable by alice";
    sandbox.run(&arguments[..4]).expect_error(&[plan, "needs your consent"]);
    assert!(!sandbox.file("prod/A").exists());
    let ran = sandbox.run(&arguments).expect_ok();
    assert!(ran.stderr.contains("3 entries verified byte for byte"));
    for (name, value) in [("A", &b"1"[..]), ("B", b"two words"), ("C", b"line\nbreak")] {
        assert_eq!(sandbox.reveal(&format!("prod/{name}")), value);
    }
    let before = fs::read(sandbox.file("prod/A")).unwrap();
    sandbox.ok(&arguments);
    assert_eq!(fs::read(sandbox.file("prod/A")).unwrap(), before);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let other = sandbox.write("other.env", "A=different\n");
    let other_name = other.to_str().unwrap();
    sandbox
        .run(&["migrate", other_name, "--prefix", "prod", "--yes", "--delete-source"])
        .expect_error(&["prod/A is in the vault with another value"]);
    assert!(other.exists());
    sandbox.ok(&["migrate", file_name, "--prefix", "prod", "--delete-source"]);
    assert!(!file.exists());
}

#[test]
fn values_from_a_pipe_keep_their_newline_with_a_warning() {
    let sandbox = Sandbox::new();
    let ran = sandbox.feed(b"x\n", &["add", "A"]).expect_ok();
    assert!(ran.stderr.contains("ends with a newline, which is kept (2 bytes)"));
    assert_eq!(sandbox.reveal("A"), b"x\n");
    sandbox.feed(b"x\n", &["add", "B", "--trim-newline"]).expect_ok();
    assert_eq!(sandbox.reveal("B"), b"x");
}

#[test]
fn completions_know_secrets_without_an_identity() {
    let sandbox = Sandbox::new();
    sandbox.add("prod/DATABASE_URL", b"1");
    fs::remove_file(sandbox.identity()).unwrap();
    assert!(sandbox.ok(&["completions", "bash"]).contains("vaultfs"));
    let mut command = sandbox.command(&["--", "vaultfs", "show", "prod/D"]);
    command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2");
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9");
    let ran = Ran::of(command.output().unwrap()).expect_ok();
    assert!(ran.stdout.contains("prod/DATABASE_URL"), "{ran:?}");
}

#[test]
fn the_manual_covers_every_command() {
    let sandbox = Sandbox::without_vault();
    assert!(sandbox.ok(&["man"]).contains(".TH vaultfs 1"));
    let pages = sandbox.path("man");
    sandbox.ok(&["man", pages.to_str().unwrap()]);
    let help = sandbox.ok(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = listed.take_while(|line| !line.is_empty());
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        let page = pages.join(format!("vaultfs-{command}.1"));
        assert!(command == "help" || page.exists(), "{command}");
    }
}
