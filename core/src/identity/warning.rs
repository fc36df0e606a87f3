//! What is odd about identities that work nevertheless.

use super::{IdentityError, Origin};

/// Something to tell the person whose identities these are.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityWarning {
    /// Others than the owner may read or change the file.
    #[error("identity file {origin} is open to others (mode {mode:04o}); it should be 0600")]
    OpenToOthers {
        /// The file.
        origin: Origin,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns the file, and can read and replace it.
    #[error("identity file {origin} belongs to uid {owner}, neither to us nor to root")]
    ForeignOwner {
        /// The file.
        origin: Origin,
        /// The owner.
        owner: u32,
    },
    /// One of the usual places holds something that can't be used, in whole or in part.
    #[error("left aside: {0}")]
    LeftAside(IdentityError),
}
