//! `vaultfs migrate`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use rustix::fs::OFlags;
use vaultfs_core::{
    Identities, Recipient, SecretName, Value, Vault, VaultError, read_env_file,
    read_opened_env_file,
};

use super::DONE_IN_PART;
use crate::context::Context;
use crate::output::{PolicyChanged, confirm, note, warn};

/// Move the entries of .env files into the vault.
///
/// Shows a plan and asks. After writing, each secret is opened again and compared byte for byte
/// with its entry. Entries that are in the vault already with the same value are left alone, so
/// that a second run changes nothing.
#[derive(Args)]
pub(crate) struct Migrate {
    /// The .env files
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// What to put before each name: with `prod`, DATABASE_URL becomes prod/DATABASE_URL
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<SecretName>,
    /// Only these entries; the others stay in the file
    #[arg(long, value_name = "NAME", conflicts_with = "delete_source")]
    only: Vec<SecretName>,
    /// Overwrite and remove the files once everything in them was found in the vault
    #[arg(long)]
    delete_source: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// An entry and the name that it gets.
struct Entry {
    name: SecretName,
    value: Value,
    exists: bool,
    /// Whom it is to be encrypted to, as the plan says.
    recipients: Vec<Recipient>,
}

impl Migrate {
    pub(crate) fn run(&self, context: &Context) -> Result<ExitCode> {
        let vault = context.vault()?;
        let identities = context.identities()?;
        let mut entries = self.entries()?;
        plan(&vault, &identities, &mut entries)?;
        let new = entries.iter().filter(|entry| !entry.exists).count();
        if new > 0 {
            confirm(self.yes.into(), &format!("Add {new} secrets to {}?", vault.root().display()))?;
        } else {
            note("everything is in the vault already");
        }
        let failed = write(&vault, &entries);
        let unverified = verify(&vault, &identities, &entries);
        if failed + unverified > 0 {
            warn(format!(
                "{failed} entries were not written, {unverified} could not be verified; the files are left as they are"
            ));
            return Ok(ExitCode::from(DONE_IN_PART));
        }
        note(format!("{} entries verified byte for byte", entries.len()));
        if self.delete_source {
            self.files.iter().try_for_each(|path| self.delete(path, &entries))?;
        } else {
            let names: Vec<_> = self.files.iter().map(|path| path.display().to_string()).collect();
            note(format!(
                "the plaintext is still in {}; --delete-source removes it",
                names.join(", ")
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for path in &self.files {
            for (variable, value) in read_env_file(path)? {
                if !self.only.is_empty() && !self.only.contains(&variable) {
                    continue;
                }
                let name = self.name_of(variable)?;
                if entries.iter().any(|entry| entry.name == name) {
                    bail!("{name} is in more than one of the files; migrate them one by one");
                }
                entries.push(Entry { name, value, exists: false, recipients: Vec::new() });
            }
        }
        if let Some(missing) = self
            .only
            .iter()
            .find(|only| !entries.iter().any(|entry| entry.name.last_segment() == only.as_str()))
        {
            bail!("there is no entry {missing}");
        }
        Ok(entries)
    }

    fn name_of(&self, variable: SecretName) -> Result<SecretName> {
        match &self.prefix {
            Some(prefix) => Ok(format!("{prefix}/{variable}").parse()?),
            None => Ok(variable),
        }
    }

    /// Overwrites and removes a file that still holds what was found in the vault and nothing else:
    /// since it was read, it may have been edited, or another file may have come into its place.
    fn delete(&self, path: &Path, entries: &[Entry]) -> Result<()> {
        let failed = || format!("{} can't be removed", path.display());
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).context("open flags")?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
            .with_context(failed)?;
        let found = read_opened_env_file(&mut file, path);
        if !found.is_ok_and(|found| found.iter().all(|found| self.is_among(found, entries))) {
            bail!("{} was changed since it was read, and is left as it is", path.display());
        }
        overwrite(&mut file).with_context(failed)?;
        fs::remove_file(path).with_context(failed)?;
        note(format!("overwrote and removed {}", path.display()));
        warn(
            "SSDs, snapshots, backups and git history may still hold it: rotate what was ever committed",
        );
        Ok(())
    }

    fn is_among(&self, (variable, value): &(SecretName, Value), entries: &[Entry]) -> bool {
        let name = self.name_of(variable.clone()).ok();
        entries.iter().any(|e| Some(&e.name) == name.as_ref() && e.value.same_as(value))
    }
}

/// Finds out what is there, refuses what can't be written, and shows what would be.
fn plan(vault: &Vault, identities: &Identities, entries: &mut [Entry]) -> Result<()> {
    let writer = vault.write(Timestamp::now())?;
    for entry in entries {
        let Entry { name, value, exists, recipients } = entry;
        match writer.check_new_value(name, value) {
            Ok(()) => {
                let names;
                (names, *recipients) = writer.recipients(name)?;
                note(format!(
                    "  add   {name} ({} bytes), readable by {}",
                    value.len(),
                    names.join(", ")
                ));
            }
            Err(VaultError::Exists(_)) => {
                if !vault.read(name, identities)?.value.same_as(value) {
                    bail!("{name} is in the vault with another value; nothing was changed");
                }
                *exists = true;
                note(format!("  keep  {name}, which is there already"));
            }
            Err(error) => return Err(error).context("nothing was changed"),
        }
    }
    Ok(())
}

/// Writes what isn't there, and returns how many failed.
fn write(vault: &Vault, entries: &[Entry]) -> usize {
    let new = entries.iter().filter(|entry| !entry.exists);
    let failed = new.filter(|entry| {
        write_as_planned(vault, entry)
            .inspect_err(|error| warn(format!("{} was not written: {error}", entry.name)))
            .is_err()
    });
    failed.count()
}

fn write_as_planned(vault: &Vault, entry: &Entry) -> Result<()> {
    let mut writer = vault.write(Timestamp::now())?;
    if writer.recipients(&entry.name)?.1 != entry.recipients {
        bail!(PolicyChanged);
    }
    writer.add(&entry.name, &entry.value)?;
    Ok(())
}

/// Opens each secret again, and returns how many don't hold their entry's bytes.
fn verify(vault: &Vault, identities: &Identities, entries: &[Entry]) -> usize {
    let differs = |entry: &&Entry| match vault.read(&entry.name, identities) {
        Ok(opened) if opened.value.same_as(&entry.value) => false,
        Ok(_) => {
            warn(format!("{} holds something else than its entry", entry.name));
            true
        }
        Err(error) => {
            warn(format!("{} could not be verified: {error}", entry.name));
            true
        }
    };
    entries.iter().filter(differs).count()
}

/// Overwrites a file and removes it.
fn overwrite(file: &mut File) -> io::Result<()> {
    let len = file.metadata()?.len();
    file.rewind()?;
    io::copy(&mut io::repeat(0).take(len), file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vaultfs_core::{IdentityPlaces, NewIdentity, NoPrompter, Policy, VaultId};

    use super::*;

    fn entry(name: &str, value: &str) -> Entry {
        let (name, value) = (name.parse().unwrap(), Value::copy_of(value.as_bytes()).unwrap());
        Entry { name, value, exists: false, recipients: Vec::new() }
    }

    #[test]
    fn what_is_encrypted_is_what_the_plan_said() {
        let directory = tempfile::tempdir().unwrap();
        let recipient = || NewIdentity::generate(Timestamp::now()).unwrap().recipient().clone();
        let (alice, mallory) = (recipient(), recipient());
        let policy =
            |owners: &[(String, Recipient)]| Policy::template(VaultId::random(), owners, &[]);
        let planned = policy(&[("alice".to_owned(), alice.clone())]);
        let vault = Vault::create(directory.path(), &planned).unwrap();
        let places = IdentityPlaces::default();
        let identities = Identities::find(&places, Arc::new(NoPrompter)).unwrap();
        let mut entries = [entry("A", "1")];
        plan(&vault, &identities, &mut entries).unwrap();
        let changed = policy(&[("alice".to_owned(), alice), ("mallory".to_owned(), mallory)]);
        fs::write(directory.path().join("vaultfs.yaml"), changed).unwrap();
        assert_eq!(write(&vault, &entries), 1);
        assert!(vault.snapshot().unwrap().files.is_empty());
        fs::write(directory.path().join("vaultfs.yaml"), planned).unwrap();
        assert_eq!(write(&vault, &entries), 0);
    }

    #[test]
    fn only_a_file_with_nothing_but_what_was_found_in_the_vault_is_deleted() {
        let prefix = Some("prod".parse().unwrap());
        let (files, only) = (Vec::new(), Vec::new());
        let migrate = Migrate { files, prefix, only, delete_source: true, yes: true };
        let entries = [entry("prod/A", "1"), entry("prod/B", "2")];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        for changed in ["A=1\nB=2\nNEW=3\n", "A=1\nB=other\n", "no dotenv file"] {
            fs::write(&path, changed).unwrap();
            let error = migrate.delete(&path, &entries).unwrap_err().to_string();
            assert!(error.contains("was changed since it was read"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), changed);
        }
        let precious = directory.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(migrate.delete(&path, &entries).is_err());
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "A=1\nexport B='2'\n").unwrap();
        let kept = directory.path().join("a second name");
        fs::hard_link(&path, &kept).unwrap();
        migrate.delete(&path, &entries).unwrap();
        assert!(!path.exists());
        assert!(fs::read(&kept).unwrap().iter().all(|&byte| byte == 0));
    }
}
