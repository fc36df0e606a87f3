//! A plaintext .env file as the source: for those who have no vault yet.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::support::Sandbox;
use crate::users::{FOR_READER, OTHER, READER, can_mount};

const ENV: &str = "A=one\nexport B='two words'\nC=\"line\\nline\"\n";

fn options(file: &str) -> [String; 4] {
    let [uid, gid] = FOR_READER.map(str::to_owned);
    [uid, gid, "--env-file".to_owned(), file.to_owned()]
}

fn serve(sandbox: &Sandbox, file: &str) -> Daemon {
    Daemon::ready(sandbox, &options(file).each_ref().map(String::as_str))
}

#[test]
fn an_env_file_is_served_with_a_warning_and_followed() {
    if !can_mount("an_env_file_is_served_with_a_warning_and_followed") {
        return;
    }
    let sandbox = Sandbox::without_vault();
    let path = sandbox.write(".env", ENV);
    for name in [".env", path.to_str().unwrap()] {
        sandbox.write(".env", ENV);
        let daemon = serve(&sandbox, name);
        daemon.await_log(&["WARN", "plaintext", "vaultfs migrate", ".env"]);
        for (name, value) in [("A", "one"), ("B", "two words"), ("C", "line\nline")] {
            assert_eq!(READER.cat(&daemon.path(name)).unwrap(), value.as_bytes());
        }
        assert_eq!(OTHER.cat(&daemon.path("A")).unwrap_err(), "Permission denied");
        // As an editor saves it, and as `echo >>` does.
        fs::rename(sandbox.write("saved", ENV.replace("one", "three")), &path).unwrap();
        daemon.await_value("A", b"three");
        fs::write(&path, ENV.replace("one", "three").replace("export B='two words'\n", ""))
            .unwrap();
        daemon.eventually("B is gone", || READER.read(daemon.path("B")).is_err());
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"D=four\n"))
            .unwrap();
        daemon.await_value("D", b"four");
        assert_eq!(READER.read(daemon.path("A")).unwrap(), b"three");
        daemon.stop();
    }
}

#[test]
fn an_env_file_that_goes_wrong_leaves_the_last_good_values() {
    if !can_mount("an_env_file_that_goes_wrong_leaves_the_last_good_values") {
        return;
    }
    let sandbox = Sandbox::without_vault();
    let path = sandbox.write(".env", ENV);
    let daemon = serve(&sandbox, ".env");
    fs::rename(sandbox.write("saved", "A=CANARY $(id)\n"), &path).unwrap();
    daemon.await_status("source: ");
    assert_eq!(READER.read(daemon.path("A")).unwrap(), b"one");
    fs::remove_file(&path).unwrap();
    daemon.await_log(&["ERROR", "the source can't be read"]);
    assert_eq!(READER.read(daemon.path("B")).unwrap(), b"two words");
    sandbox.write(".env", ENV.replace("one", "back"));
    daemon.await_value("A", b"back");
    daemon.eventually("all is well again", || daemon.status() == "3 secrets served");
    assert!(!daemon.log().contains("CANARY"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn what_is_no_env_file_is_refused() {
    if !can_mount("what_is_no_env_file_is_refused") {
        return;
    }
    let sandbox = Sandbox::without_vault();
    fs::create_dir(sandbox.path("directory")).unwrap();
    mknodat(CWD, sandbox.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    sandbox.write("bad", "GOOD=1\nCANARY-WITHOUT-SIGN\n");
    sandbox.write("name", format!("{}=CANARY\n", "N".repeat(300)));
    let huge = fs::File::create(sandbox.path("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    symlink("nowhere", sandbox.path("dangling")).unwrap();
    for (file, texts) in [
        ("directory", &["directory\" can't be read", "it is a directory"][..]),
        ("fifo", &["fifo\" can't be read", "it is not a regular file"]),
        ("missing", &["missing\" can't be read", "No such file"]),
        ("dangling", &["dangling\" can't be read", "No such file"]),
        ("huge", &["huge\" can't be read", "16 MiB"]),
        ("bad", &["bad\" is not a .env file", "line 2"]),
        ("name", &["name\" has a variable that can't become a secret, on line 1"]),
        ("/dev/zero", &["/dev/zero\" can't be read", "it is not a regular file"]),
    ] {
        let mounted = Daemon::refused(&sandbox, &options(file).each_ref().map(String::as_str));
        let shown = sandbox.run(&["status", "--env-file", file]);
        for ran in [mounted, shown] {
            assert!(!ran.stderr.contains("CANARY"), "{ran:?}");
            ran.expect_error(texts);
        }
    }
}

#[test]
fn status_counts_an_env_file_as_plaintext() {
    let sandbox = Sandbox::without_vault();
    sandbox.write(".env", ENV);
    let ran = sandbox.run(&["status", "--env-file", ".env"]).expect_ok();
    assert!(ran.stderr.contains("warning: .env holds its values in plaintext"), "{ran:?}");
    assert!(ran.stdout.contains("plaintext") && !ran.stdout.contains("two words"), "{ran:?}");
    sandbox.run(&["status", "--env-file", ".env", "--check"]).expect_error(&[]);
    let json = sandbox.ok(&["status", "--env-file", ".env", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let row = |i: usize| (json[i]["name"].as_str().unwrap(), json[i]["source"].as_str().unwrap());
    assert_eq!([row(0), row(1), row(2)], ["A", "B", "C"].map(|name| (name, "env-file")));

    // Beside a vault, it fills what the policy asks for.
    sandbox.ok(&["init", sandbox.path("vault").to_str().unwrap()]);
    sandbox.append_to_policy("secrets:\n  A: {required: true}\n  Z: {required: true}\n");
    sandbox.add("B", b"in the vault");
    let json = sandbox.ok(&["status", "--env-file", "../.env", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let states = json
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["state"].as_str().unwrap()));
    let mut states: Vec<_> = states.collect();
    states.sort_unstable();
    let expected = [("A", "plaintext"), ("B", "present"), ("C", "plaintext"), ("Z", "missing")];
    assert_eq!(states, expected);
}

#[test]
fn an_env_file_is_mounted_for_oneself_until_ctrl_c() {
    if !can_mount("an_env_file_is_mounted_for_oneself_until_ctrl_c") {
        return;
    }
    let sandbox = Sandbox::without_vault();
    sandbox.write(".env", ENV);
    let daemon = Daemon::ready(&sandbox, &["--uid=root", "--env-file=.env", "--lazy"]);
    assert_eq!(fs::read(daemon.path("B")).unwrap(), b"two words");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().code(), Some(0));
}
