//! Where a mount gets its values from: the one trait that `fusefs` sees.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;

use jiff::Timestamp;

use crate::{FileHash, SecretName, Value};

/// A source of named values that may change while it is watched: a vault, or a plaintext file.
pub trait Source: Send + Sync {
    /// What is there now. Opens nothing, needs no identity.
    ///
    /// # Errors
    /// Where the source as a whole can't be read; a single broken secret is listed, and fails
    /// when it is loaded.
    fn list(&self) -> Result<Listing, SourceError>;

    /// The value of `name` in exactly this version.
    ///
    /// # Errors
    /// Where that version is gone, broken, bound elsewhere, rolled back, or opened by no identity
    /// at hand.
    fn load(&self, name: &SecretName, version: &Version) -> Result<Value, SourceError>;

    /// Calls `changed` after each change, perhaps once for several and perhaps without need, on
    /// a thread of the watch's own, until the watch is dropped.
    ///
    /// # Errors
    /// Where the source can't be watched.
    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch, SourceError>;
}

/// What a source holds at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Each secret's current version.
    pub versions: BTreeMap<SecretName, Version>,
}

/// What is known of a secret's version without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which version this is. Two versions with the same hash are the same.
    pub hash: FileHash,
    /// The size of the value, in bytes.
    pub size_bytes: u64,
    /// When the value was last rotated; a claim until the version was loaded. None where the
    /// source can't tell.
    pub rotated_at: Option<Timestamp>,
}

/// Why a source, or one secret of it, can't be read. Its text names what and why, never a value.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// A running watch; dropping it ends it.
pub struct Watch {
    _running: Box<dyn Any + Send>,
}

impl Watch {
    /// Keeps `running`, whose drop ends the watch.
    pub fn new(running: impl Any + Send) -> Self {
        Self { _running: Box::new(running) }
    }
}
