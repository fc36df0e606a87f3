//! A vault with many secrets, made in this process: ten thousand commands would take minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use age::{Encryptor, x25519};
use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use tempfile::TempDir;
use vaultfs_core::{
    Claims, FileHash, Generation, Header, Recipient, SecretName, Value, Vault, VaultId, seal,
};

use crate::daemon::vaultfs;

/// A vault, a home with the identity that opens it, and room for a mount. Removed on drop.
pub(crate) struct MadeVault {
    directory: TempDir,
    vault: VaultId,
    recipient: Recipient,
    names: Vec<SecretName>,
}

impl MadeVault {
    /// `count` secrets of `size` bytes each: in directories of a hundred if there are that many,
    /// and at the top otherwise.
    pub(crate) fn new(count: usize, size: usize) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("vaultfs-bench-").tempdir()?;
        fs::create_dir(directory.path().join("home"))?;
        let name = |i: usize| match count {
            0..=100 => format!("SECRET_{i}").parse(),
            _ => format!("app-{}/SECRET_{i}", i / 100).parse(),
        };
        let mut made = Self {
            directory,
            vault: VaultId::random(),
            recipient: x25519::Identity::generate().to_public().to_string().parse()?,
            names: (0..count).map(name).collect::<Result<_, _>>()?,
        };
        fs::create_dir(made.root())?;
        let init = vaultfs(&made, &["init", "."]).stderr(Stdio::null()).status()?;
        if !init.success() {
            return Err(anyhow!("vaultfs init: {init}"));
        }
        made.vault = Vault::at(made.root())?.policy()?.vault_id();
        let text = fs::read_to_string(made.identity())?;
        let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-"));
        let identity: x25519::Identity =
            line.context("no identity")?.parse().map_err(|e: &str| anyhow!(e))?;
        made.recipient = identity.to_public().to_string().parse()?;
        made.on_all_cores(|name| {
            let path = made.secret_file(name);
            fs::create_dir_all(path.parent().context("a file has a directory")?)?;
            Ok(fs::write(path, made.seal(name, Generation::FIRST, None, &vec![0x5A; size])?)?)
        })?;
        Ok(made)
    }

    /// The same values in bare age files, all in one directory, which it returns.
    pub(crate) fn as_bare_age(&self, size: usize) -> Result<PathBuf> {
        let directory = self.path("bare");
        fs::create_dir(&directory)?;
        let recipient: x25519::Recipient =
            self.recipient.as_str().parse().map_err(|e: &str| anyhow!(e))?;
        self.on_all_cores(|name| {
            let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as _))?;
            let file = fs::File::create(directory.join(name.last_segment()))?;
            let mut writer = encryptor.wrap_output(file)?;
            std::io::Write::write_all(&mut writer, &vec![0x5A; size])?;
            writer.finish()?;
            Ok(())
        })?;
        Ok(directory)
    }

    /// A file of `name`, which follows the file `previous`.
    pub(crate) fn seal(
        &self,
        name: &SecretName,
        generation: Generation,
        previous: Option<FileHash>,
        value: &[u8],
    ) -> Result<Vec<u8>> {
        let now = Timestamp::from_second(Timestamp::now().as_second())?;
        let claims = Claims {
            vault: self.vault,
            name: name.clone(),
            generation,
            rotated_at: now,
            written_at: now,
            recipients: Vec::new(),
            could_read: [self.recipient.fingerprint()].into(),
            flag: None,
            previous,
        };
        let recipients = std::slice::from_ref(&self.recipient);
        Ok(seal(&Value::copy_of(value)?, claims, recipients)?)
    }

    /// The file that follows the one of `name`.
    pub(crate) fn seal_next(&self, name: &SecretName, value: &[u8]) -> Result<Vec<u8>> {
        let before = fs::read(self.secret_file(name))?;
        let generation = Header::read(&before)?.claims.generation.next();
        let generation = generation.context("the last generation")?;
        self.seal(name, generation, Some(FileHash::of(&before)), value)
    }

    pub(crate) fn names(&self) -> &[SecretName] {
        &self.names
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// The vault itself.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("vault")
    }

    pub(crate) fn secret_file(&self, name: &SecretName) -> PathBuf {
        self.root().join("secrets").join(name.file_path())
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.path("home").join(Path::new(".config/vaultfs/identity.txt"))
    }

    fn on_all_cores(&self, work: impl Fn(&SecretName) -> Result<()> + Sync) -> Result<()> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = self.names.len().div_ceil(cores).max(1);
        thread::scope(|scope| {
            let names = self.names.chunks(share);
            let running: Vec<_> =
                names.map(|names| scope.spawn(|| names.iter().try_for_each(&work))).collect();
            running.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => Err(anyhow!("a thread panicked")),
            })
        })
    }
}
