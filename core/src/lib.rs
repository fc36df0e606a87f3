//! The vault of vaultfs: secrets, policy and cryptography.
//!
//! This crate knows no terminal, no environment and no FUSE; its callers hand it paths, the home
//! directory, the clock and a way to ask questions.

mod constraint;
mod dotenv;
mod fingerprint;
mod generate;
mod generation;
mod hash;
mod memory;
mod name;
mod pattern;
mod policy;
mod recipient;
mod source;
mod value;
mod vault_id;

pub use constraint::{
    Constraints, PemConstraint, PemProblem, ValuePattern, ValuePatternError, Violation,
};
pub use dotenv::{DotenvEntry, DotenvError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use generate::{GenerateError, Recipe, RecipeError};
pub use generation::{Generation, GenerationError};
pub use hash::{FileHash, FileHashError};
pub use memory::{OutOfMemory, unlocked_bytes};
pub use name::{MAX_NAME_BYTES, MAX_SEGMENT_BYTES, NameError, SecretName};
pub use pattern::{Pattern, PatternError};
pub use policy::{
    Group, Leaving, NamedRecipient, Policy, PolicyEdit, PolicyEditError, PolicyError, PolicyGap,
    PolicyProblem, Position, Rule, SecretSettings, Shown,
};
pub use recipient::{Recipient, RecipientError};
pub use source::{Listing, Source, SourceError, Version, Watch};
pub use value::{Value, ValueBuffer, ValueError};
pub use vault_id::{VaultId, VaultIdError};
