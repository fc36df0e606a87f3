//! `vaultfs remove`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::SecretName;

use crate::complete;
use crate::context::Context;
use crate::output::{confirm, note};

/// Remove secrets.
///
/// Mounts drop them at once. Old values stay in git's history and in backups: change a value where
/// it is used before you rely on nobody having it.
#[derive(Args)]
pub(crate) struct Remove {
    /// The secrets
    #[arg(required = true, add = complete::secrets())]
    names: Vec<SecretName>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

impl Remove {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        {
            let writer = vault.write(Timestamp::now())?;
            self.names.iter().try_for_each(|name| writer.check_present(name))?;
        }
        for name in &self.names {
            note(format!("will remove {name}"));
        }
        confirm(self.yes.into(), "Remove?")?;
        let mut writer = vault.write(Timestamp::now())?;
        for name in &self.names {
            writer.remove(name)?;
            note(format!("removed {name}"));
        }
        Ok(())
    }
}
