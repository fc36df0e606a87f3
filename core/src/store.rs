//! Where ciphertext comes from: the narrow trait behind which a directory, and later an object
//! store, holds a vault.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{FileHash, Header, HeaderError, SecretName, SourceError, Watch};

/// A carrier of a vault's files. It sees ciphertext only, and need not be trusted.
pub trait Store: Send + Sync {
    /// What is there now.
    ///
    /// # Errors
    /// Where the vault as a whole can't be read.
    fn snapshot(&self) -> Result<Snapshot, SourceError>;

    /// The file of `name` with exactly this hash.
    ///
    /// # Errors
    /// Where it is gone or was replaced since the snapshot.
    fn fetch(&self, name: &SecretName, hash: FileHash) -> Result<Vec<u8>, SourceError>;

    /// Calls `changed` after each change, perhaps once for several and perhaps without need,
    /// until the watch is dropped.
    ///
    /// # Errors
    /// Where changes can't be watched.
    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch, SourceError>;
}

/// A vault's content at one instant.
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

/// Something among the secrets that isn't one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where, relative to the vault. May hold any bytes but NUL.
    pub path: PathBuf,
    /// What it is.
    pub reason: String,
}
