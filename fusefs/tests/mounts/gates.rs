//! Who gets in: each user, through each gate.

use vaultfs_fusefs::{Access, Exposure, MountError, Reader, Selector};

use crate::source::FakeSource;
use crate::support::{Mounted, OTHER, READER, ROOT, as_user, can_mount, options, outcome, read_as};

const DENIED: &str = "Permission denied";

const READER_IN_OTHER_GROUP: Reader = Reader { uid: READER.uid, gid: OTHER.gid };

fn list_as(user: Reader, mounted: &Mounted) -> Result<Vec<u8>, String> {
    outcome(&as_user(user, "ls").arg(&mounted.directory.path).output().unwrap())
}

#[test]
fn in_a_private_mount_only_the_reader_gets_in() {
    if !can_mount("in_a_private_mount_only_the_reader_gets_in") {
        return;
    }
    let source = FakeSource::with(&[("db/URL", "postgres://x")]);
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    let file = mounted.path("db/URL");
    assert_eq!(read_as(READER, &file).unwrap(), b"postgres://x");
    for user in [OTHER, ROOT, READER_IN_OTHER_GROUP] {
        assert_eq!(read_as(user, &file).unwrap_err(), DENIED, "{user:?}");
        assert_eq!(list_as(user, &mounted).unwrap_err(), DENIED, "{user:?}");
    }
}

#[test]
fn in_a_shared_mount_all_may_look_and_readers_may_open() {
    if !can_mount("in_a_shared_mount_all_may_look_and_readers_may_open") {
        return;
    }
    let source = FakeSource::with(&[("db/URL", "postgres://x")]);
    let mounted = Mounted::new(&source, Access::Shared, &[READER]);
    let file = mounted.path("db/URL");
    for user in [READER, READER_IN_OTHER_GROUP] {
        assert_eq!(read_as(user, &file).unwrap(), b"postgres://x", "{user:?}");
    }
    for user in [OTHER, ROOT] {
        assert_eq!(read_as(user, &file).unwrap_err(), DENIED, "{user:?}");
    }
    for user in [READER, OTHER, ROOT, READER_IN_OTHER_GROUP] {
        assert_eq!(list_as(user, &mounted).unwrap(), b"db\n", "{user:?}");
        let stat = as_user(user, "stat").args(["-c", "%s"]).arg(&file).output().unwrap();
        assert_eq!(outcome(&stat).unwrap(), b"12\n", "{user:?}");
    }
}

#[test]
fn a_user_namespace_changes_nothing() {
    if !can_mount("a_user_namespace_changes_nothing") {
        return;
    }
    let source = FakeSource::with(&[("a", "value")]);
    for access in [Access::Private, Access::Shared] {
        let mounted = Mounted::new(&source, access, &[READER]);
        for mapping in ["--map-root-user", "--map-current-user"] {
            let read = |user| {
                let mut command = as_user(user, "unshare");
                command.args(["--user", mapping, "cat"]).arg(mounted.path("a"));
                outcome(&command.output().unwrap())
            };
            assert_eq!(read(READER).unwrap(), b"value", "{access:?} {mapping}");
            assert_eq!(read(OTHER).unwrap_err(), DENIED, "{access:?} {mapping}");
            assert_eq!(read(ROOT).unwrap_err(), DENIED, "{access:?} {mapping}");
        }
    }
}

#[test]
fn each_secret_has_its_own_readers() {
    if !can_mount("each_secret_has_its_own_readers") {
        return;
    }
    let source = FakeSource::with(&[("a", "1"), ("b", "2")]);
    let exposure = |name: &str, readers: &[Reader]| Exposure {
        secrets: Selector::Name(name.parse().unwrap()),
        ..options("/".as_ref(), Access::Shared, readers).exposures.remove(0)
    };
    let mounted = Mounted::with(&source, |path| {
        let mut options = options(path, Access::Shared, &[]);
        options.exposures = vec![exposure("a", &[READER, ROOT]), exposure("b", &[OTHER])];
        options
    });
    let mounted = mounted.unwrap();
    let (a, b) = (mounted.path("a"), mounted.path("b"));
    assert_eq!(read_as(READER, &a).unwrap(), b"1");
    assert_eq!(read_as(ROOT, &a).unwrap(), b"1");
    assert_eq!(read_as(OTHER, &a).unwrap_err(), DENIED);
    assert_eq!(read_as(OTHER, &b).unwrap(), b"2");
    assert_eq!(read_as(READER, &b).unwrap_err(), DENIED);
}

#[test]
fn access_says_what_open_would() {
    if !can_mount("access_says_what_open_would") {
        return;
    }
    let source = FakeSource::with(&[("a", "1")]);
    let mounted = Mounted::new(&source, Access::Shared, &[READER]);
    let test = |user, flag: &str| {
        let status = as_user(user, "test").arg(flag).arg(mounted.path("a")).status().unwrap();
        status.success()
    };
    assert!(test(READER, "-r") && test(OTHER, "-e"));
    for (user, flag) in [(OTHER, "-r"), (ROOT, "-r"), (READER, "-w"), (READER, "-x"), (ROOT, "-w")]
    {
        assert!(!test(user, flag), "{user:?} {flag}");
    }
}

#[test]
fn a_private_mount_for_two_readers_is_refused() {
    let source = FakeSource::with(&[("a", "1")]);
    let refused = Mounted::with(&source, |path| options(path, Access::Private, &[READER, OTHER]));
    assert!(matches!(refused.err().unwrap(), MountError::SeveralReaders { .. }));
}

#[test]
fn a_mount_without_a_reader_is_refused() {
    let source = FakeSource::with(&[("a", "1")]);
    let refused = Mounted::with(&source, |path| options(path, Access::Shared, &[]));
    assert!(matches!(refused.err().unwrap(), MountError::NoReader));
}
