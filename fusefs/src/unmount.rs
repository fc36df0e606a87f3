//! Taking a mount of ours out of the mount table, and nobody else's.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount as umount2};

use crate::mountinfo::MountEntry;
use crate::mountpoint::resolve;

/// How long `fusermount3 -u` may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a mount can't be unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnmountError {
    /// Nothing of vaultfs is mounted there.
    #[error("{} is not a mount of vaultfs", .0.display())]
    NotMounted(PathBuf),
    /// Something else was mounted over it since, and isn't ours to unmount.
    #[error("something else is mounted over {}", .0.display())]
    Covered(PathBuf),
    /// The kernel refused.
    #[error("unmounting {} failed", .path.display())]
    Refused {
        /// Where it is mounted.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `fusermount3`, which unmounts for users without privileges, failed.
    #[error("fusermount3 can't unmount {}: {message}", .path.display())]
    Fusermount {
        /// Where it is mounted.
        path: PathBuf,
        /// What it said.
        message: String,
    },
}

/// Unmounts the mount of vaultfs at `mountpoint`, alive or dead, also while files are open: those
/// who have them open keep them as long as the serving process lives.
///
/// # Errors
/// [`UnmountError::NotMounted`] where none is there; otherwise why it stays.
pub fn unmount(mountpoint: &Path) -> Result<(), UnmountError> {
    let refused = |source| UnmountError::Refused { path: mountpoint.to_owned(), source };
    let absent = || UnmountError::NotMounted(mountpoint.to_owned());
    let path = resolve(mountpoint).map_err(|_| absent())?;
    match MountEntry::at(&path).map_err(refused)? {
        Some(entry) if entry.is_ours() => detach(&entry),
        Some(_) | None => Err(absent()),
    }
}

/// Unmounts the mount that `entry` tells of, wherever it is by now; done if it isn't mounted any
/// more.
pub(crate) fn detach(entry: &MountEntry) -> Result<(), UnmountError> {
    let refused = |source| UnmountError::Refused { path: entry.mountpoint.clone(), source };
    let entries = MountEntry::all().map_err(refused)?;
    let Some(now) = entries.iter().find(|other| other.is_same_mount(entry)) else {
        return Ok(());
    };
    let path = &now.mountpoint;
    if entries.iter().any(|other| other.covers(now)) {
        return Err(UnmountError::Covered(path.clone()));
    }
    // Nobody has anything open: it goes at once, and with it the connection to the kernel.
    match umount2(path, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => umount2(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
            .map_err(|e| refused(e.into())),
        Err(Errno::PERM) => fusermount_unmount(path),
        Err(e) => Err(refused(e.into())),
    }
}

fn fusermount_unmount(path: &Path) -> Result<(), UnmountError> {
    let failed = |message: String| UnmountError::Fusermount { path: path.to_owned(), message };
    let mut child = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(_)) => {
                let mut message = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    let _ = stderr.read_to_string(&mut message);
                }
                return Err(failed(message.trim().to_owned()));
            }
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                return Err(failed("it doesn't answer".to_owned()));
            }
            Err(e) => return Err(failed(e.to_string())),
        }
    }
}
