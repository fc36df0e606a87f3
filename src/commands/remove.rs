//! `vaultfs remove`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::SecretName;

use super::DONE_IN_PART;
use crate::complete;
use crate::context::Context;
use crate::output::{confirm, note, warn};
use crate::report;

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
    pub(crate) fn run(&self, context: &Context) -> Result<ExitCode> {
        let vault = context.vault()?;
        // A name that is given twice, as by two patterns of a shell, counts once.
        let names: Vec<_> = self.names.iter().collect::<BTreeSet<_>>().into_iter().collect();
        {
            let writer = vault.write(Timestamp::now())?;
            names.iter().try_for_each(|name| writer.check_present(name))?;
        }
        for name in &names {
            note(format!("will remove {name}"));
        }
        confirm(self.yes.into(), "Remove?")?;
        let mut writer = vault.write(Timestamp::now())?;
        for (done, name) in names.iter().enumerate() {
            match writer.remove(name) {
                Ok(()) => note(format!("removed {name}")),
                Err(error) if done == 0 => return Err(error.into()),
                Err(error) => {
                    report::error(&error.into());
                    let left: Vec<_> = names[done..].iter().map(ToString::to_string).collect();
                    warn(format!("not removed: {}", left.join(", ")));
                    return Ok(ExitCode::from(DONE_IN_PART));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
