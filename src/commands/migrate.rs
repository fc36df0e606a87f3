//! `vaultfs migrate`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use vaultfs_core::{Identities, SecretName, Value, Vault, VaultError, read_env_file};

use super::DONE_IN_PART;
use crate::context::Context;
use crate::output::{confirm, note, warn};

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
            self.files.iter().try_for_each(|path| delete(path))?;
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
                let name = match &self.prefix {
                    Some(prefix) => format!("{prefix}/{variable}").parse()?,
                    None => variable,
                };
                if entries.iter().any(|entry| entry.name == name) {
                    bail!("{name} is in more than one of the files; migrate them one by one");
                }
                entries.push(Entry { name, value, exists: false });
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
}

/// Finds out what is there, refuses what can't be written, and shows what would be.
fn plan(vault: &Vault, identities: &Identities, entries: &mut [Entry]) -> Result<()> {
    let writer = vault.write(Timestamp::now())?;
    for entry in entries {
        let Entry { name, value, exists } = entry;
        match writer.check_new_value(name, value) {
            Ok(()) => {
                let (names, _) = writer.recipients(name)?;
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
        let written = vault
            .write(Timestamp::now())
            .and_then(|mut writer| writer.add(&entry.name, &entry.value));
        written
            .inspect_err(|error| warn(format!("{} was not written: {error}", entry.name)))
            .is_err()
    });
    failed.count()
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
fn delete(path: &Path) -> Result<()> {
    let overwrite = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let len = file.metadata()?.len();
        io::copy(&mut io::Read::take(io::repeat(0), len), &mut file)?;
        file.flush()?;
        file.sync_all()?;
        fs::remove_file(path)
    };
    overwrite().with_context(|| format!("{} can't be removed", path.display()))?;
    note(format!("overwrote and removed {}", path.display()));
    warn(
        "SSDs, snapshots, backups and git history may still hold it: rotate what was ever committed",
    );
    Ok(())
}
