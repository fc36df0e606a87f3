//! Real other users: processes and threads with their uids.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::support::{has, not_run};

/// A uid and a group; nobody's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

pub(crate) const READER: User = User { uid: 62_001, gid: 62_001 };
pub(crate) const OTHER: User = User { uid: 62_002, gid: 62_002 };
/// The reader's uid, with the other one's group.
pub(crate) const READER_ELSEWHERE: User = User { uid: READER.uid, gid: OTHER.gid };
/// A user that every system has: fusermount3 serves no uid without a name.
pub(crate) const NOBODY: User = User { uid: 65_534, gid: 65_534 };
pub(crate) const ROOT: User = User { uid: 0, gid: 0 };

/// What `mount` is told to serve to the reader.
pub(crate) const FOR_READER: [&str; 2] = ["--uid=62001", "--gid=62001"];

impl User {
    /// A command that runs as this user, without any of our environment.
    pub(crate) fn command(self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.uid.to_string(), "--regid", &self.gid.to_string()]);
        command.args(["--clear-groups", "--", program]).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("LC_ALL", "C");
        command
    }

    /// Runs `work` with this user's credentials, on a thread of its own.
    pub(crate) fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
                set_thread_groups(&[]).unwrap();
                set_thread_res_gid(gid, gid, gid).unwrap();
                set_thread_res_uid(uid, uid, uid).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Opens, reads and closes a file as this user.
    pub(crate) fn read(self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let path = path.as_ref();
        self.run(|| std::fs::read(path))
    }

    /// What `cat` gets as this user, or its complaint without the path.
    pub(crate) fn cat(self, path: &Path) -> Result<Vec<u8>, String> {
        outcome(self.command("cat").arg(path))
    }
}

/// What a command prints, or the last words of its complaint: those of the system.
pub(crate) fn outcome(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(complaint.rsplit(": ").next().unwrap_or_default().to_owned())
}

/// Whether this machine lets us mount and become other users; says so where it doesn't.
pub(crate) fn can_mount(test: &str) -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "needs root, to mount for other users"
    } else if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        "needs /dev/fuse"
    } else if !has("setpriv") {
        "setpriv is not installed"
    } else {
        return true;
    };
    not_run(test, reason);
    false
}
