//! Where ciphertext comes from: the narrow trait behind which a directory, and later an object
//! store, holds a vault.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{FileHash, Header, HeaderError, SecretName, SourceError, Version, Watch};

/// A carrier of a vault's files. It sees ciphertext only, and need not be trusted.
pub trait Store: Send + Sync {
    /// The text of `vaultfs.yaml`.
    ///
    /// # Errors
    /// Where it can't be read.
    fn policy(&self) -> Result<String, SourceError>;

    /// The version of each file that is there now. Asked for again and again, so it is for the
    /// store to remember what hasn't changed.
    ///
    /// # Errors
    /// Where the vault as a whole can't be read.
    fn versions(&self) -> Result<BTreeMap<SecretName, Version>, SourceError>;

    /// The file of `name` with exactly this hash.
    ///
    /// # Errors
    /// Where it is gone or was replaced since.
    fn fetch(&self, name: &SecretName, hash: FileHash) -> Result<Vec<u8>, SourceError>;

    /// Calls `changed` after each change, perhaps once for several and perhaps without need,
    /// until the watch is dropped.
    ///
    /// # Errors
    /// Where changes can't be watched.
    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch, SourceError>;
}

/// A vault's content at one instant, with all that its files say of themselves.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The text of `vaultfs.yaml`.
    pub policy: String,
    /// The file of each name.
    pub files: BTreeMap<SecretName, StoredFile>,
    /// What stands among the secrets and isn't one. It harms nothing; people should know.
    pub strays: Vec<Stray>,
}

/// A secret's file as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Which version it is.
    pub hash: FileHash,
    /// What it says of itself, unverified, or why it is no secret of a vault.
    pub header: Result<Header, HeaderError>,
}

impl StoredFile {
    /// What can be told of a file with these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { hash: FileHash::of(bytes), header: Header::read(bytes) }
    }

    /// The little of it that tells one version from another.
    pub(crate) fn version(&self) -> Version {
        let header = self.header.as_ref().ok();
        Version {
            hash: self.hash,
            size_bytes: header.map_or(0, |header| header.value_bytes),
            rotated_at: header.map(|header| header.claims.rotated_at),
        }
    }
}

/// Something among the secrets that isn't one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where, relative to the vault. May hold any bytes but NUL.
    pub path: PathBuf,
    /// What it is.
    pub reason: String,
}
