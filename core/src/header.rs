//! Reads a secret's age header without an identity, in one pass over its bytes.

use age_core::format::read::legacy_age_stanza;

use crate::stanza::{BindingStanza, STANZA_TAG, StanzaError};
use crate::{Claims, Value};

/// The longest header, in bytes. 1,000 recipients fit.
pub const MAX_HEADER_BYTES: usize = 256 * 1024;

/// The largest file of a secret, in bytes: header, nonce, and the largest value with the 16-byte
/// tag of each 64 KiB chunk.
pub const MAX_FILE_BYTES: usize = MAX_HEADER_BYTES
    + NONCE_BYTES
    + Value::MAX_BYTES
    + (Value::MAX_BYTES / CHUNK_BYTES + 1) * TAG_BYTES;

const MAGIC: &[u8] = b"age-encryption.org/v1\n";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
/// `--- `, 43 characters of base64, and a newline.
const MAC_LINE_BYTES: usize = 4 + 43 + 1;
const NONCE_BYTES: usize = 16;
/// The payload's plaintext comes in chunks of this size: the age specification, *Payload*.
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// What can be told of a secret's file without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the file says of itself, unverified.
    pub claims: Claims,
    /// True where the file carries a signature, of whatever worth.
    pub signed: bool,
    /// The size of the value, in bytes.
    pub value_bytes: u64,
}

/// Why a file isn't a secret of a vault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not an age v1 file, or its header is cut off or damaged.
    #[error("not an age file, or its header is damaged")]
    NotAge,
    /// More than [`MAX_HEADER_BYTES`].
    #[error("the header is longer than {} KiB", MAX_HEADER_BYTES / 1024)]
    HeaderTooLong,
    /// An age file without a `vaultfs` stanza (or an armored one): it says nothing of the name or
    /// vault that it belongs to.
    #[error("an age file that is bound to no vault")]
    Unbound,
    /// Two `vaultfs` stanzas: they could say different things to different readers.
    #[error("more than one vaultfs stanza")]
    TwoStanzas,
    /// The stanza can't be read.
    #[error(transparent)]
    Stanza(#[from] StanzaError),
    /// The payload is shorter than the shortest that age writes.
    #[error("the file is cut off after its header")]
    Truncated,
}

impl Header {
    /// Reads the header of `file`, the whole of a secret's file.
    ///
    /// # Errors
    /// [`HeaderError`] for whatever isn't a bound secret.
    pub fn read(file: &[u8]) -> Result<Self, HeaderError> {
        let raw = RawHeader::read(file)?;
        let binding = raw.binding?.ok_or(HeaderError::Unbound)?;
        let value_bytes = value_bytes(file.len() - raw.len).ok_or(HeaderError::Truncated)?;
        Ok(Self { claims: binding.claims, signed: binding.signature.is_some(), value_bytes })
    }
}

/// The header's length and what was found in it.
pub(crate) struct RawHeader {
    /// Up to and with the newline after the header's MAC, in bytes.
    pub(crate) len: usize,
    /// Our stanza, if there is one.
    pub(crate) binding: Result<Option<BindingStanza>, HeaderError>,
}

impl RawHeader {
    pub(crate) fn read(file: &[u8]) -> Result<Self, HeaderError> {
        if file.starts_with(ARMOR) {
            return Err(HeaderError::Unbound);
        }
        let head = &file[..file.len().min(MAX_HEADER_BYTES)];
        let cut_off =
            if head.len() < file.len() { HeaderError::HeaderTooLong } else { HeaderError::NotAge };
        let mut rest = head.strip_prefix(MAGIC).ok_or(HeaderError::NotAge)?;
        let mut binding = Ok(None);
        while !rest.starts_with(b"---") {
            let Ok((after, stanza)) = legacy_age_stanza(rest) else { return Err(cut_off) };
            rest = after;
            if stanza.tag == STANZA_TAG {
                binding = match binding {
                    Ok(None) => BindingStanza::decode(&stanza.args, &stanza.body())
                        .map(Some)
                        .map_err(Into::into),
                    _ => Err(HeaderError::TwoStanzas),
                };
            }
        }
        if rest.len() < MAC_LINE_BYTES {
            return Err(cut_off);
        }
        let len = head.len() - rest.len() + MAC_LINE_BYTES;
        Ok(Self { len, binding })
    }
}

/// The size of the plaintext of a nonce and payload of `len` bytes.
pub(crate) fn value_bytes(len: usize) -> Option<u64> {
    let payload = len.checked_sub(NONCE_BYTES)?;
    let chunks = payload.div_ceil(CHUNK_BYTES + TAG_BYTES).max(1);
    payload.checked_sub(chunks * TAG_BYTES).map(|bytes| bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_values_follow_from_sizes_of_files() {
        for (payload, value) in [(16, 0), (17, 1), (65_552, 65_536), (65_569, 65_537)] {
            assert_eq!(value_bytes(NONCE_BYTES + payload), Some(value));
        }
        assert_eq!(value_bytes(NONCE_BYTES + 15), None);
        assert_eq!(value_bytes(3), None);
    }

    #[test]
    fn what_is_no_age_file_says_so() {
        assert_eq!(Header::read(b""), Err(HeaderError::NotAge));
        assert_eq!(Header::read(b"hello"), Err(HeaderError::NotAge));
        assert_eq!(Header::read(MAGIC), Err(HeaderError::NotAge));
        assert_eq!(Header::read(ARMOR), Err(HeaderError::Unbound));
        let mut long = MAGIC.to_vec();
        long.extend(b"-> a\n\n".repeat(MAX_HEADER_BYTES / 6));
        long.extend(b"---");
        assert_eq!(Header::read(&long), Err(HeaderError::HeaderTooLong));
    }
}
