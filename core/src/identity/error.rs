//! What can be wrong with an identity. No text here may hold anything of the identity itself.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Origin;
use crate::OutOfMemory;

/// Why an identity can't be found, used, made or kept.
///
/// Cheap to clone: what went wrong with an identity is kept and told again for each file that
/// needs it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file that an option or a variable names doesn't exist.
    #[error("identity file {origin} does not exist")]
    Missing {
        /// The file.
        origin: Origin,
    },
    /// The system refused to read it, usually for lack of permission.
    #[error("identity file {origin} can't be read")]
    Read {
        /// The file.
        origin: Origin,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A directory, or in one of the usual places a FIFO, a device or a socket.
    #[error("identity file {origin} is not a regular file")]
    NotAFile {
        /// What should have been a file.
        origin: Origin,
    },
    /// Larger than any identity file: it is something else.
    #[error("{origin} is larger than 1 MiB, too large for an identity file")]
    TooLarge {
        /// What was read.
        origin: Origin,
    },
    /// It holds comments and blank lines at most.
    #[error("{origin} holds no identity")]
    Empty {
        /// What was read.
        origin: Origin,
    },
    /// It is text in UTF-16, as some Windows programs write when output is redirected.
    #[error("{origin} is UTF-16 text; identity files are UTF-8")]
    Utf16 {
        /// What was read.
        origin: Origin,
    },
    /// A line is neither an identity nor a comment.
    #[error("line {line} of {origin} is not an age identity")]
    NotAnIdentity {
        /// What was read.
        origin: Origin,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line begins like an identity, but its checksum fails: it was cut or mistyped.
    #[error("the identity on line {line} of {origin} is damaged: its checksum fails")]
    Checksum {
        /// What was read.
        origin: Origin,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line is a recipient, the public half.
    #[error("line {line} of {origin} is a recipient (public), not an identity (private)")]
    PublicHalf {
        /// What was read.
        origin: Origin,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line is a native post-quantum identity, which this version can't use.
    #[error(
        "the identity on line {line} of {origin} is a post-quantum one, which vaultfs can't use yet"
    )]
    PostQuantum {
        /// What was read.
        origin: Origin,
        /// The line, counted from 1.
        line: usize,
    },
    /// An SSH key of a type or in a form that age can't open files with.
    #[error("the SSH key in {origin} can't be an identity: {reason}")]
    UnsupportedSsh {
        /// What was read.
        origin: Origin,
        /// Its type, form or cipher, and that this isn't supported.
        reason: String,
    },
    /// A private key in PEM form that doesn't parse: cut off, or changed.
    #[error("the private key in {origin} is damaged")]
    DamagedSsh {
        /// What was read.
        origin: Origin,
    },
    /// An age file, but for recipients: which identity opens the identity file can't be known.
    #[error(
        "{origin} is encrypted to recipients; an identity file can only be encrypted with a passphrase"
    )]
    EncryptedToRecipients {
        /// What was read.
        origin: Origin,
    },
    /// An age file that doesn't parse, or whose authentication fails.
    #[error("the encrypted identity file {origin} is damaged")]
    DamagedFile {
        /// What was read.
        origin: Origin,
    },
    /// Trying the passphrase would take hours and many GiB of memory.
    #[error("{origin} asks for a scrypt work factor of {work_factor}; at most {max} is tried", max = super::MAX_WORK_FACTOR)]
    WorkFactor {
        /// What was read.
        origin: Origin,
        /// The binary logarithm of the rounds that the file asks for.
        work_factor: u8,
    },
    /// It is protected by a passphrase, and there is nobody to ask for it (or nobody answered).
    #[error("{origin} is protected by a passphrase, and none was given")]
    PassphraseNeeded {
        /// What was read.
        origin: Origin,
    },
    /// Each passphrase that was given was wrong.
    #[error("wrong passphrase for {origin}")]
    WrongPassphrase {
        /// What was read.
        origin: Origin,
    },
    /// The plugin that the identity belongs to isn't installed, or not in `PATH`.
    #[error("{program} is not installed, and the identity in {origin} needs it")]
    PluginMissing {
        /// What was read.
        origin: Origin,
        /// The plugin's program.
        program: String,
    },
    /// The plugin ran, and failed.
    #[error("{program} failed with the identity in {origin}: {message}")]
    Plugin {
        /// What was read.
        origin: Origin,
        /// The plugin's program.
        program: String,
        /// What the plugin said, without control characters.
        message: String,
    },
    /// The command in a variable failed. Neither the command nor its output is shown: both may
    /// hold an identity.
    #[error("the command in {origin} failed: {status}")]
    Command {
        /// The variable.
        origin: Origin,
        /// How it ended.
        status: String,
    },
    /// No memory for it.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A new identity would take the place of something that exists.
    #[error("{} exists already, and identities are never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refused to write a new identity.
    #[error("the identity can't be written to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// An empty passphrase, or one that isn't UTF-8.
    #[error("an identity can't be protected by this passphrase: it is empty or not UTF-8")]
    UnusablePassphrase,
}

impl IdentityError {
    /// As an error that travels through age, whose traits know no others.
    pub(super) fn into_age(self) -> age::DecryptError {
        age::DecryptError::Io(io::Error::other(self))
    }

    /// What an identity of ours said when it couldn't open a file; nothing where the error is
    /// age's own.
    pub fn of_age(error: &age::DecryptError) -> Option<&Self> {
        match error {
            age::DecryptError::Io(error) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}
