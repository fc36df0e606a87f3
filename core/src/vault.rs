//! A vault on disk, as operators read and change it.

pub(crate) mod directory;
pub(crate) mod files;
mod source;
mod writer;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags};

pub use source::VaultSource;
pub use writer::{LockOut, Rewrapped, VaultWriter, Written};

use crate::{
    DirectoryStore, FileError, Fingerprint, Header, Identities, MAX_FILE_BYTES, OpenError, Opened,
    POLICY_FILE, Policy, PolicyEditError, PolicyError, PolicyGap, SECRETS_DIRECTORY, SealError,
    SecretName, Snapshot, SourceError, ValueError, Violation, open,
};
use directory::MAX_POLICY_BYTES;

/// The directory that holds `vaultfs.yaml` and `secrets/`.
#[derive(Clone, Debug)]
pub struct Vault {
    root: PathBuf,
}

/// Why a vault could not be read or changed. Whatever it says, nothing was left half-done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is no `vaultfs.yaml` here or above.
    #[error("there is no vault in {0:?} or above it")]
    NotFound(PathBuf),
    /// The directory that was named holds no `vaultfs.yaml`.
    #[error("{0:?} is not a vault: it holds no {POLICY_FILE}")]
    NotAVault(PathBuf),
    /// The nearest vault upward belongs to somebody else, who would decide who reads what is put
    /// into it.
    #[error("the vault {root:?}, found from here upward, belongs to uid {uid}")]
    SomebodyElses {
        /// The vault.
        root: PathBuf,
        /// Whose its policy's file is.
        uid: u32,
    },
    /// A vault lies inside another, and it isn't clear which is meant.
    #[error("the vault {inner:?} lies inside the vault {outer:?}")]
    Nested {
        /// The nearer one.
        inner: PathBuf,
        /// The one around it.
        outer: PathBuf,
    },
    /// A vault is to be made where one is.
    #[error("{0:?} is a vault already")]
    AlreadyAVault(PathBuf),
    /// The policy can't be understood.
    #[error("{path:?} is not a valid policy")]
    Policy {
        /// The policy's file.
        path: PathBuf,
        /// Where and why.
        source: PolicyError,
    },
    /// The policy can't be edited as the change needs it.
    #[error("{path:?} can't be edited")]
    PolicyEdit {
        /// The policy's file.
        path: PathBuf,
        /// Why, and what to do by hand.
        source: PolicyEditError,
    },
    /// A file or directory can't be read or written.
    #[error("{path:?} can't be {action}")]
    File {
        /// Which.
        path: PathBuf,
        /// `read`, `written`, `removed`, `locked`.
        action: &'static str,
        /// Why.
        source: FileError,
    },
    /// The vault as a whole can't be read.
    #[error(transparent)]
    Store(SourceError),
    /// Another process has been writing to the vault for longer than we wait.
    #[error("another vaultfs is writing to {0:?}")]
    Busy(PathBuf),
    /// There is no such secret.
    #[error("there is no secret {name}")]
    Missing {
        /// The name that was asked for.
        name: SecretName,
        /// The most similar name there is.
        nearest: Option<SecretName>,
    },
    /// The secret exists already.
    #[error("the secret {0} exists already")]
    Exists(SecretName),
    /// One name would be a directory on the other's path.
    #[error("{name} and {other} can't both exist: one would be a directory and a file at once")]
    Collision {
        /// The new name.
        name: SecretName,
        /// What is there, or the directory that is.
        other: String,
    },
    /// The policy doesn't say who may read it.
    #[error(transparent)]
    Gap(#[from] PolicyGap),
    /// The value isn't what the policy demands of it.
    #[error("the value of {name} is not what the policy asks for")]
    Violation {
        /// The secret.
        name: SecretName,
        /// What is wrong with it.
        source: Violation,
    },
    /// No generation follows the last one. Nobody counts that far, so a file, or an entry of
    /// `removed`, is forged.
    #[error("no generation of {0} can follow the last one, which is the largest there is")]
    LastGeneration(SecretName),
    /// The value is empty.
    #[error("the value of {0} is empty")]
    EmptyValue(SecretName),
    /// The value can't be taken.
    #[error("the value of {name} can't be taken")]
    Value {
        /// The secret.
        name: SecretName,
        /// Why.
        source: ValueError,
    },
    /// Encrypting failed.
    #[error("{name} can't be encrypted")]
    Seal {
        /// The secret.
        name: SecretName,
        /// Why.
        source: SealError,
    },
    /// No identity at hand could open the secret any more, were it written.
    #[error("{0} would be left to others: none of your identities is among its new recipients")]
    LockedOut(SecretName),
    /// None of the identities at hand opens the secret.
    #[error("no identity at hand opens {name}{}", encrypted_to(recipients))]
    NoIdentity {
        /// The secret.
        name: SecretName,
        /// Whom its file says it is encrypted to: names from the policy, or fingerprints. An
        /// unbound file names nobody.
        recipients: Vec<String>,
    },
    /// Opening failed.
    #[error("{name} can't be opened")]
    Open {
        /// The secret.
        name: SecretName,
        /// Why.
        source: OpenError,
    },
}

const GIT_ATTRIBUTES_FILE: &str = ".gitattributes";
/// A small age file may look like text to git, which could then change its line ends or put
/// conflict marks into it.
const GIT_ATTRIBUTES: &[u8] = b"*.age binary\n";

fn directory_lacks(directory: &OwnedFd, file_name: &str) -> bool {
    files::file_type(directory.as_fd(), file_name.as_ref()).is_none()
}

impl Vault {
    /// The vault that `start` lies in: the nearest directory upward with a `vaultfs.yaml`, which
    /// must belong to one of the `owners`. Anyone can put one into a directory like `/tmp`.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::SomebodyElses`], and [`VaultError::Nested`] where a
    /// second one lies further up.
    pub fn find(start: &Path, owners: &[u32]) -> Result<Self, VaultError> {
        let mut found = start.ancestors().filter(|dir| dir.join(POLICY_FILE).is_file());
        let root = found.next().ok_or_else(|| VaultError::NotFound(start.to_owned()))?;
        if let Some(outer) = found.next() {
            return Err(VaultError::Nested { inner: root.to_owned(), outer: outer.to_owned() });
        }
        let root = root.to_owned();
        match std::fs::metadata(root.join(POLICY_FILE)).map(|metadata| metadata.uid()) {
            Ok(uid) if owners.contains(&uid) => Ok(Self { root }),
            Ok(uid) => Err(VaultError::SomebodyElses { root, uid }),
            Err(_) => Err(VaultError::NotFound(start.to_owned())),
        }
    }

    /// The vault in exactly this directory.
    ///
    /// # Errors
    /// [`VaultError::NotAVault`].
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, VaultError> {
        let root = root.into();
        if root.join(POLICY_FILE).is_file() {
            Ok(Self { root })
        } else {
            Err(VaultError::NotAVault(root))
        }
    }

    /// Makes a vault in `root`, which is made where it is missing, with this policy.
    ///
    /// # Errors
    /// [`VaultError::AlreadyAVault`]; [`VaultError::Nested`] inside another vault.
    pub fn create(root: &Path, policy: &str) -> Result<Self, VaultError> {
        if root.join(POLICY_FILE).symlink_metadata().is_ok() {
            return Err(VaultError::AlreadyAVault(root.to_owned()));
        }
        if let Some(outer) = root.ancestors().skip(1).find(|dir| dir.join(POLICY_FILE).is_file()) {
            return Err(VaultError::Nested { inner: root.to_owned(), outer: outer.to_owned() });
        }
        let vault = Self { root: root.to_owned() };
        std::fs::create_dir_all(root)
            .map_err(|e| vault.file_error("", "written", FileError::Io(e)))?;
        let directory = vault.open_root()?;
        files::make_beneath(directory.as_fd(), SECRETS_DIRECTORY.as_ref())
            .map_err(|e| vault.file_error(SECRETS_DIRECTORY, "written", e))?;
        if directory_lacks(&directory, GIT_ATTRIBUTES_FILE) {
            files::replace_file(directory.as_fd(), GIT_ATTRIBUTES_FILE.as_ref(), GIT_ATTRIBUTES)
                .map_err(|e| vault.file_error(GIT_ATTRIBUTES_FILE, "written", e))?;
        }
        // Last, because this file is what makes the directory a vault.
        files::replace_file(directory.as_fd(), POLICY_FILE.as_ref(), policy.as_bytes())
            .map_err(|e| vault.file_error(POLICY_FILE, "written", e))?;
        Ok(vault)
    }

    /// The vault's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The policy as it is now.
    ///
    /// # Errors
    /// [`VaultError::File`] and [`VaultError::Policy`].
    pub fn policy(&self) -> Result<Policy, VaultError> {
        self.parse_policy(&self.policy_text()?)
    }

    /// All files of the vault as they are now.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn snapshot(&self) -> Result<Snapshot, VaultError> {
        DirectoryStore::new(&self.root).snapshot().map_err(VaultError::Store)
    }

    /// Opens one secret.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::Open`].
    pub fn read(&self, name: &SecretName, identities: &Identities) -> Result<Opened, VaultError> {
        let policy = self.policy()?;
        let file = self.read_file(name)?;
        open(&file, policy.vault_id(), name, identities.as_age())
            .map_err(|source| open_failed(name, source, &policy))
    }

    fn policy_text(&self) -> Result<String, VaultError> {
        let root = self.open_root()?;
        let failed = |source| self.file_error(POLICY_FILE, "read", source);
        let bytes = files::read_file(root.as_fd(), POLICY_FILE.as_ref(), MAX_POLICY_BYTES)
            .map_err(failed)?;
        String::from_utf8(bytes).map_err(|e| {
            failed(FileError::Io(io::Error::new(io::ErrorKind::InvalidData, e.utf8_error())))
        })
    }

    fn parse_policy(&self, text: &str) -> Result<Policy, VaultError> {
        let path = || self.root.join(POLICY_FILE);
        Policy::parse(text).map_err(|source| VaultError::Policy { path: path(), source })
    }

    fn open_root(&self) -> Result<OwnedFd, VaultError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(&self.root, flags, Mode::empty())
            .map_err(|errno| self.file_error("", "read", errno.into()))
    }

    /// The file of `name`, which must exist.
    fn read_file(&self, name: &SecretName) -> Result<Vec<u8>, VaultError> {
        match self.try_read_file(name)? {
            Some(file) => Ok(file),
            None => Err(VaultError::Missing { name: name.clone(), nearest: self.nearest(name) }),
        }
    }

    fn try_read_file(&self, name: &SecretName) -> Result<Option<Vec<u8>>, VaultError> {
        let (directory, file_name) = path_of(name);
        let root = self.open_root()?;
        let read = files::open_beneath(root.as_fd(), &directory).and_then(|parent| {
            files::read_file(parent.as_fd(), file_name.as_ref(), MAX_FILE_BYTES)
        });
        match read {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(self.file_error(directory.join(file_name), "read", error)),
        }
    }

    fn nearest(&self, name: &SecretName) -> Option<SecretName> {
        let names = self.snapshot().ok()?.files.into_keys();
        let scored =
            names.map(|other| (strsim::jaro_winkler(name.as_str(), other.as_str()), other));
        let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (best.0 > 0.8).then_some(best.1)
    }

    fn file_error(
        &self,
        path: impl AsRef<Path>,
        action: &'static str,
        source: FileError,
    ) -> VaultError {
        let path = path.as_ref();
        let path =
            if path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(path) };
        VaultError::File { path, action, source }
    }
}

fn encrypted_to(recipients: &[String]) -> String {
    match recipients {
        [] => String::new(),
        names => format!(", which is encrypted to {}", names.join(", ")),
    }
}

fn open_failed(name: &SecretName, source: OpenError, policy: &Policy) -> VaultError {
    let name = name.clone();
    match source {
        OpenError::NoIdentity { recipients } => {
            let named =
                |f: &Fingerprint| policy.name_of(f).map_or_else(|| f.to_string(), str::to_owned);
            VaultError::NoIdentity { name, recipients: recipients.iter().map(named).collect() }
        }
        source => VaultError::Open { name, source },
    }
}

/// Where the file of `name` lies: its directory relative to the vault, and its file name.
fn path_of(name: &SecretName) -> (PathBuf, String) {
    let mut directory = PathBuf::from(SECRETS_DIRECTORY);
    let mut segments: Vec<&str> = name.segments().collect();
    let file_name = segments.pop().unwrap_or_default();
    directory.extend(segments);
    (directory, format!("{file_name}.age"))
}

/// Reads the header of a file that must be bound to `name` in `vault`.
fn bound_header(
    file: &[u8],
    vault: crate::VaultId,
    name: &SecretName,
) -> Result<Header, OpenError> {
    let header = Header::read(file)?;
    if header.claims.vault != vault {
        return Err(OpenError::OtherVault { belongs_to: header.claims.vault });
    }
    if header.claims.name != *name {
        return Err(OpenError::OtherName { belongs_to: header.claims.name });
    }
    Ok(header)
}

#[cfg(test)]
mod tests;
