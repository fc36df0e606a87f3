//! A vault that is damaged, swapped or forged while it is served: what was good goes on being
//! served, and what isn't is named.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::daemon::Daemon;
use crate::support::{Sandbox, feed, has, not_run};
use crate::users::{FOR_READER, READER, can_mount};

fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.add("prod/A", b"CANARY-A");
    sandbox.add("prod/B", b"CANARY-B");
    sandbox
}

/// Replaces a secret's file in one step, as git and vaultfs do.
fn replace(sandbox: &Sandbox, name: &str, bytes: &[u8]) {
    let new = sandbox.write("new", bytes);
    fs::rename(new, sandbox.file(name)).unwrap();
}

fn errno(result: io::Result<Vec<u8>>) -> Option<Errno> {
    result.err().and_then(|e| e.raw_os_error()).map(Errno::from_raw_os_error)
}

/// The ways in which the file of prod/A can go wrong, and what is said of each.
fn wrongs(sandbox: &Sandbox) -> Vec<(Vec<u8>, &'static str)> {
    let good = fs::read(sandbox.file("prod/A")).unwrap();
    let mut payload_flipped = good.clone();
    *payload_flipped.last_mut().unwrap() ^= 1;
    let mut header_flipped = good.clone();
    let stanza = good.windows(10).position(|window| window == b"-> vaultfs").unwrap();
    let digit = stanza + good[stanza..].iter().position(|&byte| byte == b'\n').unwrap() + 5;
    header_flipped[digit] = if good[digit] == b'A' { b'B' } else { b'A' };
    let other = Sandbox::without_vault();
    fs::create_dir_all(other.path("home/.config/vaultfs")).unwrap();
    fs::copy(sandbox.identity(), other.identity()).unwrap();
    other.ok(&["init", other.path("vault").to_str().unwrap()]);
    other.add("prod/A", b"CANARY-FOREIGN");
    vec![
        (fs::read(sandbox.file("prod/B")).unwrap(), "the file belongs to the secret prod/B"),
        (fs::read(other.file("prod/A")).unwrap(), "the file belongs to another vault"),
        (good[..good.len() - 1].to_vec(), "the payload was changed or cut off"),
        (good[..60].to_vec(), "not an age file, or its header is damaged"),
        (Vec::new(), "not an age file, or its header is damaged"),
        (payload_flipped, "the payload was changed or cut off"),
        (header_flipped, ""),
        (b"CANARY in plaintext".to_vec(), "not an age file, or its header is damaged"),
    ]
}

#[test]
fn what_is_damaged_while_served_leaves_the_last_good_value() {
    if !can_mount("what_is_damaged_while_served_leaves_the_last_good_value") {
        return;
    }
    let sandbox = vault();
    let good = fs::read(sandbox.file("prod/A")).unwrap();
    let daemon = Daemon::private(&sandbox);
    for (bytes, reason) in wrongs(&sandbox) {
        replace(&sandbox, "prod/A", &bytes);
        daemon.await_status("last good version: prod/A");
        daemon.await_log(&["ERROR", "an earlier version is served", "prod/A", reason]);
        assert_eq!(READER.read(daemon.path("prod/A")).unwrap(), b"CANARY-A", "{reason}");
        assert_eq!(READER.read(daemon.path("prod/B")).unwrap(), b"CANARY-B", "{reason}");
        replace(&sandbox, "prod/A", &good);
    }
    sandbox.rotate("prod/A", b"rotated");
    daemon.await_value("prod/A", b"rotated");
    daemon.eventually("all is well again", || daemon.status() == "2 secrets served");
    assert!(!daemon.log().contains("CANARY"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn what_is_damaged_from_the_start_is_an_error_and_the_others_are_served() {
    if !can_mount("what_is_damaged_from_the_start_is_an_error_and_the_others_are_served") {
        return;
    }
    let sandbox = vault();
    let good = fs::read(sandbox.file("prod/A")).unwrap();
    for (bytes, reason) in wrongs(&sandbox) {
        replace(&sandbox, "prod/A", &bytes);
        let daemon = Daemon::private(&sandbox);
        assert_eq!(daemon.status(), "1 secrets served; broken: prod/A", "{reason}");
        daemon.await_log(&["ERROR", "can't be served", "prod/A", reason]);
        assert_eq!(errno(READER.read(daemon.path("prod/A"))), Some(Errno::IO), "{reason}");
        assert_eq!(READER.read(daemon.path("prod/B")).unwrap(), b"CANARY-B", "{reason}");
        // And is served as soon as it is repaired.
        replace(&sandbox, "prod/A", &good);
        daemon.await_value("prod/A", b"CANARY-A");
        daemon.eventually("all is well again", || daemon.status() == "2 secrets served");
        daemon.stop();
        assert!(!daemon.log().contains("CANARY"), "{}", daemon.log());
    }
}

#[test]
fn an_older_generation_does_not_come_back() {
    if !can_mount("an_older_generation_does_not_come_back") {
        return;
    }
    let sandbox = vault();
    let first = fs::read(sandbox.file("prod/A")).unwrap();
    let daemon = Daemon::private(&sandbox);
    sandbox.rotate("prod/A", b"second");
    daemon.await_value("prod/A", b"second");
    replace(&sandbox, "prod/A", &first);
    daemon.await_status("last good version: prod/A");
    daemon.await_log(&["ERROR", "an earlier version is served", "prod/A", "generation 1"]);
    assert_eq!(READER.read(daemon.path("prod/A")).unwrap(), b"second");
    // Nor by way of having been away.
    fs::remove_file(sandbox.file("prod/A")).unwrap();
    daemon.eventually("it is gone", || {
        errno(READER.read(daemon.path("prod/A"))) == Some(Errno::NOENT)
    });
    replace(&sandbox, "prod/A", &first);
    daemon.await_status("broken: prod/A");
    assert_eq!(errno(READER.read(daemon.path("prod/A"))), Some(Errno::IO));
    daemon.stop();
}

#[test]
fn a_file_that_is_bound_to_no_vault_is_not_served() {
    let test = "a_file_that_is_bound_to_no_vault_is_not_served";
    if !can_mount(test) {
        return;
    }
    if !has("age") {
        return not_run(test, "age is not installed");
    }
    let sandbox = vault();
    let daemon = Daemon::private(&sandbox);
    let identity = fs::read_to_string(sandbox.identity()).unwrap();
    let recipient = identity.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    let foreign = sandbox.path("foreign.age");
    let mut age = std::process::Command::new("age");
    feed(age.args(["-r", recipient, "-o"]).arg(&foreign), b"forged").expect_ok();
    let forged = fs::read(&foreign).unwrap();
    replace(&sandbox, "prod/A", &forged);
    daemon.await_status("last good version: prod/A");
    daemon.await_log(&["ERROR", "prod/A", "bound to no vault"]);
    assert_eq!(READER.read(daemon.path("prod/A")).unwrap(), b"CANARY-A");
    replace(&sandbox, "prod/C", &forged);
    daemon.await_status("broken: prod/C");
    assert_eq!(errno(READER.read(daemon.path("prod/C"))), Some(Errno::IO));
    sandbox.ok(&["adopt", "prod/C"]);
    daemon.await_value("prod/C", b"forged");
    daemon.stop();
}

#[test]
fn a_broken_policy_takes_nothing_away() {
    if !can_mount("a_broken_policy_takes_nothing_away") {
        return;
    }
    let sandbox = vault();
    let policy = sandbox.path("vault/vaultfs.yaml");
    let good = fs::read(&policy).unwrap();
    let daemon = Daemon::private(&sandbox);
    for broken in [&b"version: 1\n\trules: x"[..], b"", b"\0"] {
        fs::write(&policy, broken).unwrap();
        // Something that makes the daemon look.
        fs::write(sandbox.path("vault/secrets/prod/.touched"), "").unwrap();
        for name in ["prod/A", "prod/B"] {
            let value = name.replace("prod/", "CANARY-");
            assert_eq!(READER.read(daemon.path(name)).unwrap(), value.as_bytes());
        }
    }
    fs::write(&policy, good).unwrap();
    sandbox.rotate("prod/A", b"second");
    daemon.await_value("prod/A", b"second");
    daemon.eventually("all is well again", || daemon.status() == "2 secrets served");
    daemon.stop();
}

#[test]
fn a_vault_that_goes_away_is_served_on_and_followed_when_it_is_back() {
    if !can_mount("a_vault_that_goes_away_is_served_on_and_followed_when_it_is_back") {
        return;
    }
    let sandbox = vault();
    let daemon = Daemon::private(&sandbox);
    let still_served = || {
        assert_eq!(READER.read(daemon.path("prod/A")).unwrap(), b"CANARY-A");
        assert_eq!(READER.read(daemon.path("prod/B")).unwrap(), b"CANARY-B");
    };
    let (here, away): (PathBuf, PathBuf) = (sandbox.path("vault"), sandbox.path("away"));
    fs::rename(&here, &away).unwrap();
    daemon.await_status("source: ");
    still_served();
    fs::rename(&away, &here).unwrap();
    daemon.eventually("all is well again", || daemon.status() == "2 secrets served");
    sandbox.rotate("prod/B", b"second");
    daemon.await_value("prod/B", b"second");
    sandbox.rotate("prod/B", b"CANARY-B");
    daemon.await_value("prod/B", b"CANARY-B");
    // What lies within it, alone.
    fs::rename(here.join("secrets"), &away).unwrap();
    fs::rename(&away, here.join("secrets")).unwrap();
    daemon.await_value("prod/A", b"CANARY-A");
    fs::remove_dir_all(&here).unwrap();
    daemon.await_status("source: ");
    still_served();
    assert_eq!(READER.cat(&daemon.path("prod/A")).unwrap(), b"CANARY-A");
    daemon.stop();
    let refused = Daemon::refused(
        &sandbox,
        &[&FOR_READER[..], &[&format!("--vault={}", here.display())]].concat(),
    );
    refused.expect_error(&["next: "]);
}

#[test]
fn a_newcomer_that_collides_is_dropped_and_named() {
    if !can_mount("a_newcomer_that_collides_is_dropped_and_named") {
        return;
    }
    let sandbox = vault();
    let daemon = Daemon::private(&sandbox);
    let copy = fs::read(sandbox.file("prod/A")).unwrap();
    // A file `prod` beside the directory `prod`, and a directory beside a file.
    replace(&sandbox, "prod", &copy);
    daemon.await_status("no place: prod");
    daemon.await_log(&["WARN", "not served", "prod"]);
    fs::create_dir(sandbox.path("vault/secrets/prod/A")).unwrap();
    replace(&sandbox, "prod/A/X", &copy);
    daemon.await_status("prod/A/X");
    assert_eq!(READER.read(daemon.path("prod/A")).unwrap(), b"CANARY-A");
    assert_eq!(READER.read(daemon.path("prod/B")).unwrap(), b"CANARY-B");
    fs::remove_file(sandbox.file("prod")).unwrap();
    fs::remove_dir_all(sandbox.path("vault/secrets/prod/A")).unwrap();
    daemon.eventually("all is well again", || daemon.status() == "2 secrets served");
    daemon.stop();
}

#[test]
fn links_pipes_and_huge_files_in_the_vault_are_passed_over() {
    if !can_mount("links_pipes_and_huge_files_in_the_vault_are_passed_over") {
        return;
    }
    let sandbox = vault();
    let daemon = Daemon::private(&sandbox);
    let elsewhere = sandbox.path("elsewhere.age");
    fs::copy(sandbox.file("prod/A"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, sandbox.path("link")).unwrap();
    fs::rename(sandbox.path("link"), sandbox.file("prod/A")).unwrap();
    let fifo = sandbox.path("vault/secrets/prod/FIFO.age");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let huge = fs::File::create(sandbox.file("prod/HUGE")).unwrap();
    huge.set_len(1 << 40).unwrap();
    sandbox.add("prod/LAST", b"last");
    daemon.await_value("prod/LAST", b"last");
    assert_eq!(READER.read(daemon.path("prod/B")).unwrap(), b"CANARY-B");
    for name in ["prod/FIFO", "prod/HUGE"] {
        assert!(READER.read(daemon.path(name)).is_err(), "{name}");
    }
    daemon.stop();
}

#[test]
fn what_comes_back_as_it_was_is_well_again() {
    if !can_mount("what_comes_back_as_it_was_is_well_again") {
        return;
    }
    let sandbox = vault();
    let good = fs::read(sandbox.file("prod/A")).unwrap();
    let daemon = Daemon::private(&sandbox);
    for _ in 0..3 {
        replace(&sandbox, "prod/A", &good[..good.len() - 1]);
        daemon.await_status("last good version: prod/A");
        replace(&sandbox, "prod/A", &good);
        daemon.eventually("all is well again", || daemon.status() == "2 secrets served");
        assert_eq!(READER.read(daemon.path("prod/A")).unwrap(), b"CANARY-A");
    }
    daemon.stop();
}
