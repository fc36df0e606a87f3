//! `vaultfs copy`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::SecretName;

use super::report_written;
use crate::complete;
use crate::context::Context;

/// Copy a secret to a new name.
///
/// The copy is encrypted to whom the policy of the new name says. Needs an identity.
#[derive(Args)]
pub(crate) struct Copy {
    /// The secret
    #[arg(add = complete::secrets())]
    old: SecretName,
    /// The copy's name
    #[arg(add = complete::secrets())]
    new: SecretName,
}

impl Copy {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let identities = context.identities()?;
        let written = vault.write(Timestamp::now())?.copy(&self.old, &self.new, &identities)?;
        report_written("wrote", &written);
        Ok(())
    }
}
