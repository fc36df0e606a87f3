//! High-water marks: the newest generation seen of each name, so that an older file that comes
//! back is told from a new one.

use std::collections::BTreeMap;

use crate::{FileHash, Generation, SecretName};

/// A counter that jumps further than this in one step is not believed: nobody writes a secret a
/// thousand times between two looks, but a forger can claim any number.
pub const MAX_GENERATION_JUMP: u64 = 1_000;

/// The highest verified generation of each name, with the hash of its file.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    seen: BTreeMap<SecretName, (Generation, FileHash)>,
}

/// Why a verified file isn't accepted all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// Older than one seen before: an old file was brought back.
    #[error("generation {found} was brought back; {seen} was seen before")]
    Older {
        /// The file's generation.
        found: Generation,
        /// The highest seen.
        seen: Generation,
    },
    /// A different file with the same generation: two were written side by side, or one is forged.
    #[error("another file of generation {0} was seen before")]
    Forked(Generation),
    /// A jump of more than [`MAX_GENERATION_JUMP`].
    #[error("generation {found} is more than {MAX_GENERATION_JUMP} past {seen}, the last seen")]
    Jump {
        /// The file's generation.
        found: Generation,
        /// The highest seen.
        seen: Generation,
    },
}

impl Marks {
    /// Checks a file that was opened against what was seen before, and remembers it.
    ///
    /// # Errors
    /// [`RollbackError`]; then nothing is remembered.
    pub fn accept(
        &mut self,
        name: &SecretName,
        found: Generation,
        hash: FileHash,
    ) -> Result<(), RollbackError> {
        if let Some(&(seen, seen_hash)) = self.seen.get(name) {
            if found < seen {
                return Err(RollbackError::Older { found, seen });
            }
            if found == seen && hash != seen_hash {
                return Err(RollbackError::Forked(found));
            }
            if found.number() - seen.number() > MAX_GENERATION_JUMP {
                return Err(RollbackError::Jump { found, seen });
            }
        }
        self.seen.insert(name.clone(), (found, hash));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forward_steps_are_accepted() {
        let name: SecretName = "a".parse().unwrap();
        let generation = |n: u64| Generation::try_from(n).unwrap();
        let (one, two) = (FileHash::of(b"1"), FileHash::of(b"2"));
        let mut marks = Marks::default();
        assert_eq!(marks.accept(&name, generation(5), one), Ok(()));
        assert_eq!(marks.accept(&name, generation(5), one), Ok(()));
        assert_eq!(
            marks.accept(&name, generation(5), two),
            Err(RollbackError::Forked(generation(5)))
        );
        assert!(matches!(
            marks.accept(&name, generation(4), two),
            Err(RollbackError::Older { .. })
        ));
        assert!(matches!(
            marks.accept(&name, generation(1_006), two),
            Err(RollbackError::Jump { .. })
        ));
        assert_eq!(marks.accept(&name, generation(1_005), two), Ok(()));
        assert!(matches!(
            marks.accept(&name, generation(5), one),
            Err(RollbackError::Older { .. })
        ));
    }
}
