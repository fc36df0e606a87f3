//! Readers who work against the mount: with the directories above it that are theirs, and with the
//! helper that runs as them.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vaultfs_fusefs::{Access, Ending, Mount, MountEvent, Reader, UnmountError, unmount};

use crate::lifecycle::{GATES, STOP_WITHIN, unprivileged};
use crate::served;
use crate::source::FakeSource;
use crate::support::{
    Directory, Mounted, PATIENCE, READER, Talking, as_user, can_mount, eventually, is_mounted,
    mount_table, not_run, options, program_for_everyone, read_as, start,
};

/// What the process that swaps directories is told through: where they are.
pub(crate) const SWAP_VARIABLE: &str = "VAULTFS_TEST_SWAP";

/// How often a race is run that has to be won each time.
const ROUNDS: usize = 20;

/// The mount point `ours/real/boot`, and the reader's `ours/other`, where something else is mounted
/// on `boot`.
struct Trap {
    base: TempDir,
}

impl Trap {
    /// With `ours/other` a link to where the reader may write nothing.
    fn with_link() -> Self {
        Self::new(|trap| {
            fs::create_dir(trap.at("victims")).unwrap();
            symlink(trap.at("victims"), trap.at("ours/other")).unwrap();
        })
    }

    fn with_directory() -> Self {
        Self::new(|trap| trap.create_for_reader("ours/other"))
    }

    fn new(create_other: impl FnOnce(&Self)) -> Self {
        let trap = Self { base: Directory::new_base() };
        trap.create_for_reader("ours");
        trap.create_for_reader("ours/real");
        create_other(&trap);
        fs::create_dir(trap.mountpoint()).unwrap();
        fs::create_dir(trap.at("ours/other/boot")).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", &trap.victim()]).arg(trap.at("ours/other/boot"));
        assert!(mount.status().unwrap().success());
        trap
    }

    fn create_for_reader(&self, directory: &str) {
        fs::create_dir(self.at(directory)).unwrap();
        chown(self.at(directory), Some(READER.uid), Some(READER.gid)).unwrap();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.base.path().join(path)
    }

    fn mountpoint(&self) -> PathBuf {
        self.at("ours/real/boot")
    }

    /// What the mount table calls the other mount.
    fn victim(&self) -> String {
        format!("victim{}", self.base.path().file_name().unwrap().to_str().unwrap())
    }

    #[track_caller]
    fn assert_harmless(&self) {
        assert!(mount_table().contains(&self.victim()), "the other mount is gone");
    }

    /// Has the reader swap the two until the result is dropped.
    fn swapping(&self) -> Talking {
        let mut command = as_user(READER, "/usr/bin/env");
        command.arg(format!("{SWAP_VARIABLE}={}", self.at("ours").display()));
        command.arg(program_for_everyone());
        command.args(["--exact", "swapping_process", "--nocapture"]);
        let mut swapping = Talking::new(command);
        assert_eq!(served::line(&mut swapping), "swapping");
        swapping
    }

    /// Ends the swapping. Asserts that the one mount is gone and the other is where it was.
    #[track_caller]
    fn release(&self, swapping: Talking) {
        drop(swapping);
        if !is_mounted(&self.at("ours/other/boot").canonicalize().unwrap()) {
            exchange(&self.at("ours"));
        }
        assert!(is_mounted(&self.at("ours/other/boot").canonicalize().unwrap()));
        assert!(!is_mounted(&self.mountpoint()));
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        let other = self.at("ours/other/boot");
        let _ = Command::new("umount").arg(other).status();
    }
}

/// The whole of the process that swaps, until it is killed.
pub(crate) fn swap(directory: &Path) {
    println!("\n{}swapping", served::MARK);
    loop {
        exchange(directory);
    }
}

fn exchange(directory: &Path) {
    let (real, other) = (directory.join("real"), directory.join("other"));
    renameat_with(CWD, real, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

fn mount_at(path: &Path, access: Access) -> (Mount, std::sync::mpsc::Receiver<MountEvent>) {
    let source = FakeSource::with(&[("a", "value")]);
    let (mount, events) = start(&source, options(path, access, &[READER])).unwrap();
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(event, MountEvent::Ready), "{event:?}");
    (mount, events)
}

#[test]
fn directories_swapped_during_a_stop_lead_to_no_other_mount() {
    if !can_mount("directories_swapped_during_a_stop_lead_to_no_other_mount") {
        return;
    }
    for trap in [Trap::with_link(), Trap::with_directory()] {
        for round in 0..ROUNDS {
            let (mount, _events) = mount_at(&trap.mountpoint(), GATES[round % 2]);
            let swapping = trap.swapping();
            let ending = mount.stop();
            trap.assert_harmless();
            assert_eq!(ending.unwrap(), Ending::Unused);
            trap.release(swapping);
        }
    }
}

#[test]
fn directories_swapped_while_a_dead_mount_is_cleared_lead_to_no_other_mount() {
    if !can_mount("directories_swapped_while_a_dead_mount_is_cleared_lead_to_no_other_mount") {
        return;
    }
    for trap in [Trap::with_link(), Trap::with_directory()] {
        for round in 0..ROUNDS {
            let mut process =
                served::process(&["/usr/bin/env"], GATES[round % 2], &trap.mountpoint());
            assert_eq!(served::line(&mut process), "ready");
            process.kill();
            let swapping = trap.swapping();
            // While the path leads to the other mount, it is refused.
            eventually("it is unmounted", || unmount(&trap.mountpoint()).is_ok());
            trap.assert_harmless();
            trap.release(swapping);
        }
    }
}

#[test]
fn a_mount_whose_directories_were_renamed_is_unmounted_where_it_is() {
    if !can_mount("a_mount_whose_directories_were_renamed_is_unmounted_where_it_is") {
        return;
    }
    for access in GATES {
        let base = Directory::new_base();
        let at = |path: &str| base.path().join(path);
        fs::create_dir_all(at("a/boot")).unwrap();
        let (mount, events) = mount_at(&at("a/boot"), access);
        fs::rename(at("a"), at("b")).unwrap();
        assert_eq!(read_as(READER, &at("b/boot/a")).unwrap(), b"value");
        assert_eq!(mount.stop().unwrap(), Ending::Unused);
        assert!(!mount_table().contains(base.path().to_str().unwrap()));
        assert!(events.iter().all(|event| !matches!(event, MountEvent::Unmounted)));
    }
}

#[test]
fn without_privileges_a_mount_is_unmounted_where_it_is() {
    let test = "without_privileges_a_mount_is_unmounted_where_it_is";
    if !can_mount(test) {
        return;
    }
    if Command::new("fusermount3").arg("-V").output().is_err() {
        return not_run(test, "needs fusermount3");
    }
    let base = Directory::new_base();
    let at = |path: &str| base.path().join(path);
    fs::create_dir_all(at("a/boot")).unwrap();
    chown(at("a/boot"), Some(READER.uid), Some(READER.gid)).unwrap();
    let words = unprivileged("", "");
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut process = served::process(&words, Access::Private, &at("a/boot"));
    assert_eq!(served::line(&mut process), "ready");
    fs::rename(at("a"), at("b")).unwrap();
    process.say("");
    assert_eq!(served::line(&mut process), "Unused");
}

#[test]
fn a_mount_beneath_another_is_left_alone() {
    if !can_mount("a_mount_beneath_another_is_left_alone") {
        return;
    }
    let directory = Directory::new();
    let (mount, _events) = mount_at(&directory.path, Access::Private);
    let umount = || Command::new("umount").arg(&directory.path).status().unwrap().success();
    let tmpfs = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&directory.path).status();
    assert!(tmpfs.unwrap().success());
    let refused = mount.stop().unwrap_err();
    assert!(matches!(refused, UnmountError::Covered(_)), "{refused}");
    assert!(umount(), "the other mount");
    assert!(umount(), "ours");
    assert!(!is_mounted(&directory.path));
}

/// The process that has a thread with this uid: the test harness runs the helper on a thread.
fn helper_of(reader: Reader) -> Pid {
    let is_readers = |status: fs::DirEntry| {
        let status = fs::read_to_string(status.path().join("status")).unwrap_or_default();
        status.contains(&format!("\nUid:\t{}\t", reader.uid))
    };
    let mut processes = fs::read_dir("/proc").unwrap().filter_map(|process| {
        let process = process.unwrap();
        let id = process.file_name().to_str()?.parse().ok()?;
        let mut threads = fs::read_dir(process.path().join("task")).ok()?;
        threads.any(|thread| thread.is_ok_and(is_readers)).then(|| Pid::from_raw(id).unwrap())
    });
    processes.next().unwrap()
}

#[test]
fn a_helper_that_its_reader_has_stopped_delays_no_stop() {
    if !can_mount("a_helper_that_its_reader_has_stopped_delays_no_stop") {
        return;
    }
    // Nobody else's helper has this uid.
    let reader = Reader { uid: 61003, gid: 61003 };
    let source = FakeSource::with(&[("a", "1")]);
    let mut mounted =
        Mounted::with(&source, |path| options(path, Access::Private, &[reader])).ok().unwrap();
    kill_process(helper_of(reader), Signal::STOP).unwrap();
    source.set("a", "2");
    // The rotation has given the helper up by then, who is asked still.
    eventually("the new value", || read_as(reader, &mounted.path("a")).unwrap() == b"2");
    let begin = Instant::now();
    assert_eq!(mounted.stop(), Ending::Unused);
    assert!(begin.elapsed() < STOP_WITHIN);
}
