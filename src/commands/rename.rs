//! `vaultfs rename`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::SecretName;

use super::report_written;
use crate::complete;
use crate::context::Context;

/// Give a secret a new name.
///
/// A secret's file is bound to its name, so it is encrypted again, to whom the policy of the new
/// name says. Needs an identity.
#[derive(Args)]
pub(crate) struct Rename {
    /// The secret
    #[arg(add = complete::secrets())]
    old: SecretName,
    /// Its new name
    #[arg(add = complete::secrets())]
    new: SecretName,
}

impl Rename {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let identities = context.identities()?;
        let written = vault.write(Timestamp::now())?.rename(&self.old, &self.new, &identities)?;
        report_written(&format!("renamed {} to", self.old), &written);
        Ok(())
    }
}
