//! Decrypts a secret's file, and releases the value only once all that binds it was verified.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};

use age::{DecryptError, Decryptor, Identity};
use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret;
use hmac::Mac;

use crate::header::{HeaderError, RawHeader, value_bytes};
use crate::seal::value_mac;
use crate::stanza::{STANZA_TAG, stanzas_hash};
use crate::{Claims, Fingerprint, IdentityError, SecretName, Value, ValueError, VaultId};

/// A secret whose file was opened and found to be what it says.
pub struct Opened {
    /// The value.
    pub value: Value,
    /// What the file says of itself, authenticated: whoever wrote it could open the secret.
    pub claims: Claims,
}

/// Why a secret's file wasn't opened. No text holds anything of the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It isn't a bound secret at all.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It belongs to another name: it was moved or copied by something else than vaultfs.
    #[error("the file belongs to the secret {belongs_to}")]
    OtherName {
        /// The name in the file.
        belongs_to: SecretName,
    },
    /// It belongs to another vault.
    #[error("the file belongs to another vault, {belongs_to}")]
    OtherVault {
        /// The vault in the file.
        belongs_to: VaultId,
    },
    /// None of the identities at hand is a recipient.
    #[error("no identity at hand opens it")]
    NoIdentity {
        /// Whom the file says it is encrypted to.
        recipients: Vec<Fingerprint>,
    },
    /// The identity that should open it can't be used: a wrong passphrase, a missing plugin.
    #[error(transparent)]
    Identity(IdentityError),
    /// age failed in a way of its own.
    #[error("age can't open it: {0}")]
    Age(String),
    /// A byte of the header was changed after it was written.
    #[error("the header was changed after it was written")]
    HeaderChanged,
    /// The stanzas or the value aren't those that the binding was made for.
    #[error("the file doesn't match its own binding")]
    BindingBroken,
    /// The payload was changed or cut off after it was written.
    #[error("the payload was changed or cut off after it was written")]
    PayloadChanged,
    /// The value can't be held.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// Opens `file`, which must belong to `name` in `vault`.
///
/// # Errors
/// [`OpenError`]; then no byte of the value is released.
pub fn open<'a>(
    file: &[u8],
    vault: VaultId,
    name: &SecretName,
    identities: impl Iterator<Item = &'a dyn Identity>,
) -> Result<Opened, OpenError> {
    let header = RawHeader::read(file)?;
    // Checked before anything is decrypted; that age authenticated the same is checked below.
    let claimed = header.binding?.ok_or(HeaderError::Unbound)?;
    check_place(&claimed.claims, vault, name)?;
    let asked = Unwrapper::new(identities.collect(), Some(claimed.encode()));
    let value = decrypt(file, header.len, &asked).map_err(|error| match error {
        OpenError::NoIdentity { .. } => {
            OpenError::NoIdentity { recipients: claimed.claims.recipients.clone() }
        }
        other => other,
    })?;
    let unwrapped = asked.unwrapped.into_inner().ok_or(OpenError::BindingBroken)?;
    let mac_holds =
        value_mac(&unwrapped.file_key, &value).verify(&claimed.value_mac.into()).is_ok();
    if !unwrapped.as_claimed || unwrapped.stanzas_hash != claimed.stanzas_hash || !mac_holds {
        return Err(OpenError::BindingBroken);
    }
    Ok(Opened { value, claims: claimed.claims })
}

/// Opens an age file that is bound to nothing: binary or armored, as `age` writes it.
///
/// # Errors
/// [`OpenError`]; also where the file is bound after all.
pub fn open_unbound<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn Identity>,
) -> Result<Value, OpenError> {
    let mut binary = Vec::new();
    age::armor::ArmoredReader::new(file)
        .read_to_end(&mut binary)
        .map_err(|_| OpenError::Header(HeaderError::NotAge))?;
    let header = RawHeader::read(&binary)?;
    if let Some(binding) = header.binding? {
        return Err(OpenError::OtherName { belongs_to: binding.claims.name });
    }
    decrypt(&binary, header.len, &Unwrapper::new(identities.collect(), None))
}

fn check_place(claims: &Claims, vault: VaultId, name: &SecretName) -> Result<(), OpenError> {
    if claims.vault != vault {
        return Err(OpenError::OtherVault { belongs_to: claims.vault });
    }
    if claims.name != *name {
        return Err(OpenError::OtherName { belongs_to: claims.name.clone() });
    }
    Ok(())
}

fn decrypt(file: &[u8], header_len: usize, unwrapper: &Unwrapper<'_>) -> Result<Value, OpenError> {
    let size = value_bytes(file.len() - header_len).ok_or(HeaderError::Truncated)?;
    let size = usize::try_from(size).map_err(|_| ValueError::TooLarge)?;
    let decryptor =
        Decryptor::new_buffered(HeaderAtOnce { rest: file, header_len }).map_err(opening_failed)?;
    let mut reader = decryptor.decrypt(std::iter::once(unwrapper as _)).map_err(opening_failed)?;
    let changed = |_| OpenError::PayloadChanged;
    // Exactly so many bytes: a buffer that had to grow would hold twice the memory, locked.
    Value::fill(size, |bytes| {
        reader.read_exact(bytes).map_err(changed)?;
        // age tells a payload that was cut off when its end is read.
        match reader.read(&mut [0]).map_err(changed)? {
            0 => Ok(()),
            _ => Err(OpenError::PayloadChanged),
        }
    })
}

fn opening_failed(error: DecryptError) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys => OpenError::NoIdentity { recipients: Vec::new() },
        DecryptError::InvalidMac => OpenError::HeaderChanged,
        DecryptError::DecryptionFailed => OpenError::PayloadChanged,
        DecryptError::InvalidHeader | DecryptError::UnknownFormat => HeaderError::NotAge.into(),
        DecryptError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            HeaderError::Truncated.into()
        }
        other => match IdentityError::of_age(&other) {
            Some(error) => OpenError::Identity(error.clone()),
            None => OpenError::Age(other.to_string()),
        },
    }
}

/// Hands age the header in one piece. age parses from the start again after each line it reads,
/// which is quadratic, and a hostile header has many lines.
struct HeaderAtOnce<'a> {
    rest: &'a [u8],
    header_len: usize,
}

impl Read for HeaderAtOnce<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.rest.read(into)
    }
}

impl BufRead for HeaderAtOnce<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.rest)
    }

    fn consume(&mut self, count: usize) {
        self.rest.consume(count);
    }

    fn read_until(&mut self, delimiter: u8, into: &mut Vec<u8>) -> io::Result<usize> {
        let header = std::mem::take(&mut self.header_len);
        if header == 0 {
            return self.rest.read_until(delimiter, into);
        }
        let (head, rest) = self.rest.split_at(header);
        into.extend_from_slice(head);
        self.rest = rest;
        Ok(header)
    }
}

/// Asks each identity in turn, and keeps what the binding is verified with.
struct Unwrapper<'a> {
    identities: Vec<&'a dyn Identity>,
    /// Our stanza as it was read before anything was authenticated. It has one spelling only.
    claimed: Option<Stanza>,
    unwrapped: RefCell<Option<Unwrapped>>,
}

struct Unwrapped {
    file_key: FileKey,
    /// Whether age authenticated the stanza that was claimed.
    as_claimed: bool,
    stanzas_hash: [u8; 32],
}

impl<'a> Unwrapper<'a> {
    fn new(identities: Vec<&'a dyn Identity>, claimed: Option<Stanza>) -> Self {
        Self { identities, claimed, unwrapped: RefCell::new(None) }
    }
}

impl Identity for Unwrapper<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.identities.iter().find_map(|identity| identity.unwrap_stanza(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        // An identity that can't be used must not hide a later one that can.
        let mut failed = None;
        for identity in &self.identities {
            match identity.unwrap_stanzas(stanzas) {
                None => {}
                Some(Err(error)) => failed = failed.or(Some(error)),
                Some(Ok(file_key)) => {
                    let copy = FileKey::new(Box::new(*file_key.expose_secret()));
                    let ours = stanzas.iter().find(|stanza| stanza.tag == STANZA_TAG);
                    *self.unwrapped.borrow_mut() = Some(Unwrapped {
                        file_key: copy,
                        as_claimed: ours == self.claimed.as_ref(),
                        stanzas_hash: stanzas_hash(stanzas),
                    });
                    return Some(Ok(file_key));
                }
            }
        }
        failed.map(Err)
    }
}

#[cfg(test)]
mod tests;
