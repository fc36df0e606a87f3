//! Who gets what through a mount, by the real binary, for real users.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::{Daemon, mount_command};
use crate::support::{Sandbox, has, not_run};
use crate::users::{
    FOR_READER, NOBODY, OTHER, READER, READER_ELSEWHERE, ROOT, User, can_mount, outcome,
};

const REFUSED: &str = "Permission denied";

const SHARED: [&str; 3] = ["--access=shared", FOR_READER[0], FOR_READER[1]];

/// A vault with a text, a binary of several pages, and names of several segments.
fn vault() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::new();
    let binary: Vec<u8> = (0..=255).cycle().take(70_001).collect();
    sandbox.add("TEXT", b"hunter2");
    sandbox.add("prod/web/BINARY", &binary);
    sandbox.add("prod/db/NUL", b"a\0b\n");
    (sandbox, binary)
}

/// What an error of the operating system is called in mount.md's terms.
fn errno<T>(result: io::Result<T>) -> Option<rustix::io::Errno> {
    result.err().and_then(|e| e.raw_os_error()).map(rustix::io::Errno::from_raw_os_error)
}

#[test]
fn a_private_mount_is_for_its_reader_alone() {
    if !can_mount("a_private_mount_is_for_its_reader_alone") {
        return;
    }
    let (sandbox, binary) = vault();
    let daemon = Daemon::private(&sandbox);
    for (name, value) in
        [("TEXT", &b"hunter2"[..]), ("prod/web/BINARY", &binary), ("prod/db/NUL", b"a\0b\n")]
    {
        let path = daemon.path(name);
        assert_eq!(READER.cat(&path).unwrap(), value);
        for user in [OTHER, ROOT, READER_ELSEWHERE] {
            assert_eq!(user.cat(&path).unwrap_err(), REFUSED, "{user:?}");
        }
    }
    for user in [OTHER, ROOT, READER_ELSEWHERE] {
        for look in [&["ls", "-l"][..], &["stat"]] {
            let looked = outcome(user.command(look[0]).args(&look[1..]).arg(daemon.path("prod")));
            assert_eq!(looked.unwrap_err(), REFUSED, "{user:?} {look:?}");
        }
    }
    daemon.stop();
}

#[test]
fn a_shared_mount_shows_names_to_all_and_values_to_readers() {
    if !can_mount("a_shared_mount_shows_names_to_all_and_values_to_readers") {
        return;
    }
    let (sandbox, binary) = vault();
    let daemon = Daemon::ready(&sandbox, &SHARED);
    let path = daemon.path("prod/web/BINARY");
    for user in [READER, READER_ELSEWHERE] {
        assert_eq!(user.cat(&path).unwrap(), binary);
    }
    for user in [OTHER, ROOT] {
        assert_eq!(user.cat(&path).unwrap_err(), REFUSED, "{user:?}");
    }
    for user in [READER, OTHER, ROOT, READER_ELSEWHERE] {
        let seen = outcome(user.command("stat").args(["-c", "%F %a %u %g %s"]).arg(&path));
        let seen = String::from_utf8(seen.unwrap()).unwrap();
        assert_eq!(seen, "regular file 400 62001 62001 70001\n", "{user:?}");
        let listed = outcome(user.command("ls").args(["-1"]).arg(daemon.mountpoint()));
        assert_eq!(listed.unwrap(), b"TEXT\nprod\n", "{user:?}");
    }
    daemon.stop();
}

#[test]
fn a_user_namespace_gives_nobody_more() {
    let test = "a_user_namespace_gives_nobody_more";
    if !can_mount(test) {
        return;
    }
    if outcome(OTHER.command("unshare").args(["-U", "-r", "true"])).is_err() {
        return not_run(test, "users may not make user namespaces");
    }
    let cat = |user: User, options: &[&str], path: &Path| {
        outcome(user.command("unshare").arg("-U").args(options).arg("cat").arg(path))
    };
    let (sandbox, _) = vault();
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        let path = daemon.path("TEXT");
        for user in [OTHER, ROOT] {
            assert_eq!(cat(user, &[], &path).unwrap_err(), REFUSED, "{user:?} {options:?}");
            // Root of their own namespace, and the reader's uid within it.
            assert_eq!(cat(user, &["-r"], &path).unwrap_err(), REFUSED, "{user:?} {options:?}");
            let as_reader = ["--map-user=62001", "--map-group=62001"];
            assert_eq!(cat(user, &as_reader, &path).unwrap_err(), REFUSED, "{user:?} {options:?}");
        }
        // The reader stays the reader, mapped or not.
        for options in [&[][..], &["-r"]] {
            assert_eq!(cat(READER, options, &path).unwrap(), b"hunter2");
        }
        daemon.stop();
    }
}

#[test]
fn stat_shows_the_owner_the_exact_size_and_the_last_rotation() {
    if !can_mount("stat_shows_the_owner_the_exact_size_and_the_last_rotation") {
        return;
    }
    let (sandbox, _) = vault();
    let list: serde_json::Value = serde_json::from_str(&sandbox.ok(&["list", "--json"])).unwrap();
    for (options, directory) in [(&FOR_READER[..], (0o500, READER)), (&SHARED, (0o555, ROOT))] {
        let daemon = Daemon::ready(&sandbox, options);
        let stat = |name: &str| READER.run(|| fs::symlink_metadata(daemon.path(name))).unwrap();
        let shown =
            |stat: &fs::Metadata| (stat.mode() & 0o7777, User { uid: stat.uid(), gid: stat.gid() });
        for (row, size) in [(0, 7), (1, 4), (2, 70_001)] {
            let name = list[row]["name"].as_str().unwrap();
            let stat = stat(name);
            assert!(stat.is_file());
            assert_eq!((shown(&stat), stat.size()), ((0o400, READER), size), "{name}");
            let rotated: jiff::Timestamp =
                list[row]["rotated_at"].as_str().unwrap().parse().unwrap();
            assert_eq!(stat.mtime(), rotated.as_second(), "{name}");
        }
        for name in ["", "prod", "prod/web"] {
            let stat = stat(name);
            assert!(stat.is_dir());
            assert_eq!(shown(&stat), directory, "{name:?}");
        }
        assert_eq!(errno(READER.read(daemon.path("prod/MISSING"))), Some(rustix::io::Errno::NOENT));
        assert_eq!(errno(READER.read(daemon.path("TEXT/A"))), Some(rustix::io::Errno::NOTDIR));
        daemon.stop();
    }
}

#[test]
fn nothing_can_be_changed_in_a_mount() {
    if !can_mount("nothing_can_be_changed_in_a_mount") {
        return;
    }
    let (sandbox, _) = vault();
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        let (file, directory) = (daemon.path("TEXT"), daemon.path("prod"));
        let attempts: [(&str, &(dyn Fn() -> io::Result<()> + Sync)); 7] = [
            ("write", &|| fs::File::options().write(true).open(&file).map(drop)),
            ("create", &|| fs::File::create(directory.join("NEW")).map(drop)),
            ("mkdir", &|| fs::create_dir(directory.join("NEW"))),
            ("unlink", &|| fs::remove_file(&file)),
            ("rmdir", &|| fs::remove_dir(&directory)),
            ("rename", &|| fs::rename(&file, directory.join("TEXT"))),
            ("chmod", &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o777))),
        ];
        for (what, attempt) in attempts {
            let refused = errno(READER.run(attempt));
            assert_eq!(refused, Some(rustix::io::Errno::ROFS), "{what} {options:?}");
            let others =
                if options == SHARED { rustix::io::Errno::ROFS } else { rustix::io::Errno::ACCESS };
            assert_eq!(errno(ROOT.run(attempt)), Some(others), "{what} by root {options:?}");
        }
        assert_eq!(READER.read(&file).unwrap(), b"hunter2");
        daemon.stop();
    }
}

#[test]
fn only_serves_what_matches() {
    if !can_mount("only_serves_what_matches") {
        return;
    }
    let (sandbox, _) = vault();
    let daemon =
        Daemon::ready(&sandbox, &[&FOR_READER[..], &["--only=prod/w*/*", "--only=TEXT"]].concat());
    let list = || outcome(READER.command("find").arg(daemon.mountpoint()).args(["-type", "f"]));
    let files = String::from_utf8(list().unwrap()).unwrap();
    let mut files: Vec<_> =
        files.lines().map(|line| line.rsplit("/run/").next().unwrap()).collect();
    files.sort_unstable();
    assert_eq!(files, ["TEXT", "prod/web/BINARY"]);
    assert!(daemon.status().starts_with("2 secrets served"), "{}", daemon.status());
    sandbox.add("prod/web/LATER", b"later");
    sandbox.add("prod/db/LATER", b"later");
    daemon.await_value("prod/web/LATER", b"later");
    assert_eq!(errno(READER.read(daemon.path("prod/db/LATER"))), Some(rustix::io::Errno::NOENT));
    daemon.stop();
}

#[test]
fn readers_are_named_as_the_system_names_them() {
    if !can_mount("readers_are_named_as_the_system_names_them") {
        return;
    }
    let (sandbox, _) = vault();
    let daemon = Daemon::ready(&sandbox, &["--uid=nobody"]);
    assert_eq!(NOBODY.cat(&daemon.path("TEXT")).unwrap(), b"hunter2");
    assert_eq!(READER.cat(&daemon.path("TEXT")).unwrap_err(), REFUSED);
    daemon.stop();
    let daemon = Daemon::ready(&sandbox, &["--uid=65534", "--gid=62001"]);
    let elsewhere = User { gid: 62_001, ..NOBODY };
    assert_eq!(elsewhere.cat(&daemon.path("TEXT")).unwrap(), b"hunter2");
    assert_eq!(NOBODY.cat(&daemon.path("TEXT")).unwrap_err(), REFUSED);
    daemon.stop();
}

#[test]
fn a_shared_mount_may_have_several_readers() {
    if !can_mount("a_shared_mount_may_have_several_readers") {
        return;
    }
    let (sandbox, _) = vault();
    let (first, second) = (NOBODY, User { uid: 1, gid: 1 });
    let daemon = Daemon::ready(&sandbox, &["--access=shared", "--uid=nobody", "--uid=daemon"]);
    let path = daemon.path("TEXT");
    for user in [first, second] {
        assert_eq!(user.cat(&path).unwrap(), b"hunter2");
    }
    for user in [ROOT, READER] {
        assert_eq!(user.cat(&path).unwrap_err(), REFUSED, "{user:?}");
    }
    let stat = fs::metadata(&path).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (first.uid, first.gid), "the first one owns the files");
    daemon.stop();
    let refused = Daemon::refused(&sandbox, &["--uid=nobody", "--uid=daemon"]);
    refused.expect_error(&["a private mount has one reader", "next: use --access shared"]);
}

#[test]
fn root_reads_only_where_it_is_named() {
    if !can_mount("root_reads_only_where_it_is_named") {
        return;
    }
    let (sandbox, _) = vault();
    for access in ["--access=private", "--access=shared"] {
        let daemon = Daemon::ready(&sandbox, &[access, "--uid=root"]);
        assert_eq!(ROOT.cat(&daemon.path("TEXT")).unwrap(), b"hunter2");
        assert_eq!(READER.cat(&daemon.path("TEXT")).unwrap_err(), REFUSED);
        daemon.stop();
    }
}

#[test]
fn a_mount_without_a_clear_reader_is_wrong_usage() {
    if !can_mount("a_mount_without_a_clear_reader_is_wrong_usage") {
        return;
    }
    let sandbox = Sandbox::new();
    let refused = |options: &[&str]| Daemon::refused(&sandbox, options);
    refused(&[]).expect_usage_error(&["as root, say who may read: --uid USER"]);
    refused(&["--uid=62001"])
        .expect_usage_error(&["a uid that no user has needs its group: --gid"]);
    refused(&["--uid=1", "--uid=2", "--gid=1"]).expect_usage_error(&["--gid goes with one --uid"]);
    refused(&["--uid=no-such-user"]).expect_error(&[
        "there is no user \"no-such-user\" on this machine",
        "next: ",
        "getent passwd",
    ]);
    refused(&["--uid=-1"]).expect_error(&["there is no user \"-1\""]);
}

#[test]
fn lazily_served_secrets_are_opened_when_they_are_read() {
    if !can_mount("lazily_served_secrets_are_opened_when_they_are_read") {
        return;
    }
    let (sandbox, binary) = vault();
    let mut damaged = fs::read(sandbox.file("TEXT")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(sandbox.file("TEXT"), damaged).unwrap();
    let daemon = Daemon::ready(&sandbox, &[&FOR_READER[..], &["--lazy"]].concat());
    assert!(!daemon.status().contains("broken"), "{}", daemon.status());
    let path = daemon.path("prod/web/BINARY");
    assert_eq!(
        READER.run(|| fs::metadata(&path)).unwrap().len(),
        70_001,
        "known before it is opened"
    );
    assert_eq!(READER.cat(&path).unwrap(), binary);
    assert_eq!(errno(READER.read(daemon.path("TEXT"))), Some(rustix::io::Errno::IO));
    daemon.await_log(&["ERROR", "TEXT", "the payload was changed or cut off"]);
    sandbox.rotate("prod/web/BINARY", b"short");
    daemon.await_value("prod/web/BINARY", b"short");
    daemon.stop();
}

#[test]
fn a_user_without_privileges_serves_themselves() {
    let test = "a_user_without_privileges_serves_themselves";
    if !can_mount(test) {
        return;
    }
    if !has("fusermount3") {
        return not_run(test, "fusermount3 is not installed");
    }
    let sandbox = Sandbox::of(NOBODY);
    sandbox.ok(&["init", sandbox.path("vault").to_str().unwrap()]);
    sandbox.add("prod/A", b"one");
    let daemon = Daemon::ready(&sandbox, &[]);
    let path = daemon.path("prod/A");
    assert_eq!(NOBODY.cat(&path).unwrap(), b"one");
    for user in [READER, ROOT] {
        assert_eq!(user.cat(&path).unwrap_err(), REFUSED, "{user:?}");
    }
    sandbox.rotate("prod/A", b"two");
    daemon.await_value("prod/A", b"two");
    sandbox.ok(&["unmount", daemon.mountpoint().to_str().unwrap()]);
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    let daemon = Daemon::ready(&sandbox, &[]);
    daemon.stop();
    let for_other = Daemon::refused(&sandbox, &["--uid=62002", "--gid=62002"]);
    for_other.expect_error(&["only root can mount for uid 62002", "next: "]);
    if fs::read_to_string("/etc/fuse.conf")
        .unwrap_or_default()
        .lines()
        .all(|line| line != "user_allow_other")
    {
        let shared = Daemon::refused(&sandbox, &["--access=shared"]);
        shared.expect_error(&["user_allow_other in /etc/fuse.conf", "next: as root, put the line"]);
    }
}

#[test]
fn a_small_limit_on_locked_memory_is_told_or_refused() {
    let test = "a_small_limit_on_locked_memory_is_told_or_refused";
    if !can_mount(test) {
        return;
    }
    if !has("fusermount3") || !has("prlimit") {
        return not_run(test, "fusermount3 or prlimit is not installed");
    }
    let sandbox = Sandbox::of(NOBODY);
    sandbox.ok(&["init", sandbox.path("vault").to_str().unwrap()]);
    let large: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    sandbox.add("LARGE", &large);
    let limited = |options: &[&str]| {
        let command = mount_command(&sandbox, options);
        let mut limited = Command::new("prlimit");
        limited.arg("--memlock=65536").arg(command.get_program()).args(command.get_args());
        limited.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        limited.current_dir(command.get_current_dir().unwrap());
        limited
    };
    let refused = Daemon::spawn_refused(&sandbox, &mut limited(&["--require-mlock"]));
    refused.expect_error(&[
        "bytes of memory for values can't be locked",
        "next: raise the limit",
        "ulimit -l",
    ]);
    let daemon = Daemon::spawn(&sandbox, &mut limited(&[]));
    daemon.await_ready();
    daemon.await_log(&["WARN", "could not be locked", "RLIMIT_MEMLOCK"]);
    assert_eq!(NOBODY.cat(&daemon.path("LARGE")).unwrap(), large);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().code(), Some(0));
    let locked = Daemon::ready(&sandbox, &["--require-mlock"]);
    assert_eq!(NOBODY.cat(&locked.path("LARGE")).unwrap(), large);
}
