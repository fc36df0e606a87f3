//! Holds `docs/format.md` to its word: opens its test vectors and compares what it says of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use age::DecryptError;
use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret as _;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vaultfs_core::{
    FileHash, Fingerprint, Header, Identities, IdentityPlaces, MAX_FILE_BYTES, NoPrompter, Policy,
    Recipient, SecretName, open,
};

/// One entry of `claims.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    file: PathBuf,
    sha256: String,
    vault: String,
    name: String,
    generation: u64,
    rotated: String,
    written: String,
    recipients: Vec<String>,
    could_read: Vec<String>,
    flag: Option<String>,
    previous: Option<String>,
    file_key: String,
    value_mac_key: String,
    value_mac: String,
    stanzas: String,
    value_base64: String,
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn vector(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(docs().join("format").join(path)).unwrap()
}

fn page() -> String {
    fs::read_to_string(docs().join("format.md")).unwrap()
}

/// JSON is YAML too.
fn expected() -> Vec<Expected> {
    serde_yaml::from_slice(&vector("claims.json")).unwrap()
}

fn policy() -> Policy {
    Policy::parse(str::from_utf8(&vector("vault/vaultfs.yaml")).unwrap()).unwrap()
}

fn identities() -> Identities {
    let explicit = vec![docs().join("format/identity.txt")];
    let places = IdentityPlaces { explicit, ..IdentityPlaces::default() };
    Identities::find(&places, Arc::new(NoPrompter)).unwrap()
}

/// The cells of all table rows of the page with this many columns, without their back-quotes.
fn rows<const COLUMNS: usize>(page: &str) -> Vec<[&str; COLUMNS]> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").map(|cell| cell.trim_matches('`')).collect::<Vec<_>>())
        .filter_map(|cells| cells.try_into().ok())
        .collect()
}

/// An identity that keeps what age hands to it.
struct Spy<'a> {
    identities: &'a Identities,
    seen: RefCell<Option<Seen>>,
}

/// A file key, and each stanza: its first line without the arrow, and its body.
type Seen = (Vec<u8>, Vec<(String, Vec<u8>)>);

impl age::Identity for Spy<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let identity = self.identities.as_age().next().unwrap();
        let unwrapped = identity.unwrap_stanzas(stanzas);
        if let Some(Ok(file_key)) = &unwrapped {
            let line = |s: &Stanza| [std::slice::from_ref(&s.tag), &s.args[..]].concat().join(" ");
            let stanzas = stanzas.iter().map(|s| (line(s), s.body.clone())).collect();
            *self.seen.borrow_mut() = Some((file_key.expose_secret().to_vec(), stanzas));
        }
        unwrapped
    }
}

#[test]
fn each_vector_opens_and_says_what_is_expected() {
    let (policy, identities) = (policy(), identities());
    for expected in expected() {
        let file = vector(&expected.file);
        let name: SecretName = expected.name.parse().unwrap();
        assert_eq!(expected.file, Path::new("vault/secrets").join(name.file_path()));
        assert_eq!(FileHash::of(&file).to_string(), expected.sha256);
        let opened = open(&file, policy.vault_id(), &name, identities.as_age()).unwrap();
        assert_eq!(BASE64_STANDARD.encode(opened.value.expose_bytes()), expected.value_base64);
        let claims = opened.claims;
        let text = |fingerprint: &Fingerprint| fingerprint.to_string();
        assert_eq!(claims.vault.to_string(), expected.vault);
        assert_eq!(claims.name, name);
        assert_eq!(claims.generation.number(), expected.generation);
        assert_eq!(claims.rotated_at.to_string(), expected.rotated);
        assert_eq!(claims.written_at.to_string(), expected.written);
        assert_eq!(claims.recipients.iter().map(text).collect::<Vec<_>>(), expected.recipients);
        assert_eq!(claims.could_read.iter().map(text).collect::<Vec<_>>(), expected.could_read);
        assert_eq!(claims.flag.map(|flag| flag.as_str().to_owned()), expected.flag);
        assert_eq!(claims.previous.map(|hash| hash.to_string()), expected.previous);
        let header = Header::read(&file).unwrap();
        assert_eq!(header.claims, claims, "the same without an identity");
        assert_eq!(header.value_bytes, opened.value.len() as u64);
        assert!(!header.signed);
    }
}

#[test]
fn the_macs_and_hashes_are_made_as_the_page_says() {
    let (policy, identities) = (policy(), identities());
    for expected in expected() {
        let spy = Spy { identities: &identities, seen: RefCell::default() };
        let spied = std::iter::once(&spy as &dyn age::Identity);
        let name: SecretName = expected.name.parse().unwrap();
        open(&vector(&expected.file), policy.vault_id(), &name, spied).unwrap();
        let (file_key, stanzas) = spy.seen.take().unwrap();
        assert_eq!(hex(&file_key), expected.file_key);

        // HKDF (RFC 5869) for an output as long as the hash: extract, then one step of expand.
        let mac_key = hmac(&hmac(b"", &file_key), b"vaultfs/v1/value-mac\x01");
        assert_eq!(hex(&mac_key), expected.value_mac_key);
        let mac = hmac(&mac_key, &BASE64_STANDARD.decode(expected.value_base64).unwrap());
        assert_eq!(BASE64_STANDARD_NO_PAD.encode(mac), expected.value_mac);

        let mut hash = Sha256::new();
        for (line, body) in &stanzas {
            if line != "vaultfs 1" && !line.split(' ').next().unwrap().ends_with("-grease") {
                hash.update(format!("{line}\n{}\n", BASE64_STANDARD_NO_PAD.encode(body)));
            }
        }
        assert_eq!(BASE64_STANDARD_NO_PAD.encode(hash.finalize()), expected.stanzas);

        let ours: Vec<_> = stanzas.iter().filter(|(line, _)| line == "vaultfs 1").collect();
        let body = str::from_utf8(&ours[0].1).unwrap();
        assert_eq!(ours.len(), 1);
        assert!(body.contains(&format!("value-mac {}\n", expected.value_mac)));
        assert!(body.contains(&format!("stanzas {}\n", expected.stanzas)));
        if expected.name == "prod/DATABASE_URL" {
            let page = page();
            let (_, block) = page.split_once("```vaultfs-stanza\n").unwrap();
            assert_eq!(block.split_once("```").unwrap().0, body);
        }
    }
}

#[test]
fn the_file_before_is_the_one_that_is_named() {
    let file = vector("DATABASE_URL.generation-2.age");
    let hash = Some(FileHash::of(&file).to_string());
    assert!(expected().iter().any(|expected| expected.previous == hash));
    assert_eq!(Header::read(&file).unwrap().claims.generation.number(), 2);
}

#[test]
fn the_fingerprints_on_the_page_are_those_of_the_policy() {
    let page = page();
    let mut on_page: Vec<_> = rows::<2>(&page)
        .into_iter()
        .filter_map(|[text, fingerprint]| Some((text.parse::<Recipient>().ok()?, fingerprint)))
        .inspect(|(recipient, fingerprint)| {
            assert_eq!(recipient.fingerprint().to_string(), *fingerprint);
            let plain = BASE64_STANDARD_NO_PAD.encode(Sha256::digest(recipient.as_str()));
            assert_eq!(plain, *fingerprint);
        })
        .map(|(recipient, _)| recipient.as_str().to_owned())
        .collect();
    let policy = policy();
    let mut in_policy: Vec<_> =
        policy.recipients().iter().map(|named| named.recipient.as_str().to_owned()).collect();
    on_page.sort();
    in_policy.sort();
    assert_eq!(on_page, in_policy);
}

#[test]
fn each_refused_vector_is_refused_for_the_reason_on_the_page() {
    let (page, identities, policy) = (page(), identities(), policy());
    let name: SecretName = "dev/TOKEN".parse().unwrap();
    let mut on_page = Vec::new();
    for [link, _, said] in rows::<3>(&page) {
        let Some(file) = link.split(['(', ')']).nth(1).filter(|f| f.contains("refused/")) else {
            continue;
        };
        let bytes = fs::read(docs().join(file)).unwrap();
        let error = open(&bytes, policy.vault_id(), &name, identities.as_age()).err().unwrap();
        assert_eq!(error.to_string(), said, "{file}");
        on_page.push(docs().join(file));
    }
    let entries = fs::read_dir(docs().join("format/refused")).unwrap();
    let mut there: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    on_page.sort();
    there.sort();
    assert_eq!(on_page, there);
}

#[test]
fn the_age_program_prints_the_values_also_of_what_vaultfs_refuses() {
    if Command::new("age").arg("--version").output().is_err() {
        return not_run("the age program isn't installed");
    }
    let format = docs().join("format");
    let printed = |file: &Path| {
        let mut age = Command::new("age");
        age.arg("-d").arg("-i").arg(format.join("identity.txt")).arg(format.join(file));
        age.output().unwrap().stdout
    };
    for expected in expected() {
        assert_eq!(BASE64_STANDARD.encode(printed(&expected.file)), expected.value_base64);
    }
    for entry in fs::read_dir(format.join("refused")).unwrap() {
        assert_eq!(printed(&entry.unwrap().path()), b"token");
    }
}

#[test]
fn the_policies_on_the_page_and_beside_it_are_valid() {
    let page = page();
    let (_, example) = page.split_once("```yaml\n").unwrap();
    Policy::parse(example.split_once("```").unwrap().0).unwrap();
    assert_eq!(policy().rules().len(), 2);
}

#[test]
fn the_limit_on_the_page_is_the_limit() {
    let digits: String = MAX_FILE_BYTES.to_string();
    let grouped = format!("{},{},{}", &digits[..2], &digits[2..5], &digits[5..]);
    assert!(page().contains(&format!("{grouped} bytes")), "{grouped}");
}

/// Says that a test can't run here: `tests/run` lists and counts these.
fn not_run(reason: &str) {
    eprintln!("not run: {reason}");
    if let Some(report) = std::env::var_os("VAULTFS_TEST_REPORT") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(report).unwrap();
        writeln!(file, "the format's vectors against the age program: {reason}").unwrap();
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap();
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]).map(digit).collect()
}
