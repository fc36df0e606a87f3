//! `vaultfs add`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::SecretName;

use super::report_written;
use crate::context::Context;
use crate::input::ValueInput;

/// Add a secret.
///
/// The value is asked for at a terminal, and read from standard input otherwise, exactly as it is:
///
///   printf %s "$value" | vaultfs add prod/DATABASE_URL
#[derive(Args)]
pub(crate) struct Add {
    /// The new name, such as prod/DATABASE_URL
    name: SecretName,
    #[command(flatten)]
    input: ValueInput,
}

impl Add {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        self.input.check()?;
        let vault = context.vault()?;
        // Asked before the value is, and again under the lock.
        let policy = {
            let writer = vault.write(Timestamp::now())?;
            writer.check_new(&self.name)?;
            writer.policy().clone()
        };
        let value = self.input.value(&self.name, &policy)?;
        let written = vault.write(Timestamp::now())?.add(&self.name, &value)?;
        report_written("added", &written);
        Ok(())
    }
}
