//! A vault in a directory of this machine: the first [`Store`].

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use notify::Watcher as _;
use rustix::fs::{self, FileType, Mode, OFlags, Stat};

use super::files::{self, FileError};
use crate::{
    FileHash, MAX_FILE_BYTES, SecretName, Snapshot, SourceError, Store, StoredFile, Stray, Version,
    Watch,
};

/// The policy's file name, in the vault's root.
pub const POLICY_FILE: &str = "vaultfs.yaml";
/// The directory of the secrets, in the vault's root.
pub const SECRETS_DIRECTORY: &str = "secrets";

/// The largest policy that is read, in bytes.
pub(crate) const MAX_POLICY_BYTES: usize = 1 << 20;
/// More files than this in one vault are not read: a repository must not exhaust a host.
const MAX_FILES: usize = 200_000;
/// Below this many files a second thread costs more than it saves.
const FILES_PER_THREAD: usize = 64;
/// The files of so many directories are read together. Each is open until then.
const OPEN_FOLDERS: usize = 128;
/// A file that changed this shortly before it was read may change again without its times
/// showing it, so it is read again the next time.
const SETTLED: Duration = Duration::from_millis(100);

/// A vault's directory. For its versions it reads again only what changed since they were last
/// asked for.
pub struct DirectoryStore {
    root: PathBuf,
    seen: Mutex<HashMap<SecretName, Seen<Version>>>,
}

/// What is kept of a file, as it was when it was last read.
#[derive(Clone)]
struct Seen<T> {
    stamp: Stamp,
    kept: T,
}

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl DirectoryStore {
    /// The vault in `root`. Nothing is opened yet: each call opens the directory anew, so that a
    /// vault that is moved aside and put back goes on being served.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), seen: Mutex::default() }
    }

    /// What is there now, with all that the files say of themselves. Reads every file.
    ///
    /// # Errors
    /// Where the vault as a whole can't be read.
    pub fn snapshot(&self) -> Result<Snapshot, SourceError> {
        let policy = self.policy()?;
        let before = HashMap::new();
        let Scan { after, strays, .. } = self.scan(Scan::new(&before, StoredFile::of))?;
        let files = after.into_iter().map(|(name, seen)| (name, seen.kept)).collect();
        Ok(Snapshot { policy, files, strays })
    }

    fn scan<'a, T: Clone + Send + Sync>(
        &self,
        mut scan: Scan<'a, T>,
    ) -> Result<Scan<'a, T>, StoreError> {
        let root = self.open_root()?;
        match files::open_directory(root.as_fd(), SECRETS_DIRECTORY.as_ref()) {
            Ok(secrets) => scan
                .directory(secrets, String::new())
                .map_err(|source| self.failed(Path::new(SECRETS_DIRECTORY), source))?,
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(self.failed(Path::new(SECRETS_DIRECTORY), error)),
        }
        scan.read_pending();
        Ok(scan)
    }

    fn open_root(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(&self.root, flags, Mode::empty())
            .map_err(|errno| self.failed(Path::new(""), errno.into()))
    }

    fn failed(&self, path: &Path, source: FileError) -> StoreError {
        let path =
            if path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(path) };
        StoreError { path, source }
    }
}

/// A vault's directory, or a file of it, can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} can't be read")]
pub struct StoreError {
    /// What.
    pub path: PathBuf,
    /// Why.
    pub source: FileError,
}

/// The file isn't the one that was asked for any more.
#[derive(Debug, thiserror::Error)]
#[error("the file of {0} was replaced while it was being read")]
struct Replaced(SecretName);

impl Store for DirectoryStore {
    fn policy(&self) -> Result<String, SourceError> {
        let root = self.open_root()?;
        let policy = files::read_file(root.as_fd(), POLICY_FILE.as_ref(), MAX_POLICY_BYTES)
            .map_err(|source| self.failed(Path::new(POLICY_FILE), source))?;
        Ok(String::from_utf8_lossy(&policy).into_owned())
    }

    fn versions(&self) -> Result<BTreeMap<SecretName, Version>, SourceError> {
        // Without a policy it is no vault but an empty mount point, say, whose disk has gone.
        self.policy()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let after = self.scan(Scan::new(&seen, |bytes| StoredFile::of(bytes).version()))?.after;
        let versions = after.iter().map(|(name, seen)| (name.clone(), seen.kept.clone())).collect();
        *seen = after;
        Ok(versions)
    }

    fn fetch(&self, name: &SecretName, hash: FileHash) -> Result<Vec<u8>, SourceError> {
        let root = self.open_root()?;
        let path = Path::new(SECRETS_DIRECTORY).join(name.file_path());
        let parent = path.parent().unwrap_or(Path::new(""));
        let bytes = files::open_beneath(root.as_fd(), parent)
            .and_then(|directory| {
                let file_name = path.file_name().unwrap_or_default();
                files::read_file(directory.as_fd(), file_name, MAX_FILE_BYTES)
            })
            .map_err(|source| self.failed(&path, source))?;
        if FileHash::of(&bytes) == hash { Ok(bytes) } else { Err(Replaced(name.clone()).into()) }
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch, SourceError> {
        // Reading files makes access events; reacting to them would never end.
        let tell = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                changed();
            }
        };
        // A link out of the vault must not have us walk, and wait for, whatever it leads to.
        let config = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = notify::RecommendedWatcher::new(tell, config)?;
        watcher.watch(&self.root, notify::RecursiveMode::NonRecursive)?;
        let secrets = self.root.join(SECRETS_DIRECTORY);
        if secrets.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            watcher.watch(&secrets, notify::RecursiveMode::Recursive)?;
        }
        Ok(Watch::new(watcher))
    }
}

struct Scan<'a, T> {
    before: &'a HashMap<SecretName, Seen<T>>,
    /// What to keep of a file's bytes.
    keep: fn(&[u8]) -> T,
    after: HashMap<SecretName, Seen<T>>,
    strays: Vec<Stray>,
    /// Files that are still to be read: those of many directories together, on all cores.
    pending: Vec<(Arc<Folder>, OsString)>,
    pending_folders: usize,
    listed_files: usize,
}

/// An open directory among the secrets.
struct Folder {
    directory: OwnedFd,
    /// What the names of its secrets begin with: empty, or ending in `/`.
    prefix: String,
}

/// What a file of a directory turned out to be.
enum Found<T> {
    Secret(SecretName, Seen<T>),
    Stray(Stray),
    Gone,
}

impl<'a, T: Clone + Send + Sync> Scan<'a, T> {
    fn new(before: &'a HashMap<SecretName, Seen<T>>, keep: fn(&[u8]) -> T) -> Self {
        Self {
            before,
            keep,
            after: HashMap::new(),
            strays: Vec::new(),
            pending: Vec::new(),
            pending_folders: 0,
            listed_files: 0,
        }
    }

    fn directory(&mut self, directory: OwnedFd, prefix: String) -> Result<(), FileError> {
        let mut names = Vec::new();
        let mut directories = Vec::new();
        for entry in fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // Hidden: `.`, `..`, files being written, `.gitkeep`.
            if name.starts_with(b".") {
                continue;
            }
            let name = OsString::from_vec(name.to_vec());
            let file_type = match entry.file_type() {
                // Some file systems don't say.
                FileType::Unknown => files::file_type(directory.as_fd(), &name),
                known => Some(known),
            };
            match file_type {
                Some(FileType::Directory) => directories.push(name),
                _ => names.push(name),
            }
        }
        if self.listed_files + names.len() > MAX_FILES {
            return Err(FileError::TooLarge(MAX_FILES));
        }
        let folder = Arc::new(Folder { directory, prefix });
        if !names.is_empty() {
            self.listed_files += names.len();
            self.pending_folders += 1;
            self.pending.extend(names.into_iter().map(|name| (Arc::clone(&folder), name)));
        }
        if self.pending_folders == OPEN_FOLDERS {
            self.read_pending();
        }
        for name in directories {
            self.subdirectory(&folder, &name);
        }
        Ok(())
    }

    /// A directory that can't be read is a stray; the others go on.
    fn subdirectory(&mut self, parent: &Folder, name: &OsString) {
        let stray = |reason: String| Stray { path: path_of(&parent.prefix, name), reason };
        let Some(path) = name.to_str().map(|name| format!("{}{name}", parent.prefix)) else {
            return self.strays.push(stray("its name is not UTF-8".to_owned()));
        };
        if let Err(error) = path.parse::<SecretName>() {
            return self.strays.push(stray(error.to_string()));
        }
        let read = files::open_directory(parent.directory.as_fd(), name)
            .and_then(|directory| self.directory(directory, format!("{path}/")));
        if let Err(error) = read {
            self.strays.push(stray(error.to_string()));
        }
    }

    fn read_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.pending_folders = 0;
        for found in self.files(&pending) {
            match found {
                Found::Secret(name, seen) => drop(self.after.insert(name, seen)),
                Found::Stray(stray) => self.strays.push(stray),
                Found::Gone => {}
            }
        }
    }

    fn files(&self, pending: &[(Arc<Folder>, OsString)]) -> Vec<Found<T>> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = pending.len().div_ceil(threads).max(FILES_PER_THREAD);
        let read = |files: &[(Arc<Folder>, OsString)]| {
            let mut buffer = Vec::new();
            files.iter().map(|(folder, name)| self.file(folder, name, &mut buffer)).collect()
        };
        if pending.len() <= share {
            return read(pending);
        }
        thread::scope(|scope| {
            let running: Vec<_> =
                pending.chunks(share).map(|files| scope.spawn(move || read(files))).collect();
            let finished = running.into_iter().map(thread::ScopedJoinHandle::join);
            finished.flat_map(|found: Result<Vec<Found<T>>, _>| found.unwrap_or_default()).collect()
        })
    }

    fn file(&self, folder: &Folder, file_name: &OsString, buffer: &mut Vec<u8>) -> Found<T> {
        let Folder { directory, prefix } = folder;
        let stray =
            |reason: String| Found::Stray(Stray { path: path_of(prefix, file_name), reason });
        let Some(stem) = file_name.to_str().and_then(|name| name.strip_suffix(".age")) else {
            return stray("its name doesn't end in .age".to_owned());
        };
        let name: SecretName = match format!("{prefix}{stem}").parse() {
            Ok(name) => name,
            Err(error) => return stray(error.to_string()),
        };
        let unchanged = |seen: &&Seen<T>| {
            let flags = fs::AtFlags::SYMLINK_NOFOLLOW;
            fs::statat(directory, file_name, flags).is_ok_and(|stat| Stamp::of(&stat) == seen.stamp)
        };
        if let Some(seen) = self.before.get(&name).filter(unchanged) {
            return Found::Secret(name, seen.clone());
        }
        match read_secret(directory.as_fd(), file_name, buffer, self.keep) {
            Ok(seen) => Found::Secret(name, seen),
            Err(error) if error.is_missing() => Found::Gone,
            Err(error) => stray(error.to_string()),
        }
    }
}

fn read_secret<T>(
    directory: BorrowedFd<'_>,
    file_name: &OsString,
    buffer: &mut Vec<u8>,
    keep: fn(&[u8]) -> T,
) -> Result<Seen<T>, FileError> {
    let (file, stat) = files::open_file(directory, file_name)?;
    files::read_capped(&file, MAX_FILE_BYTES, buffer)?;
    let kept = keep(buffer);
    let mut stamp = Stamp::of(&stat);
    if !stamp.is_settled() {
        // No file has this inode, so it is read again the next time.
        stamp.inode = 0;
    }
    Ok(Seen { stamp, kept })
}

fn path_of(prefix: &str, name: &OsString) -> PathBuf {
    let mut path = OsString::from(SECRETS_DIRECTORY);
    path.push("/");
    path.push(prefix);
    path.push(std::ffi::OsStr::from_bytes(name.as_bytes()));
    path.into()
}

impl Stamp {
    #[expect(
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        reason = "the fields' types differ between systems; they are only compared"
    )]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as i64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    fn is_settled(self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let newest = self.modified.max(self.changed);
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(newest.0), u32::try_from(newest.1))
        else {
            return false;
        };
        // A time in the future has not settled either: the clock went backwards.
        now.checked_sub(Duration::new(seconds, nanoseconds)).is_some_and(|age| age > SETTLED)
    }
}

#[cfg(test)]
mod tests;
