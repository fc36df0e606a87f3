use std::fs;
use std::io::{Read, Write};
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use age::secrecy::{ExposeSecret, SecretString};
use age::{Decryptor, Encryptor};
use tempfile::TempDir;

use super::*;
use crate::Value;

mod canary;
mod finding;
mod locked;
mod plugin;
mod ssh;

/// A home directory to put identities in.
struct Home {
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// Writes a file with mode 0600.
    fn write(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_mode(&path, 0o600);
        path
    }

    /// Only the usual places in this home.
    fn places(&self) -> IdentityPlaces {
        let home = Some(self.path(""));
        IdentityPlaces { home, uid: current_uid(), ..IdentityPlaces::default() }
    }
}

fn current_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn explicit(path: impl Into<PathBuf>) -> IdentityPlaces {
    IdentityPlaces { explicit: vec![path.into()], uid: current_uid(), ..IdentityPlaces::default() }
}

fn find(places: &IdentityPlaces) -> Result<Identities, IdentityError> {
    Identities::find(places, Arc::new(NoPrompter))
}

/// A native identity's text, and its recipient.
fn native() -> (String, Recipient) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string().parse().unwrap();
    (identity.to_string().expose_secret().to_owned(), recipient)
}

fn encrypt(plaintext: &[u8], recipient: &dyn age::Recipient) -> Vec<u8> {
    let mut file = Vec::new();
    let encryptor = Encryptor::with_recipients(iter::once(recipient)).unwrap();
    let mut writer = encryptor.wrap_output(&mut file).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap();
    file
}

fn encrypt_to(recipient: &Recipient) -> Vec<u8> {
    use crate::recipient::RecipientKind;
    match &recipient.kind {
        RecipientKind::X25519(recipient) => encrypt(b"opened", recipient),
        RecipientKind::Ssh(recipient) => encrypt(b"opened", recipient),
        _ => unreachable!("no test encrypts to it"),
    }
}

fn open(file: &[u8], identities: &Identities) -> Result<Vec<u8>, DecryptError> {
    let mut opened = Vec::new();
    let mut reader = Decryptor::new(file)?.decrypt(identities.as_age())?;
    reader.read_to_end(&mut opened)?;
    Ok(opened)
}

/// What an identity of ours says where it can't open `file`.
fn open_error(file: &[u8], identities: &Identities) -> IdentityError {
    let error = open(file, identities).unwrap_err();
    IdentityError::of_age(&error).unwrap_or_else(|| panic!("age's own error: {error}")).clone()
}

#[track_caller]
fn assert_opens(recipient: &Recipient, identities: &Identities) {
    assert_eq!(open(&encrypt_to(recipient), identities).unwrap(), b"opened");
}

/// Runs a program that the tests need; fails where it isn't installed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("these tests need {program}: {error}");
    });
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn identities_can_be_shared_and_not_printed() {
    use static_assertions::{assert_impl_all, assert_not_impl_any};
    assert_impl_all!(Identities: Send, Sync);
    assert_not_impl_any!(Identities: std::fmt::Debug, std::fmt::Display, Clone);
    assert_not_impl_any!(Identity: std::fmt::Debug, std::fmt::Display, Clone);
}

/// Makes an SSH key pair with ssh-keygen, and reads its public half.
fn ssh_keygen(home: &Home, below: &str, arguments: &[&str]) -> (PathBuf, Recipient) {
    let path = home.path(below);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let name = path.to_str().unwrap();
    run("ssh-keygen", &[&["-q", "-f", name], arguments].concat());
    let public = fs::read_to_string(format!("{name}.pub")).unwrap();
    let recipient = public.parse().unwrap_or_else(|_| native().1);
    (path, recipient)
}

/// Gives its passphrases in turn, and counts the questions.
struct Answers {
    passphrases: Mutex<Vec<&'static str>>,
    asked: AtomicUsize,
    shown: Mutex<Vec<String>>,
}

impl Answers {
    fn new(passphrases: &[&'static str]) -> Arc<Self> {
        let passphrases = Mutex::new(passphrases.iter().rev().copied().collect());
        Arc::new(Self { passphrases, asked: AtomicUsize::new(0), shown: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Prompter for Answers {
    fn ask_passphrase(&self, _: &str) -> Option<Value> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let passphrase = self.passphrases.lock().unwrap().pop()?;
        Some(Value::copy_of(passphrase.as_bytes()).unwrap())
    }

    fn ask_public(&self, _: &str) -> Option<String> {
        None
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn show(&self, message: &str) {
        self.shown.lock().unwrap().push(message.to_owned());
    }
}

/// An age file with a passphrase and little work.
fn protected(text: &str, passphrase: &str, work_factor: u8) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase));
    recipient.set_work_factor(work_factor);
    encrypt(text.as_bytes(), &recipient)
}
