//! Taking a mount of ours out of the mount table, and nobody else's.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount as umount2};
use rustix::process::geteuid;

use crate::mountinfo::{MountEntry, MountId};
use crate::mountpoint::resolve;

/// How long to look for a mount whose path is being changed.
const SEARCH_PATIENCE: Duration = Duration::from_secs(1);

/// How long `fusermount3 -u` may take.
const FUSERMOUNT_PATIENCE: Duration = Duration::from_secs(2);

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
    /// Its path leads elsewhere each time. Usual cause: a user who owns a directory above it keeps
    /// renaming that.
    #[error("the path {} doesn't lead to the mount", .0.display())]
    Moved(PathBuf),
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
    let absent = || UnmountError::NotMounted(mountpoint.to_owned());
    let path = resolve(mountpoint).map_err(|_| absent())?;
    match MountEntry::at(&path).map_err(|e| refused(&path, e))? {
        Some(entry) if entry.is_ours() => detach(&entry, None),
        Some(_) | None => Err(absent()),
    }
}

/// Unmounts the mount that `entry` tells of, wherever it is by now; done if it isn't mounted any
/// more. `covered` is the directory beneath it, if it is known: the way from there can't be bent.
///
/// Whoever owns a directory above a mount can lead its path elsewhere at any time, so no path
/// decides what is unmounted.
pub(crate) fn detach(
    entry: &MountEntry,
    covered: Option<BorrowedFd<'_>>,
) -> Result<(), UnmountError> {
    let deadline = Instant::now() + SEARCH_PATIENCE;
    loop {
        let entries = MountEntry::all().map_err(|e| refused(&entry.mountpoint, e))?;
        let Some(now) = entries.iter().find(|other| other.is_same_mount(entry)) else {
            return Ok(());
        };
        let path = &now.mountpoint;
        if entries.iter().any(|other| other.covers(now)) {
            return Err(UnmountError::Covered(path.clone()));
        }
        let result = if geteuid().is_root() {
            detach_directly(now, covered)
        } else {
            fusermount_unmount(path)
        };
        match result {
            Err(UnmountError::Moved(_)) if Instant::now() < deadline => {}
            Err(e) => return Err(e),
            // The table has the last word.
            Ok(()) => {}
        }
    }
}

fn detach_directly(
    entry: &MountEntry,
    covered: Option<BorrowedFd<'_>>,
) -> Result<(), UnmountError> {
    let path = &entry.mountpoint;
    let moved = || UnmountError::Moved(path.clone());
    let mount = open_mount(path, covered).map_err(|_| moved())?;
    // As long as it is open, its number is its own.
    let id = MountId::of(&mount).map_err(|e| refused(path, e))?;
    let entries = MountEntry::all().map_err(|e| refused(path, e))?;
    if !entries.iter().any(|other| other.id == id && other.is_same_mount(entry)) {
        return Err(moved());
    }
    // Follows the link of procfs to the mount itself: there is no name in it to be swapped. Ours
    // keeps it busy, hence lazily; where nobody else does, it goes with the end of this function.
    umount2(format!("/proc/self/fd/{}", mount.as_raw_fd()), UnmountFlags::DETACH)
        .map_err(|e| refused(path, e.into()))
}

/// Opens what is mounted at `path`, without asking the filesystem anything. A symbolic link on the
/// way is an error: it could lead to where nobody answers.
fn open_mount(path: &Path, covered: Option<BorrowedFd<'_>>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL);
    };
    let parent = if let Some(covered) = covered {
        openat(covered, "..", flags, Mode::empty())?
    } else {
        let root = openat(CWD, "/", flags, Mode::empty())?;
        let mut names = parent.components().skip(1);
        names.try_fold(root, |directory, name| {
            openat(directory, name.as_os_str(), flags, Mode::empty())
        })?
    };
    openat(parent, name, flags, Mode::empty())
}

fn refused(path: &Path, source: io::Error) -> UnmountError {
    UnmountError::Refused { path: path.to_owned(), source }
}

fn fusermount_unmount(path: &Path) -> Result<(), UnmountError> {
    let failed = |message: String| UnmountError::Fusermount { path: path.to_owned(), message };
    let mut child = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Signals to our whole process group, such as Ctrl-C, aren't for it.
        .process_group(0)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let deadline = Instant::now() + FUSERMOUNT_PATIENCE;
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
