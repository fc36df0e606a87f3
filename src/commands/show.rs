//! `vaultfs show`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueHint};
use vaultfs_core::{SecretName, Value};

use crate::complete;
use crate::context::Context;
use crate::output::note;

/// Print a secret's value or write it to a file.
///
/// Exactly its bytes, with no newline added. Needs an identity that may read it.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("way").required(true))]
pub(crate) struct Show {
    /// The secret
    #[arg(add = complete::secrets())]
    name: SecretName,
    /// Print the value to standard output, wherever that goes
    #[arg(long, group = "way")]
    reveal: bool,
    /// Write the value to FILE, mode 0600; an existing FILE is not replaced
    #[arg(long, group = "way", value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

impl Show {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let value = vault.read(&self.name, &context.identities()?)?.value;
        match &self.out {
            Some(path) => write_new(path, &value),
            None => reveal(&value),
        }
    }
}

fn reveal(value: &Value) -> Result<()> {
    // Not `Stdout`: its buffer keeps a copy.
    let stdout = rustix::stdio::stdout();
    let mut rest = value.expose_bytes();
    while !rest.is_empty() {
        match rustix::io::write(stdout, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(io::Error::from(errno)).context("standard output can't be written");
            }
        }
    }
    if io::stdout().is_terminal() && !value.expose_bytes().ends_with(b"\n") {
        // The value has no newline; the shell's prompt wants one.
        note("");
    }
    Ok(())
}

fn write_new(path: &Path, value: &Value) -> Result<()> {
    create_whole(path, |file| file.write_all(value.expose_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("{} can't be written", path.display()))?;
    note(format!("wrote {} bytes to {}", value.len(), path.display()));
    Ok(())
}

/// Makes a file that `write` fills, or none.
fn create_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    write(&mut file).inspect_err(|_| {
        // A part of a value must not lie about, nor be taken for all of it. The error that counts
        // is the first one.
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cant_be_written_whole_leaves_no_part_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let full = |file: &mut File| {
            file.write_all(b"half of a val")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert_eq!(create_whole(&path, full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        let error = create_whole(&path, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
