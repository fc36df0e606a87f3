//! `vaultfs adopt`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::SecretName;

use super::report_written;
use crate::complete;
use crate::context::Context;

/// Bind an age file that another tool put into the vault.
///
/// A file that `age` wrote to secrets/NAME.age says nothing of the name or vault that it belongs
/// to, so no mount opens it. Adopting opens it and writes it anew, bound, and encrypted to whom the
/// policy says. Needs an identity. When its value was last changed isn't known, so its age counts
/// from now.
#[derive(Args)]
pub(crate) struct Adopt {
    /// The name at whose place the file stands
    #[arg(add = complete::secrets())]
    name: SecretName,
}

impl Adopt {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let identities = context.identities()?;
        let written = vault.write(Timestamp::now())?.adopt(&self.name, &identities)?;
        report_written("adopted", &written);
        Ok(())
    }
}
