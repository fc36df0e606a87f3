//! The policy that a new vault begins with.

use std::fmt::Write as _;

use super::Policy;
use crate::{Recipient, VaultId};

impl Policy {
    /// The name of the group that a vault without environments begins with.
    pub const FIRST_GROUP: &str = "owners";

    /// The text of a new policy, with comments for those who never saw one.
    ///
    /// Without `environments` all recipients form one group, [`Policy::FIRST_GROUP`], that may
    /// decrypt everything. With environments there is a group and a rule for each, and no other.
    /// `recipients` and `environments` must be valid names, as the parser says of the result.
    pub fn template(
        vault_id: VaultId,
        recipients: &[(String, Recipient)],
        environments: &[String],
    ) -> String {
        let names: Vec<&str> = recipients.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        let mut text = String::from(HEAD);
        // Writing to a string can't fail.
        let _ = write!(text, "version: 1\nvault: {vault_id}\n\n{RECIPIENTS}recipients:\n");
        for (name, recipient) in recipients {
            let _ = writeln!(text, "  {name}: {recipient}");
        }
        let _ = write!(text, "\n{GROUPS}groups:\n");
        if environments.is_empty() {
            let _ = writeln!(text, "  {}: [{names}]", Self::FIRST_GROUP);
        }
        for environment in environments {
            let _ = writeln!(text, "  {environment}: [{names}]");
        }
        let _ = write!(text, "\n{RULES}rules:\n");
        if environments.is_empty() {
            let _ = write!(text, "  - path: \"**\"\n    to: [{}]\n", Self::FIRST_GROUP);
        }
        for environment in environments {
            let _ = write!(text, "  - path: \"{environment}/**\"\n    to: [{environment}]\n");
        }
        text.push_str(TAIL);
        text
    }
}

const HEAD: &str = "\
# The policy of this vault: who may decrypt which secret, and what is expected of
# each. It holds nothing secret; keep it under version control with the secrets.
# vaultfs edits it too, and keeps your comments and your order.
";

const RECIPIENTS: &str = "\
# Public keys, each under a name of its own: age1..., ssh-ed25519 ... or ssh-rsa ...
# A newcomer runs `vaultfs keygen` and sends you the line that it prints, which you
# add with `vaultfs recipients add`.
";

const GROUPS: &str = "\
# Recipients who share access. A group may hold other groups.
";

const RULES: &str = "\
# The first rule whose path matches a secret's name decides who may decrypt it.
# In a path, * stays between two slashes and ** crosses them. After a change,
# `vaultfs rewrap` brings the files in line.
";

const TAIL: &str = "
# What you know of single secrets; everything is optional and is checked whenever
# a value is written. For example:
#
# secrets:
#   web/COOKIE_SECRET:
#     description: signs the session cookies
#     required: true            # `vaultfs status --check` fails without it
#     rotate_every: 90d         # overdue afterwards: h, d or w
#     bytes: [16, 24, 32]       # the lengths that its consumer accepts
#     generate: {bytes: 32}     # how `vaultfs rotate --generate` makes a value
";
