//! The ends of a mount, and its beginnings over what an earlier one left.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::daemon::{Daemon, is_alive, is_mounted, mount_command};
use crate::hung::Hung;
use crate::support::{Sandbox, has, not_run};
use crate::users::{FOR_READER, NOBODY, OTHER, READER, can_mount};

const SHARED: [&str; 3] = ["--access=shared", FOR_READER[0], FOR_READER[1]];

fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"one");
    sandbox
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|e| e.raw_os_error()).map(Errno::from_raw_os_error)
}

/// A process that is ended with the test.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What must be true after each clean end.
#[track_caller]
fn ended_cleanly(daemon: &Daemon) {
    let helpers = daemon.children();
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
    assert!(!is_mounted(daemon.mountpoint()), "{}", daemon.log());
    assert!(daemon.was_told("STOPPING=1"));
    for helper in helpers {
        assert!(!is_alive(helper), "the helper process is left");
    }
}

#[test]
fn a_signal_ends_a_mount_and_leaves_nothing() {
    if !can_mount("a_signal_ends_a_mount_and_leaves_nothing") {
        return;
    }
    let sandbox = vault();
    for options in [&FOR_READER[..], &SHARED] {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let daemon = Daemon::ready(&sandbox, options);
            assert_eq!(READER.read(daemon.path("A")).unwrap(), b"one");
            assert_eq!(daemon.children().len(), 1, "the helper");
            daemon.signal(signal);
            ended_cleanly(&daemon);
            assert_eq!(fs::read_dir(daemon.mountpoint()).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_signal_ends_a_mount_that_is_in_use() {
    if !can_mount("a_signal_ends_a_mount_that_is_in_use") {
        return;
    }
    let sandbox = vault();
    sandbox.add("dir/B", &vec![7; 100_000]);
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        let opened = daemon.path("dir/B");
        let mut file = READER.run(|| File::open(&opened)).unwrap();
        file.read_exact(&mut [0; 10]).unwrap();
        let mut sleep = READER.command("sh");
        sleep.args(["-c", "cd \"$0\" && exec 3<A && exec sleep 1000"]).arg(daemon.mountpoint());
        let guest = Guest(sleep.spawn().unwrap());
        let (pid, open) = (guest.0.id(), daemon.path("A"));
        daemon.eventually("a process with a file open and a working directory", || {
            fs::read_link(format!("/proc/{pid}/fd/3")).is_ok_and(|path| path == open)
        });
        daemon.signal(Signal::TERM);
        ended_cleanly(&daemon);
        let refused = errno(READER.run(|| file.read(&mut [0; 10])));
        assert!(matches!(refused, Some(Errno::NOTCONN | Errno::CONNABORTED)), "{refused:?}");
        assert!(is_alive(guest.0.id()), "nobody who uses it is killed");
        // The mount point is as usable as before.
        let again = Daemon::ready(&sandbox, options);
        assert_eq!(READER.read(again.path("A")).unwrap(), b"one");
    }
}

#[test]
fn a_signal_is_obeyed_while_the_start_hangs_with_the_disk() {
    if !can_mount("a_signal_is_obeyed_while_the_start_hangs_with_the_disk") {
        return;
    }
    for (hung, signal) in [("vault", Signal::TERM), ("vault/secrets", Signal::INT)] {
        let sandbox = vault();
        let mut command = mount_command(&sandbox, &FOR_READER);
        let vault = format!("--vault={}", sandbox.path("vault").display());
        command.arg(vault).current_dir("/");
        let _hung = Hung::over(&sandbox.path(hung));
        let daemon = Daemon::spawn(&sandbox, &mut command);
        daemon.await_hang();
        daemon.signal(signal);
        ended_cleanly(&daemon);
        assert!(!daemon.was_told("READY=1"));
    }
}

#[test]
fn a_disk_that_hangs_later_stops_neither_readers_nor_the_end() {
    if !can_mount("a_disk_that_hangs_later_stops_neither_readers_nor_the_end") {
        return;
    }
    let sandbox = vault();
    let mut command = mount_command(&sandbox, &FOR_READER);
    command.env("WATCHDOG_USEC", "100000");
    let daemon = Daemon::spawn(&sandbox, &mut command);
    daemon.await_ready();
    let secrets = sandbox.path("vault/secrets");
    let below = File::open(&secrets).unwrap();
    let file = fs::read(sandbox.file("A")).unwrap();
    let _hung = Hung::over(&sandbox.path("vault"));
    // Reaches the directory beneath the hung one, which the daemon watches.
    let below = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&below));
    fs::write(format!("{below}/B.age"), file).unwrap();
    daemon.await_hang();
    for _ in 0..100 {
        assert_eq!(READER.read(daemon.path("A")).unwrap(), b"one");
    }
    assert_eq!(READER.cat(&daemon.path("A")).unwrap(), b"one");
    let before = daemon.times_told("WATCHDOG=1");
    daemon.eventually("the watchdog is told on", || daemon.times_told("WATCHDOG=1") > before + 1);
    daemon.signal(Signal::TERM);
    ended_cleanly(&daemon);
}

#[test]
fn a_mount_that_someone_else_takes_away_ends_the_process_with_an_error() {
    if !can_mount("a_mount_that_someone_else_takes_away_ends_the_process_with_an_error") {
        return;
    }
    let sandbox = vault();
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        let held = daemon.path("A");
        let _held = READER.run(|| File::open(&held)).unwrap();
        unmount(daemon.mountpoint(), UnmountFlags::DETACH).unwrap();
        assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
        daemon.await_log(&["error: ", "was unmounted by someone else"]);
    }
}

#[test]
fn a_connection_that_someone_cuts_ends_the_process_with_an_error() {
    if !can_mount("a_connection_that_someone_cuts_ends_the_process_with_an_error") {
        return;
    }
    let sandbox = vault();
    let daemon = Daemon::private(&sandbox);
    let held = daemon.path("A");
    let _held = READER.run(|| File::open(&held)).unwrap();
    // What `umount -f` does: it fails, because the mount is in use, and cuts all the same.
    assert_eq!(unmount(daemon.mountpoint(), UnmountFlags::FORCE), Err(Errno::BUSY));
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    assert!(!is_mounted(daemon.mountpoint()), "{}", daemon.log());
}

#[test]
fn what_someone_mounts_in_its_place_is_left_alone() {
    if !can_mount("what_someone_mounts_in_its_place_is_left_alone") {
        return;
    }
    let sandbox = vault();
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        unmount(daemon.mountpoint(), UnmountFlags::DETACH).unwrap();
        // The kernel gives it the number that the first one had.
        mount("none", daemon.mountpoint(), "tmpfs", MountFlags::empty(), None).unwrap();
        assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
        assert!(is_mounted(daemon.mountpoint()), "{}", daemon.log());
    }
}

#[test]
fn unmount_ends_a_mount_from_another_process() {
    if !can_mount("unmount_ends_a_mount_from_another_process") {
        return;
    }
    let sandbox = vault();
    let mountpoint = sandbox.mountpoint();
    let unmount = ["unmount", mountpoint.to_str().unwrap()];
    let absent = sandbox.run(&unmount);
    absent.expect_error(&["is not a mount of vaultfs", "next: `findmnt -t fuse.vaultfs`"]);
    let daemon = Daemon::private(&sandbox);
    let held = daemon.path("A");
    let _held = READER.run(|| File::open(&held)).unwrap();
    sandbox.ok(&unmount);
    assert!(!is_mounted(&mountpoint));
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    let foreign = Foreign::over(&mountpoint);
    sandbox.run(&unmount).expect_error(&["is not a mount of vaultfs"]);
    drop(foreign);
    let daemon = Daemon::private(&sandbox);
    // By another path to it.
    sandbox.ok(&["unmount", "../run"]);
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
}

/// A filesystem that isn't ours.
struct Foreign<'a>(&'a std::path::Path);

impl<'a> Foreign<'a> {
    fn over(path: &'a std::path::Path) -> Self {
        mount("none", path, "tmpfs", MountFlags::empty(), None).unwrap();
        Self(path)
    }
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_killed_daemon_leaves_a_mount_that_the_next_one_clears_away() {
    let test = "a_killed_daemon_leaves_a_mount_that_the_next_one_clears_away";
    if !can_mount(test) {
        return;
    }
    let unprivileged = Sandbox::of(NOBODY);
    unprivileged.ok(&["init", unprivileged.path("vault").to_str().unwrap()]);
    unprivileged.add("A", b"one");
    let cases = [
        (vault(), READER, &FOR_READER[..]),
        (vault(), READER, &SHARED),
        (unprivileged, NOBODY, &[]),
    ];
    for (sandbox, reader, options) in cases {
        if reader == NOBODY && !has("fusermount3") {
            not_run(test, "without privileges: fusermount3 is not installed");
            continue;
        }
        let kill = || {
            let daemon = Daemon::ready(&sandbox, options);
            let helpers = daemon.children();
            daemon.signal(Signal::KILL);
            assert_eq!(daemon.ended().code(), None);
            assert_eq!(errno(reader.read(daemon.path("A"))), Some(Errno::NOTCONN));
            let ended = || helpers.iter().all(|&helper| !is_alive(helper));
            while !ended() {
                std::thread::yield_now();
            }
            daemon
        };
        let dead = kill();
        let daemon = Daemon::ready(&sandbox, options);
        daemon.await_log(&["WARN", "removing the mount of a process that died"]);
        assert_eq!(reader.read(daemon.path("A")).unwrap(), b"one");
        daemon.stop();
        drop(dead);
        let dead = kill();
        sandbox.ok(&["unmount", dead.mountpoint().to_str().unwrap()]);
        assert!(!is_mounted(dead.mountpoint()));
    }
}

#[test]
fn a_second_daemon_on_the_same_mount_point_is_refused() {
    if !can_mount("a_second_daemon_on_the_same_mount_point_is_refused") {
        return;
    }
    let sandbox = vault();
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        let mut second = mount_command(&sandbox, options);
        let second = crate::support::Ran::of(second.output().unwrap());
        second.expect_error(&[
            "is a mount point already (fuse.vaultfs)",
            "next: ",
            "vaultfs unmount",
        ]);
        assert_eq!(READER.read(daemon.path("A")).unwrap(), b"one");
        daemon.stop();
    }
}

#[test]
fn the_watchdog_of_systemd_hears_of_us() {
    if !can_mount("the_watchdog_of_systemd_hears_of_us") {
        return;
    }
    let sandbox = vault();
    let mut command = mount_command(&sandbox, &FOR_READER);
    let daemon = Daemon::spawn(&sandbox, command.env("WATCHDOG_USEC", "100000"));
    daemon.eventually("WATCHDOG=1 again and again", || daemon.times_told("WATCHDOG=1") > 4);
    daemon.stop();
    let daemon = Daemon::private(&sandbox);
    sandbox.rotate("A", b"two");
    daemon.await_value("A", b"two");
    assert!(!daemon.was_told("WATCHDOG=1"), "unasked");
}

#[test]
fn mount_points_that_will_not_do_are_refused_with_the_next_step() {
    if !can_mount("mount_points_that_will_not_do_are_refused_with_the_next_step") {
        return;
    }
    let sandbox = vault();
    let mountpoint = sandbox.mountpoint();
    let refused = |texts: &[&str]| {
        Daemon::refused(&sandbox, &FOR_READER).expect_error(texts);
    };
    sandbox.write("run/file", "");
    refused(&["is not empty", "next: choose an empty directory"]);
    fs::remove_file(mountpoint.join("file")).unwrap();
    chown(&mountpoint, Some(OTHER.uid), None).unwrap();
    refused(&["belongs to uid 62002", "next: choose a directory of your own"]);
    chown(&mountpoint, Some(READER.uid), None).unwrap();
    Daemon::private(&sandbox).stop();
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    refused(&["uid 62001 can't reach", "Permission denied", "next: ", "each directory above"]);
    assert!(!is_mounted(&mountpoint));
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o711)).unwrap();
    let foreign = Foreign::over(&mountpoint);
    Daemon::refused(&sandbox, &FOR_READER)
        .expect_error(&["is a mount point already (tmpfs)", "next: choose another"]);
    drop(foreign);

    let refused_at = |path: &str, texts: &[&str]| {
        let mut command = sandbox.command(&["mount"]);
        command.arg(sandbox.path(path)).args(FOR_READER);
        Daemon::spawn_refused(&sandbox, &mut command).expect_error(texts);
    };
    refused_at("missing", &["missing doesn't exist", "next: make it: mkdir -p "]);
    refused_at("missing/too", &["doesn't exist", "next: make it: mkdir -p "]);
    sandbox.write("file", "");
    refused_at("file", &["file is not a directory", "next: choose a directory"]);
    symlink(&mountpoint, sandbox.path("link")).unwrap();
    refused_at("link", &["link is a symbolic link", "next: name the directory that it points to"]);
}

#[test]
fn what_keeps_a_machine_from_mounting_is_named_with_the_way_out() {
    let test = "what_keeps_a_machine_from_mounting_is_named_with_the_way_out";
    if !can_mount(test) {
        return;
    }
    let sandbox = vault();
    let wrapped = |wrapper: &[&str]| {
        let command = mount_command(&sandbox, &FOR_READER);
        let mut wrapped = Command::new(wrapper[0]);
        wrapped.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
        wrapped.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        wrapped.current_dir(command.get_current_dir().unwrap());
        Daemon::spawn_refused(&sandbox, &mut wrapped)
    };
    let no_device = "mount -t tmpfs none /dev && exec \"$@\"";
    wrapped(&["unshare", "--mount", "sh", "-c", no_device, "sh"]).expect_error(&[
        "/dev/fuse is missing",
        "next: ",
        "modprobe fuse",
        "--device /dev/fuse",
    ]);
    wrapped(&["setpriv", "--bounding-set=-sys_admin"]).expect_error(&[
        "mounting is not permitted",
        "next: ",
        "--cap-add SYS_ADMIN",
    ]);

    let sandbox = Sandbox::of(NOBODY);
    sandbox.ok(&["init", sandbox.path("vault").to_str().unwrap()]);
    let mut command = NOBODY.command("env");
    command.arg("PATH=/nonexistent").arg(sandbox.path("vaultfs")).arg("mount");
    command.arg(sandbox.mountpoint()).current_dir(sandbox.path("vault"));
    command.env("HOME", sandbox.path("home"));
    Daemon::spawn_refused(&sandbox, &mut command)
        .expect_error(&["fusermount3 is not installed", "next: install it: apt-get install fuse3"]);
}
