//! Starting and stopping, whatever hangs or is in the way.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vaultfs_fusefs::{
    Access, Ending, Memory, MountError, MountEvent, MountOptions, MountpointError, UnmountError,
    unmount,
};

use crate::served;
use crate::source::{Call, FakeSource};
use crate::support::{
    Directory, Mounted, OTHER, PATIENCE, READER, ROOT, Talking, as_user, can_mount, eventually,
    is_mounted, not_run, options, read_as, start,
};

pub(crate) const GATES: [Access; 2] = [Access::Private, Access::Shared];

/// What a service manager is promised: the end comes within this time.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(5);

fn refused_on(path: &Path) -> MountError {
    let source = FakeSource::with(&[("a", "value")]);
    let (mount, events) = start(&source, options(path, Access::Private, &[READER])).unwrap();
    let event = events.recv_timeout(PATIENCE).unwrap();
    drop(mount);
    match event {
        MountEvent::Failed(e) => e,
        other => panic!("{other:?}"),
    }
}

fn mountpoint_error(path: &Path) -> MountpointError {
    match refused_on(path) {
        MountError::Mountpoint(e) => e,
        other => panic!("{other}"),
    }
}

#[test]
fn stopping_leaves_no_mount_entry() {
    if !can_mount("stopping_leaves_no_mount_entry") {
        return;
    }
    for access in GATES {
        let source = FakeSource::with(&[("a", "value")]);
        let mut mounted = Mounted::new(&source, access, &[READER]);
        assert!(is_mounted(&mounted.directory.path));
        assert_eq!(mounted.stop(), Ending::Unused);
        assert!(!is_mounted(&mounted.directory.path));
    }
}

#[test]
fn stopping_with_an_open_file_leaves_no_mount_entry() {
    if !can_mount("stopping_with_an_open_file_leaves_no_mount_entry") {
        return;
    }
    for access in GATES {
        let source = FakeSource::with(&[("a", "value")]);
        let mut mounted = Mounted::new(&source, access, &[READER]);
        let path = mounted.path("a");
        let script = format!("exec 3<{}; echo open; read x; cat <&3", path.display());
        let mut holder = Talking::shell(READER, &script);
        assert_eq!(holder.line(), "open");
        assert_eq!(mounted.stop(), Ending::InUse);
        assert!(!is_mounted(&mounted.directory.path));
        assert!(!holder.finish(), "nothing is read after the end");
    }
}

#[test]
fn a_source_that_hangs_keeps_nobody_from_stopping() {
    if !can_mount("a_source_that_hangs_keeps_nobody_from_stopping") {
        return;
    }
    for call in [Call::List, Call::Load] {
        // During the start: nothing is mounted yet.
        let source = FakeSource::with(&[("a", "value"), ("b", "value")]);
        source.hang(call);
        let directory = Directory::new();
        let (mount, events) =
            start(&source, options(&directory.path, Access::Private, &[READER])).unwrap();
        assert!(events.recv_timeout(Duration::from_millis(100)).is_err());
        let begin = Instant::now();
        assert_eq!(mount.stop().unwrap(), Ending::Unused);
        assert!(begin.elapsed() < STOP_WITHIN);
        source.resume();
        // What was hanging goes on, and must not mount any more.
        assert!(!matches!(events.recv_timeout(Duration::from_millis(300)), Ok(MountEvent::Ready)));
        assert!(!is_mounted(&directory.path));

        // While serving: readers don't notice.
        let mut mounted = Mounted::new(&source, Access::Private, &[READER]);
        source.hang(call);
        source.set("a", "next");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), b"value");
        let begin = Instant::now();
        assert_eq!(mounted.stop(), Ending::Unused);
        assert!(begin.elapsed() < STOP_WITHIN);
        source.resume();
    }
}

#[test]
fn a_stop_at_any_moment_of_the_start_leaves_no_mount() {
    if !can_mount("a_stop_at_any_moment_of_the_start_leaves_no_mount") {
        return;
    }
    let source = FakeSource::with(&[("a", "value")]);
    let directory = Directory::new();
    for delay in 0..40 {
        let options = options(&directory.path, Access::Private, &[READER]);
        let (mount, events) = start(&source, options).unwrap();
        std::thread::sleep(Duration::from_micros(delay * 250));
        mount.stop().unwrap();
        // The events end with the last thread of the mount.
        for event in events {
            assert!(!matches!(event, MountEvent::Unmounted | MountEvent::Lost(_)), "{event:?}");
        }
        assert!(!is_mounted(&directory.path), "after {delay}");
    }
}

#[test]
fn a_mount_over_a_dead_one_takes_its_place() {
    if !can_mount("a_mount_over_a_dead_one_takes_its_place") {
        return;
    }
    for access in GATES {
        let directory = Directory::new();
        let mut first = served::process(&["/usr/bin/env"], access, &directory.path);
        assert_eq!(served::line(&mut first), "ready");
        assert_eq!(read_as(READER, &directory.path.join("a")).unwrap(), b"served");
        first.kill();
        assert!(is_mounted(&directory.path), "a dead mount stays");
        let mut second = served::process(&["/usr/bin/env"], access, &directory.path);
        assert_eq!(served::line(&mut second), "ready");
        assert_eq!(read_as(READER, &directory.path.join("a")).unwrap(), b"served");
        second.say("");
        assert_eq!(served::line(&mut second), "Unused");
        assert!(!is_mounted(&directory.path), "both are gone");
    }
}

#[test]
fn a_kill_at_any_moment_of_a_rotation_leaves_nobody_hanging() {
    if !can_mount("a_kill_at_any_moment_of_a_rotation_leaves_nobody_hanging") {
        return;
    }
    let directory = Directory::new();
    let file = directory.path.join("a");
    for round in 0..12 {
        let access = GATES[round % 2];
        let mut process = served::process(&["/usr/bin/env"], access, &directory.path);
        assert_eq!(served::line(&mut process), "ready", "round {round}");
        process.say(served::SPIN);
        let script = format!("while cat {0} && ls -l {0}; do :; done >&2", file.display());
        let readers = [(); 2].map(|()| {
            let mut command = as_user(READER, "sh");
            command.args(["-c", &script]).stderr(Stdio::null());
            Talking::new(command)
        });
        std::thread::sleep(Duration::from_micros(150_000 + 7_300 * round as u64));
        process.kill();
        for reader in readers {
            assert!(reader.finish(), "round {round}");
        }
    }
    unmount(&directory.path).unwrap();
}

#[test]
fn a_mount_over_a_living_one_is_refused() {
    if !can_mount("a_mount_over_a_living_one_is_refused") {
        return;
    }
    for access in GATES {
        let source = FakeSource::with(&[("a", "value")]);
        let mounted = Mounted::new(&source, access, &[READER]);
        let error = mountpoint_error(&mounted.directory.path);
        let MountpointError::AlreadyMounted { filesystem_type, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(filesystem_type, "fuse.vaultfs");
        assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), b"value");
    }
}

#[test]
fn a_foreign_unmount_is_noticed_and_nothing_else_is_unmounted() {
    if !can_mount("a_foreign_unmount_is_noticed_and_nothing_else_is_unmounted") {
        return;
    }
    for access in GATES {
        let source = FakeSource::with(&[("a", "value")]);
        let mut mounted = Mounted::new(&source, access, &[READER]);
        let path = mounted.directory.path.clone();
        assert!(Command::new("umount").arg(&path).status().unwrap().success());
        let event = mounted.events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(event, MountEvent::Unmounted), "{event:?}");
        let tmpfs = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&path).status();
        assert!(tmpfs.unwrap().success());
        assert_eq!(mounted.stop(), Ending::Unused);
        assert!(is_mounted(&path), "the other mount stays");
        let refused = unmount(&path).unwrap_err();
        assert!(matches!(refused, UnmountError::NotMounted(_)), "{refused}");
        assert!(Command::new("umount").arg(&path).status().unwrap().success());
    }
}

#[test]
fn unmount_takes_away_living_and_dead_mounts() {
    if !can_mount("unmount_takes_away_living_and_dead_mounts") {
        return;
    }
    let directory = Directory::new();
    let mut process = served::process(&["/usr/bin/env"], Access::Private, &directory.path);
    assert_eq!(served::line(&mut process), "ready");
    unmount(&directory.path).unwrap();
    assert!(!is_mounted(&directory.path));
    process.say("");
    assert_eq!(served::line(&mut process), "Unused");
    let mut process = served::process(&["/usr/bin/env"], Access::Shared, &directory.path);
    assert_eq!(served::line(&mut process), "ready");
    process.kill();
    unmount(&directory.path).unwrap();
    assert!(!is_mounted(&directory.path));
}

#[test]
fn mount_points_that_wont_do_are_refused_with_the_reason() {
    if !can_mount("mount_points_that_wont_do_are_refused_with_the_reason") {
        return;
    }
    let directory = Directory::new();
    let base = directory.path.parent().unwrap();
    let at = |name: &str| base.join(name);
    fs::write(at("file"), "").unwrap();
    symlink(&directory.path, at("link")).unwrap();
    fs::create_dir_all(at("full/entry")).unwrap();
    fs::create_dir(at("foreign")).unwrap();
    chown(at("foreign"), Some(OTHER.uid), Some(OTHER.gid)).unwrap();
    fs::create_dir(at("readers")).unwrap();
    chown(at("readers"), Some(READER.uid), Some(READER.gid)).unwrap();
    assert!(matches!(mountpoint_error(&at("none")), MountpointError::Missing(_)));
    assert!(matches!(mountpoint_error(&at("none/below")), MountpointError::Missing(_)));
    assert!(matches!(mountpoint_error(&at("file")), MountpointError::NotADirectory(_)));
    assert!(matches!(mountpoint_error(&at("link")), MountpointError::Symlink(_)));
    assert!(matches!(mountpoint_error(&at("full")), MountpointError::NotEmpty(_)));
    let error = mountpoint_error(&at("foreign"));
    assert!(matches!(error, MountpointError::NotOurs { owner, .. } if owner == OTHER.uid));
    assert!(error.to_string().ends_with("belongs to uid 61002"));
    let source = FakeSource::with(&[("a", "value")]);
    let (mount, events) =
        start(&source, options(&at("readers"), Access::Private, &[READER])).unwrap();
    assert!(matches!(events.recv_timeout(PATIENCE).unwrap(), MountEvent::Ready));
    mount.stop().unwrap();
}

#[test]
fn a_mount_that_its_reader_cant_reach_doesnt_start() {
    if !can_mount("a_mount_that_its_reader_cant_reach_doesnt_start") {
        return;
    }
    let directory = Directory::new();
    let parent = directory.path.parent().unwrap();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).unwrap();
    let error = refused_on(&directory.path);
    assert!(matches!(error, MountError::Unreachable { uid, .. } if uid == READER.uid), "{error}");
    assert!(!is_mounted(&directory.path));
}

#[test]
fn locked_memory_can_be_required() {
    if !can_mount("locked_memory_can_be_required") {
        return;
    }
    let source = FakeSource::with(&[("a", "value")]);
    let mounted = Mounted::with(&source, |path| MountOptions {
        memory: Memory::RequireLocked,
        ..options(path, Access::Private, &[READER])
    });
    let locked = vaultfs_core::unlocked_bytes() == 0;
    assert_eq!(mounted.is_ok(), locked);
}

#[test]
fn a_missing_device_is_told_from_a_forbidden_one() {
    if !can_mount("a_missing_device_is_told_from_a_forbidden_one") {
        return;
    }
    let directory = Directory::new();
    let without = "mount -t tmpfs none /dev && exec \"$@\"";
    let mut missing = served::process(
        &["unshare", "--mount", "sh", "-c", without, "sh"],
        Access::Private,
        &directory.path,
    );
    assert!(served::line(&mut missing).starts_with("/dev/fuse is missing: "));
    let forbidden = ["unshare", "--mount", "setpriv", "--bounding-set=-sys_admin"];
    let mut forbidden = served::process(&forbidden, Access::Private, &directory.path);
    assert!(served::line(&mut forbidden).starts_with("mounting is not permitted: "));
    let no_node = "mount -t tmpfs -o nodev none /dev && mknod /dev/fuse c 10 229 && exec \"$@\"";
    let mut closed = served::process(
        &["unshare", "--mount", "sh", "-c", no_node, "sh"],
        Access::Private,
        &directory.path,
    );
    assert!(served::line(&mut closed).starts_with("/dev/fuse can't be opened: "));
}

/// Words that run a command as the reader, in a mount namespace where `/dev/fuse` is open to all.
/// Without the mounts of other tests, which would stay in use with it.
pub(crate) fn unprivileged(before: &str, after: &str) -> [String; 6] {
    let script = format!(
        "umount --all --lazy --no-canonicalize --types fuse.vaultfs; \
         mount -t tmpfs -o mode=755 none /mnt && mknod -m 666 /mnt/fuse c 10 229 && \
         mount --bind /mnt/fuse /dev/fuse && \
         (cat /etc/passwd; echo vaultfs:x:{0}:{0}::/:/bin/sh) > /mnt/passwd && \
         mount --bind /mnt/passwd /etc/passwd && {before} \
         exec setpriv --reuid {0} --regid {0} --clear-groups -- env {after} \"$@\"",
        READER.uid
    );
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned)
}

#[test]
fn without_privileges_fusermount_mounts() {
    let test = "without_privileges_fusermount_mounts";
    if !can_mount(test) {
        return;
    }
    if Command::new("fusermount3").arg("-V").output().is_err() {
        return not_run(test, "needs fusermount3");
    }
    let directory = Directory::new();
    chown(&directory.path, Some(READER.uid), Some(READER.gid)).unwrap();
    let words = unprivileged("", "");
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut process = served::process(&words, Access::Private, &directory.path);
    assert_eq!(served::line(&mut process), "ready");
    let namespace = format!("--mount=/proc/{}/ns/mnt", process.id());
    let inside = |program: &[&str]| {
        let output = Command::new("nsenter").arg(&namespace).args(program).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let file = directory.path.join("a");
    let file = file.to_str().unwrap();
    let as_reader = ["setpriv", "--reuid", "61001", "--regid", "61001", "--clear-groups", "cat"];
    assert_eq!(inside(&[&as_reader[..], &[file]].concat()), "served");
    assert_eq!(inside(&["cat", file]), "", "root is refused");
    let table = inside(&["cat", "/proc/self/mountinfo"]);
    let line = table.lines().find(|line| line.contains("fuse.vaultfs")).unwrap();
    assert!(line.contains(" ro,nosuid,nodev,noexec"), "{line}");
    if Command::new("inotifywait").arg("--help").output().is_err() {
        not_run(test, "the events need inotifywait");
    } else {
        // There is no hidden mount here: the kernel is told by a notification.
        let mut watcher = Command::new("nsenter");
        watcher.arg(&namespace).args(&as_reader[..6]).arg("inotifywait");
        watcher.args(["-q", "-m", "--format", "%e", "-e", "delete_self", file]);
        let mut watcher = Talking::new(watcher);
        watcher.wait_until_watching();
        process.say("rotated");
        assert_eq!(watcher.line(), "DELETE_SELF");
        assert_eq!(inside(&[&as_reader[..], &[file]].concat()), "rotated");
    }
    process.say("");
    assert_eq!(served::line(&mut process), "Unused");
}

#[test]
fn without_privileges_each_obstacle_is_named() {
    let test = "without_privileges_each_obstacle_is_named";
    if !can_mount(test) {
        return;
    }
    if Command::new("fusermount3").arg("-V").output().is_err() {
        return not_run(test, "needs fusermount3");
    }
    let directory = Directory::new();
    chown(&directory.path, Some(READER.uid), Some(READER.gid)).unwrap();
    let outcome = |before: &str, after: &str, access| {
        let words = unprivileged(before, after);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        served::line(&mut served::process(&words, access, &directory.path))
    };
    let hide = "mount --bind /dev/null $(command -v fusermount3) &&";
    assert!(
        outcome("", "PATH=/nowhere", Access::Private).starts_with("fusermount3 is not installed: ")
    );
    assert!(outcome(hide, "", Access::Private).starts_with("fusermount3 can't mount on "));
    assert_eq!(
        outcome("echo > /mnt/conf; mount --bind /mnt/conf /etc/fuse.conf;", "", Access::Shared),
        "a shared mount needs user_allow_other in /etc/fuse.conf"
    );
    let closed = "chmod 600 /dev/fuse;";
    assert!(outcome(closed, "", Access::Private).starts_with("/dev/fuse can't be opened: "));
}

#[test]
fn a_dropped_mount_is_stopped() {
    if !can_mount("a_dropped_mount_is_stopped") {
        return;
    }
    let source = FakeSource::with(&[("a", "value")]);
    let mut mounted = Mounted::new(&source, Access::Shared, &[ROOT]);
    drop(mounted.mount.take());
    eventually("it is gone", || !is_mounted(&mounted.directory.path));
}
