//! Identities of plugins: `age-plugin-NAME` programs that age runs to open a file.
//!
//! A plugin gets our environment, and with `AGEDEBUG=plugin` set age prints all that it and the
//! plugin say to each other, file keys included: that is age's own switch, not ours.

use std::slice;

use age::plugin::{IdentityPluginV1, ResolveError};
use age::{DecryptError, Identity as _};
use age_core::format::{FileKey, Stanza};
use zeroize::Zeroizing;

use super::prompter::Asking;
use super::{IdentityError, Origin};
use crate::Fingerprint;

/// An identity that only its plugin understands.
pub(super) struct PluginIdentity {
    identity: age::plugin::Identity,
    mark: Fingerprint,
    origin: Origin,
    asking: Asking,
}

impl PluginIdentity {
    pub(super) fn parse(line: &str, origin: &Origin, asking: &Asking) -> Option<Self> {
        let identity = line.parse().ok()?;
        let (origin, asking) = (origin.clone(), asking.clone());
        Some(Self { identity, mark: Fingerprint::of(line), origin, asking })
    }

    /// The NAME of `age-plugin-NAME`.
    pub(super) fn name(&self) -> &str {
        self.identity.plugin()
    }

    /// The same for two copies of one identity.
    pub(super) fn mark(&self) -> Fingerprint {
        self.mark
    }

    /// Runs the plugin, one at a time: it may ask, and the token behind it can't do two things at
    /// once. Looks for the program each time, so that it may be missing where it isn't needed.
    pub(super) fn unwrap(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, IdentityError>> {
        let _turn = self.asking.take_turn();
        let identities = slice::from_ref(&self.identity);
        let plugin = match IdentityPluginV1::new(self.name(), identities, self.asking.clone()) {
            Ok(plugin) => plugin,
            Err(error) => return Some(Err(self.explained(DecryptError::PluginResolve(error)))),
        };
        plugin.unwrap_stanzas(stanzas).map(|key| key.map_err(|error| self.explained(error)))
    }

    fn explained(&self, error: DecryptError) -> IdentityError {
        let (origin, program) = (self.origin.clone(), format!("age-plugin-{}", self.name()));
        let message = match error {
            DecryptError::PluginResolve(ResolveError::MissingPlugin { .. }) => {
                return IdentityError::PluginMissing { origin, program };
            }
            DecryptError::Plugin(errors) => {
                let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
                messages.join("; ")
            }
            DecryptError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {
                "it ended before it answered".into()
            }
            other => other.to_string(),
        };
        let message = if self.is_quoted_in(&message) {
            "its message quotes the identity and is not shown".into()
        } else {
            presentable(&message, &program)
        };
        IdentityError::Plugin { origin, program, message }
    }

    fn is_quoted_in(&self, message: &str) -> bool {
        let upper = |text: &str| Zeroizing::new(text.to_ascii_uppercase());
        let identity = Zeroizing::new(self.identity.to_string());
        upper(message).contains(upper(&identity).as_str())
    }
}

/// A plugin's message on one line, short, and without what age puts around it.
fn presentable(message: &str, program: &str) -> String {
    const SHOWN_CHARS: usize = 300;
    // age wraps what it inserts into its texts in Unicode's isolates.
    let plain: String = message
        .chars()
        .filter(|c| !('\u{2066}'..='\u{2069}').contains(c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let of_age = format!("'{program}' couldn't use an identity: ");
    plain.strip_prefix(&of_age).unwrap_or(&plain).chars().take(SHOWN_CHARS).collect()
}
