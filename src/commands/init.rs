//! `vaultfs init`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use vaultfs_core::{Identities, NewIdentity, Policy, Recipient, Vault, VaultId};

use crate::context::Context;
use crate::output::note;

/// Make a vault, and an identity where none is found.
///
/// The vault is a directory with vaultfs.yaml, the policy, and secrets/, one age file each. Commit
/// both to git.
#[derive(Args)]
pub(crate) struct Init {
    /// The vault's directory; made where it is missing [default: here]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    directory: Option<PathBuf>,
    /// Who may read the secrets, age1… or ssh-…, with an optional NAME= before it; may be given
    /// again [default: your own identity]
    #[arg(long, short, value_name = "[NAME=]RECIPIENT")]
    recipient: Vec<String>,
    /// One rule and one group for each of these, such as dev,staging,prod
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    environments: Vec<String>,
}

impl Init {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let root = match &self.directory {
            Some(directory) => std::path::absolute(directory)?,
            None => env::current_dir().context("the current directory can't be found")?,
        };
        let mut recipients = self.recipients()?;
        if recipients.is_empty() {
            recipients.push((own_name(), own_recipient(context)?));
        }
        let policy = Policy::template(VaultId::random(), &recipients, &self.environments);
        // Names of recipients and environments come from the command line.
        Policy::parse(&policy).context("this can't be made into a policy")?;
        Vault::create(&root, &policy)?;
        let names: Vec<&str> = recipients.iter().map(|(name, _)| name.as_str()).collect();
        note(format!("made a vault in {}, readable by {}", root.display(), names.join(", ")));
        note(format!("next: {}vaultfs add prod/DATABASE_URL", self.change_directory()));
        Ok(())
    }

    fn recipients(&self) -> Result<Vec<(String, Recipient)>> {
        let mut recipients: Vec<(String, Recipient)> = Vec::new();
        for text in &self.recipient {
            let (name, recipient) = match text.split_once('=') {
                // The base64 of an SSH recipient may end in `=`.
                Some((name, rest)) if !name.contains(' ') => (Some(name.to_owned()), rest),
                _ => (None, text.as_str()),
            };
            let recipient: Recipient =
                recipient.parse().context("--recipient can't be understood")?;
            let name = name.unwrap_or_else(|| match recipients.len() {
                0 => own_name(),
                n => format!("recipient-{}", n + 1),
            });
            recipients.push((name, recipient));
        }
        Ok(recipients)
    }

    fn change_directory(&self) -> String {
        match &self.directory {
            Some(directory) if directory != Path::new(".") => {
                format!("cd {} && ", directory.display())
            }
            _ => String::new(),
        }
    }
}

/// The recipient of the first identity that tells its own, or of a new one.
fn own_recipient(context: &Context) -> Result<Recipient> {
    let identities: Identities = context.identities()?;
    if let Some(recipient) = identities.recipients().first() {
        return Ok((*recipient).clone());
    }
    if !identities.is_empty() {
        bail!("your identity doesn't say what its recipient is; name it with --recipient");
    }
    let path = Context::own_identity_file()?;
    let identity = NewIdentity::generate(Timestamp::now())?;
    identity.write_to(&path)?;
    note(format!("made an identity in {}", path.display()));
    note("BACK IT UP NOW, away from this machine: whoever loses it loses the secrets");
    Ok(identity.recipient().clone())
}

/// A name for the recipient that is oneself.
fn own_name() -> String {
    let name = env::var("USER").unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.chars().all(is_plain) { name } else { "me".to_owned() }
}
