//! `vaultfs flag`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use vaultfs_core::{Flag as Mark, Pattern, Rewrapped};

use super::DONE_IN_PART;
use crate::complete;
use crate::context::Context;
use crate::output::{confirm, note};
use crate::report;

/// Mark values as ones that must be rotated.
///
/// `vaultfs status` names them until each has a new value. Needs an identity: the mark is part of
/// the file, and authenticated with it.
#[derive(Args)]
pub(crate) struct Flag {
    /// The secrets, such as 'prod/**'
    #[arg(add = complete::secrets())]
    pattern: Pattern,
    /// Why
    #[arg(long, value_enum)]
    reason: Reason,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Reason {
    /// Someone may know the value who shouldn't
    Leaked,
}

impl Flag {
    pub(crate) fn run(&self, context: &Context) -> Result<ExitCode> {
        let vault = context.vault()?;
        let names: Vec<_> =
            vault.snapshot()?.files.into_keys().filter(|n| self.pattern.matches(n)).collect();
        if names.is_empty() {
            bail!("no secret matches {}", self.pattern);
        }
        let identities = context.identities()?;
        for name in &names {
            note(format!("  {name}"));
        }
        confirm(self.yes.into(), &format!("Mark {} values as leaked?", names.len()))?;
        let Reason::Leaked = self.reason;
        let writer = vault.write(Timestamp::now())?;
        let mut failed = 0;
        for name in &names {
            match writer.flag(name, Mark::Leaked, &identities) {
                Ok(Rewrapped::Written(_) | Rewrapped::Unchanged) => {}
                Err(error) => {
                    failed += 1;
                    report::error(&error.into());
                }
            }
        }
        note(format!("{} values marked; next: vaultfs rotate for each", names.len() - failed));
        Ok(match failed {
            0 => ExitCode::SUCCESS,
            all if all == names.len() => ExitCode::FAILURE,
            _ => ExitCode::from(DONE_IN_PART),
        })
    }
}
