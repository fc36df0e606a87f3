//! The directory to mount on: whether it will do, and what a crashed predecessor left there.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{self as rfs, AtFlags, CWD, Dir, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::access::Reader;
use crate::helper::{Helper, HelperError};
use crate::mountinfo::MountEntry;
use crate::unmount::{UnmountError, detach};

/// How long a mount that is there already may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a directory can't be mounted on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountpointError {
    /// Nothing is there. Usual cause: `/run` is empty after a boot.
    #[error("the mount point {} doesn't exist", .0.display())]
    Missing(PathBuf),
    /// It is a symbolic link, which could be led elsewhere.
    #[error("the mount point {} is a symbolic link", .0.display())]
    Symlink(PathBuf),
    /// Something else than a directory is there.
    #[error("the mount point {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// There are files in it, which the mount would hide.
    #[error("the mount point {} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// It belongs to someone who is neither this process's user nor the reader.
    #[error("the mount point {} belongs to uid {owner}", .path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A filesystem is mounted there, and alive.
    #[error("{} is a mount point already ({filesystem_type})", .path.display())]
    AlreadyMounted {
        /// The directory.
        path: PathBuf,
        /// What is mounted there, as `/proc/self/mountinfo` names it.
        filesystem_type: String,
    },
    /// What a crashed predecessor left there can't be unmounted.
    #[error("the dead mount at {} can't be removed", .path.display())]
    Stale {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: UnmountError,
    },
    /// It can't be looked at.
    #[error("the mount point {} can't be examined", .path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A directory that will do, held open so that nothing else can take its place.
#[derive(Debug)]
pub(crate) struct Mountpoint {
    path: PathBuf,
    directory: OwnedFd,
}

impl Mountpoint {
    /// Examines `path`, and removes the dead mount of a crashed predecessor. `helper` is the
    /// command that can ask a mount of ours whether it is alive.
    pub(crate) fn prepare(
        path: &Path,
        owner: Reader,
        helper: &[OsString],
    ) -> Result<Self, MountpointError> {
        let path = resolve(path)?;
        let unreadable = |e: Errno| examined(&path, e);
        while let Some(entry) = MountEntry::at(&path)
            .map_err(|source| MountpointError::Unreadable { path: path.clone(), source })?
        {
            if !entry.is_ours() || is_alive(&entry, helper) {
                let filesystem_type = entry.filesystem_type;
                return Err(MountpointError::AlreadyMounted { path, filesystem_type });
            }
            let mountpoint = path.display();
            tracing::warn!(%mountpoint, "{mountpoint}: removing the mount of a process that died");
            detach(&entry, None)
                .map_err(|source| MountpointError::Stale { path: path.clone(), source })?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rfs::openat(CWD, &path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat =
                    rfs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
                return Err(match rfs::FileType::from_raw_mode(stat.st_mode) {
                    rfs::FileType::Symlink => MountpointError::Symlink(path),
                    _ => MountpointError::NotADirectory(path),
                });
            }
            Err(e) => return Err(unreadable(e)),
        };
        let stat = rfs::fstat(&directory).map_err(unreadable)?;
        let uid = geteuid();
        if Uid::from_raw(stat.st_uid) != uid && !(uid.is_root() && stat.st_uid == owner.uid) {
            return Err(MountpointError::NotOurs { path, owner: stat.st_uid });
        }
        let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = rfs::openat(&directory, ".", readable, Mode::empty()).map_err(unreadable)?;
        for entry in Dir::new(listed).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
                return Err(MountpointError::NotEmpty(path));
            }
        }
        Ok(Self { path, directory })
    }

    /// The absolute path, as the mount table will show it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Mountpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Makes a path absolute without a symbolic link in it, its last component apart.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, MountpointError> {
    let name = path.file_name().ok_or_else(|| MountpointError::NotADirectory(path.to_owned()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match parent.canonicalize() {
        Ok(parent) => Ok(parent.join(name)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(MountpointError::Missing(path.to_owned()))
        }
        Err(source) => Err(MountpointError::Unreadable { path: path.to_owned(), source }),
    }
}

fn examined(path: &Path, e: Errno) -> MountpointError {
    match e {
        Errno::NOENT => MountpointError::Missing(path.to_owned()),
        e => MountpointError::Unreadable { path: path.to_owned(), source: e.into() },
    }
}

/// Whether somebody answers for a mount of ours: only its own reader gets to know.
fn is_alive(entry: &MountEntry, helper: &[OsString]) -> bool {
    let Some(reader) = entry.fuse_user() else { return true };
    let looked = Helper::start(helper, reader, None, PATIENCE)
        .and_then(|mut helper| helper.look_up(&entry.mountpoint));
    !matches!(looked, Err(HelperError::Refused(Errno::NOTCONN | Errno::CONNABORTED)))
}
