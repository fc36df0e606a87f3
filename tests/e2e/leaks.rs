//! Values stay where they belong: not in what is printed or logged, not in other processes, not in
//! core dumps, not in files.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Daemon, is_alive, mount_command};
use crate::support::{Ran, Sandbox, feed, has, not_run};
use crate::users::{FOR_READER, NOBODY, READER, User, can_mount};

/// Made at run time, so that it is in no program.
fn canary(what: &str) -> String {
    format!("CANARY-{what}-{}", "4c6f7665".repeat(4))
}

/// A value as it is, as hexadecimal and base64 would show it, and as Rust's `Debug` of bytes.
fn shapes(value: &str) -> Vec<Vec<u8>> {
    let middle = &value.as_bytes()[3..value.len() - 3];
    let hex: Vec<String> = middle.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    let list: Vec<String> = middle.iter().map(ToString::to_string).collect();
    vec![
        middle.to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        list.join(", ").into_bytes(),
    ]
}

fn has_value(bytes: &[u8], value: &str) -> bool {
    let contains = |shape: &Vec<u8>| find(bytes, shape);
    shapes(value).iter().any(contains)
}

/// Whether `needle` is in `bytes`; quick enough for a process's memory in a debug build.
fn find(bytes: &[u8], needle: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// The files below a directory that hold the value.
fn files_with(directory: &Path, value: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            found.extend(files_with(&path, value));
        } else if kind.is_file() && has_value(&fs::read(&path).unwrap(), value) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// The memory of a process that holds the value: where, as `/proc/PID/maps` says.
fn memory_with(pid: u32, value: &str) -> Vec<String> {
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let holds = |line: &&str| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (address(start), address(end));
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        let read = memory.seek(SeekFrom::Start(start)).and_then(|_| memory.read_exact(&mut bytes));
        // Guard pages and the kernel's own can't be read.
        read.is_ok() && find(&bytes, value.as_bytes())
    };
    maps.lines().filter(|line| line.contains("rw")).filter(holds).map(ToOwned::to_owned).collect()
}

/// The helper process of a mount.
fn helper(daemon: &Daemon) -> u32 {
    let [helper] = daemon.children()[..] else { panic!("one helper: {:?}", daemon.children()) };
    helper
}

fn is_denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn nothing_that_is_printed_logged_or_passed_on_has_a_value() {
    if !can_mount("nothing_that_is_printed_logged_or_passed_on_has_a_value") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.append_to_policy(
        "secrets:\n  SHORT: {bytes: [16]}\n  URL: {url: true}\n  PEM: {pem: true}\n",
    );
    let value = canary("PRINTED");
    let mut printed = Vec::new();
    let mut run = |input: Option<&str>, arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env("VAULTFS_LOG", "trace").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
        let ran = match input {
            Some(input) => feed(&mut command, input.as_bytes()),
            None => Ran::of(command.output().unwrap()),
        };
        printed.push((format!("{arguments:?}"), format!("{}{}", ran.stdout, ran.stderr)));
    };
    run(Some(&value), &["add", "A"]);
    run(Some(&value), &["add", "A"]);
    run(Some(&value), &["rotate", "A"]);
    run(Some(&format!("{value}\n")), &["rotate", "A"]);
    run(Some(&value), &["add", "SHORT"]);
    run(Some(&value), &["add", "URL"]);
    run(Some(&value), &["add", "PEM"]);
    sandbox.write("vault/value", &value);
    run(None, &["add", "FROM_FILE", "--file", "value"]);
    run(None, &["add", &format!("A/../{}", "x"), "--file", "value"]);
    fs::write(sandbox.path("vault/.env"), format!("GOOD={value}\nB{value}AD LINE\n")).unwrap();
    run(None, &["migrate", ".env", "--yes"]);
    run(None, &["status", "--env-file", ".env"]);
    fs::write(sandbox.path("vault/.env"), format!("MIGRATED={value}\n")).unwrap();
    run(None, &["migrate", ".env", "--yes"]);
    run(None, &["copy", "A", "COPY"]);
    run(None, &["rename", "COPY", "MOVED"]);
    run(None, &["list"]);
    run(None, &["list", "--json"]);
    run(None, &["status", "--json"]);
    run(None, &["show", "A"]);
    run(None, &["show", "A", "--out", "out"]);
    // An identity file that holds a value by mistake.
    run(None, &["show", "A", "--reveal", "--identity", "value"]);
    run(None, &["remove", "MOVED", "--yes"]);
    let daemon = {
        let mut command = mount_command(&sandbox, &FOR_READER);
        command.env("VAULTFS_LOG", "trace").env("RUST_LOG", "trace");
        Daemon::spawn(&sandbox, &mut command)
    };
    daemon.await_ready();
    daemon.await_value("A", format!("{value}\n").as_bytes());
    for pid in [daemon.pid(), helper(&daemon)] {
        for file in ["environ", "cmdline", "comm"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!has_value(&bytes, &value), "{pid} {file}");
        }
    }
    assert_eq!(fs::read(format!("/proc/{}/environ", helper(&daemon))).unwrap(), b"");
    sandbox.rotate("A", canary("ROTATED").as_bytes());
    daemon.await_value("A", canary("ROTATED").as_bytes());
    let file = sandbox.file("A");
    let good = fs::read(&file).unwrap();
    fs::write(&file, &good[..good.len() - 1]).unwrap();
    daemon.await_status("last good version: A");
    printed.push(("STATUS=".to_owned(), daemon.status()));
    daemon.stop();
    printed.push(("mount".to_owned(), daemon.log()));
    assert!(printed.len() > 20);
    for (what, text) in &printed {
        for value in [&value, &canary("ROTATED")] {
            assert!(!has_value(text.as_bytes(), value), "{what}: {text}");
        }
        assert!(!text.contains("AGE-SECRET-KEY-1"), "{what}: {text}");
    }
}

#[test]
fn the_helper_has_no_value_and_the_reader_cannot_look_into_either_process() {
    let test = "the_helper_has_no_value_and_the_reader_cannot_look_into_either_process";
    if !can_mount(test) {
        return;
    }
    let sandbox = Sandbox::new();
    let value = canary("MEMORY");
    sandbox.add("A", value.as_bytes());
    let daemon = Daemon::private(&sandbox);
    assert_eq!(READER.read(daemon.path("A")).unwrap(), value.as_bytes());
    sandbox.rotate("A", b"another");
    daemon.await_value("A", b"another");
    sandbox.rotate("A", value.as_bytes());
    daemon.await_value("A", value.as_bytes());
    assert_ne!(memory_with(daemon.pid(), &value), [""; 0], "the search finds what is there");
    assert_eq!(memory_with(helper(&daemon), &value), [""; 0]);
    let identity = fs::read_to_string(sandbox.identity()).unwrap();
    let identity = identity.lines().last().unwrap();
    assert_eq!(memory_with(helper(&daemon), identity), [""; 0]);
    for pid in [daemon.pid(), helper(&daemon)] {
        cannot_be_looked_into(READER, pid);
    }
    if has("strace") {
        for pid in [daemon.pid(), helper(&daemon)] {
            let traced = READER.command("strace").args(["-p", &pid.to_string()]).output();
            let ran = Ran::of(traced.unwrap());
            assert!(ran.stderr.contains("Operation not permitted"), "{ran:?}");
        }
    } else {
        not_run(test, "tracing: strace is not installed");
    }
    daemon.stop();
}

#[test]
fn who_mounts_for_themselves_cannot_look_into_the_daemon() {
    let test = "who_mounts_for_themselves_cannot_look_into_the_daemon";
    if !can_mount(test) {
        return;
    }
    if !has("fusermount3") {
        return not_run(test, "fusermount3 is not installed");
    }
    let sandbox = Sandbox::of(NOBODY);
    sandbox.ok(&["init", sandbox.path("vault").to_str().unwrap()]);
    sandbox.add("A", b"one");
    let daemon = Daemon::ready(&sandbox, &[]);
    // The helper ends here once it has looked the mount up: there is no hidden mount to keep it for.
    cannot_be_looked_into(NOBODY, daemon.pid());
    daemon.stop();
}

/// Whether the user may neither read the memory of the process nor follow its links.
#[track_caller]
fn cannot_be_looked_into(user: User, pid: u32) {
    let process = format!("/proc/{pid}");
    // Root's, whoever's the process is: it isn't dumpable.
    assert_eq!(fs::metadata(format!("{process}/environ")).unwrap().uid(), 0);
    for file in ["mem", "environ", "maps", "fd", "root", "cwd", "exe"] {
        let path = format!("{process}/{file}");
        let looked = user.run(|| match file {
            "fd" => fs::read_dir(&path).map(drop),
            "root" | "cwd" | "exe" => fs::read_link(&path).map(drop),
            _ => File::open(&path).and_then(|mut file| file.read(&mut [0])).map(drop),
        });
        assert!(is_denied(looked), "{path}");
    }
}

#[test]
fn a_reader_who_kills_the_helper_gains_nothing() {
    if !can_mount("a_reader_who_kills_the_helper_gains_nothing") {
        return;
    }
    disturb_the_helper(Signal::KILL);
}

#[test]
fn a_reader_who_stops_the_helper_gains_nothing() {
    if !can_mount("a_reader_who_stops_the_helper_gains_nothing") {
        return;
    }
    disturb_the_helper(Signal::STOP);
}

/// The helper has the reader's uid, and so the reader may send it signals.
fn disturb_the_helper(signal: Signal) {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"one");
    let daemon = Daemon::private(&sandbox);
    let pid = helper(&daemon);
    let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    READER.run(|| kill_process(process, signal)).unwrap();
    for value in ["two", "three", "four"] {
        sandbox.rotate("A", value.as_bytes());
        daemon.await_value("A", value.as_bytes());
    }
    daemon.stop();
    assert!(!is_alive(pid));
}

#[test]
fn a_crash_leaves_no_value_in_a_core_dump() {
    let test = "a_crash_leaves_no_value_in_a_core_dump";
    if !can_mount(test) {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.add("A", canary("CORE").as_bytes());
    // Where a crash of anything else leaves a core dump in the working directory.
    let here = sandbox.path("cores");
    fs::create_dir(&here).unwrap();
    let unlimited = |program: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh", program]);
        command.current_dir(&here);
        command
    };
    let crash = unlimited("sh").args(["-c", "kill -SEGV $$"]).status().unwrap();
    let dumps = fs::read_dir(&here).unwrap().count();
    if !crash.core_dumped() || dumps == 0 {
        return not_run(test, "core dumps are not files in the working directory here");
    }
    for signal in [Signal::SEGV, Signal::ABORT, Signal::QUIT] {
        let command = mount_command(&sandbox, &FOR_READER);
        let mut limitless = unlimited(command.get_program().to_str().unwrap());
        limitless.args(command.get_args()).arg("--vault").arg(sandbox.path("vault"));
        limitless.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let daemon = Daemon::spawn(&sandbox, &mut limitless);
        daemon.await_ready();
        // The first SIGSEGV from outside only takes Rust's own handler away.
        while is_alive(daemon.pid()) {
            daemon.signal(signal);
        }
        let status = daemon.ended();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(!status.core_dumped());
    }
    assert_eq!(fs::read_dir(&here).unwrap().count(), dumps, "a core dump was left");
}

#[test]
fn no_command_writes_a_value_anywhere() {
    let test = "no_command_writes_a_value_anywhere";
    if !has("strace") {
        return not_run(test, "strace is not installed");
    }
    let sandbox = Sandbox::new();
    let value = canary("WRITTEN");
    let temporary = sandbox.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let trace = sandbox.path("trace");
    let traced = |input: &str, arguments: &[&str]| {
        let command = sandbox.command(arguments);
        let mut strace = Command::new("strace");
        let calls = "write,writev,pwrite64,pwritev,sendto,sendmsg,execve,openat,memfd_create";
        strace.args(["-f", "-qq", "-v", "-s", "1000000", "-e", calls, "-o"]).arg(&trace);
        strace.arg(command.get_program()).args(command.get_args()).env_clear();
        strace.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        strace.env("TMPDIR", &temporary).current_dir(command.get_current_dir().unwrap());
        let ran = feed(&mut strace, input.as_bytes());
        let seen = fs::read_to_string(&trace).unwrap();
        if seen.is_empty() {
            return Err(ran);
        }
        ran.expect_ok();
        assert!(seen.contains("openat("), "{seen}");
        assert!(!has_value(seen.as_bytes(), &value), "{arguments:?}: {seen}");
        // What it makes, it makes in the vault.
        for line in
            seen.lines().filter(|line| line.contains("O_CREAT") || line.contains("memfd_create"))
        {
            assert!(!line.contains("/tmp/") || line.contains("/vault"), "{arguments:?}: {line}");
            assert!(!line.contains("memfd_create"), "{arguments:?}: {line}");
        }
        Ok(())
    };
    if let Err(ran) = traced(&value, &["add", "A"]) {
        return not_run(test, &format!("strace may not trace: {}", ran.stderr));
    }
    traced(&value, &["rotate", "A"]).unwrap();
    traced("", &["copy", "A", "B"]).unwrap();
    traced("", &["rename", "B", "C"]).unwrap();
    traced("", &["list"]).unwrap();
    traced("", &["status"]).unwrap();
    let source = sandbox.write(".env", format!("MIGRATED={value}\n"));
    let source = source.to_str().unwrap();
    traced("", &["migrate", source, "--yes", "--delete-source"]).unwrap();
    fs::remove_file(&trace).unwrap();
    assert_eq!(sandbox.reveal("MIGRATED"), value.as_bytes());
    assert_eq!(files_with(&sandbox.path(""), &value), [""; 0]);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    // The search finds what is there.
    sandbox.ok(&["show", "A", "--out", "../out"]);
    assert_eq!(files_with(&sandbox.path(""), &value), [sandbox.path("out").display().to_string()]);
    assert_eq!(fs::metadata(sandbox.path("out")).unwrap().mode() & 0o7777, 0o600);
}
