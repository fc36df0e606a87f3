//! A running `vaultfs mount`, watched as systemd would watch it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ran, Sandbox};
use crate::users::{FOR_READER, READER, User};

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a stop may take, whatever hangs.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Ends our own listener; systemd has no such message.
const END_OF_TEST: &[u8] = b"END";

/// A `vaultfs mount`. Dropping it ends it, and takes its mount away whatever happens.
pub(crate) struct Daemon {
    child: Mutex<Child>,
    /// Who reads in `await_value`.
    reader: User,
    mountpoint: PathBuf,
    log: PathBuf,
    socket: PathBuf,
    told: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// A private mount of the sandbox's vault for the reader, ready.
    pub(crate) fn private(sandbox: &Sandbox) -> Self {
        Self::ready(sandbox, &FOR_READER)
    }

    /// A mount with these options, ready.
    pub(crate) fn ready(sandbox: &Sandbox, options: &[&str]) -> Self {
        let daemon = Self::start(sandbox, options);
        daemon.await_ready();
        daemon
    }

    /// A mount with these options that may not be ready yet.
    pub(crate) fn start(sandbox: &Sandbox, options: &[&str]) -> Self {
        Self::spawn(sandbox, &mut mount_command(sandbox, options))
    }

    /// A mount that this command starts, on [`Sandbox::mountpoint`].
    pub(crate) fn spawn(sandbox: &Sandbox, command: &mut Command) -> Self {
        let mountpoint = sandbox.mountpoint();
        let number = sandbox.next_number();
        let (log, socket) =
            (sandbox.path(format!("log{number}")), sandbox.path(format!("sd{number}")));
        let told = listen(&socket);
        let output = File::create(&log).unwrap();
        command.env("NOTIFY_SOCKET", &socket).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = Mutex::new(command.spawn().unwrap());
        Self { child, reader: sandbox.owner().unwrap_or(READER), mountpoint, log, socket, told }
    }

    /// A mount with these options, which is expected not to come up: what it said.
    #[track_caller]
    pub(crate) fn refused(sandbox: &Sandbox, options: &[&str]) -> Ran {
        Self::spawn_refused(sandbox, &mut mount_command(sandbox, options))
    }

    /// As [`Daemon::refused`], with this command.
    #[track_caller]
    pub(crate) fn spawn_refused(sandbox: &Sandbox, command: &mut Command) -> Ran {
        let daemon = Self::spawn(sandbox, command);
        let status = daemon.wait(PATIENCE);
        let status = status.unwrap_or_else(|| panic!("it came up\n{}", daemon.report()));
        Ran { code: status.code(), stdout: String::new(), stderr: daemon.log(), bytes: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn await_ready(&self) {
        self.eventually("READY=1", || self.was_told("READY=1"));
    }

    /// Waits for a condition, and shows the log where it doesn't come, or where the process ends.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            let ended = self.child.lock().unwrap().try_wait().unwrap();
            assert!(ended.is_none() || condition(), "{ended:?} before {what}: {}", self.log());
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.report());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the reader gets this value by opening the file anew.
    #[track_caller]
    pub(crate) fn await_value(&self, name: &str, value: &[u8]) {
        self.eventually(&format!("the new value of {name}"), || {
            self.reader.read(self.path(name)).is_ok_and(|read| read == value)
        });
    }

    /// Waits until the last STATUS= has this in it.
    #[track_caller]
    pub(crate) fn await_status(&self, text: &str) {
        self.eventually(&format!("STATUS= with {text:?}"), || self.status().contains(text));
    }

    /// Waits until a line of the log has all of these.
    #[track_caller]
    pub(crate) fn await_log(&self, texts: &[&str]) {
        self.eventually(&format!("a log line with {texts:?}"), || {
            self.log().lines().any(|line| texts.iter().all(|text| line.contains(text)))
        });
    }

    /// Waits until a thread of it hangs with a [`Hung`](crate::hung::Hung) disk: the kernel's
    /// function that it sleeps in is one of FUSE's.
    #[track_caller]
    pub(crate) fn await_hang(&self) {
        self.eventually("a thread that hangs", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            let mut places = tasks.map(|task| fs::read_to_string(task?.path().join("wchan")));
            places.any(|place| place.is_ok_and(|place| place.starts_with("fuse_")))
        });
    }

    /// A file of the mount.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mountpoint.join(name)
    }

    pub(crate) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// The processes that the daemon started and that run: its helper.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let parent = self.pid().to_string();
        pids.filter(|pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Behind the name, which may hold anything: state and parent, proc_pid_stat(5).
            let behind = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<&str> = behind.split_whitespace().collect();
            fields.first() != Some(&"Z") && fields.get(1) == Some(&parent.as_str())
        })
        .collect()
    }

    /// All that it printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The last STATUS= that systemd would show.
    pub(crate) fn status(&self) -> String {
        let told = self.told.lock().unwrap();
        let statuses = told.iter().rev().filter_map(|line| line.strip_prefix("STATUS="));
        statuses.map(ToOwned::to_owned).next().unwrap_or_default()
    }

    /// How often systemd was told exactly this.
    pub(crate) fn times_told(&self, line: &str) -> usize {
        self.told.lock().unwrap().iter().filter(|told| *told == line).count()
    }

    pub(crate) fn was_told(&self, line: &str) -> bool {
        self.times_told(line) > 0
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end of the process, for as long as a stop may take.
    #[track_caller]
    pub(crate) fn ended(&self) -> ExitStatus {
        let status = self.wait(STOP_WITHIN);
        status.unwrap_or_else(|| panic!("it doesn't end\n{}", self.report()))
    }

    /// Stops it with SIGTERM, which must go well, and leave nothing.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().code(), Some(0), "{}", self.log());
        assert!(!is_mounted(&self.mountpoint), "{}", self.log());
    }

    fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.child.lock().unwrap().try_wait().unwrap();
            if status.is_some() || Instant::now() > deadline {
                return status;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn report(&self) -> String {
        format!("log: {}\nsystemd was told: {:?}", self.log(), self.told.lock().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let mut running =
            self.child.lock().unwrap().try_wait().is_ok_and(|status| status.is_none());
        if running {
            self.signal(Signal::TERM);
            running = self.wait(STOP_WITHIN).is_none();
        }
        if running {
            let _ = self.child.lock().unwrap().kill();
            let _ = self.child.lock().unwrap().wait();
        }
        while is_mounted(&self.mountpoint)
            && unmount(&self.mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok()
        {
        }
        let _ = UnixDatagram::unbound().and_then(|end| end.send_to(END_OF_TEST, &self.socket));
    }
}

/// `vaultfs mount` on the sandbox's mount point.
pub(crate) fn mount_command(sandbox: &Sandbox, options: &[&str]) -> Command {
    let mut command = sandbox.command(&["mount"]);
    command.arg(sandbox.mountpoint()).args(options);
    command
}

/// Whether something is mounted there, by the mount table: asks no filesystem.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// Whether the process exists and isn't a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Plays systemd at `socket`: keeps every line that it is told, and never lets the queue fill.
fn listen(socket: &Path) -> Arc<Mutex<Vec<String>>> {
    let notify = UnixDatagram::bind(socket).unwrap();
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&told);
    thread::spawn(move || {
        let mut message = vec![0; 1 << 16];
        while let Ok(len) = notify.recv(&mut message)
            && &message[..len] != END_OF_TEST
        {
            let text = String::from_utf8_lossy(&message[..len]);
            lines.lock().unwrap().extend(text.lines().map(ToOwned::to_owned));
        }
    });
    told
}
