//! `vaultfs unmount`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};

use crate::output::note;

/// Unmount what `vaultfs mount` serves.
///
/// Also clears away a mount whose daemon died. Whoever serves it ends, with exit code 1; files that
/// are still open can't be read any more.
#[derive(Args)]
pub(crate) struct Unmount {
    /// The mount point
    #[arg(value_hint = ValueHint::DirPath)]
    mountpoint: PathBuf,
}

impl Unmount {
    pub(crate) fn run(&self) -> Result<()> {
        vaultfs_fusefs::unmount(&std::path::absolute(&self.mountpoint)?)?;
        note(format!("unmounted {}", self.mountpoint.display()));
        Ok(())
    }
}
