//! The policy, `vaultfs.yaml`: who may decrypt what, and what is expected of each secret.
//!
//! This module reads texts and answers questions; it opens no file and encrypts nothing.

mod document;
mod edit;
mod error;
mod members;
mod nearest;
mod period;
mod raw;
mod read;
mod screen;
mod settings;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;

use self::document::Document;
use self::raw::RawPolicy;
use crate::{Fingerprint, Generation, Pattern, Recipient, SecretName, VaultId};

pub use self::edit::{PolicyEdit, PolicyEditError};
pub use self::error::{PolicyError, PolicyProblem, Position, Shown};
pub use self::period::parse as parse_period;
pub use self::settings::SecretSettings;

/// A policy without contradictions.
///
/// Its text is one YAML document of at most [`Policy::MAX_BYTES`] bytes of UTF-8: a mapping with
/// the fields below. What isn't named here is refused, as are duplicate entries, anchors, aliases,
/// tags, tabs in indentation, lone carriage returns, control characters and others that people
/// can't see (byte order marks, exotic line breaks, characters that reorder text), and private
/// identities, in comments too.
///
/// | field | holds |
/// |---|---|
/// | `version` | the number 1 |
/// | `vault` | a [`VaultId`] |
/// | `recipients` | name → [`Recipient`]; each recipient under one name only |
/// | `groups` | name → list of recipients and groups; optional. No group contains itself |
/// | `rules` | list of `path` (a [`Pattern`]), `to` (list of recipients and groups, reaching at least one recipient), `rotate_every` (optional). The first rule that matches decides |
/// | `leaving` | list of `recipient` and `until` (`YYYY-MM-DD`); optional |
/// | `secrets` | [`Pattern`] → settings, see below; optional |
/// | `removed` | [`SecretName`] → [`Generation`], the last one it had; optional |
///
/// Names of recipients and groups have 1 to 64 of `A-Z a-z 0-9 _ - . @ +`, beginning with a
/// letter, a digit or `_`; nothing is both a recipient and a group. A period (`rotate_every`) is a
/// whole number from 1 and `h`, `d` (24 hours) or `w` (7 days), at most 36500 days.
///
/// The settings of `secrets`, all optional:
///
/// | field | holds |
/// |---|---|
/// | `description` | text; of control characters only line breaks and tabs |
/// | `env` | a variable's name (`[A-Za-z_][A-Za-z0-9_]*`); only where the left side is a name |
/// | `required` | `true` or `false` (default) |
/// | `rotate_every` | a period; default: the rule's |
/// | `bytes` | an allowed length or a list of them, 1 to 16777216 |
/// | `pattern` | a regular expression for the whole value, see [`crate::ValuePattern`] |
/// | `pem` | `true`, `false`, or the label all blocks must have, see [`crate::PemConstraint`] |
/// | `url` | `true` or `false` |
/// | `generate` | `{bytes: N}`, `{hex: N}`, `{base64: N}`, `{base64url: N}` or `{alphabet: A, length: N}`, see [`crate::Recipe`]; its length must be one of `bytes` |
///
/// There are at most [`Policy::MAX_PATTERNS`] rules, and as many entries of `secrets` with a `*`.
/// Where several entries match a name, each field is taken from the entry with exactly that name,
/// or else from the first pattern that has it.
///
/// Equality is that of the meaning, order included; comments, style and positions don't count.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    vault_id: VaultId,
    recipients: Vec<NamedRecipient>,
    groups: Vec<Group>,
    rules: Vec<Rule>,
    leaving: Vec<Leaving>,
    secrets: settings::Entries,
    removed: BTreeMap<SecretName, Generation>,
}

/// A recipient and the name that the policy gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedRecipient {
    /// The name.
    pub name: String,
    /// The recipient.
    pub recipient: Recipient,
}

/// Recipients and groups under a common name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// The group's name.
    pub name: String,
    /// The names of its members, none twice. Perhaps none at all.
    pub members: Vec<String>,
}

/// Who may decrypt the secrets that a pattern matches.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rule {
    /// Which secrets.
    pub pattern: Pattern,
    /// The names of recipients and groups, none twice.
    pub to: Vec<String>,
    /// How long the values are good for, where the secret itself doesn't say.
    pub rotate_every: Option<Duration>,
    /// Where it stands in the policy.
    pub position: Option<Position>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
            && self.to == other.to
            && self.rotate_every == other.rotate_every
    }
}

/// A recipient whose access ends.
///
/// It stays where it is, in `recipients`, groups and rules. New files are encrypted to it through
/// the day `until`, and no longer from the day after.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leaving {
    /// The recipient's name.
    pub recipient: String,
    /// The last day of its access.
    pub until: Date,
}

/// A question about a secret that the policy has no answer to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyGap {
    /// No rule matches the name, so nobody may decrypt it and it can't be written.
    #[error("no rule of the policy matches {0}")]
    NoRule(SecretName),
    /// All whom the rule names have left.
    #[error("every recipient of {name} has left; the rule for {pattern} reaches nobody")]
    EveryoneLeft {
        /// The secret.
        name: SecretName,
        /// The pattern of its rule.
        pattern: String,
    },
    /// The last segment can't be a variable's name, and the policy gives no other.
    #[error("{0} has no `env` in the policy, and its last segment can't name a variable")]
    NoEnvName(SecretName),
}

impl Policy {
    /// The largest policy, in bytes: 1 MiB.
    pub const MAX_BYTES: usize = 1 << 20;

    /// The most rules, and the most entries of `secrets` that aren't exact names.
    pub const MAX_PATTERNS: usize = 1000;

    /// Reads a policy.
    ///
    /// # Errors
    /// The first problem, with its position.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        screen::screen(text)?;
        let document = Document::parse(text)?;
        check_version(&document)?;
        read::read(RawPolicy::parse(text, &document)?, &document)
    }

    /// Which vault it is for.
    pub fn vault_id(&self) -> VaultId {
        self.vault_id
    }

    /// All recipients, in the order of the policy.
    pub fn recipients(&self) -> &[NamedRecipient] {
        &self.recipients
    }

    /// All groups, in the order of the policy.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// All rules, in the order of the policy.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The recipients whose access ends, or has ended.
    pub fn leaving(&self) -> &[Leaving] {
        &self.leaving
    }

    /// The last generation of each secret that was removed.
    pub fn removed(&self) -> &BTreeMap<SecretName, Generation> {
        &self.removed
    }

    /// The recipient of that name.
    pub fn recipient(&self, name: &str) -> Option<&Recipient> {
        self.recipients.iter().find(|r| r.name == name).map(|r| &r.recipient)
    }

    /// The name that the policy gives to a recipient.
    pub fn name_of(&self, fingerprint: &Fingerprint) -> Option<&str> {
        let found = self.recipients.iter().find(|r| r.recipient.fingerprint() == *fingerprint);
        found.map(|r| r.name.as_str())
    }

    /// The rule that decides about `name`: the first that matches.
    pub fn rule_for(&self, name: &SecretName) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.pattern.matches(name))
    }

    /// To whom `name` is to be encrypted on the day `today`: its rule's recipients, groups
    /// replaced by their members, without those whose last day is past. Each once, in the order
    /// of `recipients`, so that rearranging groups changes nothing.
    ///
    /// # Errors
    /// [`PolicyGap::NoRule`] and [`PolicyGap::EveryoneLeft`].
    pub fn recipients_for(
        &self,
        name: &SecretName,
        today: Date,
    ) -> Result<Vec<&NamedRecipient>, PolicyGap> {
        let rule = self.rule_for(name).ok_or_else(|| PolicyGap::NoRule(name.clone()))?;
        let groups = self.groups.iter().map(|g| (g.name.as_str(), g.members.as_slice())).collect();
        let members = members::expand(&rule.to, &groups);
        let left = |name: &str| self.leaving.iter().any(|l| l.recipient == name && l.until < today);
        let recipients: Vec<_> = self
            .recipients
            .iter()
            .filter(|r| members.contains(r.name.as_str()) && !left(&r.name))
            .collect();
        if recipients.is_empty() {
            let (name, pattern) = (name.clone(), rule.pattern.to_string());
            return Err(PolicyGap::EveryoneLeft { name, pattern });
        }
        Ok(recipients)
    }

    /// What is expected of the secret `name`, whether it exists or not.
    pub fn settings_for(&self, name: &SecretName) -> SecretSettings {
        let entry = self.secrets.merged(name);
        let of_rule = || self.rule_for(name).and_then(|rule| rule.rotate_every);
        SecretSettings {
            description: entry.description,
            env: entry.env,
            required: entry.required.unwrap_or(false),
            rotate_every: entry.rotate_every.or_else(of_rule),
            constraints: entry.constraints,
            generate: entry.generate,
        }
    }

    /// The environment variable for the secret `name`: the one that the policy names, or the last
    /// segment.
    ///
    /// # Errors
    /// [`PolicyGap::NoEnvName`] where the policy names none and the last segment isn't
    /// `[A-Za-z_][A-Za-z0-9_]*`.
    pub fn env_name(&self, name: &SecretName) -> Result<String, PolicyGap> {
        if let Some(env) = self.secrets.merged(name).env {
            return Ok(env);
        }
        let last = name.last_segment();
        if read::is_identifier(last) {
            Ok(last.to_owned())
        } else {
            Err(PolicyGap::NoEnvName(name.clone()))
        }
    }

    /// The names that `secrets` lists, in the order of the policy, and whether each is required.
    pub fn expected(&self) -> impl Iterator<Item = (SecretName, bool)> {
        self.secrets.exact_names().map(|name| {
            let required = self.secrets.merged(&name).required.unwrap_or(false);
            (name, required)
        })
    }

    /// The rules that decide about none of `names`: misspelt, left over, or hidden behind an
    /// earlier rule.
    pub fn unused_rules<'n>(&self, names: impl IntoIterator<Item = &'n SecretName>) -> Vec<&Rule> {
        let mut used = vec![false; self.rules.len()];
        for name in names {
            if let Some(index) = self.rules.iter().position(|rule| rule.pattern.matches(name)) {
                used[index] = true;
            }
        }
        self.rules.iter().zip(used).filter_map(|(rule, used)| (!used).then_some(rule)).collect()
    }
}

/// Before anything else: another version may have other fields.
fn check_version(document: &Document) -> Result<(), PolicyError> {
    let Some(root) = &document.root else {
        return Err(PolicyError::new(None, PolicyProblem::Empty));
    };
    match root.entry("version") {
        Some((_, version)) if version.text().is_some_and(|text| text != "1") => {
            let problem = PolicyProblem::UnknownVersion(Shown::new(version.text().unwrap_or("")));
            Err(PolicyError::new(Some(version.position), problem))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
