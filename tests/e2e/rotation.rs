//! Changes of the vault, seen through a mount while it serves.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::support::{Ran, Sandbox, has, not_run};
use crate::users::{FOR_READER, READER, can_mount};

const SHARED: [&str; 3] = ["--access=shared", FOR_READER[0], FOR_READER[1]];

fn is_absent(result: io::Result<Vec<u8>>) -> bool {
    result.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

#[test]
fn new_opens_see_a_rotation_and_open_files_keep_the_old_value() {
    if !can_mount("new_opens_see_a_rotation_and_open_files_keep_the_old_value") {
        return;
    }
    let sandbox = Sandbox::new();
    let (old, new) = (vec![b'o'; 150_000], vec![b'n'; 90_000]);
    for options in [&FOR_READER[..], &SHARED] {
        let name = if options == SHARED { "dir/SHARED" } else { "dir/PRIVATE" };
        sandbox.add(name, &old);
        let daemon = Daemon::ready(&sandbox, options);
        let path = daemon.path(name);
        let mut file = READER.run(|| File::open(&path)).unwrap();
        let mut read = vec![0; 70_000];
        file.read_exact(&mut read).unwrap();
        sandbox.rotate(name, &new);
        daemon.await_value(name, &new);
        assert_eq!(READER.run(|| fs::metadata(&path)).unwrap().len(), 90_000);
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, old);
        sandbox.rotate(name, b"newer");
        daemon.await_value(name, b"newer");
        file.rewind().unwrap();
        read.clear();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, old);
        assert_eq!(READER.cat(&path).unwrap(), b"newer");
        drop(file);
        daemon.stop();
    }
}

#[test]
fn secrets_come_go_and_move_while_they_are_served() {
    if !can_mount("secrets_come_go_and_move_while_they_are_served") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.add("keep/A", b"a");
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        let gone = |name: &str| {
            daemon.eventually(&format!("{name} is gone"), || {
                is_absent(READER.read(daemon.path(name)))
            });
        };
        sandbox.add("new/deep/B", b"b");
        daemon.await_value("new/deep/B", b"b");
        sandbox.ok(&["rename", "new/deep/B", "C"]);
        daemon.await_value("C", b"b");
        gone("new/deep/B");
        daemon.eventually("empty directories are gone", || {
            READER.run(|| fs::symlink_metadata(daemon.path("new"))).is_err()
        });
        sandbox.ok(&["copy", "C", "D"]);
        daemon.await_value("D", b"b");
        sandbox.ok(&["remove", "--yes", "C", "D"]);
        gone("C");
        gone("D");
        // A file where a directory was, and the other way round.
        sandbox.add("new", b"file");
        daemon.await_value("new", b"file");
        sandbox.ok(&["remove", "--yes", "new"]);
        sandbox.add("new/deep/B", b"again");
        daemon.await_value("new/deep/B", b"again");
        sandbox.ok(&["remove", "--yes", "new/deep/B"]);
        gone("new/deep/B");
        assert_eq!(READER.read(daemon.path("keep/A")).unwrap(), b"a");
        daemon.eventually("one is left", || daemon.status() == "1 secrets served");
        daemon.stop();
    }
}

/// A vault in git, with a tag for each of `rounds` values of 40 secrets.
struct Repository {
    sandbox: Sandbox,
    names: Vec<String>,
}

impl Repository {
    fn new(rounds: usize) -> Self {
        let names = (0..40).map(|i| format!("dir{}/S{i}", i % 4)).collect();
        let repository = Self { sandbox: Sandbox::new(), names };
        repository.git(&["init", "-q", "-b", "main"]);
        for round in 1..=rounds {
            for name in &repository.names {
                let (value, command) =
                    (Self::value(name, round), if round == 1 { "add" } else { "rotate" });
                repository.sandbox.feed(&value, &[command, name]).expect_ok();
            }
            repository.git(&["add", "."]);
            repository.git(&["commit", "-q", "-m", "values"]);
            repository.git(&["tag", &format!("round{round}")]);
        }
        repository
    }

    fn value(name: &str, round: usize) -> Vec<u8> {
        format!("{name} {round} {}", "x".repeat(round * 1000)).into_bytes()
    }

    fn checkout(&self, round: usize) {
        self.git(&["checkout", "-q", &format!("round{round}")]);
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(self.sandbox.path("vault"))
            .env_clear()
            .env("HOME", self.sandbox.path("home"));
        git.env("PATH", std::env::var_os("PATH").unwrap());
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments);
        Ran::of(git.output().unwrap()).expect_ok();
    }
}

#[test]
fn a_checkout_replaces_many_secrets_at_once() {
    let test = "a_checkout_replaces_many_secrets_at_once";
    if !can_mount(test) {
        return;
    }
    if !has("git") {
        return not_run(test, "git is not installed");
    }
    let repository = Repository::new(2);
    repository.checkout(1);
    let daemon = Daemon::private(&repository.sandbox);
    for round in [1, 2] {
        repository.checkout(round);
        for name in &repository.names {
            daemon.await_value(name, &Repository::value(name, round));
        }
        daemon.eventually("all is well", || daemon.status() == "40 secrets served");
    }
    daemon.stop();
}

#[test]
fn a_secret_is_not_missed_while_its_file_is_replaced_in_two_steps() {
    if !can_mount("a_secret_is_not_missed_while_its_file_is_replaced_in_two_steps") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.add("A", b"one");
    let file = fs::read(sandbox.file("A")).unwrap();
    let daemon = Daemon::private(&sandbox);
    let path = daemon.path("A");
    for _ in 0..5 {
        // As `git checkout` does on a busy machine: gone, empty, half there, there.
        fs::remove_file(sandbox.file("A")).unwrap();
        for len in [0, file.len() / 2, file.len()] {
            READER.run(|| {
                let until = Instant::now() + Duration::from_millis(20);
                while Instant::now() < until {
                    assert_eq!(fs::read(&path).unwrap(), b"one");
                }
            });
            fs::write(sandbox.file("A"), &file[..len]).unwrap();
        }
    }
    daemon.stop();
}

/// Values that tell their generation and what the rest of them must be.
struct Values(RwLock<Vec<Arc<Vec<u8>>>>);

impl Values {
    /// Makes the next generation's value, of `len` bytes or a few more.
    fn next(&self, len: usize) -> Arc<Vec<u8>> {
        let mut values = self.0.write().unwrap();
        let generation = values.len();
        let start = format!("{generation:>10}\n");
        let pattern = format!("{generation:x},");
        let rest = pattern.bytes().cycle().take(len);
        values.push(Arc::new(start.into_bytes().into_iter().chain(rest).collect()));
        Arc::clone(&values[generation])
    }

    /// The generation of a value that was read, which must be that value whole and unmixed.
    #[track_caller]
    fn generation_of(&self, read: &[u8]) -> u64 {
        let start = String::from_utf8_lossy(&read[..read.len().min(11)]).into_owned();
        let generation: usize = start
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("torn: {} bytes that begin with {start:?}", read.len()));
        let expected = Arc::clone(&self.0.read().unwrap()[generation]);
        assert!(
            read == *expected,
            "generation {generation} has {} bytes, and {} other ones were read",
            expected.len(),
            read.len()
        );
        generation as u64
    }
}

#[test]
fn readers_under_rotation_see_whole_values_and_never_an_older_one() {
    if !can_mount("readers_under_rotation_see_whole_values_and_never_an_older_one") {
        return;
    }
    let reads: usize =
        std::env::var("VAULTFS_TEST_READS").map_or(30_000, |reads| reads.parse().unwrap());
    let sizes = [100, 4_000, 200 << 10, 4_097, 1, 64 << 10, 131_072, 500, 131_061, 20_000];
    let sandbox = Sandbox::new();
    let values = Values(RwLock::default());
    sandbox.add("A", &values.next(1000));
    let daemon = Daemon::private(&sandbox);
    let path = daemon.path("A");
    let (left, newest, seen) = (AtomicUsize::new(reads), AtomicU64::new(0), AtomicUsize::new(0));
    let take =
        || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    thread::scope(|scope| {
        let readers = [(); 3].map(|()| {
            scope.spawn(|| {
                READER.run(|| {
                    let mut last = 0;
                    while take().is_ok() {
                        // Whatever anyone has seen before this open began.
                        let before = newest.load(Ordering::SeqCst);
                        let read = fs::read(&path).unwrap();
                        let generation = values.generation_of(&read);
                        assert!(generation >= before, "{generation} after {before}");
                        newest.fetch_max(generation, Ordering::SeqCst);
                        if generation != last {
                            seen.fetch_add(1, Ordering::Relaxed);
                            last = generation;
                        }
                    }
                });
            })
        });
        for size in sizes.into_iter().cycle() {
            sandbox.rotate("A", &values.next(size));
            // All has been read, or has failed.
            if readers.iter().all(ScopedJoinHandle::is_finished) {
                break;
            }
            // Ten times a second.
            thread::sleep(Duration::from_millis(100));
        }
    });
    let rotations = values.0.read().unwrap().len() - 1;
    let seen = seen.into_inner();
    assert!(rotations > 2 && seen > rotations, "{seen} changes seen of {rotations} rotations");
    eprintln!("{reads} reads, {rotations} rotations, {seen} changes seen by 3 readers");
    let last = Arc::clone(values.0.read().unwrap().last().unwrap());
    daemon.await_value("A", &last);
    daemon.stop();
}

/// An `inotifywait` of the reader, with what it says in a file.
struct Watcher {
    child: Child,
    heard: PathBuf,
}

impl Watcher {
    fn new(sandbox: &Sandbox, daemon: &Daemon, events: &str, path: &str) -> Self {
        let heard = sandbox.path(format!("heard{}", sandbox.next_number()));
        let mut inotifywait = READER.command("inotifywait");
        inotifywait.args(["-q", "-m", "--format", "%e %f", "-e", events]).arg(daemon.path(path));
        let child = inotifywait.stdout(File::create(&heard).unwrap()).spawn().unwrap();
        let watcher = Self { child, heard };
        let descriptors = format!("/proc/{}/fdinfo", watcher.child.id());
        daemon.eventually("the watch is there", || {
            let mut infos = fs::read_dir(&descriptors).unwrap();
            infos.any(|info| {
                let info = fs::read_to_string(info.unwrap().path());
                info.is_ok_and(|info| info.contains("inotify wd:"))
            })
        });
        watcher
    }

    #[track_caller]
    fn hears(&self, daemon: &Daemon, event: &str) {
        daemon.eventually(event, || {
            fs::read_to_string(&self.heard).unwrap().lines().any(|line| line == event)
        });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watchers_hear_of_a_rotation() {
    let test = "watchers_hear_of_a_rotation";
    if !can_mount(test) {
        return;
    }
    if !has("inotifywait") {
        return not_run(test, "inotifywait is not installed");
    }
    let sandbox = Sandbox::new();
    sandbox.add("dir/A", b"one");
    for options in [&FOR_READER[..], &SHARED] {
        let daemon = Daemon::ready(&sandbox, options);
        let directory = Watcher::new(&sandbox, &daemon, "moved_to,delete", "dir");
        let file = Watcher::new(&sandbox, &daemon, "delete_self", "dir/A");
        sandbox.rotate("dir/A", b"two");
        file.hears(&daemon, "DELETE_SELF ");
        directory.hears(&daemon, "MOVED_TO A");
        // Who opens it then gets the new value.
        assert_eq!(READER.read(daemon.path("dir/A")).unwrap(), b"two");
        sandbox.add("dir/B", b"b");
        directory.hears(&daemon, "MOVED_TO B");
        sandbox.ok(&["remove", "--yes", "dir/B"]);
        directory.hears(&daemon, "DELETE B");
        sandbox.rotate("dir/A", b"one");
        daemon.stop();
    }
}
