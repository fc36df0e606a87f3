//! `vaultfs keygen`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use vaultfs_core::NewIdentity;

use crate::context::Context;
use crate::output::{line, note};
use crate::terminal::ask_hidden;

/// Make an identity and print its recipient.
///
/// The recipient is public: send that line to whoever keeps the vault, and they can encrypt to you.
/// The identity is private, and the only thing that opens your secrets: back it up.
#[derive(Args)]
pub(crate) struct Keygen {
    /// Where to put the identity, mode 0600; an existing file is not replaced
    /// [default: ~/.config/vaultfs/identity.txt]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Protect the identity with a passphrase, which is asked for
    #[arg(long)]
    passphrase: bool,
}

impl Keygen {
    pub(crate) fn run(&self) -> Result<()> {
        let path = match &self.output {
            Some(path) => path.clone(),
            None => Context::own_identity_file()?,
        };
        let mut identity = NewIdentity::generate(Timestamp::now())?;
        if self.passphrase {
            let first = ask_hidden("Passphrase: ")?;
            let second = ask_hidden("Once more: ")?;
            match (first, second) {
                (Some(first), Some(second)) if first.same_as(&second) && !first.is_empty() => {
                    identity = identity.protected(&first)?;
                }
                _ => bail!("the two passphrases differ or are empty; nothing was written"),
            }
        }
        identity.write_to(&path)?;
        note(format!(
            "wrote the identity to {}; back it up: without it your secrets are lost",
            path.display()
        ));
        note("its recipient, to give to others:");
        line(identity.recipient());
        Ok(())
    }
}
