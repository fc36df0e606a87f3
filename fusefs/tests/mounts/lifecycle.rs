//! Starting and stopping.

use std::process::Stdio;

use vaultfs_fusefs::{Access, Ending};

use crate::source::FakeSource;
use crate::support::{Mounted, READER, as_user, can_mount, is_mounted};

#[test]
fn stopping_leaves_no_mount_entry() {
    if !can_mount("stopping_leaves_no_mount_entry") {
        return;
    }
    for access in [Access::Private, Access::Shared] {
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
    let source = FakeSource::with(&[("a", "value")]);
    let mut mounted = Mounted::new(&source, Access::Private, &[READER]);
    let script = format!("exec 3<{}; echo open; read x; cat <&3", mounted.path("a").display());
    let mut holder = as_user(READER, "sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(mounted.stop(), Ending::InUse);
    assert!(!is_mounted(&mounted.directory.path));
    drop(holder.stdin.take());
    assert!(!holder.wait().unwrap().success(), "nothing is read after the end");
}
