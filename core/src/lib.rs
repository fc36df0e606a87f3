//! The vault of vaultfs: secrets, policy and cryptography.
//!
//! This crate knows no terminal, no environment and no FUSE; its callers hand it paths, the home
//! directory, the clock and a way to ask questions.

mod constraint;
mod dotenv;
mod env_file;
mod fingerprint;
mod generate;
mod generation;
mod harden;
mod hash;
mod header;
mod identity;
mod marks;
mod memory;
mod name;
mod open;
mod pattern;
mod policy;
mod recipient;
mod seal;
mod source;
mod stanza;
mod status;
mod store;
mod value;
mod vault;
mod vault_id;

pub use constraint::{
    Constraints, PemConstraint, PemProblem, ValuePattern, ValuePatternError, Violation,
};
pub use dotenv::{DotenvEntry, DotenvError};
pub use env_file::{EnvFileError, EnvFileSource, read_env_file, read_opened_env_file};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use generate::{GenerateError, Recipe, RecipeError};
pub use generation::{Generation, GenerationError};
pub use harden::{HardenError, harden_process};
pub use hash::{FileHash, FileHashError};
pub use header::{Header, HeaderError, MAX_FILE_BYTES, MAX_HEADER_BYTES};
pub use identity::{
    Identities, Identity, IdentityError, IdentityPlaces, IdentityWarning, LookOutcome, LookedAt,
    NewIdentity, NoPrompter, Origin, Prompter,
};
pub use marks::{MAX_GENERATION_JUMP, Marks, RollbackError};
pub use memory::{OutOfMemory, unlocked_bytes};
pub use name::{MAX_NAME_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, NameError, SecretName};
pub use open::{OpenError, Opened, open, open_unbound};
pub use pattern::{Pattern, PatternError};
pub use policy::{
    Group, Leaving, NamedRecipient, Policy, PolicyEdit, PolicyEditError, PolicyError, PolicyGap,
    PolicyProblem, Position, Rule, SecretSettings, Shown, parse_period,
};
pub use recipient::{Recipient, RecipientError};
pub use seal::{SealError, seal};
pub use source::{Listing, Source, SourceError, Version, Watch};
pub use stanza::{Claims, Flag, StanzaError};
pub use status::{Drift, NeedsRotation, State, Status, status};
pub use store::{Snapshot, Store, StoredFile, Stray};
pub use value::{Value, ValueBuffer, ValueError};
pub use vault::directory::{DirectoryStore, POLICY_FILE, SECRETS_DIRECTORY, StoreError};
pub use vault::files::FileError;
pub use vault::{LockOut, Rewrapped, Vault, VaultError, VaultSource, VaultWriter, Written};
pub use vault_id::{VaultId, VaultIdError};
