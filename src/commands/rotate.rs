//! `vaultfs rotate`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::SecretName;

use super::report_written;
use crate::complete;
use crate::context::Context;
use crate::input::ValueInput;

/// Give a secret a new value.
///
/// Needs no identity: the old value isn't opened. Mounts show the new value within a quarter of a
/// second; files that are open keep the old one.
#[derive(Args)]
pub(crate) struct Rotate {
    /// The secret
    #[arg(add = complete::secrets())]
    name: SecretName,
    #[command(flatten)]
    input: ValueInput,
}

impl Rotate {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        self.input.check()?;
        let vault = context.vault()?;
        // Asked before the value is, and again under the lock.
        let policy = {
            let writer = vault.write(Timestamp::now())?;
            writer.check_present(&self.name)?;
            writer.policy().clone()
        };
        let value = self.input.value(&self.name, &policy)?;
        let written = vault.write(Timestamp::now())?.rotate(&self.name, &value)?;
        report_written("rotated", &written);
        Ok(())
    }
}
