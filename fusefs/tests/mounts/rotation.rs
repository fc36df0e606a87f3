//! New versions.

use vaultfs_fusefs::Access;

use crate::source::FakeSource;
use crate::support::{Mounted, READER, can_mount, eventually, read_as};

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
