//! Who gets in.

use vaultfs_fusefs::{Access, Reader};

use crate::source::FakeSource;
use crate::support::{Mounted, OTHER, READER, ROOT, as_user, can_mount, outcome, read_as};

const DENIED: &str = "Permission denied";

#[test]
fn in_a_private_mount_only_the_reader_gets_in() {
    if !can_mount("in_a_private_mount_only_the_reader_gets_in") {
        return;
    }
    let source = FakeSource::with(&[("db/URL", "postgres://x")]);
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    let file = mounted.path("db/URL");
    assert_eq!(read_as(READER, &file).unwrap(), b"postgres://x");
    let other_group = Reader { uid: READER.uid, gid: OTHER.gid };
    for user in [OTHER, ROOT, other_group] {
        assert_eq!(read_as(user, &file).unwrap_err(), DENIED, "{user:?}");
        let listed = outcome(as_user(user, "ls").arg(&mounted.directory.path).output().unwrap());
        assert_eq!(listed.unwrap_err(), DENIED, "{user:?}");
    }
}
