//! Our files and the real `age`: each opens the other's.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Ran, Sandbox, feed, has, not_run};

#[test]
fn age_opens_our_files_byte_for_byte() {
    if !has("age") {
        return not_run("age_opens_our_files_byte_for_byte", "age is not installed");
    }
    let sandbox = Sandbox::new();
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (name, value) in [("A", &b"hunter2"[..]), ("prod/B", b"line\n"), ("C", &binary)] {
        sandbox.add(name, value);
        let mut age = Command::new("age");
        age.arg("-d").arg("-i").arg(sandbox.identity()).arg(sandbox.file(name));
        assert_eq!(Ran::of(age.output().unwrap()).expect_ok().bytes, value);
    }
}

#[test]
fn a_file_that_age_wrote_is_unbound_until_it_is_adopted() {
    if !has("age") {
        return not_run("a_file_that_age_wrote_is_unbound", "age is not installed");
    }
    let sandbox = Sandbox::new();
    let identity = fs::read_to_string(sandbox.identity()).unwrap();
    let recipient = identity.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    for (name, armor) in [("BINARY", None), ("ARMORED", Some("-a"))] {
        let mut age = Command::new("age");
        age.args(["-r", recipient, "-o"]).arg(sandbox.file(name)).args(armor);
        feed(age.stdout(Stdio::null()), b"theirs").expect_ok();
        sandbox.run(&["show", name, "--reveal"]).expect_error(&[
            "can't be opened",
            "bound to no vault",
            "vaultfs adopt NAME",
        ]);
        assert!(sandbox.run(&["status", name, "--check"]).stdout.contains("unbound"));
        sandbox.feed(b"2", &["rotate", name]).expect_error(&["bound to no vault"]);
        sandbox.ok(&["adopt", name]);
        assert_eq!(sandbox.reveal(name), b"theirs");
        sandbox.run(&["adopt", name]).expect_error(&["exists already"]);
    }
}

#[test]
fn ssh_recipients_work_with_their_private_halves() {
    let sandbox = Sandbox::without_vault();
    let ssh = sandbox.path("home/.ssh");
    fs::create_dir(&ssh).unwrap();
    for (kind, file) in [("ed25519", "id_ed25519"), ("rsa", "id_rsa")] {
        let private = ssh.join(file);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-N", "", "-f"]).arg(&private);
        if !keygen.status().is_ok_and(|status| status.success()) {
            return not_run("ssh_recipients_work", "ssh-keygen is not installed");
        }
        let public = fs::read_to_string(private.with_extension("pub")).unwrap();
        let vault = sandbox.path(kind);
        sandbox.ok(&["init", vault.to_str().unwrap(), "--recipient", &public]);
        let vault = format!("--vault={}", vault.display());
        sandbox.feed(b"value", &["add", "A", &vault]).expect_ok();
        let shown = sandbox.run(&["show", "A", "--reveal", &vault]).expect_ok();
        assert_eq!(shown.bytes, b"value");
        fs::remove_file(&private).unwrap();
        let refused = "no identity at hand opens A";
        sandbox.run(&["show", "A", "--reveal", &vault]).expect_error(&[refused]);
    }
}
