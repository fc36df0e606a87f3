//! Readers who work against the mount, with the directories above it that are theirs.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use vaultfs_fusefs::{Access, Ending, Mount, MountEvent, UnmountError};

use crate::lifecycle::{GATES, unprivileged};
use crate::served;
use crate::source::FakeSource;
use crate::support::{
    Directory, PATIENCE, READER, can_mount, is_mounted, mount_table, not_run, options, read_as,
    start,
};

fn mount_at(path: &Path, access: Access) -> (Mount, std::sync::mpsc::Receiver<MountEvent>) {
    let source = FakeSource::with(&[("a", "value")]);
    let (mount, events) = start(&source, options(path, access, &[READER])).unwrap();
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(event, MountEvent::Ready), "{event:?}");
    (mount, events)
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
