//! The counter of a secret's files.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// 1, 2, 3 …: counts each file ever written for one name, whether its value or its recipients
/// changed. It never restarts, also not after a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(NonZeroU64);

/// The text isn't a generation: a decimal number from 1 up, without sign or leading zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a generation (1, 2, 3 …)")]
pub struct GenerationError(String);

impl Generation {
    /// The first file of a name.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The generation that follows this one. None after the largest, which no counter reaches, but
    /// which a forged file can claim.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The number itself.
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<u64> for Generation {
    type Error = GenerationError;

    fn try_from(number: u64) -> Result<Self, GenerationError> {
        NonZeroU64::new(number).map(Self).ok_or_else(|| GenerationError(number.to_string()))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Generation {
    type Err = GenerationError;

    fn from_str(text: &str) -> Result<Self, GenerationError> {
        // One spelling only, because the text is compared and signed.
        match text.parse().map(Self) {
            Ok(generation) if generation.to_string() == text => Ok(generation),
            _ => Err(GenerationError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_positive_numbers_are_generations() {
        assert_eq!("7".parse::<Generation>().unwrap().next(), "8".parse().ok());
        assert_eq!(Generation::try_from(u64::MAX).unwrap().next(), None);
        for text in ["0", "-1", "+1", "01", "", "1.0", "18446744073709551616"] {
            assert!(text.parse::<Generation>().is_err(), "{text}");
        }
    }
}
