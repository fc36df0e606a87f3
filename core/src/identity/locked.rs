//! Identities behind a passphrase, which is asked for once, and only when nothing else opens a
//! file.

use std::io::Read;
use std::iter;
use std::sync::OnceLock;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, armor::ArmoredReader};
use age_core::format::Stanza;

use super::parse::parse;
use super::prompter::Asking;
use super::read::of_value;
use super::{Identity, IdentityError, MAX_WORK_FACTOR, Opener, Origin, ssh};
use crate::{Recipient, Value};

/// How often a passphrase may be wrong.
const TRIES: usize = 3;

/// One or more identities that need a passphrase. Once it was given, or wasn't, that stays so;
/// threads that come meanwhile wait for the answer.
pub(super) struct Locked {
    sealed: Sealed,
    origin: Origin,
    asking: Asking,
    contents: OnceLock<Result<Vec<Identity>, IdentityError>>,
}

enum Sealed {
    /// An age file, armored or binary.
    File(Value),
    SshKey {
        encrypted: Box<age::ssh::EncryptedKey>,
        recipient: Box<Recipient>,
    },
}

impl Locked {
    /// An identity file that is encrypted with age.
    pub(super) fn file(
        file: Value,
        origin: &Origin,
        asking: &Asking,
    ) -> Result<Identity, IdentityError> {
        let decryptor = Decryptor::new(ArmoredReader::new(file.expose_bytes()))
            .map_err(|_| IdentityError::DamagedFile { origin: origin.clone() })?;
        if !decryptor.is_scrypt() {
            return Err(IdentityError::EncryptedToRecipients { origin: origin.clone() });
        }
        Ok(Self::identity(Sealed::File(file), None, origin, asking))
    }

    /// An SSH key that is encrypted the way OpenSSH does it, in which its public half isn't.
    pub(super) fn ssh_key(
        encrypted: age::ssh::EncryptedKey,
        recipient: Recipient,
        origin: &Origin,
        asking: &Asking,
    ) -> Identity {
        let sealed = Sealed::SshKey {
            encrypted: Box::new(encrypted),
            recipient: Box::new(recipient.clone()),
        };
        Self::identity(sealed, Some(recipient), origin, asking)
    }

    fn identity(
        sealed: Sealed,
        recipient: Option<Recipient>,
        origin: &Origin,
        asking: &Asking,
    ) -> Identity {
        let (contents, origin, asking) = (OnceLock::new(), origin.clone(), asking.clone());
        let opener = Opener::Locked(Self { sealed, origin: origin.clone(), asking, contents });
        Identity { origin, recipient, opener }
    }

    /// What is behind the passphrase, where it was given already.
    pub(super) fn unlocked(&self) -> &[Identity] {
        self.contents.get().and_then(|contents| contents.as_ref().ok()).map_or(&[], Vec::as_slice)
    }

    /// Asks for the passphrase where that wasn't done before, unless the file with these stanzas
    /// can't be for what is behind it.
    pub(super) fn unlock_for(&self, stanzas: &[Stanza]) -> Result<&[Identity], IdentityError> {
        if let Sealed::SshKey { recipient, .. } = &self.sealed
            && !ssh::is_addressed(recipient, stanzas)
        {
            return Ok(&[]);
        }
        match self.contents.get_or_init(|| self.ask()) {
            Ok(identities) => Ok(identities),
            Err(error) => Err(error.clone()),
        }
    }

    fn ask(&self) -> Result<Vec<Identity>, IdentityError> {
        let _turn = self.asking.take_turn();
        for tried in 0..TRIES {
            if tried > 0 {
                self.asking.show(&format!("wrong passphrase for {}", self.origin));
            }
            let passphrase = self
                .asking
                .ask_passphrase(&self.origin.to_string())
                .ok_or_else(|| IdentityError::PassphraseNeeded { origin: self.origin.clone() })?;
            if let Some(identities) = self.open(passphrase)? {
                return Ok(identities);
            }
        }
        Err(IdentityError::WrongPassphrase { origin: self.origin.clone() })
    }

    /// None where the passphrase is wrong.
    fn open(&self, passphrase: SecretString) -> Result<Option<Vec<Identity>>, IdentityError> {
        match &self.sealed {
            Sealed::File(file) => self.open_file(file, passphrase),
            Sealed::SshKey { encrypted, recipient } => match encrypted.decrypt(passphrase) {
                Ok(decrypted) => Ok(Some(vec![Identity {
                    origin: self.origin.clone(),
                    recipient: Some(Recipient::clone(recipient)),
                    opener: Opener::Ssh(decrypted.into()),
                }])),
                Err(_) => Ok(None),
            },
        }
    }

    fn open_file(
        &self,
        file: &Value,
        passphrase: SecretString,
    ) -> Result<Option<Vec<Identity>>, IdentityError> {
        let origin = self.origin.clone();
        let mut identity = age::scrypt::Identity::new(passphrase);
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        let decrypted = Decryptor::new(ArmoredReader::new(file.expose_bytes()))
            .and_then(|file| file.decrypt(iter::once(&identity as _)));
        let mut reader = match decrypted {
            Ok(reader) => reader,
            Err(DecryptError::DecryptionFailed) => return Ok(None),
            Err(DecryptError::ExcessiveWork { required, .. }) => {
                return Err(IdentityError::WorkFactor { origin, work_factor: required });
            }
            Err(_) => return Err(IdentityError::DamagedFile { origin }),
        };
        // The file was read under a limit, and the text in it is shorter.
        let text = Value::read_from(&mut reader.by_ref()).map_err(|error| match error {
            crate::ValueError::Read(_) => IdentityError::DamagedFile { origin: origin.clone() },
            other => of_value(other, &origin),
        })?;
        let parsed = parse(&text, &origin, &self.asking)?;
        match parsed.bad_lines.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(Some(parsed.identities)),
        }
    }
}
