//! Identities, the private halves of recipients: finding, unlocking, using and making them.
//!
//! No text of an identity may reach an error, a warning or a log from here; what is read of them
//! is read into locked memory. This module asks nobody itself: callers give it a [`Prompter`].

mod error;
mod identities;
mod locked;
mod new_identity;
mod origin;
mod parse;
mod places;
mod plugin;
mod prompter;
mod read;
mod ssh;
#[cfg(test)]
mod tests;
mod warning;

use age::{DecryptError, Identity as _};
use age_core::format::{FileKey, Stanza};

pub use self::error::IdentityError;
pub use self::identities::{Identities, LookOutcome, LookedAt};
pub use self::new_identity::NewIdentity;
pub use self::origin::Origin;
pub use self::places::IdentityPlaces;
pub use self::prompter::{NoPrompter, Prompter};
pub use self::warning::IdentityWarning;

use self::locked::Locked;
use self::plugin::PluginIdentity;
use crate::{Fingerprint, Recipient};

/// The binary logarithm of the most scrypt rounds that are tried: they take 4 GiB of memory. The
/// limit of the age program is the same.
const MAX_WORK_FACTOR: u8 = 22;

/// A private age key: native, an SSH key, or one that a plugin keeps; or a file or an SSH key that
/// is still locked by its passphrase.
///
/// It shows where it came from and its public half, never itself.
pub struct Identity {
    origin: Origin,
    recipient: Option<Recipient>,
    opener: Opener,
}

/// What opens files.
enum Opener {
    Native(age::x25519::Identity),
    Ssh(age::ssh::Identity),
    Plugin(PluginIdentity),
    Locked(Locked),
}

/// How far an attempt to open a file may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Only what is in memory.
    Quiet,
    /// Only plugins, which may ask for a touch or a PIN.
    Plugins,
    /// Only what is behind passphrases.
    Passphrases,
}

impl Effort {
    const ASCENDING: [Self; 3] = [Self::Quiet, Self::Plugins, Self::Passphrases];
}

impl Identity {
    /// Where it was read from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its public half, where that can be known without asking: always of native identities and
    /// SSH keys, never of plugins and locked files.
    pub fn recipient(&self) -> Option<&Recipient> {
        self.recipient.as_ref()
    }

    /// The NAME of the `age-plugin-NAME` program that it needs, if it needs one.
    pub fn plugin(&self) -> Option<&str> {
        match &self.opener {
            Opener::Plugin(plugin) => Some(plugin.name()),
            _ => None,
        }
    }

    /// Whether it was found protected by a passphrase, given by now or not.
    pub fn is_locked(&self) -> bool {
        matches!(self.opener, Opener::Locked(_))
    }

    /// The same for two copies of one identity; none where that can't be known.
    fn mark(&self) -> Option<Fingerprint> {
        match &self.opener {
            Opener::Plugin(plugin) => Some(plugin.mark()),
            _ => self.recipient.as_ref().map(Recipient::fingerprint),
        }
    }

    fn push_recipients<'a>(&'a self, recipients: &mut Vec<&'a Recipient>) {
        recipients.extend(&self.recipient);
        if let (Opener::Locked(locked), None) = (&self.opener, &self.recipient) {
            locked.unlocked().iter().for_each(|identity| identity.push_recipients(recipients));
        }
    }

    fn unwrap(&self, stanzas: &[Stanza], effort: Effort) -> Option<Result<FileKey, DecryptError>> {
        match (&self.opener, effort) {
            (Opener::Native(native), Effort::Quiet) => native.unwrap_stanzas(stanzas),
            (Opener::Ssh(key), Effort::Quiet) => key.unwrap_stanzas(stanzas),
            (Opener::Plugin(plugin), Effort::Plugins) => {
                plugin.unwrap(stanzas).map(|key| key.map_err(IdentityError::into_age))
            }
            (Opener::Locked(locked), Effort::Passphrases) => match locked.unlock_for(stanzas) {
                Ok(identities) => unwrap_first(identities, stanzas, &Effort::ASCENDING),
                Err(error) => Some(Err(error.into_age())),
            },
            (Opener::Locked(locked), effort) => unwrap_first(locked.unlocked(), stanzas, &[effort]),
            _ => None,
        }
    }
}

/// The file key, from whichever of the identities gets it, with the efforts in this order.
///
/// The first error counts only where none of them does: a missing plugin must not keep the
/// identity beside it from working.
fn unwrap_first(
    identities: &[Identity],
    stanzas: &[Stanza],
    efforts: &[Effort],
) -> Option<Result<FileKey, DecryptError>> {
    let mut first_error = None;
    for &effort in efforts {
        for identity in identities {
            match identity.unwrap(stanzas, effort) {
                Some(Ok(file_key)) => return Some(Ok(file_key)),
                Some(Err(error)) => first_error = first_error.or(Some(error)),
                None => {}
            }
        }
    }
    first_error.map(Err)
}
