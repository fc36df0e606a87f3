//! The `vaultfs` binary, started as systemd would.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::made_vault::MadeVault;

const VAULTFS: &str = env!("CARGO_BIN_EXE_vaultfs");

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_mins(2);

/// A `vaultfs mount` that is ready. Stopped on drop.
pub(crate) struct Daemon {
    child: Child,
    mountpoint: PathBuf,
    /// From the start of the process to its READY.
    pub(crate) ready_after: Duration,
}

impl Daemon {
    /// Mounts `vault` for whoever runs this, and waits for READY.
    pub(crate) fn start(vault: &MadeVault, options: &[&str]) -> Result<Self> {
        let mountpoint = vault.path("mount");
        fs::create_dir_all(&mountpoint)?;
        let socket_path = vault.path("notify");
        // A leftover of the mount before.
        let _ = fs::remove_file(&socket_path);
        let socket = UnixDatagram::bind(&socket_path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let log = vault.path("log");
        let mut command = vaultfs(vault, &["mount"]);
        command.arg(&mountpoint).args(options).stderr(File::create(&log)?);
        let uid = rustix::process::geteuid();
        if uid.is_root() {
            command.args(["--uid", "0", "--gid", "0"]);
        }
        command.env("NOTIFY_SOCKET", &socket_path);
        let start = Instant::now();
        let child = command.spawn()?;
        let mut daemon = Self { child, mountpoint, ready_after: Duration::ZERO };
        let mut message = [0; 4096];
        loop {
            let received = socket.recv(&mut message);
            let elapsed = start.elapsed();
            let Ok(len) = received else {
                bail!("the mount isn't ready: {}", fs::read_to_string(&log)?);
            };
            let text = String::from_utf8_lossy(&message[..len]);
            if text.lines().any(|line| line == "READY=1") {
                daemon.ready_after = elapsed;
                return Ok(daemon);
            }
            if text.lines().any(|line| line == "STOPPING=1") {
                daemon.child.wait()?;
                bail!("the mount didn't start: {}", fs::read_to_string(&log)?);
            }
        }
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mountpoint.join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// A vaultfs command in `vault`, with nothing of the environment of whoever runs this.
pub(crate) fn vaultfs<S: AsRef<OsStr>>(vault: &MadeVault, arguments: &[S]) -> Command {
    let mut command = Command::new(VAULTFS);
    command.env_clear().env("HOME", vault.path("home")).env("PATH", "/usr/bin:/bin");
    command.current_dir(vault.root()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// How long a command takes from its start to its end, which must be good.
pub(crate) fn time(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let status = command.status().context("a command can't be started")?;
    let took = start.elapsed();
    if status.success() { Ok(took) } else { bail!("{command:?}: {status}") }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            bail!("not in time: {what}");
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// Unmounts what someone else serves.
pub(crate) fn unmount(mountpoint: &Path) {
    let unmounted = Command::new("fusermount3").arg("-u").arg(mountpoint).status();
    if !unmounted.is_ok_and(|status| status.success()) {
        eprintln!("{} is still mounted", mountpoint.display());
    }
}
