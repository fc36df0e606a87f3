//! What inotify tells of rotations.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use vaultfs_fusefs::{Access, Reader};

use crate::source::FakeSource;
use crate::support::{
    Mounted, READER, ROOT, Talking, as_user, can_mount, eventually, not_run, read_as,
};

const GATES: [Access; 2] = [Access::Private, Access::Shared];

fn can_watch(test: &str) -> bool {
    if !can_mount(test) {
        return false;
    }
    if Command::new("inotifywait").arg("--help").output().is_err() {
        not_run(test, "needs inotifywait");
        return false;
    }
    true
}

/// A watcher that prints one line an event: the event's name and the file's.
fn watch(user: Reader, path: &Path, events: &str) -> Talking {
    let mut command = as_user(user, "inotifywait");
    // Without -m it would end at the first event; -r and the like aren't needed.
    command.args(["-q", "-m", "--format", "%e %f", "-e", events]).arg(path);
    command.stderr(Stdio::null());
    let watcher = Talking::new(command);
    watcher.wait_until_watching();
    watcher
}

#[test]
fn who_watches_a_file_hears_that_it_was_deleted() {
    if !can_watch("who_watches_a_file_hears_that_it_was_deleted") {
        return;
    }
    for access in GATES {
        let source = FakeSource::with(&[("d/a", "old")]);
        let mounted = Mounted::new(&source, access, &[READER]);
        for value in ["second", "third"] {
            let mut watcher = watch(READER, &mounted.path("d/a"), "delete_self");
            source.set("d/a", value);
            assert_eq!(watcher.line(), "DELETE_SELF ", "{access:?}");
            assert_eq!(read_as(READER, &mounted.path("d/a")).unwrap(), value.as_bytes());
        }
        let mut watcher = watch(READER, &mounted.path("d/a"), "delete_self");
        source.remove("d/a");
        assert_eq!(watcher.line(), "DELETE_SELF ", "{access:?}");
    }
}

#[test]
fn a_deletion_is_heard_of_once_nobody_has_the_old_version_open() {
    if !can_watch("a_deletion_is_heard_of_once_nobody_has_the_old_version_open") {
        return;
    }
    let source = FakeSource::with(&[("a", "old")]);
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    let path = mounted.path("a");
    let script =
        format!("exec 3<{}; echo open; read x; cat <&3; exec 3<&-; echo; read x", path.display());
    let mut holder = Talking::shell(READER, &script);
    assert_eq!(holder.line(), "open");
    let mut watcher = watch(READER, &path, "delete_self");
    source.set("a", "new");
    eventually("the rotation", || read_as(READER, &path).unwrap() == b"new");
    holder.say("");
    assert_eq!(holder.line(), "old");
    assert_eq!(watcher.line(), "DELETE_SELF ");
}

#[test]
fn who_watches_a_directory_hears_of_each_change() {
    if !can_watch("who_watches_a_directory_hears_of_each_change") {
        return;
    }
    for access in GATES {
        let source = FakeSource::with(&[("d/a", "old"), ("d/keep", "")]);
        let mounted = Mounted::new(&source, access, &[READER]);
        let mut watcher = watch(READER, &mounted.path("d"), "moved_to,delete,create");
        for value in ["second", "third"] {
            source.set("d/a", value);
            assert_eq!(watcher.line(), "MOVED_TO a", "{access:?}");
            assert_eq!(read_as(READER, &mounted.path("d/a")).unwrap(), value.as_bytes());
        }
        source.set("d/new", "1");
        assert_eq!(watcher.line(), "MOVED_TO new", "{access:?}");
        source.remove("d/new");
        assert_eq!(watcher.line(), "DELETE new", "{access:?}");
        let mut root = watch(READER, &mounted.directory.path, "delete");
        source.remove("d/a");
        source.remove("d/keep");
        assert_eq!(root.line(), "DELETE,ISDIR d", "{access:?}");
    }
}

#[test]
fn no_deletion_is_lost_under_load() {
    if !can_watch("no_deletion_is_lost_under_load") {
        return;
    }
    for access in GATES {
        let source = FakeSource::with(&[("a", "0")]);
        let mounted = Mounted::new(&source, access, &[READER]);
        let path = mounted.path("a");
        let script = format!("while cat {0} >/dev/null && ls -l {0}; do :; done", path.display());
        let mut command = as_user(READER, "sh");
        command.args(["-c", &script]).stdout(Stdio::null());
        let mut readers: Vec<_> = (0..2).map(|_| command.spawn().unwrap()).collect();
        for round in 1..=60 {
            let mut watcher = watch(READER, &path, "delete_self");
            source.set("a", round.to_string());
            assert_eq!(watcher.line(), "DELETE_SELF ", "{access:?} round {round}");
        }
        for reader in &mut readers {
            reader.kill().unwrap();
            reader.wait().unwrap();
        }
    }
}

#[test]
fn names_in_flight_are_not_listed() {
    if !can_mount("names_in_flight_are_not_listed") {
        return;
    }
    let source = FakeSource::with(&[("a", "0")]);
    let mounted = Mounted::new(&source, Access::Shared, &[ROOT]);
    let (path, done) = (mounted.path("a"), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..100 {
                source.set("a", value.to_string());
                let value = value.to_string();
                eventually("seen", || fs::read_to_string(&path).unwrap() == value);
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let names = fs::read_dir(&mounted.directory.path).unwrap();
            assert!(names.map(|entry| entry.unwrap().file_name()).eq(["a"]));
        }
    });
}
