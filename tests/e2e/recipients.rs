//! Who may decrypt: recipients, and bringing files in line with the policy.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Ran, Sandbox, has, not_run};

/// A second person: their identity's file, and their recipient.
fn bob(sandbox: &Sandbox) -> (PathBuf, String) {
    let identity = sandbox.path("bob.txt");
    let recipient = sandbox.ok(&["keygen", "-o", identity.to_str().unwrap()]);
    (identity, recipient.trim().to_owned())
}

/// Shows a secret with one identity alone.
fn show(sandbox: &Sandbox, identity: &PathBuf, name: &str) -> Ran {
    let mut command = sandbox.command(&["show", name, "--reveal", "--identity"]);
    command.arg(identity).env("HOME", sandbox.path("nobody"));
    Ran::of(command.output().unwrap())
}

#[test]
fn a_newcomer_reads_after_a_rewrap_and_a_leaver_no_longer() {
    let sandbox = Sandbox::new();
    let (identity, recipient) = bob(&sandbox);
    for name in ["A", "prod/B", "prod/C"] {
        sandbox.add(name, b"value");
    }
    let added = sandbox.run(&["recipients", "add", "bob", &recipient]).expect_ok();
    assert!(added.stderr.contains("3 secrets are to be encrypted anew"), "{added:?}");
    assert!(sandbox.run(&["status"]).stdout.contains("drifted"));
    show(&sandbox, &identity, "A").expect_error(&["no identity at hand opens A"]);

    let plan = sandbox.run(&["rewrap", "prod/**", "--dry-run"]).expect_ok();
    assert!(plan.stderr.contains("prod/B  +bob") && !plan.stderr.contains(" A "), "{plan:?}");
    sandbox.run(&["rewrap"]).expect_error(&["needs your consent"]);
    show(&sandbox, &identity, "A").expect_error(&[]);
    let before = sandbox.ok(&["list", "--json"]);
    sandbox.ok(&["rewrap", "--yes"]);
    for name in ["A", "prod/B", "prod/C"] {
        assert_eq!(show(&sandbox, &identity, name).expect_ok().bytes, b"value");
        assert_eq!(sandbox.reveal(name), b"value");
    }
    // The values are as old as they were; a second run changes nothing.
    let rotated = |list: &str| -> Vec<serde_json::Value> {
        let rows: Vec<serde_json::Value> = serde_json::from_str(list).unwrap();
        rows.into_iter().map(|row| row["rotated_at"].clone()).collect()
    };
    assert_eq!(rotated(&before), rotated(&sandbox.ok(&["list", "--json"])));
    let file = fs::read(sandbox.file("A")).unwrap();
    sandbox.ok(&["rewrap", "--yes"]);
    assert_eq!(fs::read(sandbox.file("A")).unwrap(), file);
    sandbox.run(&["status", "--check"]).expect_ok();

    let removed = sandbox.run(&["recipients", "remove", "bob", "--yes"]).expect_ok();
    assert!(removed.stderr.contains("git's history"), "{removed:?}");
    sandbox.ok(&["rewrap", "--yes"]);
    show(&sandbox, &identity, "A").expect_error(&["no identity at hand opens A"]);
    // They may have kept the value, so it stays marked until it is rotated.
    let status = sandbox.run(&["status", "A", "--check"]);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.contains("needs-rotation"), "{status:?}");
    sandbox.rotate("A", b"new");
    sandbox.run(&["status", "A", "--check"]).expect_ok();
}

#[test]
fn a_rewrap_does_what_it_can_and_lists_the_rest() {
    let sandbox = Sandbox::new();
    let (identity, recipient) = bob(&sandbox);
    sandbox.edit_policy("\nrecipients:\n", &format!("\nrecipients:\n  bob: {recipient}\n"));
    let rule = "\nrules:\n  - {path: \"bob/**\", to: [bob]}\n";
    sandbox.edit_policy("\nrules:\n", rule);
    sandbox.add("bob/X", b"theirs");
    sandbox.add("A", b"ours");
    sandbox.edit_policy(rule, "\nrules:\n  - {path: \"**\", to: [owners, bob]}\n");
    let ran = sandbox.run(&["rewrap", "--yes"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("no identity at hand opens bob/X"), "{ran:?}");
    assert_eq!(show(&sandbox, &identity, "A").expect_ok().bytes, b"ours");
    assert_eq!(show(&sandbox, &identity, "bob/X").expect_ok().bytes, b"theirs");
}

#[test]
fn nobody_locks_themselves_out_by_accident() {
    let sandbox = Sandbox::new();
    let (identity, recipient) = bob(&sandbox);
    sandbox.add("A", b"value");
    sandbox.ok(&["recipients", "add", "bob", &recipient]);
    sandbox.edit_policy("to: [owners]", "to: [bob]");
    let ran = sandbox.run(&["rewrap", "--yes"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("A would be left to others"), "{ran:?}");
    assert_eq!(sandbox.reveal("A"), b"value");
    sandbox.ok(&["rewrap", "--yes", "--allow-lock-out"]);
    assert_eq!(show(&sandbox, &identity, "A").expect_ok().bytes, b"value");
}

#[test]
fn a_rewrap_that_is_killed_is_finished_by_the_next() {
    let sandbox = Sandbox::new();
    let (identity, recipient) = bob(&sandbox);
    let names: Vec<String> = (0..300).map(|n| format!("dir/N{n}")).collect();
    let entries: Vec<String> = names.iter().map(|n| format!("{}=v-{n}", &n[4..])).collect();
    let file = sandbox.write("all.env", entries.join("\n"));
    sandbox.ok(&["migrate", file.to_str().unwrap(), "--prefix", "dir", "--yes"]);
    sandbox.ok(&["recipients", "add", "bob", &recipient]);
    let mut rewrap = sandbox.command(&["rewrap", "--yes"]);
    let mut running = rewrap.stderr(std::process::Stdio::null()).spawn().unwrap();
    let drifted = || {
        let plan = sandbox.ok(&["rewrap", "--dry-run", "--json"]);
        serde_json::from_str::<Vec<serde_json::Value>>(&plan).unwrap().len()
    };
    // As soon as the first one is done.
    while drifted() == names.len() && running.try_wait().unwrap().is_none() {}
    running.kill().unwrap();
    running.wait().unwrap();
    for name in &names {
        assert_eq!(sandbox.reveal(name), format!("v-{name}").as_bytes());
    }
    sandbox.ok(&["rewrap", "--yes"]);
    assert_eq!(drifted(), 0);
    for name in names.iter().step_by(50) {
        assert_eq!(
            show(&sandbox, &identity, name).expect_ok().bytes,
            format!("v-{name}").as_bytes()
        );
    }
}

#[test]
fn recipients_are_listed_renamed_and_explained() {
    let sandbox = Sandbox::new();
    let (_, recipient) = bob(&sandbox);
    sandbox.add("prod/A", b"1");
    sandbox.append_to_policy("# the last line\n");
    sandbox.ok(&["recipients", "add", "bob", &recipient]);
    sandbox.ok(&["recipients", "rename", "bob", "robert"]);
    let list = sandbox.ok(&["recipients", "list"]);
    assert!(list.contains("robert") && list.contains("owners") && !list.contains("bob "), "{list}");
    let rows: serde_json::Value =
        serde_json::from_str(&sandbox.ok(&["recipients", "list", "--json"])).unwrap();
    assert_eq!(rows[1]["secrets"], 1);
    assert_eq!(rows[1]["recipient"].as_str(), Some(recipient.as_str()));
    let explained = sandbox.ok(&["recipients", "explain", "prod/A"]);
    assert!(explained.contains("the rule for **") && explained.contains("robert"), "{explained}");
    sandbox.ok(&["recipients", "remove", "robert", "--until", "2999-12-31", "--yes"]);
    assert!(sandbox.ok(&["recipients", "list"]).contains("until 2999-12-31"));
    sandbox.ok(&["rewrap", "--yes"]);
    sandbox.run(&["status", "--check"]).expect_ok();
    let policy = fs::read_to_string(sandbox.path("vault/vaultfs.yaml")).unwrap();
    assert!(policy.contains("# the last line"), "{policy}");
}

#[test]
fn recipients_that_cannot_be() {
    let sandbox = Sandbox::new();
    let (_, recipient) = bob(&sandbox);
    let private = "AGE-SECRET-KEY-1CANARYCANARYCANARY";
    let ran = sandbox.run(&["recipients", "add", "eve", private]);
    assert!(!ran.expect_error(&["private identity"]).stderr.contains("1CANARY"));
    sandbox.run(&["recipients", "add", "bob", "age1bob"]).expect_error(&["checksum"]);
    let unknown = ["recipients", "add", "bob", &recipient, "--group", "nobody"];
    sandbox.run(&unknown).expect_error(&["the policy has no \"nobody\""]);
    sandbox.ok(&["recipients", "add", "bob", &recipient]);
    sandbox.run(&["recipients", "add", "rob", &recipient]).expect_error(&["bob"]);
    sandbox.run(&["recipients", "add", "bob", &recipient]).expect_error(&["already"]);
    sandbox
        .run(&["recipients", "remove", "eve", "--yes"])
        .expect_error(&["the policy has no \"eve\""]);
    sandbox.ok(&["recipients", "remove", "bob", "--yes"]);
    sandbox
        .run(&["recipients", "remove", "alice", "--yes"])
        .expect_error(&["reaches no recipient"]);
    assert!(sandbox.ok(&["recipients", "list"]).contains("alice"));
}

#[test]
fn what_was_encrypted_anew_opens_with_age() {
    if !has("age") {
        return not_run("what_was_encrypted_anew_opens_with_age", "age is not installed");
    }
    let sandbox = Sandbox::new();
    let (identity, recipient) = bob(&sandbox);
    sandbox.add("A", b"value");
    sandbox.ok(&["recipients", "add", "bob", &recipient]);
    sandbox.ok(&["rewrap", "--yes"]);
    for identity in [identity, sandbox.identity()] {
        let age =
            Command::new("age").arg("-d").arg("-i").arg(identity).arg(sandbox.file("A")).output();
        assert_eq!(Ran::of(age.unwrap()).expect_ok().bytes, b"value");
    }
}
