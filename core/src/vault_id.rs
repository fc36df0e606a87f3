//! The identity of a vault itself, which each of its secrets is bound to.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A random UUID (version 4), made by `vaultfs init`, written in lower case with hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultId(Uuid);

/// The text isn't a UUID in its hyphenated lower-case form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a vault id (a lower-case UUID such as 4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11)")]
pub struct VaultIdError(String);

impl VaultId {
    /// A new random id, from the operating system's random number generator.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The 16 bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VaultId {
    type Err = VaultIdError;

    fn from_str(text: &str) -> Result<Self, VaultIdError> {
        // One spelling only, because the text is compared and signed.
        match Uuid::try_parse(text) {
            Ok(uuid) if uuid.to_string() == text => Ok(Self(uuid)),
            _ => Err(VaultIdError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_read() {
        let text = "4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11";
        assert_eq!(text.parse::<VaultId>().unwrap().to_string(), text);
        for other in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}")] {
            assert!(other.parse::<VaultId>().is_err());
        }
    }
}
