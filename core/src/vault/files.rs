//! Files beneath a vault, which is a hostile tree: whoever can write to the repository can put
//! anything into it. Nothing here follows a symlink, leaves the vault's root, opens what isn't a
//! regular file, or reads more than it was told to.
//!
//! Each step opens one path segment relative to the directory before it, with `O_NOFOLLOW`. That
//! is what `openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS` gives, on every Unix.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};

/// Why something beneath the vault can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A symlink where a file or directory should be.
    #[error("it is a symlink, which a vault can't contain")]
    Symlink,
    /// A device, FIFO, socket, or a directory where a file should be.
    #[error("it is not a regular file")]
    NotRegular,
    /// A file where a directory should be.
    #[error("it is not a directory")]
    NotDirectory,
    /// Larger than anything that belongs there.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// The system refused.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl From<rustix::io::Errno> for FileError {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::LOOP => Self::Symlink,
            rustix::io::Errno::NOTDIR => Self::NotDirectory,
            other => Self::Io(other.into()),
        }
    }
}

impl FileError {
    /// True where the disk can't be written to at all.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Io(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// True where the disk, or the user's share of it, is full.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io(e) if matches!(e.kind(), StorageFull | QuotaExceeded))
    }

    /// True where there is simply nothing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(e) if e.kind() == io::ErrorKind::NotFound)
    }
}

/// The prefix of files that are being written. Names of secrets never begin with a dot.
const TEMPORARY_PREFIX: &str = ".vaultfs-tmp-";
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);
const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `segment` of `parent`.
pub(crate) fn open_directory(
    parent: BorrowedFd<'_>,
    segment: &OsStr,
) -> Result<OwnedFd, FileError> {
    match fs::openat(parent, segment, OPEN_DIRECTORY, Mode::empty()) {
        Ok(fd) => Ok(fd),
        // With O_DIRECTORY a symlink is reported as "not a directory".
        Err(rustix::io::Errno::NOTDIR) if is_symlink(parent, segment) => Err(FileError::Symlink),
        Err(errno) => Err(errno.into()),
    }
}

fn is_symlink(parent: BorrowedFd<'_>, segment: &OsStr) -> bool {
    file_type(parent, segment) == Some(FileType::Symlink)
}

/// What `segment` of `parent` is, itself and not what it may point to.
pub(crate) fn file_type(parent: BorrowedFd<'_>, segment: &OsStr) -> Option<FileType> {
    let stat = fs::statat(parent, segment, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// Opens the directory at `path`, segment by segment.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, FileError> {
    let mut directory = fs::openat(root, c".", OPEN_DIRECTORY, Mode::empty())?;
    for segment in segments(path) {
        directory = open_directory(directory.as_fd(), segment)?;
    }
    Ok(directory)
}

/// The same, making what is missing, 0700.
pub(crate) fn make_beneath(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, FileError> {
    let mut directory = fs::openat(root, c".", OPEN_DIRECTORY, Mode::empty())?;
    for segment in segments(path) {
        match fs::mkdirat(&directory, segment, DIRECTORY_MODE) {
            Ok(()) => fs::fsync(&directory)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        directory = open_directory(directory.as_fd(), segment)?;
    }
    Ok(directory)
}

fn segments(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(segment) => Some(segment),
        _ => None,
    })
}

/// Opens the regular file `name` of `directory` for reading.
pub(crate) fn open_file(
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(File, Stat), FileError> {
    // O_NONBLOCK: a FIFO must not make us wait for a writer before we can see that it is one.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match fs::openat(directory, name, flags, Mode::empty()) {
        // A socket, or a device without a driver.
        Err(rustix::io::Errno::NXIO) => return Err(FileError::NotRegular),
        other => other?,
    };
    let stat = fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::NotRegular);
    }
    Ok((File::from(fd), stat))
}

/// Reads an opened file of at most `limit` bytes, replacing what `into` held.
pub(crate) fn read_capped(file: &File, limit: usize, into: &mut Vec<u8>) -> Result<(), FileError> {
    into.clear();
    let read = file.take(limit as u64 + 1).read_to_end(into).map_err(FileError::Io)?;
    if read > limit { Err(FileError::TooLarge(limit)) } else { Ok(()) }
}

/// Reads the whole file `name` of `directory`, of at most `limit` bytes.
pub(crate) fn read_file(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    limit: usize,
) -> Result<Vec<u8>, FileError> {
    let (file, stat) = open_file(directory, name)?;
    // One more than the size, so that the end is seen without growing.
    let size = usize::try_from(stat.st_size).unwrap_or(0).min(limit);
    let mut bytes = Vec::with_capacity(size + 1);
    read_capped(&file, limit, &mut bytes)?;
    Ok(bytes)
}

/// Puts `bytes` in the place of the file `name` of `directory`, mode 0600. A crash at any instant
/// leaves the old file or the new one; when this returns, the new one is on the disk. Only for who
/// holds the vault's lock.
pub(crate) fn replace_file(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    bytes: &[u8],
) -> Result<(), FileError> {
    let (temporary, file) = create_temporary(directory, name)?;
    let written = (|| {
        (&file).write_all(bytes).map_err(FileError::Io)?;
        file.sync_all().map_err(FileError::Io)?;
        fs::renameat(directory, &temporary, directory, name)?;
        Ok(())
    })();
    match written {
        Ok(()) => Ok(fs::fsync(directory)?),
        Err(error) => {
            // The error that counts is the first one.
            let _ = fs::unlinkat(directory, &temporary, AtFlags::empty());
            Err(error)
        }
    }
}

/// The vault's lock is held, so nobody else writes this name, and what stands there was left by a
/// writer that died. Only what can't be removed, such as a directory that somebody put there, has
/// us take another name.
fn create_temporary(
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(OsString, File), FileError> {
    let mut temporary = temporary_name(name);
    if !matches!(
        fs::unlinkat(directory, &temporary, AtFlags::empty()),
        Ok(()) | Err(rustix::io::Errno::NOENT)
    ) {
        temporary = temporary_name(uuid::Uuid::new_v4().simple().to_string().as_ref());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(directory, &temporary, flags, FILE_MODE)?;
    Ok((temporary, File::from(fd)))
}

fn temporary_name(rest: &OsStr) -> OsString {
    let mut name = OsString::from(TEMPORARY_PREFIX);
    name.push(rest);
    name
}

/// Removes the file `name` of `directory`, durably.
pub(crate) fn remove_file(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), FileError> {
    fs::unlinkat(directory, name, AtFlags::empty())?;
    Ok(fs::fsync(directory)?)
}
