//! Values that are loaded at their first open.

use std::fs;
use std::sync::Arc;
use std::thread;

use vaultfs_fusefs::{Access, Ending, Loading, MountOptions};

use crate::source::{Call, FakeSource};
use crate::support::{
    Mounted, READER, ROOT, Talking, can_mount, eventually, is_mounted, options, read_as,
};

fn lazy(source: &Arc<FakeSource>, access: Access) -> Mounted {
    let reader = if access == Access::Private { READER } else { ROOT };
    Mounted::with(source, |path| MountOptions {
        loading: Loading::Lazy,
        ..options(path, access, &[reader])
    })
    .unwrap()
}

#[test]
fn nothing_is_loaded_before_its_first_open() {
    if !can_mount("nothing_is_loaded_before_its_first_open") {
        return;
    }
    let source = FakeSource::with(&[("a", "12345"), ("b", "1")]);
    let mounted = lazy(&source, Access::Shared);
    assert_eq!(fs::metadata(mounted.path("a")).unwrap().len(), 5);
    assert_eq!(source.loads(), 0);
    for _ in 0..3 {
        assert_eq!(fs::read_to_string(mounted.path("a")).unwrap(), "12345");
    }
    assert_eq!(source.loads(), 1);
}

#[test]
fn many_opens_at_once_load_once() {
    if !can_mount("many_opens_at_once_load_once") {
        return;
    }
    let source = FakeSource::with(&[("a", "value")]);
    let mounted = lazy(&source, Access::Shared);
    let path = mounted.path("a");
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(fs::read_to_string(&path).unwrap(), "value"));
        }
    });
    assert_eq!(source.loads(), 1);
}

#[test]
fn a_hanging_load_holds_up_nobody_else() {
    if !can_mount("a_hanging_load_holds_up_nobody_else") {
        return;
    }
    let source = FakeSource::with(&[("a", "1"), ("b", "2")]);
    let mut mounted = lazy(&source, Access::Private);
    assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), b"1");
    source.hang(Call::Load);
    let script = format!("echo go; cat {}; echo done", mounted.path("b").display());
    let mut waiting = Talking::shell(READER, &script);
    assert_eq!(waiting.line(), "go");
    for _ in 0..20 {
        assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), b"1");
    }
    assert_eq!(mounted.stop(), Ending::Unused);
    assert!(!is_mounted(&mounted.directory.path));
    assert_eq!(waiting.line(), "done", "who waits is refused at the end");
}

#[test]
fn rotation_of_a_loaded_value_keeps_the_last_good_one() {
    if !can_mount("rotation_of_a_loaded_value_keeps_the_last_good_one") {
        return;
    }
    let source = FakeSource::with(&[("a", "1"), ("b", "1")]);
    let mounted = lazy(&source, Access::Private);
    let read = |name: &str| read_as(READER, &mounted.path(name));
    assert_eq!(read("a").unwrap(), b"1");
    source.break_it("a", "cut short");
    source.break_it("b", "cut short");
    let name = "a".parse().unwrap();
    eventually("noticed", || mounted.mount().state().last_good.contains_key(&name));
    assert_eq!(read("a").unwrap(), b"1");
    assert_eq!(read("b").unwrap_err(), "Input/output error");
    assert!(mounted.mount().state().broken.contains_key(&"b".parse().unwrap()));
    source.set("a", "22");
    source.set("b", "22");
    eventually("repaired", || read("a").unwrap() == b"22" && read("b").is_ok_and(|v| v == b"22"));
    assert!(mounted.mount().state().broken.is_empty());
}
