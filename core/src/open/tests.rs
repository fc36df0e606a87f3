use age::x25519;
use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;

use super::*;
use crate::stanza::BindingStanza;
use crate::{Generation, Header, Recipient, seal};

fn claims(name: &str) -> Claims {
    Claims {
        vault: vault(),
        name: name.parse().unwrap(),
        generation: Generation::FIRST,
        rotated_at: "2026-11-01T08:00:00Z".parse().unwrap(),
        written_at: "2026-11-01T08:00:00Z".parse().unwrap(),
        recipients: Vec::new(),
        could_read: BTreeSet::from([Fingerprint::of("someone")]),
        flag: None,
        previous: None,
    }
}

fn vault() -> VaultId {
    "4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11".parse().unwrap()
}

fn recipient(identity: &x25519::Identity) -> Recipient {
    identity.to_public().to_string().parse().unwrap()
}

fn sealed(name: &str, value: &[u8], to: &[&x25519::Identity]) -> Vec<u8> {
    let recipients: Vec<Recipient> = to.iter().map(|i| recipient(i)).collect();
    seal(&Value::copy_of(value).unwrap(), claims(name), &recipients).unwrap()
}

fn opened(file: &[u8], name: &str, identity: &x25519::Identity) -> Result<Opened, OpenError> {
    open(file, vault(), &name.parse().unwrap(), std::iter::once(identity as _))
}

#[test]
fn a_sealed_value_opens_for_each_recipient_and_nobody_else() {
    let [alice, bob, eve] = [(); 3].map(|()| x25519::Identity::generate());
    for value in [Vec::new(), b"hunter2".to_vec(), vec![0; 65_536], vec![7; 200_000]] {
        let file = sealed("a/b", &value, &[&alice, &bob]);
        for identity in [&alice, &bob] {
            let opened = opened(&file, "a/b", identity).unwrap();
            assert_eq!(opened.value.expose_bytes(), value);
            assert_eq!(opened.claims, Header::read(&file).unwrap().claims);
        }
        assert_eq!(Header::read(&file).unwrap().value_bytes, value.len() as u64);
        let error = opened(&file, "a/b", &eve).err().unwrap();
        let expected = vec![recipient(&alice).fingerprint(), recipient(&bob).fingerprint()];
        assert!(matches!(error, OpenError::NoIdentity { recipients } if recipients == expected));
    }
}

#[test]
fn a_file_under_another_name_or_vault_is_refused() {
    let alice = x25519::Identity::generate();
    let file = sealed("a", b"1", &[&alice]);
    assert!(matches!(opened(&file, "b", &alice).err(), Some(OpenError::OtherName { .. })));
    let other = open(&file, VaultId::random(), &"a".parse().unwrap(), std::iter::once(&alice as _));
    assert!(matches!(other.err(), Some(OpenError::OtherVault { .. })));
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unseen() {
    let alice = x25519::Identity::generate();
    let file = sealed("a", b"value", &[&alice]);
    for i in 0..file.len() {
        let mut flipped = file.clone();
        flipped[i] ^= 1;
        assert!(opened(&flipped, "a", &alice).is_err(), "byte {i}");
        assert!(opened(&file[..i], "a", &alice).is_err(), "cut at {i}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(opened(&longer, "a", &alice).is_err());
}

/// Encrypts like `seal`, but with a binding that `tamper` changed: what a forger who can encrypt to
/// the recipients is able to write.
struct Forger<'a> {
    to: x25519::Recipient,
    value: &'a Value,
    tamper: fn(&mut BindingStanza),
}

impl age::Recipient for Forger<'_> {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let (mut stanzas, labels) = age::Recipient::wrap_file_key(&self.to, file_key)?;
        let mut binding = BindingStanza {
            claims: Claims { recipients: vec![Fingerprint::of("someone")], ..claims("a") },
            value_mac: value_mac(file_key, self.value).finalize().into_bytes().into(),
            stanzas_hash: stanzas_hash(&stanzas),
            signature: None,
        };
        (self.tamper)(&mut binding);
        stanzas.push(binding.encode());
        Ok((stanzas, labels))
    }
}

#[test]
fn a_binding_must_fit_the_value_and_the_stanzas() {
    let alice = x25519::Identity::generate();
    let value = Value::copy_of(b"value").unwrap();
    let forged = |tamper| {
        let forger = Forger { to: alice.to_public(), value: &value, tamper };
        let mut file = Vec::new();
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&forger as _)).unwrap();
        let mut writer = encryptor.wrap_output(&mut file).unwrap();
        writer.write_all(value.expose_bytes()).unwrap();
        writer.finish().unwrap();
        opened(&file, "a", &alice)
    };
    assert!(forged(|_| {}).is_ok(), "the forger's own tools work");
    let other_value = forged(|binding| binding.value_mac[0] ^= 1);
    assert!(matches!(other_value.err(), Some(OpenError::BindingBroken)));
    let other_stanzas = forged(|binding| binding.stanzas_hash[0] ^= 1);
    assert!(matches!(other_stanzas.err(), Some(OpenError::BindingBroken)));
}

#[test]
fn two_stanzas_and_none_are_refused() {
    let alice = x25519::Identity::generate();
    let file = sealed("a", b"1", &[&alice]);
    let text = String::from_utf8_lossy(&file).into_owned();
    let start = text.find("-> vaultfs").unwrap();
    let end = start + 3 + text[start + 3..].find("-> ").unwrap();
    let stanza = file[start..end].to_vec();
    let mut twice = file.clone();
    twice.splice(end..end, stanza);
    assert_eq!(Header::read(&twice), Err(HeaderError::TwoStanzas));
    assert!(matches!(
        opened(&twice, "a", &alice).err(),
        Some(OpenError::Header(HeaderError::TwoStanzas))
    ));
    let mut none = file.clone();
    none.drain(start..end);
    assert_eq!(Header::read(&none), Err(HeaderError::Unbound));
}

#[test]
fn an_unbound_file_opens_only_as_such() {
    let alice = x25519::Identity::generate();
    let file = age::encrypt(&alice.to_public(), b"plain").unwrap();
    let armored = age::encrypt_and_armor(&alice.to_public(), b"plain").unwrap();
    for bytes in [&file[..], armored.as_bytes()] {
        assert_eq!(Header::read(bytes), Err(HeaderError::Unbound));
        let value = open_unbound(bytes, std::iter::once(&alice as _)).unwrap();
        assert_eq!(value.expose_bytes(), b"plain");
    }
    let bound = sealed("a", b"1", &[&alice]);
    assert!(open_unbound(&bound, std::iter::once(&alice as _)).is_err());
}

#[test]
fn a_hostile_header_of_many_stanzas_is_refused_without_delay() {
    let alice = x25519::Identity::generate();
    let file = sealed("a", b"1", &[&alice]);
    let at = b"age-encryption.org/v1\n".len();
    let mut hostile = file.clone();
    hostile.splice(at..at, b"-> a\n\n".repeat(40_000));
    assert!(matches!(opened(&hostile, "a", &alice).err(), Some(OpenError::HeaderChanged)));
}

#[test]
fn no_error_shows_the_value() {
    let alice = x25519::Identity::generate();
    let file = sealed("a", b"CANARY", &[&alice]);
    let mut flipped = file.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let error = opened(&flipped, "a", &alice).err().unwrap();
    assert!(!format!("{error} {error:?}").contains("CANARY"));
}
