//! `vaultfs restore`.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use jiff::Timestamp;
use vaultfs_core::{SECRETS_DIRECTORY, SecretName, Vault};

use super::report_written;
use crate::complete;
use crate::context::Context;
use crate::output::{note, visible};

/// Bring an old value back.
///
/// Takes the secret's file from a commit of git and writes its value as a new generation, encrypted
/// to whom the policy says today. Checking the old file out instead would be refused by mounts that
/// have seen the newer one. Needs an identity.
#[derive(Args)]
pub(crate) struct Restore {
    /// The secret
    #[arg(add = complete::secrets())]
    name: SecretName,
    /// A commit in which the value was as it should be again: a hash, a tag, HEAD~1
    #[arg(long, value_name = "COMMIT")]
    from: String,
}

impl Restore {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let identities = context.identities()?;
        let earlier = self.earlier_file(&vault)?;
        let written = vault.write(Timestamp::now())?.restore(&self.name, &earlier, &identities)?;
        report_written("restored", &written);
        note("the value is as old as it was: `vaultfs status` says when it is due");
        Ok(())
    }

    fn earlier_file(&self, vault: &Vault) -> Result<Vec<u8>> {
        let path = format!("{SECRETS_DIRECTORY}/{}", self.name.file_path().display());
        let mut git = Command::new("git");
        git.arg("-C").arg(vault.root()).args(["show", "--end-of-options"]);
        git.arg(format!("{}:./{path}", self.from)).stdin(Stdio::null());
        let output = git.output().context("git can't be run")?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint = complaint.lines().next().unwrap_or_default();
            bail!("git has no {path} in {}: {}", visible(&self.from), visible(complaint));
        }
        Ok(output.stdout)
    }
}
