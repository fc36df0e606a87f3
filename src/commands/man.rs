//! `vaultfs man`.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _, ValueHint};

use crate::cli::Cli;
use crate::output::note;

/// Print the manual page, or write all of them into a directory.
///
/// To read it now:
///
///   vaultfs man | man -l -
#[derive(Args)]
pub(crate) struct Man {
    /// Write vaultfs.1 and a page for each command into DIR
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self) -> Result<()> {
        let command = Cli::command();
        let Some(directory) = &self.directory else {
            clap_mangen::Man::new(command).render(&mut io::stdout())?;
            return Ok(());
        };
        let failed = || format!("{} can't be written", directory.display());
        fs::create_dir_all(directory).with_context(failed)?;
        clap_mangen::generate_to(command, directory).with_context(failed)?;
        note(format!("wrote the manual pages into {}", directory.display()));
        Ok(())
    }
}
