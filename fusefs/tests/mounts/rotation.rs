//! New versions, broken versions, and secrets that come and go.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vaultfs_fusefs::{Access, MountError, Need, Place, Selector};

use crate::source::FakeSource;
use crate::support::{
    self, Mounted, READER, ROOT, Talking, as_user, can_mount, eventually, not_run, options, read_as,
};

/// What the reader of the long test is told through.
pub(crate) const HAMMER_VARIABLE: &str = "VAULTFS_TEST_HAMMER";

const MISSING: &str = "No such file or directory";

#[test]
fn a_rotated_secret_is_seen_by_new_opens() {
    if !can_mount("a_rotated_secret_is_seen_by_new_opens") {
        return;
    }
    for access in [Access::Private, Access::Shared] {
        let source = FakeSource::with(&[("a", "old")]);
        let mounted = Mounted::new(&source, access, &[READER]);
        let file = mounted.path("a");
        assert_eq!(read_as(READER, &file).unwrap(), b"old");
        source.set("a", "newer");
        eventually("the new value", || read_as(READER, &file).unwrap() == b"newer");
    }
}

#[test]
fn an_open_handle_keeps_its_version() {
    if !can_mount("an_open_handle_keeps_its_version") {
        return;
    }
    let source = FakeSource::with(&[("a", "first version")]);
    let mounted = Mounted::new(&source, Access::Shared, &[ROOT]);
    let path = mounted.path("a");
    let mut old = File::open(&path).unwrap();
    for value in ["2", "a third, longer version", ""] {
        source.set("a", value);
        eventually("the new value", || fs::read_to_string(&path).unwrap() == value);
    }
    // The superseded value is given up a moment after the rotation; the handle's isn't.
    thread::sleep(Duration::from_millis(300));
    for _ in 0..2 {
        let mut text = String::new();
        old.rewind().unwrap();
        old.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first version");
        assert_eq!(old.metadata().unwrap().len(), 13);
    }
}

#[test]
fn a_new_secret_appears_and_a_removed_one_vanishes() {
    if !can_mount("a_new_secret_appears_and_a_removed_one_vanishes") {
        return;
    }
    for access in [Access::Private, Access::Shared] {
        let source = FakeSource::with(&[("x/y/a", "1")]);
        let mounted = Mounted::new(&source, access, &[READER]);
        let read = |name: &str| read_as(READER, &mounted.path(name));
        assert_eq!(read("x/y/b").unwrap_err(), MISSING);
        source.set("x/y/b", "2");
        eventually("the new secret", || read("x/y/b").is_ok_and(|value| value == b"2"));
        source.remove("x/y/a");
        eventually("the removal", || read("x/y/a") == Err(MISSING.to_owned()));
        source.remove("x/y/b");
        // A file where a directory was.
        source.set("x", "3");
        eventually("the file in the directory's place", || read("x").is_ok_and(|v| v == b"3"));
        source.remove("x");
        source.set("x/y/a", "4");
        eventually("the directory again", || read("x/y/a").is_ok_and(|v| v == b"4"));
        assert_eq!(mounted.mount().state().served, 1);
    }
}

#[test]
fn the_last_good_version_is_served_while_the_new_one_is_broken() {
    if !can_mount("the_last_good_version_is_served_while_the_new_one_is_broken") {
        return;
    }
    let source = FakeSource::with(&[("a", "good")]);
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    let state = || mounted.mount().state();
    source.break_it("a", "the file is cut short");
    let name = "a".parse().unwrap();
    eventually("the state says so", || {
        state().last_good.get(&name).is_some_and(|reason| reason == "the file is cut short")
    });
    assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), b"good");
    assert!(state().broken.is_empty());
    source.set("a", "better");
    eventually("the next version", || read_as(READER, &mounted.path("a")).unwrap() == b"better");
    eventually("the state is clear", || state().last_good.is_empty());
}

#[test]
fn a_broken_secret_without_a_last_good_version_is_an_io_error() {
    if !can_mount("a_broken_secret_without_a_last_good_version_is_an_io_error") {
        return;
    }
    let source = FakeSource::with(&[("good", "1")]);
    source.break_it("bad", "no identity opens it");
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    assert_eq!(read_as(READER, &mounted.path("good")).unwrap(), b"1");
    assert_eq!(read_as(READER, &mounted.path("bad")).unwrap_err(), "Input/output error");
    let state = mounted.mount().state();
    assert_eq!(state.served, 1);
    assert_eq!(state.broken[&"bad".parse().unwrap()], "no identity opens it");
    source.set("bad", "repaired");
    eventually("the repaired one", || {
        read_as(READER, &mounted.path("bad")).is_ok_and(|value| value == b"repaired")
    });
    assert!(mounted.mount().state().broken.is_empty());
}

#[test]
fn a_source_that_fails_takes_nothing_away() {
    if !can_mount("a_source_that_fails_takes_nothing_away") {
        return;
    }
    let source = FakeSource::with(&[("a", "1")]);
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    source.fail_to_list(Some("the disk is gone"));
    eventually("the state says so", || {
        let problem = mounted.mount().state().source_problem;
        problem.is_some_and(|problem| problem.ends_with("the disk is gone"))
    });
    assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), b"1");
    source.fail_to_list(None);
    source.set("a", "2");
    eventually("the next value", || read_as(READER, &mounted.path("a")).unwrap() == b"2");
    assert_eq!(mounted.mount().state().source_problem, None);
}

#[test]
fn required_secrets_that_cant_be_served_keep_the_mount_from_starting() {
    if !can_mount("required_secrets_that_cant_be_served_keep_the_mount_from_starting") {
        return;
    }
    let source = FakeSource::with(&[("a", "1")]);
    source.break_it("bad", "truncated");
    let refused = Mounted::with(&source, |path| {
        let mut with_needs = options(path, Access::Private, &[READER]);
        for name in ["a", "bad", "gone"] {
            with_needs.exposures.push(vaultfs_fusefs::Exposure {
                secrets: Selector::Name(name.parse().unwrap()),
                readers: vec![READER],
                place: Place::At(format!("other/{name}").parse().unwrap()),
                need: Need::Required,
            });
        }
        with_needs
    });
    let error = refused.err().unwrap();
    let expected = "required, but can't be served: bad (truncated), \
                    gone (the source doesn't have it)";
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, MountError::Required(_)));
}

#[test]
fn a_secret_bound_into_a_container_follows_rotations() {
    if !can_mount("a_secret_bound_into_a_container_follows_rotations") {
        return;
    }
    let source = FakeSource::with(&[("a", "first")]);
    let mounted = Mounted::new(&source, Access::Shared, &[ROOT]);
    let bound = mounted.directory.path.with_file_name("bound");
    fs::write(&bound, "").unwrap();
    let (path, bound) = (mounted.path("a").display().to_string(), bound.display().to_string());
    let script =
        format!("mount --bind {path} {bound}; while cat {bound}; echo; read x; do :; done");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let mut container = Talking::new(command);
    assert_eq!(container.line(), "first");
    for value in ["second", "3", "the fourth"] {
        source.set("a", value);
        eventually("the rotation", || {
            container.say("");
            container.line() == value
        });
    }
}

#[test]
fn inode_numbers_are_the_same_after_a_restart() {
    if !can_mount("inode_numbers_are_the_same_after_a_restart") {
        return;
    }
    let source = FakeSource::with(&[("d/a", "1"), ("b", "2")]);
    let numbers = || {
        let mounted = Mounted::new(&source, Access::Shared, &[READER]);
        ["", "d", "d/a", "b"].map(|name| {
            std::os::unix::fs::MetadataExt::ino(&fs::metadata(mounted.path(name)).unwrap())
        })
    };
    let first = numbers();
    assert_eq!(first, numbers());
    source.set("b", "3");
    let rotated = numbers();
    assert_eq!(first[..3], rotated[..3]);
    assert_ne!(first[3], rotated[3]);
}

/// The value of one version: its number, repeated, at a length that depends on it.
fn versioned(version: u32) -> Vec<u8> {
    let repeats = match version % 4 {
        0 => 1,
        1 => 1 + version as usize % 700,
        2 => 40_000,
        _ => 2 + version as usize % 5_000,
    };
    version.to_le_bytes().repeat(repeats)
}

/// Reads over and over, checks each value, and ends at the first that is wrong.
pub(crate) fn hammer(path: &Path, reads: u64) {
    let (mut last, mut seen) = (0, 0);
    for _ in 0..reads {
        let mut file = File::open(path).unwrap();
        let size = file.metadata().unwrap().len();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let version = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert!(bytes == versioned(version), "version {version} is torn");
        assert_eq!(size, bytes.len() as u64, "the size isn't that of version {version}");
        assert!(version >= last, "version {version} after {last}");
        seen += u64::from(version != last);
        last = version;
    }
    assert!(seen > 3, "only {seen} versions were seen");
}

#[test]
fn a_reader_never_sees_a_torn_or_earlier_value() {
    if !can_mount("a_reader_never_sees_a_torn_or_earlier_value") {
        return;
    }
    let reads = std::env::var("VAULTFS_TEST_READS").map_or(20_000, |reads| reads.parse().unwrap());
    for access in [Access::Private, Access::Shared] {
        let source = FakeSource::with(&[]);
        source.set("a", versioned(1));
        let mounted = Mounted::new(&source, access, &[READER]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for version in 2.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    source.set("a", versioned(version));
                    thread::sleep(Duration::from_millis(1));
                }
            });
            // Another process: one that waits for its own mount can't be killed.
            let mut reader = as_user(READER, "/usr/bin/env");
            let mut task = String::new();
            write!(task, "{HAMMER_VARIABLE}={reads} {}", mounted.path("a").display()).unwrap();
            reader.arg(task).arg(support::program_for_everyone());
            let status = reader.args(["--exact", "hammer_process", "--nocapture"]).status();
            done.store(true, Ordering::Relaxed);
            assert!(status.unwrap().success());
        });
    }
}

#[test]
fn plaintext_leaves_the_page_cache_with_the_last_close() {
    let test = "plaintext_leaves_the_page_cache_with_the_last_close";
    if !can_mount(test) {
        return;
    }
    let Some(cgroup) = support::MemoryGroup::new() else {
        return not_run(test, "needs a memory cgroup");
    };
    if Command::new(support::PYTHON).arg("--version").output().is_err() {
        return not_run(test, "needs python3");
    }
    let source = FakeSource::with(&[("a", &"x".repeat(8 << 20))]);
    let mounted = Mounted::new(&source, Access::Shared, &[ROOT]);
    let script = "import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
mapping = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
print(len(set(mapping[:])), flush=True)
sys.stdin.readline()
mapping.close()
os.close(fd)
print('closed', flush=True)
sys.stdin.readline()";
    let mut command = cgroup.command(support::PYTHON);
    command.args(["-c", script]).arg(mounted.path("a"));
    let mut mapper = Talking::new(command);
    assert_eq!(mapper.line(), "1");
    assert!(cgroup.page_cache_bytes() > 7 << 20, "the mapping's pages are counted");
    mapper.say("");
    assert_eq!(mapper.line(), "closed");
    eventually("the pages are gone", || cgroup.page_cache_bytes() < 1 << 20);
}
