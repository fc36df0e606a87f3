//! A plaintext `.env` file as the source of a mount: for those who have no vault yet.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use notify::Watcher as _;
use rustix::fs::{self, FileType, Mode, OFlags};
use sha2::Sha256;

use crate::{
    DotenvEntry, DotenvError, FileHash, Listing, NameError, SecretName, Source, SourceError, Value,
    ValueError, Version, Watch,
};

/// The entries of one dotenv file, each under its variable's name.
pub struct EnvFileSource {
    path: PathBuf,
    /// Versions are told apart by an HMAC under this key, which nothing outlives: a plain hash
    /// of a value would let whoever sees it test guesses.
    version_key: [u8; 32],
}

/// Why a dotenv file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvFileError {
    /// It can't be read, or isn't a regular file.
    #[error("{path:?} can't be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{path:?} can't be read")]
    Value {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ValueError,
    },
    /// It can't be understood.
    #[error("{path:?} is not a .env file that can be taken as it is")]
    Dotenv {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: DotenvError,
    },
    /// A variable's name can't be the name of a secret.
    #[error("{path:?} has a variable that can't become a secret, on line {line}")]
    Name {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// Why.
        source: NameError,
    },
    /// The entry was changed or removed since it was listed.
    #[error("{0} was changed while it was being read")]
    Changed(SecretName),
    /// No random numbers.
    #[error("the system's random number generator failed")]
    Random,
}

impl EnvFileSource {
    /// The file at `path`, which must be one that can be read now.
    ///
    /// # Errors
    /// [`EnvFileError`].
    pub fn open(path: &Path) -> Result<Self, EnvFileError> {
        let mut version_key = [0; 32];
        getrandom::fill(&mut version_key).map_err(|_| EnvFileError::Random)?;
        read_env_file(path)?;
        Ok(Self { path: path.to_owned(), version_key })
    }

    fn version(&self, value: &Value) -> Version {
        let mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.version_key);
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(value.expose_bytes());
        let hash: [u8; 32] = mac.finalize().into_bytes().into();
        Version { hash: FileHash::from(hash), size_bytes: value.len() as u64, rotated_at: None }
    }
}

/// Reads the entries of a dotenv file, in their order.
///
/// # Errors
/// [`EnvFileError`]; no text holds anything of a value.
pub fn read_env_file(path: &Path) -> Result<Vec<(SecretName, Value)>, EnvFileError> {
    let mut file = open_regular(path)
        .map_err(|source| EnvFileError::Read { path: path.to_owned(), source })?;
    read_opened_env_file(&mut file, path)
}

/// Reads the entries of the dotenv file that was opened at `path`, in their order.
///
/// # Errors
/// As [`read_env_file`].
pub fn read_opened_env_file(
    file: &mut File,
    path: &Path,
) -> Result<Vec<(SecretName, Value)>, EnvFileError> {
    let owned = || path.to_owned();
    let text =
        Value::read_from(file).map_err(|source| EnvFileError::Value { path: owned(), source })?;
    let entries = DotenvEntry::read_all(text.expose_bytes())
        .map_err(|source| EnvFileError::Dotenv { path: owned(), source })?;

    let named = entries.into_iter().map(|entry| match entry.key.parse() {
        Ok(name) => Ok((name, entry.value)),
        Err(source) => Err(EnvFileError::Name { path: owned(), line: entry.line, source }),
    });
    named.collect()
}

/// A symlink to a regular file is fine; a device or a FIFO is not, and must not make us wait.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        FileType::Directory => Err(io::Error::other("it is a directory")),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

impl Source for EnvFileSource {
    fn list(&self) -> Result<Listing, SourceError> {
        let entries = read_env_file(&self.path)?;
        let versions = entries.iter().map(|(name, value)| (name.clone(), self.version(value)));
        Ok(Listing { versions: versions.collect() })
    }

    fn load(&self, name: &SecretName, version: &Version) -> Result<Value, SourceError> {
        let found = read_env_file(&self.path)?.into_iter().find(|(other, _)| other == name);
        match found {
            Some((_, value)) if self.version(&value) == *version => Ok(value),
            _ => Err(EnvFileError::Changed(name.clone()).into()),
        }
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch, SourceError> {
        // The directory, because editors put a new file in the old one's place.
        let file_name = self.path.file_name().unwrap_or(OsStr::new("")).to_owned();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let concerns = |event: notify::Event| {
                    let named = |path: &PathBuf| path.file_name() == Some(&file_name);
                    !event.kind.is_access() && event.paths.iter().any(named)
                };
                if event.map_or(true, concerns) {
                    changed();
                }
            })?;
        let directory = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        watcher.watch(directory.unwrap_or(Path::new(".")), notify::RecursiveMode::NonRecursive)?;
        Ok(Watch::new(watcher))
    }
}
