//! SSH keys as identities: in OpenSSH's form, and RSA also in the older PEM form.

use age::ssh::UnsupportedKey;
use age_core::format::Stanza;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::locked::Locked;
use super::prompter::Asking;
use super::{Identity, IdentityError, Opener, Origin};
use crate::{Recipient, Value};

/// Reads the private key in `pem`, whose first line was line `line` of its file.
pub(super) fn parse(
    pem: &Value,
    line: usize,
    origin: &Origin,
    asking: &Asking,
) -> Result<Identity, IdentityError> {
    let pem = pem.expose_bytes();
    let unsupported =
        |reason: String| IdentityError::UnsupportedSsh { origin: origin.clone(), reason };
    let damaged = || IdentityError::DamagedSsh { origin: origin.clone() };
    match label(pem) {
        b"OPENSSH PRIVATE KEY" | b"RSA PRIVATE KEY" => {}
        label if label.ends_with(b"PRIVATE KEY") => {
            return Err(unsupported("it is not in the form that OpenSSH writes".into()));
        }
        label if label.ends_with(b"PUBLIC KEY") => {
            return Err(IdentityError::PublicHalf { origin: origin.clone(), line });
        }
        _ => return Err(IdentityError::NotAnIdentity { origin: origin.clone(), line }),
    }
    let key = age::ssh::Identity::from_buffer(pem, None).map_err(|_| damaged())?;
    if let age::ssh::Identity::Unsupported(why) = &key {
        return Err(match why {
            // age says so of known types whose content makes no sense.
            UnsupportedKey::Type(kind) if kind == "ssh-ed25519" || kind == "ssh-rsa" => damaged(),
            UnsupportedKey::Type(kind) => {
                unsupported(format!("keys of type {} are not supported", shown(kind)))
            }
            UnsupportedKey::Hardware(kind) => {
                unsupported(format!("keys of type {} live on a hardware token", shown(kind)))
            }
            UnsupportedKey::EncryptedPem => {
                unsupported("its passphrase protection is the weak one of old PEM files".into())
            }
            UnsupportedKey::EncryptedSsh(cipher) => {
                unsupported(format!("its cipher {} is not supported", shown(cipher)))
            }
        });
    }
    let recipient =
        recipient_of(&key).map_err(|reason| reason.map_or_else(damaged, unsupported))?;
    Ok(match key {
        age::ssh::Identity::Encrypted(key) => Locked::ssh_key(key, recipient, origin, asking),
        key => {
            let (origin, opener) = (origin.clone(), Opener::Ssh(key));
            Identity { origin, recipient: Some(recipient), opener }
        }
    })
}

/// What stands between `-----BEGIN ` and the dashes after it.
fn label(pem: &[u8]) -> &[u8] {
    let line = pem.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.strip_prefix(b"-----BEGIN ")
        .and_then(|line| line.strip_suffix(b"-----"))
        .unwrap_or_default()
}

/// The public half, which is in the clear even in an encrypted key. The error is the reason why
/// age can't encrypt to it; none where it is damaged.
fn recipient_of(key: &age::ssh::Identity) -> Result<Recipient, Option<String>> {
    use age::ssh::ParseRecipientKeyError::{RsaModulusTooLarge, Unsupported};
    match age::ssh::Recipient::try_from(key.clone()) {
        // age reads the short ones, but not as recipients.
        Ok(recipient) => recipient
            .to_string()
            .parse()
            .map_err(|_| Some("RSA keys under 2048 bits are too weak".into())),
        Err(RsaModulusTooLarge) => Err(Some("RSA keys over 4096 bits are not supported".into())),
        Err(Unsupported(kind)) => {
            Err(Some(format!("keys of type {} are not supported", shown(&kind))))
        }
        Err(_) => Err(None),
    }
}

/// The name of a type or a cipher. In a damaged key, age takes private bytes for one.
fn shown(name: &str) -> &str {
    let plausible =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-@.".contains(&byte);
    if name.len() <= 64 && name.bytes().all(plausible) { name } else { "unknown" }
}

/// Whether one of the stanzas bears the tag of this SSH recipient: the first 4 bytes of the
/// SHA-256 of the public key in SSH's wire form, in unpadded base64 (age's package `agessh`).
pub(super) fn is_addressed(recipient: &Recipient, stanzas: &[Stanza]) -> bool {
    let Some((kind, body)) = recipient.as_str().split_once(' ') else { return false };
    let Ok(wire) = BASE64_STANDARD.decode(body) else { return false };
    let tag = BASE64_STANDARD_NO_PAD.encode(&Sha256::digest(wire)[..4]);
    stanzas.iter().any(|stanza| stanza.tag == kind && stanza.args.first() == Some(&tag))
}
