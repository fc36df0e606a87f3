//! Recipients: the public halves of identities, in every form that age knows.

use std::fmt;
use std::str::FromStr;

use crate::Fingerprint;

/// A public age key that values are encrypted to.
///
/// Native (`age1…`), post-quantum or tagged (`age1tag1…`, `age1tagpq1…`), of a plugin
/// (`age1NAME1…`), or an SSH key (`ssh-ed25519 …`, `ssh-rsa …`). Its canonical text is the one
/// that age prints; for SSH keys it is the type and the base64 without the comment. Two recipients
/// are equal when their canonical texts are.
#[derive(Clone)]
pub struct Recipient {
    canonical: String,
    pub(crate) kind: RecipientKind,
}

#[derive(Clone)]
pub(crate) enum RecipientKind {
    X25519(age::x25519::Recipient),
    Tag(age::tag::Recipient),
    /// Boxed: its 1.2 KiB would make every recipient as large.
    TagPq(Box<age::tagpq::Recipient>),
    Ssh(age::ssh::Recipient),
    Plugin(age::plugin::Recipient),
}

/// Why a text isn't a recipient. The text itself is shown only where it can't be private.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// It is an identity, the private half. It isn't shown.
    #[error("this is a private identity, not a recipient")]
    PrivateIdentity,
    /// An SSH key of a type that age can't encrypt to, such as ECDSA or a hardware-backed key.
    #[error("SSH keys of type {0:?} can't be recipients; use ssh-ed25519 or ssh-rsa")]
    SshType(String),
    /// An SSH key whose base64 is damaged, or an RSA key under 2048 bits.
    #[error("the {0} key is damaged or too short")]
    SshDamaged(&'static str),
    /// A native or plugin recipient whose checksum fails: a character is missing or mistyped.
    #[error(
        "{0:?} looks like an age recipient, but its checksum fails: a character is wrong or missing"
    )]
    Checksum(String),
    /// Nothing that age knows.
    #[error("{0:?} is not an age recipient (age1…, ssh-ed25519 … or ssh-rsa …)")]
    Unknown(String),
}

impl Recipient {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// How files name this recipient.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.canonical)
    }

    /// The name of the `age-plugin-NAME` program this recipient needs, if it needs one.
    pub fn plugin(&self) -> Option<&str> {
        match &self.kind {
            RecipientKind::Plugin(recipient) => Some(recipient.plugin()),
            _ => None,
        }
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let text = text.trim();
        let upper = text.get(..16).unwrap_or(text).to_ascii_uppercase();
        if upper.starts_with("AGE-SECRET-KEY-") || upper.starts_with("AGE-PLUGIN-") {
            return Err(RecipientError::PrivateIdentity);
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(RecipientError::PrivateIdentity);
        }
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-") {
            return ssh(text);
        }
        if let Ok(recipient) = text.parse::<age::x25519::Recipient>() {
            return Ok(new(recipient.to_string(), RecipientKind::X25519(recipient)));
        }
        if let Ok(recipient) = text.parse::<age::tag::Recipient>() {
            return Ok(new(recipient.to_string(), RecipientKind::Tag(recipient)));
        }
        if let Ok(recipient) = text.parse::<age::tagpq::Recipient>() {
            return Ok(new(recipient.to_string(), RecipientKind::TagPq(Box::new(recipient))));
        }
        if let Ok(recipient) = text.parse::<age::plugin::Recipient>() {
            return Ok(new(recipient.to_string(), RecipientKind::Plugin(recipient)));
        }
        if text.starts_with("age1") {
            return Err(RecipientError::Checksum(shown(text)));
        }
        Err(RecipientError::Unknown(shown(text)))
    }
}

fn new(canonical: String, kind: RecipientKind) -> Recipient {
    Recipient { canonical, kind }
}

fn ssh(text: &str) -> Result<Recipient, RecipientError> {
    // The comment is the owner's note, not part of the recipient.
    let mut words = text.split_ascii_whitespace();
    let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let known = match kind {
        "ssh-ed25519" => "ssh-ed25519",
        "ssh-rsa" => "ssh-rsa",
        other => return Err(RecipientError::SshType(shown(other))),
    };
    let canonical = format!("{kind} {body}");
    match canonical.parse::<age::ssh::Recipient>() {
        Ok(recipient) => Ok(new(canonical, RecipientKind::Ssh(recipient))),
        Err(_) => Err(RecipientError::SshDamaged(known)),
    }
}

/// The beginning of a text, enough to find it again.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Recipient {}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    const SSH: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    fn error(text: &str) -> RecipientError {
        text.parse::<Recipient>().unwrap_err()
    }

    #[test]
    fn native_and_ssh_recipients_are_read_in_canonical_form() {
        assert_eq!(AGE.parse::<Recipient>().unwrap().as_str(), AGE);
        let ssh: Recipient = format!("{SSH} alice@laptop").parse().unwrap();
        assert_eq!(ssh.as_str(), SSH);
        assert_eq!(ssh.fingerprint(), SSH.parse::<Recipient>().unwrap().fingerprint());
    }

    #[test]
    fn a_private_identity_is_refused_and_not_repeated() {
        for text in ["AGE-SECRET-KEY-1CANARY", "age-secret-key-1canary", "AGE-PLUGIN-X-1CANARY"] {
            assert_eq!(error(text), RecipientError::PrivateIdentity);
            assert!(!error(text).to_string().to_lowercase().contains("canary"));
        }
        let pem = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary";
        assert_eq!(error(pem), RecipientError::PrivateIdentity);
    }

    #[test]
    fn damaged_and_unknown_texts_say_what_they_are() {
        assert!(matches!(error(&AGE.replace("zvk", "zvv")), RecipientError::Checksum(_)));
        assert!(matches!(error("alice"), RecipientError::Unknown(_)));
        assert!(matches!(error("ssh-ed25519 AAAA"), RecipientError::SshDamaged(_)));
        assert!(matches!(error("ecdsa-sha2-nistp256 AAAA"), RecipientError::SshType(_)));
    }
}
