//! What happens to a value over the years: it comes due, leaks, and is brought back from git.

use std::process::Command;

use crate::support::{Ran, Sandbox, VAULTFS, feed, has, not_run};

/// git in the vault, as someone.
fn git(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=alice", "-c", "user.email=alice@example.org"]);
    git.args(arguments).current_dir(sandbox.path("vault")).env("HOME", sandbox.path("home"));
    Ran::of(git.output().unwrap()).expect_ok().stdout
}

fn row(sandbox: &Sandbox, name: &str) -> serde_json::Value {
    let rows = sandbox.run(&["status", name, "--json"]).stdout;
    serde_json::from_str::<Vec<serde_json::Value>>(&rows).unwrap().remove(0)
}

#[test]
fn an_old_value_comes_back_as_a_new_generation() {
    let sandbox = Sandbox::new();
    git(&sandbox, &["init", "-q"]);
    sandbox.add("prod/A", b"old");
    git(&sandbox, &["add", "."]);
    git(&sandbox, &["commit", "-qm", "one"]);
    let old = row(&sandbox, "prod/A");
    sandbox.rotate("prod/A", b"new");
    git(&sandbox, &["commit", "-qam", "two"]);
    sandbox.ok(&["restore", "prod/A", "--from", "HEAD~1"]);
    assert_eq!(sandbox.reveal("prod/A"), b"old");
    let restored = row(&sandbox, "prod/A");
    assert_eq!(restored["generation"], 3);
    assert_eq!(restored["rotated_at"], old["rotated_at"], "the value is as old as it was");
    // Also after its removal, and the counter goes on.
    sandbox.ok(&["remove", "prod/A", "--yes"]);
    sandbox.ok(&["restore", "prod/A", "--from", "HEAD"]);
    assert_eq!(sandbox.reveal("prod/A"), b"new");
    assert_eq!(row(&sandbox, "prod/A")["generation"], 4);
}

#[test]
fn what_git_does_not_have_is_not_restored() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"1");
    sandbox.run(&["restore", "A", "--from", "HEAD"]).expect_error(&["git has no secrets/A.age"]);
    git(&sandbox, &["init", "-q"]);
    git(&sandbox, &["add", "."]);
    git(&sandbox, &["commit", "-qm", "one"]);
    let option = ["restore", "A", "--from=--output=x"];
    sandbox.run(&option).expect_error(&["git has no secrets/A.age"]);
    sandbox.run(&["restore", "B", "--from", "HEAD"]).expect_error(&["git has no secrets/B.age"]);
    assert_eq!(sandbox.reveal("A"), b"1");
}

#[test]
fn a_leaked_value_stays_marked_until_it_is_rotated() {
    let sandbox = Sandbox::new();
    for name in ["prod/A", "prod/B", "dev/C"] {
        sandbox.add(name, b"1");
    }
    sandbox.run(&["flag", "prod/*", "--reason", "leaked"]).expect_error(&["needs your consent"]);
    sandbox.ok(&["flag", "prod/*", "--reason", "leaked", "--yes"]);
    let state = |name: &str| row(&sandbox, name)["state"].as_str().unwrap().to_owned();
    assert_eq!(
        [state("prod/A"), state("prod/B"), state("dev/C")],
        ["needs-rotation", "needs-rotation", "present"]
    );
    assert_eq!(row(&sandbox, "prod/A")["needs_rotation"][0], "flagged as leaked");
    sandbox.ok(&["copy", "prod/A", "prod/D"]);
    assert_eq!(state("prod/D"), "needs-rotation", "a copy of a leaked value has leaked");
    sandbox.rotate("prod/A", b"2");
    assert_eq!(state("prod/A"), "present");
    sandbox
        .run(&["flag", "nothing/*", "--reason", "leaked", "--yes"])
        .expect_error(&["no secret matches"]);
}

#[test]
fn what_comes_due_is_named_before_it_is_overdue() {
    if !has("faketime") {
        return not_run(
            "what_comes_due_is_named_before_it_is_overdue",
            "faketime is not installed",
        );
    }
    let sandbox = Sandbox::new();
    sandbox.append_to_policy("secrets:\n  A: {rotate_every: 90d}\n  B: {rotate_every: 10d}\n");
    for name in ["A", "B", "C"] {
        let mut faketime = Command::new("faketime");
        faketime
            .args(["2020-01-01 00:00:00", VAULTFS, "add", name])
            .env("HOME", sandbox.path("home"));
        feed(faketime.current_dir(sandbox.path("vault")), b"1").expect_ok();
    }
    let due = |now: &str, period: &str| {
        let mut faketime = Command::new("faketime");
        faketime.args([now, VAULTFS, "status", "--due", period, "--json", "--check"]);
        let ran = Ran::of(faketime.current_dir(sandbox.path("vault")).output().unwrap());
        let rows: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
        let names: Vec<_> =
            rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ran.code, Some(i32::from(!names.is_empty())), "{ran:?}");
        names
    };
    assert!(due("2020-01-02 00:00:00", "1d").is_empty());
    assert_eq!(due("2020-01-02 00:00:00", "2w"), ["B"]);
    assert_eq!(due("2020-02-01 00:00:00", "1h"), ["B"]);
    assert_eq!(due("2020-02-01 00:00:00", "60d"), ["A", "B"]);
    sandbox.run(&["status", "--due", "soon"]).expect_usage_error(&["12h, 14d or 2w"]);
}
