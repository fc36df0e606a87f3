//! The `vaultfs` stanza in a secret's age header: what binds a file to its name and vault.
//!
//! This module knows the stanza's text and nothing of cryptography; `seal.rs` makes it and
//! `open.rs` verifies it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::str::FromStr;

use age_core::format::Stanza;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use jiff::{Timestamp, Unit};
use sha2::{Digest, Sha256};

use crate::{FileHash, Fingerprint, Generation, SecretName, VaultId};

/// The stanza's type, its first word.
pub(crate) const STANZA_TAG: &str = "vaultfs";

/// The stanza's only argument: the version of the format of its body.
const FORMAT_VERSION: &str = "1";

/// What a secret's file says of itself.
///
/// Read without an identity these are *claims*, which anyone who can write the file can make up.
/// After [`crate::open()`] they are authenticated: whoever wrote them could open the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The vault that the secret belongs to.
    pub vault: VaultId,
    /// The name that the secret belongs to.
    pub name: SecretName,
    /// Counts the files of this name.
    pub generation: Generation,
    /// When the value last changed, UTC, in whole seconds.
    pub rotated_at: Timestamp,
    /// When the file was written, UTC, in whole seconds.
    pub written_at: Timestamp,
    /// Whom the file is encrypted to, in the order of their stanzas.
    pub recipients: Vec<Fingerprint>,
    /// Everyone who could open this *value* since it was last rotated. Who is in here and no
    /// longer a recipient makes the value one that needs rotation.
    pub could_read: BTreeSet<Fingerprint>,
    /// Why the value must be rotated, where someone said so.
    pub flag: Option<Flag>,
    /// The file of the generation before; none where there was none or it isn't known.
    pub previous: Option<FileHash>,
}

/// A reason to rotate a value that no date tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flag {
    /// The value is known to have leaked.
    Leaked,
}

impl Flag {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
        }
    }
}

/// The whole stanza: the claims, and what ties them to the rest of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BindingStanza {
    pub(crate) claims: Claims,
    /// HMAC-SHA-256 of the value, under a key derived from the file key.
    pub(crate) value_mac: [u8; 32],
    /// [`stanzas_hash`] of the header's other stanzas.
    pub(crate) stanzas_hash: [u8; 32],
    /// An SSHSIG blob over [`BindingStanza::signed_text`]. Kept as it is; not verified here.
    pub(crate) signature: Option<Vec<u8>>,
}

/// Why a `vaultfs` stanza can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StanzaError {
    /// A newer vaultfs wrote it.
    #[error("the vaultfs stanza has the format version {0:?}; this vaultfs reads version 1")]
    Version(String),
    /// The body isn't made of the lines that `docs/format.md` defines, in their order and in
    /// their canonical spelling.
    #[error("the vaultfs stanza is malformed at its field {0:?}")]
    Malformed(&'static str),
}

/// Times are kept in whole seconds.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

impl BindingStanza {
    /// All lines but the signature: what a signature covers.
    pub(crate) fn signed_text(&self) -> String {
        let claims = &self.claims;
        let mut text = String::with_capacity(640);
        let mut line = |field: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{field} {value}").expect("a String takes all that is written");
        };
        line("vault", &claims.vault);
        line("name", &claims.name);
        line("generation", &claims.generation);
        line("rotated", &claims.rotated_at);
        line("written", &claims.written_at);
        line("recipients", &joined(&claims.recipients));
        line("could-read", &joined(&claims.could_read));
        if let Some(flag) = claims.flag {
            line("flag", &flag.as_str());
        }
        if let Some(previous) = claims.previous {
            line("previous", &previous);
        }
        line("value-mac", &BASE64_STANDARD_NO_PAD.encode(self.value_mac));
        line("stanzas", &BASE64_STANDARD_NO_PAD.encode(self.stanzas_hash));
        text
    }

    pub(crate) fn encode(&self) -> Stanza {
        let mut body = self.signed_text();
        if let Some(signature) = &self.signature {
            body.push_str("signature ");
            body.push_str(&BASE64_STANDARD_NO_PAD.encode(signature));
            body.push('\n');
        }
        let args = vec![FORMAT_VERSION.to_owned()];
        Stanza { tag: STANZA_TAG.to_owned(), args, body: body.into_bytes() }
    }

    pub(crate) fn decode(args: &[impl AsRef<str>], body: &[u8]) -> Result<Self, StanzaError> {
        match args {
            [version] if version.as_ref() == FORMAT_VERSION => {}
            other => {
                let version: Vec<&str> = other.iter().map(AsRef::as_ref).collect();
                return Err(StanzaError::Version(version.join(" ")));
            }
        }
        let text = str::from_utf8(body).map_err(|_| StanzaError::Malformed("vault"))?;
        let mut lines = Lines { rest: text };
        let stanza = Self {
            claims: Claims {
                vault: lines.parsed("vault")?,
                name: lines.parsed("name")?,
                generation: lines.parsed("generation")?,
                rotated_at: lines.time("rotated")?,
                written_at: lines.time("written")?,
                recipients: lines.fingerprints("recipients")?,
                could_read: lines.fingerprints("could-read")?.into_iter().collect(),
                flag: match lines.optional("flag") {
                    None => None,
                    Some("leaked") => Some(Flag::Leaked),
                    Some(_) => return Err(StanzaError::Malformed("flag")),
                },
                previous: match lines.optional("previous") {
                    None => None,
                    Some(hash) => Some(parse("previous", hash)?),
                },
            },
            value_mac: lines.bytes("value-mac")?,
            stanzas_hash: lines.bytes("stanzas")?,
            signature: match lines.optional("signature") {
                None => None,
                Some(blob) => Some(base64("signature", blob)?),
            },
        };
        // One spelling only: whatever the lines above let through, order of fingerprints
        // included, shows here.
        let canonical = stanza.encode();
        if canonical.body == body { Ok(stanza) } else { Err(StanzaError::Malformed("could-read")) }
    }
}

fn joined<'a>(fingerprints: impl IntoIterator<Item = &'a Fingerprint>) -> String {
    let words: Vec<String> = fingerprints.into_iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// The body's lines that are still to be read.
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    fn optional(&mut self, field: &str) -> Option<&'a str> {
        let after = self.rest.strip_prefix(field)?.strip_prefix(' ')?;
        let (value, rest) = after.split_once('\n')?;
        self.rest = rest;
        Some(value)
    }

    fn required(&mut self, field: &'static str) -> Result<&'a str, StanzaError> {
        self.optional(field).ok_or(StanzaError::Malformed(field))
    }

    fn parsed<T: FromStr>(&mut self, field: &'static str) -> Result<T, StanzaError> {
        parse(field, self.required(field)?)
    }

    fn time(&mut self, field: &'static str) -> Result<Timestamp, StanzaError> {
        let time: Timestamp = self.parsed(field)?;
        // `Display` leaves out a fraction of zero, so a text with one would not come back.
        let whole = time.round(Unit::Second).map_err(|_| StanzaError::Malformed(field))?;
        if whole == time { Ok(time) } else { Err(StanzaError::Malformed(field)) }
    }

    fn fingerprints(&mut self, field: &'static str) -> Result<Vec<Fingerprint>, StanzaError> {
        self.required(field)?.split(' ').map(|word| parse(field, word)).collect()
    }

    fn bytes(&mut self, field: &'static str) -> Result<[u8; 32], StanzaError> {
        let bytes = base64(field, self.required(field)?)?;
        bytes.try_into().map_err(|_| StanzaError::Malformed(field))
    }
}

fn parse<T: FromStr>(field: &'static str, text: &str) -> Result<T, StanzaError> {
    text.parse().map_err(|_| StanzaError::Malformed(field))
}

fn base64(field: &'static str, text: &str) -> Result<Vec<u8>, StanzaError> {
    BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| StanzaError::Malformed(field))
}

/// SHA-256 over the stanzas that carry the file key: for each, in the order of the header, the
/// line `TAG ARG…` and the line with its body in unpadded base64. Left out are our own stanza and
/// grease (tags that end in `-grease`), which age adds after ours was made.
pub(crate) fn stanzas_hash(stanzas: &[Stanza]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for stanza in stanzas.iter().filter(|s| carries_file_key(&s.tag)) {
        hash.update(&stanza.tag);
        for arg in &stanza.args {
            hash.update(" ");
            hash.update(arg);
        }
        hash.update("\n");
        hash.update(BASE64_STANDARD_NO_PAD.encode(&stanza.body));
        hash.update("\n");
    }
    hash.finalize().into()
}

/// False for our own stanza and for grease.
fn carries_file_key(tag: &str) -> bool {
    tag != STANZA_TAG && !tag.ends_with("-grease")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> BindingStanza {
        let fingerprint = |n: u8| Fingerprint::of(&format!("recipient {n}"));
        BindingStanza {
            claims: Claims {
                vault: "4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11".parse().unwrap(),
                name: "prod/DATABASE_URL".parse().unwrap(),
                generation: Generation::try_from(3).unwrap(),
                rotated_at: "2026-11-01T08:00:00Z".parse().unwrap(),
                written_at: "2026-11-23T14:06:00Z".parse().unwrap(),
                recipients: vec![fingerprint(2), fingerprint(1)],
                could_read: [fingerprint(1), fingerprint(2), fingerprint(3)].into(),
                flag: Some(Flag::Leaked),
                previous: Some(FileHash::of(b"before")),
            },
            value_mac: [7; 32],
            stanzas_hash: [8; 32],
            signature: Some(b"SSHSIG".to_vec()),
        }
    }

    #[test]
    fn a_stanza_comes_back_as_it_was() {
        let plain = BindingStanza { signature: None, ..example() };
        let claims = Claims { flag: None, previous: None, ..example().claims };
        for stanza in [example(), plain, BindingStanza { claims, ..example() }] {
            let encoded = stanza.encode();
            assert_eq!(BindingStanza::decode(&encoded.args, &encoded.body), Ok(stanza));
        }
    }

    #[test]
    fn each_damaged_line_is_named() {
        let body = String::from_utf8(example().encode().body).unwrap();
        for line in body.lines() {
            let field = line.split(' ').next().unwrap();
            let damaged = body.replace(line, &format!("{field} \u{7f}"));
            let error = BindingStanza::decode(&["1"], damaged.as_bytes()).unwrap_err();
            assert_eq!(error.to_string().split('"').nth(1), Some(field));
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_read() {
        let body = String::from_utf8(example().encode().body).unwrap();
        let fingerprints = joined(&example().claims.could_read);
        let mut reversed: Vec<&str> = fingerprints.split(' ').collect();
        reversed.reverse();
        for other in [
            body.replace('\n', "\r\n"),
            format!("{body}\n"),
            format!("{body}extra 1\n"),
            body.replace("08:00:00Z", "08:00:00.000Z"),
            body.replace("08:00:00Z", "08:00:00.5Z"),
            body.replace("08:00:00Z", "09:00:00+01:00"),
            body.replace("generation 3", "generation 03"),
            body.replace(&fingerprints, &reversed.join(" ")),
            body.trim_end().to_owned(),
        ] {
            assert!(BindingStanza::decode(&["1"], other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn another_format_version_is_refused_by_name() {
        let error = BindingStanza::decode(&["2"], b"").unwrap_err();
        assert_eq!(error, StanzaError::Version("2".to_owned()));
    }

    #[test]
    fn the_hash_of_the_stanzas_leaves_out_ours_and_grease() {
        let stanza = |tag: &str, body: &[u8]| Stanza {
            tag: tag.to_owned(),
            args: vec!["a".to_owned()],
            body: body.to_vec(),
        };
        let hash = stanzas_hash(&[stanza("X25519", b"1")]);
        let padded = [stanza("X25519", b"1"), stanza("x-grease", b"2"), stanza("vaultfs", b"3")];
        assert_eq!(stanzas_hash(&padded), hash);
        assert_ne!(stanzas_hash(&[stanza("X25519", b"2")]), hash);
        assert_ne!(stanzas_hash(&[stanza("X25519", b"1"), stanza("X25519", b"1")]), hash);
    }
}
