//! Encrypts a value into a secret's file.

use std::collections::HashSet;
use std::io::Write;

use age::{EncryptError, Encryptor};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::hkdf;
use age_core::secrecy::ExposeSecret;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::recipient::RecipientKind;
use crate::stanza::{BindingStanza, stanzas_hash};
use crate::{Claims, Recipient, Value};

/// The label that the key of the value's HMAC is derived with.
const VALUE_MAC_LABEL: &[u8] = b"vaultfs/v1/value-mac";

/// Why a value could not be encrypted. No text holds anything of the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// There is nobody to encrypt to.
    #[error("there are no recipients")]
    NoRecipients,
    /// A recipient needs a program that isn't installed.
    #[error("the recipient {recipient} needs age-plugin-{plugin}, which is not in PATH")]
    PluginMissing {
        /// The recipient's text.
        recipient: String,
        /// The plugin's name.
        plugin: String,
    },
    /// These recipients can't share a file: age keeps, for one, post-quantum recipients apart
    /// from others, because the others would undo their protection.
    #[error("these recipients can't share a file: {0}")]
    Incompatible(String),
    /// age or a plugin failed.
    #[error("encryption failed: {0}")]
    Age(String),
}

/// Encrypts `value` to `recipients` and binds it to `claims`, whose own list of recipients is set
/// from `recipients`. Returns the bytes of the file.
///
/// # Errors
/// [`SealError`]; nothing was written anywhere.
pub fn seal(value: &Value, claims: Claims, recipients: &[Recipient]) -> Result<Vec<u8>, SealError> {
    if recipients.is_empty() {
        return Err(SealError::NoRecipients);
    }
    let claims =
        Claims { recipients: recipients.iter().map(Recipient::fingerprint).collect(), ..claims };
    let composite = Composite {
        recipients: recipients.iter().map(age_recipient).collect::<Result<_, _>>()?,
        claims,
        value,
    };
    let encryptor = Encryptor::with_recipients(std::iter::once(&composite as _))
        .map_err(|e| sealing_failed(&e))?;
    let mut file = Vec::with_capacity(value.len() + 1024 + 512 * recipients.len());
    let write = |file: &mut Vec<u8>| {
        let mut writer = encryptor.wrap_output(file)?;
        writer.write_all(value.expose_bytes())?;
        writer.finish().map(|_| ())
    };
    write(&mut file).map_err(|e| SealError::Age(e.to_string()))?;
    Ok(file)
}

fn sealing_failed(error: &EncryptError) -> SealError {
    match error {
        EncryptError::IncompatibleRecipients { .. } => SealError::Incompatible(error.to_string()),
        _ => SealError::Age(error.to_string()),
    }
}

fn age_recipient(recipient: &Recipient) -> Result<Box<dyn age::Recipient>, SealError> {
    Ok(match recipient.kind.clone() {
        RecipientKind::X25519(recipient) => Box::new(recipient),
        RecipientKind::Tag(recipient) => Box::new(recipient),
        RecipientKind::TagPq(recipient) => recipient,
        RecipientKind::Ssh(recipient) => Box::new(recipient),
        RecipientKind::Plugin(plugin) => {
            let name = plugin.plugin().to_owned();
            age::plugin::RecipientPluginV1::new(&name, &[plugin], &[], age::NoCallbacks)
                .map(Box::new)
                .map_err(|_| SealError::PluginMissing {
                    recipient: recipient.to_string(),
                    plugin: name,
                })?
        }
    })
}

/// All recipients as one, which adds our stanza last. A recipient of its own for the stanza would
/// fail beside post-quantum recipients: age wants the same labels from each.
struct Composite<'a> {
    recipients: Vec<Box<dyn age::Recipient>>,
    claims: Claims,
    value: &'a Value,
}

impl age::Recipient for Composite<'_> {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut stanzas = Vec::with_capacity(self.recipients.len() + 1);
        let mut labels: Option<HashSet<String>> = None;
        for recipient in &self.recipients {
            let (mut theirs, their_labels) = recipient.wrap_file_key(file_key)?;
            match &labels {
                Some(labels) if *labels != their_labels => {
                    let (l_labels, r_labels) = (labels.clone(), their_labels);
                    return Err(EncryptError::IncompatibleRecipients { l_labels, r_labels });
                }
                _ => labels = Some(their_labels),
            }
            stanzas.append(&mut theirs);
        }
        let binding = BindingStanza {
            claims: self.claims.clone(),
            value_mac: value_mac(file_key, self.value).finalize().into_bytes().into(),
            stanzas_hash: stanzas_hash(&stanzas),
            signature: None,
        };
        stanzas.push(binding.encode());
        Ok((stanzas, labels.unwrap_or_default()))
    }
}

/// HMAC-SHA-256 over the value. Its key comes from the file key, so that it tells nothing to
/// those who can't open the file anyway.
pub(crate) fn value_mac(file_key: &FileKey, value: &Value) -> Hmac<Sha256> {
    let mac_key = Zeroizing::new(hkdf(&[], VALUE_MAC_LABEL, file_key.expose_secret()));
    let mut mac =
        <Hmac<Sha256> as Mac>::new_from_slice(&*mac_key).expect("HMAC takes keys of any length");
    mac.update(value.expose_bytes());
    mac
}
