//! Mounts for tests, and commands run as other users.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vaultfs_fusefs::{
    Access, Ending, Exposure, Loading, Memory, Mount, MountError, MountEvent, MountOptions, Need,
    Place, Reader, Selector,
};

use crate::source::FakeSource;

pub(crate) const HELPER_VARIABLE: &str = "VAULTFS_TEST_HELPER";

/// A Python that every user may run.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const READER: Reader = Reader { uid: 61001, gid: 61001 };
pub(crate) const OTHER: Reader = Reader { uid: 61002, gid: 61002 };
pub(crate) const ROOT: Reader = Reader { uid: 0, gid: 0 };

/// Whether this machine can run tests with real mounts and users; says so where it can't.
pub(crate) fn can_mount(test: &str) -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "needs root"
    } else if fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() {
        "needs /dev/fuse"
    } else if Command::new("setpriv").arg("--version").output().is_err() {
        "needs setpriv"
    } else {
        return true;
    };
    not_run(test, reason);
    false
}

/// Reports a test that can't run here.
pub(crate) fn not_run(test: &str, reason: &str) {
    let line = format!("NOT RUN: fusefs {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(report) = std::env::var_os("VAULTFS_TEST_REPORT") {
        let mut report = fs::OpenOptions::new().create(true).append(true).open(report).unwrap();
        report.write_all(line.as_bytes()).unwrap();
    }
}

/// A directory to mount on, which every user reaches.
pub(crate) struct Directory {
    _base: TempDir,
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let base = Self::new_base();
        let path = base.path().join("mount");
        fs::create_dir(&path).unwrap();
        Self { _base: base, path }
    }

    /// An empty directory that every user may enter.
    pub(crate) fn new_base() -> TempDir {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        base
    }
}

pub(crate) fn helper_command() -> Vec<OsString> {
    let program = std::env::current_exe().unwrap();
    let variable = format!("{HELPER_VARIABLE}=1");
    let mut command: Vec<OsString> = vec!["/usr/bin/env".into(), variable.into(), program.into()];
    command.extend(["--exact", "helper_process", "--nocapture"].map(OsString::from));
    command
}

pub(crate) fn everything() -> Selector {
    Selector::Matching { pattern: "**".to_owned(), matches: Box::new(|_| true) }
}

/// Everything in the source, at its name, for `readers`.
pub(crate) fn options(path: &Path, access: Access, readers: &[Reader]) -> MountOptions {
    MountOptions {
        mountpoint: path.to_owned(),
        access,
        exposures: vec![Exposure {
            secrets: everything(),
            readers: readers.to_vec(),
            place: Place::SameAsName,
            need: Need::Optional,
        }],
        namespace: b"test".to_vec(),
        loading: Loading::Eager,
        memory: Memory::PreferLocked,
        helper: helper_command(),
    }
}

/// A mount that is up.
pub(crate) struct Mounted {
    pub(crate) directory: Directory,
    pub(crate) events: Receiver<MountEvent>,
    pub(crate) mount: Option<Mount>,
}

impl Mounted {
    pub(crate) fn new(source: &Arc<FakeSource>, access: Access, readers: &[Reader]) -> Self {
        Self::with(source, |path| options(path, access, readers)).unwrap()
    }

    /// Waits until the mount is ready, or has failed.
    pub(crate) fn with(
        source: &Arc<FakeSource>,
        options: impl FnOnce(&Path) -> MountOptions,
    ) -> Result<Self, MountError> {
        let directory = Directory::new();
        let options = options(&directory.path);
        let (mount, events) = start(source, options)?;
        match events.recv_timeout(PATIENCE).expect("the mount says how its start went") {
            MountEvent::Ready => Ok(Self { directory, events, mount: Some(mount) }),
            MountEvent::Failed(e) => Err(e),
            other => panic!("{other:?} before the mount is ready"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }

    pub(crate) fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    pub(crate) fn stop(&mut self) -> Ending {
        self.mount.take().unwrap().stop().unwrap()
    }
}

pub(crate) fn start(
    source: &Arc<FakeSource>,
    options: MountOptions,
) -> Result<(Mount, Receiver<MountEvent>), MountError> {
    let (sender, events) = mpsc::channel();
    let source = Arc::clone(source);
    let mount = Mount::start(options, source, move |event| drop(sender.send(event)))?;
    Ok((mount, events))
}

/// A command that runs as `user`.
pub(crate) fn as_user(user: Reader, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
    command.args(["--clear-groups", "--", program]);
    command.env("LC_ALL", "C");
    command
}

/// What `user` gets by reading `path`: its bytes, or the system's words for the error.
pub(crate) fn read_as(user: Reader, path: &Path) -> Result<Vec<u8>, String> {
    outcome(&as_user(user, "cat").arg(path).output().unwrap())
}

pub(crate) fn outcome(output: &Output) -> Result<Vec<u8>, String> {
    if output.status.success() {
        return Ok(output.stdout.clone());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.trim_end().rsplit(": ").next().unwrap().to_owned())
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

pub(crate) fn is_mounted(path: &Path) -> bool {
    mount_table().lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// A process whose lines are read one by one. Dropping it ends it.
pub(crate) struct Talking {
    child: Child,
    lines: Lines<BufReader<std::process::ChildStdout>>,
}

impl Talking {
    pub(crate) fn new(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn shell(user: Reader, script: &str) -> Self {
        let mut command = as_user(user, "sh");
        command.args(["-c", script]);
        Self::new(command)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has an inotify watch.
    pub(crate) fn wait_until_watching(&self) {
        eventually("the watch is there", || {
            fs::read_dir(format!("/proc/{}/fdinfo", self.id())).unwrap().any(|entry| {
                let info = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
                info.contains("inotify wd:")
            })
        });
    }

    /// The next line; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().map_or_else(String::new, Result::unwrap)
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its input, and waits for it.
    pub(crate) fn finish(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        let mut ended = || self.child.try_wait().unwrap().is_some();
        eventually("the process ends", &mut ended);
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program at a path that every user may run.
pub(crate) fn program_for_everyone() -> PathBuf {
    use std::sync::OnceLock;
    static COPY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = COPY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("mounts");
        fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path)
    });
    path.clone()
}

/// A memory control group, which counts the page cache that its processes cause.
pub(crate) struct MemoryGroup(PathBuf);

impl MemoryGroup {
    pub(crate) fn new() -> Option<Self> {
        ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].iter().find_map(|root| {
            let path = Path::new(root).join(format!("vaultfs-test-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let group = Self(path);
            group.0.join("memory.stat").exists().then_some(group)
        })
    }

    /// A command that runs in the group.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        command.args(["-c", &script, "sh", program]);
        command
    }

    pub(crate) fn page_cache_bytes(&self) -> u64 {
        let stat = fs::read_to_string(self.0.join("memory.stat")).unwrap();
        let line =
            |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line("file ").or_else(|| line("cache ")).unwrap()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
