//! Makes identities, and writes them where nothing stands yet.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::iter;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use age::armor::{ArmoredWriter, Format};
use age::secrecy::ExposeSecret;
use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use uuid::Uuid;

use super::IdentityError;
use super::prompter::passphrase_for_age;
use crate::{Recipient, Value, ValueBuffer, ValueError};

/// A native identity that was just made, and the text of its file.
pub struct NewIdentity {
    text: Value,
    recipient: Recipient,
}

impl NewIdentity {
    /// Makes one from the system's random numbers. Its text is what age-keygen writes: comments
    /// with `created`, to the second, and the recipient, then the identity.
    ///
    /// # Errors
    /// [`IdentityError::OutOfMemory`].
    pub fn generate(created: Timestamp) -> Result<Self, IdentityError> {
        let identity = age::x25519::Identity::generate();
        let recipient: Recipient =
            identity.to_public().to_string().parse().expect("age reads what it writes");
        let comments = format!(
            "# created: {}\n# public key: {recipient}\n",
            created.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        let text =
            joined(&[comments.as_bytes(), identity.to_string().expose_secret().as_bytes(), b"\n"])
                .map_err(|error| in_memory(&error))?;
        Ok(Self { text, recipient })
    }

    /// The same identity in an age file that `passphrase` opens, armored. Takes about a second,
    /// as will each try of a passphrase.
    ///
    /// # Errors
    /// [`IdentityError::UnusablePassphrase`].
    pub fn protected(self, passphrase: &Value) -> Result<Self, IdentityError> {
        let passphrase = passphrase_for_age(passphrase)
            .filter(|passphrase| !passphrase.expose_secret().is_empty())
            .ok_or(IdentityError::UnusablePassphrase)?;
        self.encrypted(&age::scrypt::Recipient::new(passphrase))
    }

    fn encrypted(self, recipient: &age::scrypt::Recipient) -> Result<Self, IdentityError> {
        const MEMORY: &str = "writing to memory doesn't fail";
        let encryptor = age::Encryptor::with_recipients(iter::once(recipient as _))
            .expect("one passphrase is a valid set of recipients");
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).expect(MEMORY);
        let mut writer = encryptor.wrap_output(armor).expect(MEMORY);
        writer.write_all(self.text.expose_bytes()).expect(MEMORY);
        let file = writer.finish().and_then(ArmoredWriter::finish).expect(MEMORY);
        let text = Value::copy_of(&file).map_err(|error| in_memory(&error))?;
        Ok(Self { text, recipient: self.recipient })
    }

    /// The public half, for others to encrypt to.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The text of the identity file, ending in a newline.
    pub fn text(&self) -> &Value {
        &self.text
    }

    /// Writes the identity to `path`, which nothing may stand at, with mode 0600; makes missing
    /// directories with mode 0700. The file appears whole, and stays after a crash once this has
    /// returned.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] and [`IdentityError::Write`]; then nothing is left behind.
    pub fn write_to(&self, path: &Path) -> Result<(), IdentityError> {
        self.try_write_to(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => IdentityError::Exists { path: path.to_owned() },
            _ => IdentityError::Write { path: path.to_owned(), source: Arc::new(error) },
        })
    }

    fn try_write_to(&self, path: &Path) -> io::Result<()> {
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(io::ErrorKind::IsADirectory.into()),
        };
        // Before anything is made in vain; the rename makes sure.
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(
            |error| match error.kind() {
                io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
                _ => error,
            },
        )?;
        let temporary = directory.join(format!(".identity-{}.new", Uuid::new_v4()));
        let written = self
            .write_new_file(&temporary)
            .and_then(|()| rename_where_nothing_is(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| File::open(directory)?.sync_all())
    }

    fn write_new_file(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.text.expose_bytes())?;
        file.sync_all()
    }
}

fn rename_where_nothing_is(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every filesystem can, such as NFS; those have hard links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

fn joined(parts: &[&[u8]]) -> Result<Value, ValueError> {
    let mut text = ValueBuffer::new()?;
    parts.iter().try_for_each(|part| text.push(part))?;
    Ok(text.finish())
}

fn in_memory(error: &ValueError) -> IdentityError {
    match error {
        ValueError::OutOfMemory(error) => (*error).into(),
        ValueError::TooLarge | ValueError::Read(_) => {
            unreachable!("an identity is small, and copied from memory")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use crate::{Identities, IdentityPlaces, Prompter};

    fn generate() -> NewIdentity {
        NewIdentity::generate("2026-01-02T03:04:05.678Z".parse().unwrap()).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn age_keygen_reads_the_file_and_sees_the_same_recipient() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/deep/identity.txt");
        let identity = generate();
        identity.write_to(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(path.parent().unwrap().parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else");
        let told = Command::new("age-keygen").arg("-y").arg(&path).output().unwrap();
        assert_eq!(String::from_utf8(told.stdout).unwrap().trim(), identity.recipient().as_str());
        let text = fs::read_to_string(&path).unwrap();
        let comments = format!(
            "# created: 2026-01-02T03:04:05Z\n# public key: {}\nAGE-SECRET-KEY-1",
            identity.recipient()
        );
        assert!(text.starts_with(&comments) && text.ends_with('\n'));
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink("dangling", &link).unwrap();
        for path in [&file, &link, &directory.path().to_owned()] {
            let error = generate().write_to(path).unwrap_err();
            assert!(matches!(error, IdentityError::Exists { .. }), "{error}");
            let target = directory.path().join("temporary");
            fs::write(&target, "new").unwrap();
            let error = rename_where_nothing_is(&target, path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "also where it comes late");
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert!(!directory.path().join("dangling").exists());
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = generate().write_to(&file.join("identity.txt")).unwrap_err();
        assert!(matches!(error, IdentityError::Write { .. }), "{error}");
        assert!(generate().write_to(Path::new("/")).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    struct Passphrase;

    impl Prompter for Passphrase {
        fn ask_passphrase(&self, _: &str) -> Option<Value> {
            Value::copy_of(b"correct horse").ok()
        }

        fn ask_public(&self, _: &str) -> Option<String> {
            None
        }

        fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
            None
        }

        fn show(&self, _: &str) {}
    }

    #[test]
    fn a_protected_identity_opens_with_its_passphrase() {
        let identity = generate();
        let recipient: age::x25519::Recipient = identity.recipient().as_str().parse().unwrap();
        let protected = identity.protected(&Value::copy_of(b"correct horse").unwrap()).unwrap();
        let text = protected.text().expose_bytes();
        assert!(text.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n") && text.ends_with(b"\n"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.txt");
        protected.write_to(&path).unwrap();
        let places = IdentityPlaces { explicit: vec![path], ..IdentityPlaces::default() };
        let found = Identities::find(&places, Arc::new(Passphrase)).unwrap();
        let file = age::encrypt(&recipient, b"opened").unwrap();
        assert_eq!(age::decrypt(&found, &file).unwrap(), b"opened");
    }

    #[test]
    fn an_empty_or_binary_passphrase_is_refused() {
        for passphrase in [&b""[..], b"\xFF"] {
            let error = generate().protected(&Value::copy_of(passphrase).unwrap()).err().unwrap();
            assert!(matches!(error, IdentityError::UnusablePassphrase), "{error}");
        }
    }
}
