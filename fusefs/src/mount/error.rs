//! Why a mount doesn't start.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use vaultfs_core::SourceError;

use crate::attach::AttachError;
use crate::helper::HelperError;
use crate::mountpoint::MountpointError;

/// Why a mount doesn't start. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The directory won't do.
    #[error(transparent)]
    Mountpoint(#[from] MountpointError),
    /// Mounting failed.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Nothing is exposed, or an exposure has no reader.
    #[error("an exposure without a reader")]
    NoReader,
    /// A private mount is for one reader.
    #[error("a private mount has one reader, not uid {} and uid {}", uids[0], uids[1])]
    SeveralReaders {
        /// Two of them.
        uids: [u32; 2],
    },
    /// The source as a whole can't be read.
    #[error("the source can't be read")]
    Source(#[source] SourceError),
    /// Required secrets, or patterns, that can't be served, with the reasons.
    #[error("required, but can't be served: {}", listed(.0))]
    Required(BTreeMap<String, String>),
    /// Values would be in memory that may be swapped. Usual cause: a small `RLIMIT_MEMLOCK`.
    #[error("{bytes} bytes of memory for values can't be locked")]
    Unlocked {
        /// How many.
        bytes: usize,
    },
    /// The kernel and we don't understand each other.
    #[error("the connection to the kernel failed")]
    Session(#[source] io::Error),
    /// The reader doesn't get to the mount. Usual cause: a directory above it that is closed to
    /// them.
    #[error("uid {uid} can't reach {}", .path.display())]
    Unreachable {
        /// The mount point.
        path: PathBuf,
        /// The reader.
        uid: u32,
        /// What they got.
        source: io::Error,
    },
    /// The helper process can't be started, or doesn't answer.
    #[error("the helper process of the mount failed")]
    Helper(#[source] io::Error),
    /// The system gives no more threads.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// The mount table can't be read.
    #[error("/proc/self/mountinfo can't be watched")]
    MountTable(#[source] io::Error),
    /// It was stopped before it was up.
    #[error("stopped during the start")]
    Stopped,
}

impl MountError {
    pub(super) fn helper(error: HelperError) -> Self {
        match error {
            HelperError::Refused(e) => Self::Helper(e.into()),
            HelperError::Lost(e) => Self::Helper(e),
        }
    }
}

fn listed(reasons: &BTreeMap<String, String>) -> String {
    let lines: Vec<_> = reasons.iter().map(|(name, why)| format!("{name} ({why})")).collect();
    lines.join(", ")
}
