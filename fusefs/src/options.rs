//! What a mount is asked to serve, to whom, and where.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use vaultfs_core::SecretName;

use crate::access::{Access, Reader};

/// What to mount, where, and for whom.
pub struct MountOptions {
    /// The directory to mount on: there, empty, and this process's user's or the reader's own.
    pub mountpoint: PathBuf,
    /// Which gate the mount has.
    pub access: Access,
    /// What is served. The first reader of the first one is whom a private mount is for, and as
    /// whom the mount is tried before it counts as ready.
    pub exposures: Vec<Exposure>,
    /// Keeps the inode numbers of different vaults apart; the same after a restart. A vault id,
    /// say.
    pub namespace: Vec<u8>,
    /// When values are loaded.
    pub loading: Loading,
    /// What happens where the system doesn't lock the memory of values.
    pub memory: Memory,
    /// A program and its arguments that call [`run_helper`](crate::run_helper) and nothing else.
    /// It is started as this process's user, with an empty environment.
    pub helper: Vec<OsString>,
}

/// When values are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loading {
    /// All of them before the mount is ready: no reader ever waits for cryptography or a disk.
    #[default]
    Eager,
    /// Each at its first open: for very large vaults.
    Lazy,
}

/// What happens where the system doesn't lock the memory of values, so that it may be swapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// A warning.
    #[default]
    PreferLocked,
    /// The mount doesn't start.
    RequireLocked,
}

/// Some secrets, who may read them, and where they are in the mount.
#[derive(Debug)]
pub struct Exposure {
    /// Which secrets.
    pub secrets: Selector,
    /// Who may open them, at least one; the first is the owner that `stat` shows.
    pub readers: Vec<Reader>,
    /// Where they are.
    pub place: Place,
    /// What happens at the start where one of them can't be served.
    pub need: Need,
}

/// Which secrets an exposure is about.
pub enum Selector {
    /// One.
    Name(SecretName),
    /// All that match.
    Matching {
        /// How a person would write it, for messages.
        pattern: String,
        /// Whether a name matches.
        matches: Box<dyn Fn(&SecretName) -> bool + Send + Sync>,
    },
}

/// Where a secret is in the mount. Places follow the rules of names.
pub enum Place {
    /// At its whole name, below the root of the mount.
    SameAsName,
    /// At this place; for an exposure of one secret.
    At(SecretName),
    /// Where the function says.
    Mapped(Box<dyn Fn(&SecretName) -> SecretName + Send + Sync>),
}

/// What happens at the start where a secret can't be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Opening it is `EIO`; the others are served.
    #[default]
    Optional,
    /// The mount doesn't start.
    Required,
}

impl Selector {
    /// Whether the exposure is about `name`.
    pub fn selects(&self, name: &SecretName) -> bool {
        match self {
            Self::Name(one) => one == name,
            Self::Matching { matches, .. } => matches(name),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Matching { pattern, .. } => f.write_str(pattern),
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({self})")
    }
}

impl Place {
    /// The place of `name`.
    pub fn of(&self, name: &SecretName) -> SecretName {
        match self {
            Self::SameAsName => name.clone(),
            Self::At(place) => place.clone(),
            Self::Mapped(place) => place(name),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameAsName => f.write_str("SameAsName"),
            Self::At(place) => write!(f, "At({place})"),
            Self::Mapped(_) => f.write_str("Mapped(_)"),
        }
    }
}
