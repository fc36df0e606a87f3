//! Bad input: each gets an error that says what, why and the next step, and changes nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Ran, Sandbox, VAULTFS, feed, has, not_run};

/// All files below a directory with their bytes.
fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                let name = entry.path().display().to_string();
                files.push((name, fs::read(entry.path()).unwrap_or_default()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn no_vault_here() {
    let sandbox = Sandbox::without_vault();
    sandbox.run(&["list"]).expect_error(&["there is no vault in", "vaultfs init"]);
    sandbox.run(&["list", "--vault", "/tmp"]).expect_error(&["is not a vault", "vaultfs init"]);
}

#[test]
fn two_vaults_nested() {
    let sandbox = Sandbox::new();
    let inner = sandbox.path("vault/inner");
    let inner_name = inner.to_str().unwrap();
    sandbox.run(&["init", inner_name]).expect_error(&["lies inside the vault", "--vault"]);
    assert!(!inner.exists());
    fs::create_dir(&inner).unwrap();
    fs::copy(sandbox.path("vault/vaultfs.yaml"), inner.join("vaultfs.yaml")).unwrap();
    let output = sandbox.command(&["list"]).current_dir(&inner).output().unwrap();
    Ran::of(output).expect_error(&["lies inside the vault", "--vault"]);
    sandbox.ok(&["list", "--vault", inner_name]);
}

#[test]
fn broken_policies_are_refused_with_their_position() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"1");
    let path = sandbox.path("vault/vaultfs.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let cases: [(&str, &str, &[&str]); 9] = [
        ("version: 1", "version: 2", &["version", "line "]),
        ("\nrules:\n", "\nrulez:\n", &["rulez", "rules", "line "]),
        ("  - path: \"**\"", "\t- path: \"**\"", &["tab", "line "]),
        ("    to: [owners]", "    to: [ownerz]", &["ownerz", "owners", "line "]),
        ("owners: [alice]", "owners: [alice, owners]", &["owners", "line "]),
        ("owners: [alice]", "owners: [alice]\n  owners: [alice]", &["owners", "line "]),
        ("to: [owners]", "to: [owners]\n    colour: red", &["colour", "line "]),
        ("path: \"**\"", "path: \"/x\"", &["line "]),
        ("\nvault: ", "\nvault: x", &["line "]),
    ];
    for (from, to, texts) in cases {
        assert!(good.contains(from), "{from:?} is not in {good}");
        fs::write(&path, good.replace(from, to)).unwrap();
        let before = tree(&sandbox.path("vault"));
        let ran = sandbox.feed(b"2", &["rotate", "A"]);
        ran.expect_error(&["is not a valid policy"]).expect_error(texts);
        assert_eq!(tree(&sandbox.path("vault")), before);
    }
    fs::write(&path, good).unwrap();
    assert_eq!(sandbox.reveal("A"), b"1");
}

#[test]
fn a_rule_that_matches_nothing_is_warned_of() {
    let sandbox = Sandbox::new();
    sandbox.edit_policy("\nrules:\n", "\nrules:\n  - {path: \"prd/**\", to: [owners]}\n");
    sandbox.add("prod/A", b"1");
    let ran = sandbox.run(&["status"]).expect_ok();
    assert!(ran.stderr.contains("the rule for prd/** decides about no secret"), "{ran:?}");
}

#[test]
fn names_that_cannot_be() {
    let sandbox = Sandbox::new();
    for name in ["../A", "/A", "A//B", ".A", "A.age", "A.next", "A.previous", "a b", "", "A/"] {
        sandbox.feed(b"1", &["add", name]).expect_usage_error(&[]);
    }
    sandbox.add("A", b"1");
    sandbox.add("B/C", b"1");
    sandbox.feed(b"1", &["add", "A/B"]).expect_error(&["A/B and A can't both exist"]);
    sandbox.feed(b"1", &["add", "B"]).expect_error(&["B and B/… can't both exist"]);
    let exists = sandbox.feed(b"2", &["add", "A"]);
    exists.expect_error(&["the secret A exists already", "vaultfs rotate A"]);
    assert_eq!(sandbox.reveal("A"), b"1");
    sandbox.feed(b"2", &["rotate", "AB"]).expect_error(&["there is no secret AB"]);
}

#[test]
fn values_that_cannot_be() {
    let sandbox = Sandbox::new();
    sandbox.feed(b"", &["add", "A"]).expect_error(&["the value of A is empty"]);
    let large = vec![7; 17 << 20];
    sandbox.feed(&large, &["add", "A"]).expect_error(&["16 MiB"]);
    assert!(!sandbox.file("A").exists());
    sandbox.feed(&large[..16 << 20], &["add", "LARGEST"]).expect_ok();
    assert_eq!(sandbox.reveal("LARGEST").len(), 16 << 20);
    sandbox.add("NUL", b"a\0b");
    assert_eq!(sandbox.reveal("NUL"), b"a\0b");
}

#[test]
fn a_value_among_the_arguments_is_refused_and_not_repeated() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["add", "A", "CANARY"]);
    let ran = ran.expect_usage_error(&["a value is never an argument", "pipe it in"]);
    assert!(!ran.stderr.contains("CANARY") && !sandbox.file("A").exists());
}

#[test]
fn values_that_the_policy_refuses_change_nothing() {
    let sandbox = Sandbox::new();
    sandbox.append_to_policy("secrets:\n  COOKIE: {bytes: [16, 32]}\n  URL: {url: true}\n");
    let ran = sandbox.feed(b"CANARYVALUE", &["add", "COOKIE"]);
    let asked = "the value of COOKIE is not what the policy asks for";
    assert!(!ran.expect_error(&[asked, "11 bytes"]).stderr.contains("CANARY"));
    let ran = sandbox.feed(b"CANARY VALUE", &["add", "URL"]);
    assert!(!ran.expect_error(&["the value of URL"]).stderr.contains("CANARY"));
    assert!(!sandbox.file("COOKIE").exists() && !sandbox.file("URL").exists());
}

#[test]
fn no_rule_for_a_name() {
    let sandbox = Sandbox::new();
    sandbox.edit_policy("path: \"**\"", "path: \"prod/**\"");
    sandbox.feed(b"1", &["add", "dev/A"]).expect_error(&["no rule", "dev/A", "rules:"]);
}

#[test]
fn identities_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"1");
    let identity = fs::read_to_string(sandbox.identity()).unwrap();
    let shown = |file: &Path| {
        let mut command = sandbox.command(&["show", "A", "--reveal", "--identity"]);
        command.arg(file).env("HOME", sandbox.path("nobody"));
        Ran::of(command.output().unwrap())
    };
    shown(&sandbox.path("missing")).expect_error(&["does not exist", "vaultfs keygen"]);
    let bad = sandbox.write("bad", format!("{identity}AGE-SECRET-KEY-1CANARY\n"));
    let ran = shown(&bad).expect_error(&["line 4"]);
    assert!(!ran.stderr.contains("CANARY"));
    let windows = sandbox.write("windows", identity.replace('\n', "\r\n"));
    fs::set_permissions(&windows, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(shown(&windows).expect_ok().bytes, b"1");
    fs::set_permissions(&windows, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = shown(&windows).expect_ok();
    assert!(ran.stderr.contains("warning: ") && ran.stderr.contains("windows"), "{ran:?}");
    shown(&sandbox.write("empty", "")).expect_error(&["holds no identity"]);
}

#[test]
fn without_an_identity_the_next_step_is_said() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"1");
    fs::remove_file(sandbox.identity()).unwrap();
    let refused = "no identity at hand opens A, which is encrypted to alice";
    sandbox.run(&["show", "A", "--reveal"]).expect_error(&[refused, "vaultfs keygen"]);
    // A rotation needs none.
    sandbox.rotate("A", b"2");
}

#[test]
fn swapped_damaged_and_foreign_files_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"CANARY-A");
    sandbox.add("B", b"CANARY-B");
    let file = sandbox.file("A");
    let (a, b) = (fs::read(&file).unwrap(), fs::read(sandbox.file("B")).unwrap());
    let refused = |bytes: &[u8], texts: &[&str]| {
        fs::write(&file, bytes).unwrap();
        let ran = sandbox.run(&["show", "A", "--reveal"]).expect_error(&["A can't be opened"]);
        assert!(!ran.expect_error(texts).stderr.contains("CANARY"));
    };
    refused(&b, &["the file belongs to the secret B", "secrets/B.age"]);
    let mut flipped = a.clone();
    *flipped.last_mut().unwrap() ^= 1;
    refused(&flipped, &["the payload was changed or cut off", "git log"]);
    refused(&a[..a.len() - 1], &["the payload was changed or cut off"]);
    refused(&a[..50], &["not an age file, or its header is damaged"]);
    fs::write(&file, &a).unwrap();
    let policy = sandbox.path("vault/vaultfs.yaml");
    let text = fs::read_to_string(&policy).unwrap();
    let id = text.lines().find_map(|line| line.strip_prefix("vault: ")).unwrap();
    fs::write(&policy, text.replace(id, "4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11")).unwrap();
    refused(&a, &["the file belongs to another vault"]);
}

#[test]
fn links_in_the_vault_are_not_followed() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"1");
    let elsewhere = sandbox.path("elsewhere.age");
    fs::rename(sandbox.file("A"), &elsewhere).unwrap();
    symlink(&elsewhere, sandbox.file("A")).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    sandbox.run(&["show", "A", "--reveal"]).expect_error(&["can't be read", "symlink"]);
    sandbox.feed(b"2", &["rotate", "A"]).expect_error(&["symlink"]);
    let ran = sandbox.run(&["list"]).expect_ok();
    assert!(ran.stderr.contains("secrets/A.age is not a secret: it is a symlink"), "{ran:?}");
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
}

#[test]
fn a_clock_that_went_backwards_is_told_and_makes_no_negative_age() {
    if !has("faketime") {
        return not_run("a_clock_that_went_backwards", "faketime is not installed");
    }
    let sandbox = Sandbox::new();
    sandbox.add("A", b"1");
    let written_at = || {
        let list = sandbox.ok(&["list", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        list[0]["written_at"].as_str().unwrap().to_owned()
    };
    let before = written_at();
    let vault = sandbox.path("vault");
    let mut faketime = Command::new("faketime");
    faketime.args(["2020-01-01 00:00:00", VAULTFS, "rotate", "A"]).current_dir(vault);
    let ran = feed(&mut faketime, b"2").expect_ok();
    assert!(ran.stderr.contains("written later than now, 2020-01-01"), "{ran:?}");
    assert_eq!(written_at(), before);
    assert_eq!(sandbox.reveal("A"), b"2");
    sandbox.run(&["status", "--check"]).expect_ok();
}

#[test]
fn a_full_or_read_only_disk_loses_nothing() {
    let sandbox = Sandbox::new();
    if !rustix::process::geteuid().is_root() {
        return not_run("a_full_or_read_only_disk_loses_nothing", "needs root, to mount a disk");
    }
    sandbox.add("A", b"1");
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).status();
        assert!(status.unwrap().success(), "{program} {arguments:?}");
    };
    let disk_name = disk.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=256k", "none", disk_name]);
    run("cp", &["-a", sandbox.path("vault").to_str().unwrap(), disk_name]);
    let vault = disk.join("vault");
    let option = format!("--vault={}", vault.display());
    let outcome = std::panic::catch_unwind(|| {
        let before = tree(&vault);
        let full = ["can't be written", "No space left", "the disk is full; nothing was changed"];
        sandbox.feed(&vec![7; 1 << 20], &["rotate", "A", &option]).expect_error(&full);
        assert_eq!(tree(&vault), before);
        run("mount", &["-o", "remount,ro,size=256k", disk_name]);
        let read_only = ["can't be written", "Read-only file system", "the disk is read-only"];
        sandbox.feed(b"2", &["rotate", "A", &option]).expect_error(&read_only);
        assert_eq!(tree(&vault), before);
        sandbox.run(&["show", "A", "--reveal", &option]).expect_ok();
    });
    run("umount", &[disk_name]);
    outcome.unwrap();
}
