//! What each file operation does: the rows of the mount's table.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::{fs, thread};

use vaultfs_fusefs::{Access, Ending};

use crate::source::FakeSource;
use crate::support::{
    Mounted, OTHER, PYTHON, READER, ROOT, as_user, can_mount, not_run, outcome, read_as,
};

const READ_ONLY: &str = "Read-only file system";

#[test]
fn stat_shows_exact_size_owner_mode_and_rotation_time() {
    if !can_mount("stat_shows_exact_size_owner_mode_and_rotation_time") {
        return;
    }
    let source = FakeSource::with(&[("dir/a", "12345"), ("empty", "")]);
    for (access, directory) in [
        (Access::Private, format!("drwx {} {}", READER.uid, READER.gid).replace("drwx", "500")),
        (Access::Shared, "555 0 0".to_owned()),
    ] {
        let mounted = Mounted::new(&source, access, &[READER]);
        let stat = |format: &str, name: &str| {
            let mut command = as_user(READER, "stat");
            let output = command.args(["-c", format]).arg(mounted.path(name)).output().unwrap();
            String::from_utf8(outcome(&output).unwrap()).unwrap().trim_end().to_owned()
        };
        let owner = format!("{} {}", READER.uid, READER.gid);
        assert_eq!(stat("%F %s %a %u %g %h", "dir/a"), format!("regular file 5 400 {owner} 1"));
        assert_eq!(stat("%Y", "dir/a"), "1700000000");
        assert_eq!(stat("%s", "empty"), "0");
        for name in ["", "dir"] {
            assert_eq!(stat("%F", name), "directory");
            assert_eq!(stat("%a %u %g", name), directory);
        }
    }
}

#[test]
fn every_change_is_refused_as_read_only() {
    if !can_mount("every_change_is_refused_as_read_only") {
        return;
    }
    let source = FakeSource::with(&[("a", "value"), ("d/b", "value")]);
    let changes = [
        ": > a",
        ": >> a",
        ": <> a",
        ": > new",
        "rm a",
        "mv a c",
        "mv a d/b",
        "mkdir e",
        "rmdir d",
        "ln a c",
        "ln -s a c",
        "mkfifo c",
        "chmod 600 a",
        "chown $(id -u) a",
        "touch a",
        "truncate -s 1 a",
        "fallocate -l 9 a",
        "setfattr -n user.x -v y a",
    ];
    for access in [Access::Private, Access::Shared] {
        let mounted = Mounted::new(&source, access, &[READER]);
        for change in changes {
            let tool = change.split(' ').next().unwrap();
            if tool != ":" && Command::new(tool).arg("--version").output().is_err() {
                not_run(
                    &format!("every_change_is_refused_as_read_only ({change})"),
                    "no such tool",
                );
                continue;
            }
            let script = format!("cd {} && {change}", mounted.directory.path.display());
            let output = as_user(READER, "bash").args(["-c", &script]).output().unwrap();
            assert_eq!(outcome(&output).unwrap_err(), READ_ONLY, "{access:?} {change}");
            let output = as_user(OTHER, "bash").args(["-c", &script]).output().unwrap();
            let expected = if access == Access::Private { "Permission denied" } else { READ_ONLY };
            assert_eq!(outcome(&output).unwrap_err(), expected, "{access:?} {change}");
        }
        assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), b"value");
    }
}

#[test]
fn the_mount_is_read_only_and_runs_nothing() {
    if !can_mount("the_mount_is_read_only_and_runs_nothing") {
        return;
    }
    let source = FakeSource::with(&[("a", "value")]);
    for (access, gate) in [
        (Access::Private, format!("user_id={},group_id={}", READER.uid, READER.gid)),
        (Access::Shared, "user_id=0,group_id=0,allow_other".to_owned()),
    ] {
        let mounted = Mounted::new(&source, access, &[READER]);
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = mounted.directory.path.to_str().unwrap();
        let line = table.lines().find(|l| l.split(' ').nth(4) == Some(path)).unwrap();
        assert!(line.split(' ').nth(5).unwrap().starts_with("ro,nosuid,nodev,noexec"), "{line}");
        assert!(line.ends_with(&format!("- fuse.vaultfs vaultfs rw,{gate}")), "{line}");
    }
}

#[test]
fn reads_at_any_offset_are_exact() {
    if !can_mount("reads_at_any_offset_are_exact") {
        return;
    }
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(700_001).collect();
    let source = FakeSource::with(&[]);
    source.set("a", &value);
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    assert_eq!(read_as(READER, &mounted.path("a")).unwrap(), value);
    for (skip, count) in [(0, 1), (1, 4096), (131_071, 2), (699_999, 10), (700_001, 1)] {
        let mut command = as_user(READER, "dd");
        command.arg(format!("if={}", mounted.path("a").display()));
        command.args([format!("skip={skip}"), format!("count={count}")]);
        command.args(["iflag=skip_bytes,count_bytes", "bs=1M", "status=none"]);
        let expected = &value[skip.min(value.len())..(skip + count).min(value.len())];
        assert_eq!(outcome(&command.output().unwrap()).unwrap(), expected, "{skip} {count}");
    }
}

#[test]
fn private_mappings_work_and_shared_ones_dont() {
    let test = "private_mappings_work_and_shared_ones_dont";
    if !can_mount(test) {
        return;
    }
    if Command::new(PYTHON).arg("--version").output().is_err() {
        return not_run(test, "needs python3");
    }
    let source = FakeSource::with(&[("a", "mapped")]);
    let mounted = Mounted::new(&source, Access::Private, &[READER]);
    let script = "import errno, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)[:].decode())
try: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
except OSError as e: print(errno.errorcode[e.errno])";
    let mut command = as_user(READER, PYTHON);
    let output = command.args(["-c", script]).arg(mounted.path("a")).output().unwrap();
    assert_eq!(String::from_utf8(outcome(&output).unwrap()).unwrap(), "mapped\nENODEV\n");
}

#[test]
fn a_directory_of_ten_thousand_lists_each_name_once() {
    if !can_mount("a_directory_of_ten_thousand_lists_each_name_once") {
        return;
    }
    let source = FakeSource::with(&[]);
    let names: Vec<String> = (0..10_000).map(|i| format!("SECRET_{i:05}")).collect();
    for name in &names {
        source.set(&format!("many/{name}"), name);
    }
    let mut mounted = Mounted::new(&source, Access::Private, &[READER]);
    assert_eq!(mounted.mount().state().served, names.len());
    let listed = as_user(READER, "ls").arg(mounted.path("many")).output().unwrap();
    let listed = String::from_utf8(outcome(&listed).unwrap()).unwrap();
    assert!(listed.lines().eq(names.iter().map(String::as_str)));
    assert_eq!(read_as(READER, &mounted.path("many/SECRET_09999")).unwrap(), b"SECRET_09999");
    assert_eq!(mounted.stop(), Ending::Unused);
}

#[test]
fn df_and_find_answer_for_everyone() {
    if !can_mount("df_and_find_answer_for_everyone") {
        return;
    }
    let source = FakeSource::with(&[("d/a", "value")]);
    for access in [Access::Private, Access::Shared] {
        let mounted = Mounted::new(&source, access, &[READER]);
        for user in [READER, OTHER, ROOT] {
            let output = as_user(user, "df").arg(mounted.directory.path.parent().unwrap()).output();
            assert!(output.unwrap().status.success(), "{access:?} {user:?}");
        }
        let output = as_user(READER, "find").arg(&mounted.directory.path).output().unwrap();
        let found = String::from_utf8(outcome(&output).unwrap()).unwrap();
        assert_eq!(found.lines().count(), 3);
    }
}

#[test]
fn many_readers_at_once_each_get_the_whole_value() {
    if !can_mount("many_readers_at_once_each_get_the_whole_value") {
        return;
    }
    let value = "x".repeat(300_000);
    let source = FakeSource::with(&[("a", &value)]);
    let mounted = Mounted::new(&source, Access::Shared, &[ROOT]);
    let file = mounted.path("a");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(fs::read_to_string(&file).unwrap(), value);
                    assert_eq!(fs::metadata(&file).unwrap().size(), 300_000);
                }
            });
        }
    });
}
