//! Inode numbers: the same for the same version of the same file, also after a restart.

use sha2::{Digest, Sha256};
use vaultfs_core::FileHash;

/// An inode number. Never 0, which FUSE reserves; 1 is the root alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ino(pub(crate) u64);

impl Ino {
    /// The root directory (`FUSE_ROOT_ID` of `linux/fuse.h`).
    pub(crate) const ROOT: Self = Self(1);

    /// The inode number of a file's version, or of a directory where there is no hash.
    ///
    /// `attempt` counts from 0 and gives another number each time, for a number that is in use.
    pub(crate) fn derive(
        namespace: &[u8],
        path: &str,
        hash: Option<&FileHash>,
        attempt: u32,
    ) -> Self {
        let mut digest = Sha256::new_with_prefix(b"vaultfs inode\0");
        for part in [namespace, path.as_bytes(), hash.map_or(&[][..], |h| h.as_bytes())] {
            // Lengths keep "ab" + "c" and "a" + "bc" apart.
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.update(attempt.to_le_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let mut number = [0; 8];
        number.copy_from_slice(&digest[..8]);
        Self(u64::from_le_bytes(number).max(Self::ROOT.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_matters_and_nothing_else() {
        let (a, b) = (FileHash::of(b"a"), FileHash::of(b"b"));
        let number = Ino::derive(b"vault", "x/y", Some(&a), 0);
        assert_eq!(number, Ino::derive(b"vault", "x/y", Some(&a), 0));
        for other in [
            Ino::derive(b"other", "x/y", Some(&a), 0),
            Ino::derive(b"vaultx", "/y", Some(&a), 0),
            Ino::derive(b"vault", "x/z", Some(&a), 0),
            Ino::derive(b"vault", "x/y", Some(&b), 0),
            Ino::derive(b"vault", "x/y", None, 0),
            Ino::derive(b"vault", "x/y", Some(&a), 1),
        ] {
            assert_ne!(number, other);
            assert!(other > Ino::ROOT);
        }
    }
}
