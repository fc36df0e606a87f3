//! From a policy's fields to its meaning: every name known, every text parsed, nothing left that
//! contradicts itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::document::{Document, Step};
use super::error::{PolicyError, PolicyProblem, Shown};
use super::members::{self, Groups};
use super::nearest::nearest;
use super::raw::{Entries, RawPolicy, RawRecipe, RawRule, RawSettings, SwitchOrText};
use super::settings::{self, Entry};
use super::{Group, Leaving, NamedRecipient, Policy, Rule, period};
use crate::{
    Constraints, Fingerprint, Generation, Pattern, PemConstraint, Recipe, RecipientError,
    SecretName, Value,
};

use Step::{Field, Item};

/// Reads all of a policy. `document` says where things stand.
pub(crate) fn read(raw: RawPolicy, document: &Document) -> Result<Policy, PolicyError> {
    let reader = Reader { document };
    let vault_id = raw
        .vault
        .parse()
        .map_err(|e| reader.refusal(&[Field("vault")], PolicyProblem::VaultId(e)))?;
    let recipients = reader.recipients(&raw.recipients)?;
    let groups = reader.groups(raw.groups, &recipients)?;
    let rules = reader.rules(raw.rules, &recipients, &groups)?;
    let mut leaving: Vec<Leaving> = Vec::new();
    for (index, entry) in raw.leaving.into_iter().enumerate() {
        let at = |field| [Field("leaving"), Item(index), Field(field)];
        let Some(known) = recipients.iter().find(|r| r.name == entry.recipient) else {
            let names = recipients.iter().map(|r| r.name.as_str());
            let problem = PolicyProblem::UnknownRecipient {
                name: Shown::new(&entry.recipient),
                nearest: nearest(&entry.recipient, names).map(str::to_owned),
            };
            return Err(reader.refusal(&at("recipient"), problem));
        };
        if leaving.iter().any(|other| other.recipient == known.name) {
            let problem = PolicyProblem::LeavingTwice(known.name.clone());
            return Err(reader.refusal(&at("recipient"), problem));
        }
        let Some(until) = date(&entry.until) else {
            let problem = PolicyProblem::Date(Shown::new(&entry.until));
            return Err(reader.refusal(&at("until"), problem));
        };
        leaving.push(Leaving { recipient: entry.recipient, until });
    }
    let secrets = reader.secrets(raw.secrets)?;
    let removed = reader.removed(&raw.removed)?;
    Ok(Policy { vault_id, recipients, groups, rules, leaving, secrets, removed })
}

struct Reader<'a> {
    document: &'a Document,
}

impl Reader<'_> {
    fn refusal(&self, path: &[Step<'_>], problem: PolicyProblem) -> PolicyError {
        PolicyError::new(self.document.position(path), problem)
    }

    /// Where not the content of an entry is wrong, but its name.
    fn name_refusal(&self, path: &[Step<'_>], problem: PolicyProblem) -> PolicyError {
        PolicyError::new(self.document.name_position(path), problem)
    }

    fn recipients(&self, raw: &Entries<String>) -> Result<Vec<NamedRecipient>, PolicyError> {
        let mut recipients: Vec<NamedRecipient> = Vec::new();
        let mut names: HashMap<Fingerprint, &str> = HashMap::new();
        for (name, text) in &raw.0 {
            let at = [Field("recipients"), Field(name)];
            self.check_name(name, &at)?;
            let parsed = text.parse::<crate::Recipient>();
            let recipient = parsed.map_err(|source| {
                let problem = match source {
                    RecipientError::PrivateIdentity => PolicyProblem::PrivateIdentity,
                    source => PolicyProblem::Recipient { name: name.clone(), source },
                };
                self.refusal(&at, problem)
            })?;
            if let Some(first) = names.insert(recipient.fingerprint(), name) {
                let (name, first) = (name.clone(), first.to_owned());
                return Err(self.refusal(&at, PolicyProblem::SameRecipient { name, first }));
            }
            recipients.push(NamedRecipient { name: name.clone(), recipient });
        }
        Ok(recipients)
    }

    fn groups(
        &self,
        raw: Entries<Vec<String>>,
        recipients: &[NamedRecipient],
    ) -> Result<Vec<Group>, PolicyError> {
        let recipients: HashSet<&str> = recipients.iter().map(|r| r.name.as_str()).collect();
        let mut groups: Vec<Group> = Vec::new();
        for (name, members) in raw.0 {
            let at = [Field("groups"), Field(&name)];
            self.check_name(&name, &at)?;
            if recipients.contains(name.as_str()) {
                return Err(self.name_refusal(&at, PolicyProblem::RecipientAndGroup(name.clone())));
            }
            groups.push(Group { name, members });
        }
        let known: BTreeSet<&str> =
            recipients.into_iter().chain(groups.iter().map(|g| g.name.as_str())).collect();
        for Group { name, members } in &groups {
            self.check_members(members, &[Field("groups"), Field(name)], &known)?;
        }
        if let Err(path) = members::inhabited(&by_name(&groups)) {
            let at = [Field("groups"), Field(&path[0])];
            return Err(self.name_refusal(&at, PolicyProblem::GroupCycle { path: path.clone() }));
        }
        Ok(groups)
    }

    fn rules(
        &self,
        raw: Vec<RawRule>,
        recipients: &[NamedRecipient],
        groups: &[Group],
    ) -> Result<Vec<Rule>, PolicyError> {
        let recipients: HashSet<&str> = recipients.iter().map(|r| r.name.as_str()).collect();
        let known: BTreeSet<&str> =
            recipients.iter().copied().chain(groups.iter().map(|g| g.name.as_str())).collect();
        let inhabited = members::inhabited(&by_name(groups)).unwrap_or_default();
        let mut rules = Vec::new();
        if raw.len() > Policy::MAX_PATTERNS {
            let at = [Field("rules"), Item(Policy::MAX_PATTERNS)];
            return Err(self.refusal(&at, PolicyProblem::TooMany { what: "rules" }));
        }
        for (index, RawRule { path, to, rotate_every }) in raw.into_iter().enumerate() {
            let rule = [Field("rules"), Item(index)];
            let at = |field| [Field("rules"), Item(index), Field(field)];
            let pattern: Pattern =
                path.parse().map_err(|e| self.refusal(&at("path"), PolicyProblem::Pattern(e)))?;
            self.check_members(&to, &at("to"), &known)?;
            if !to.iter().any(|m| recipients.contains(&**m) || inhabited.contains(&**m)) {
                let problem = PolicyProblem::NoRecipients { pattern: path };
                return Err(self.refusal(&at("to"), problem));
            }
            let rotate_every = self.period(rotate_every.as_deref(), &at("rotate_every"))?;
            let position = self.document.position(&rule);
            rules.push(Rule { pattern, to, rotate_every, position });
        }
        Ok(rules)
    }

    fn secrets(&self, raw: Entries<RawSettings>) -> Result<settings::Entries, PolicyError> {
        let mut entries = Vec::new();
        let mut patterns = 0;
        for (text, settings) in raw.0 {
            let at = [Field("secrets"), Field(&text)];
            let pattern: Pattern =
                text.parse().map_err(|e| self.name_refusal(&at, PolicyProblem::Pattern(e)))?;
            patterns += usize::from(pattern.exact_name().is_none());
            if patterns > Policy::MAX_PATTERNS {
                let what = "patterns in `secrets`";
                return Err(self.name_refusal(&at, PolicyProblem::TooMany { what }));
            }
            let entry = self.entry(settings, &pattern)?;
            entries.push((pattern, entry));
        }
        let entries = settings::Entries::new(entries);
        for (pattern, entry) in entries.as_slice() {
            let merged = pattern.exact_name().map(|name| entries.merged(&name));
            if let Some(len) = merged.as_ref().unwrap_or(entry).refused_length() {
                let at = [Field("secrets"), Field(pattern.as_str()), Field("generate")];
                return Err(self.refusal(&at, PolicyProblem::RecipeLength { len }));
            }
        }
        Ok(entries)
    }

    fn entry(&self, raw: RawSettings, pattern: &Pattern) -> Result<Entry, PolicyError> {
        let at = |field| [Field("secrets"), Field(pattern.as_str()), Field(field)];
        let refuse = |field, problem| Err(self.refusal(&at(field), problem));
        if let Some(description) = &raw.description
            && description.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
        {
            return refuse("description", PolicyProblem::Description);
        }
        if let Some(env) = &raw.env {
            if !is_identifier(env) {
                return refuse("env", PolicyProblem::EnvName(Shown::new(env)));
            }
            if pattern.exact_name().is_none() {
                return refuse("env", PolicyProblem::EnvOnPattern(pattern.to_string()));
            }
        }
        let bytes = raw.bytes.map(|lengths| self.lengths(&lengths.0, pattern)).transpose()?;
        let value_pattern = raw.pattern.map(|text| {
            text.parse().map_err(|source| {
                let text = Shown::new(&text);
                self.refusal(&at("pattern"), PolicyProblem::ValuePattern { text, source })
            })
        });
        let pem = match raw.pem {
            None => None,
            Some(SwitchOrText::Switch(false)) => Some(PemConstraint::No),
            Some(SwitchOrText::Switch(true)) => Some(PemConstraint::Any),
            Some(SwitchOrText::Text(label)) if is_pem_label(&label) => {
                Some(PemConstraint::Label(label))
            }
            Some(SwitchOrText::Text(text)) => {
                return refuse("pem", PolicyProblem::PemLabel(Shown::new(&text)));
            }
        };
        let generate = match raw.generate.map(recipe) {
            Some(Err(problem)) => return refuse("generate", problem),
            Some(Ok(recipe)) => Some(recipe),
            None => None,
        };
        let pattern = value_pattern.transpose()?;
        Ok(Entry {
            description: raw.description,
            env: raw.env,
            required: raw.required,
            rotate_every: self.period(raw.rotate_every.as_deref(), &at("rotate_every"))?,
            constraints: Constraints { bytes, pattern, pem, url: raw.url },
            generate,
        })
    }

    fn lengths(&self, lengths: &[u64], pattern: &Pattern) -> Result<Vec<usize>, PolicyError> {
        let at = [Field("secrets"), Field(pattern.as_str()), Field("bytes")];
        if lengths.is_empty() {
            return Err(self.refusal(&at, PolicyProblem::NoLength));
        }
        let checked = lengths.iter().enumerate().map(|(index, &length)| {
            usize::try_from(length)
                .ok()
                .filter(|length| (1..=Value::MAX_BYTES).contains(length))
                .ok_or_else(|| {
                    let at = [at[0], at[1], at[2], Item(index)];
                    self.refusal(&at, PolicyProblem::ValueLength(length))
                })
        });
        checked.collect()
    }

    fn removed(&self, raw: &Entries<u64>) -> Result<BTreeMap<SecretName, Generation>, PolicyError> {
        let mut removed = BTreeMap::new();
        for (text, number) in &raw.0 {
            let at = [Field("removed"), Field(text)];
            let name =
                text.parse().map_err(|e| self.name_refusal(&at, PolicyProblem::RemovedName(e)))?;
            let generation = Generation::try_from(*number)
                .map_err(|_| self.refusal(&at, PolicyProblem::RemovedGeneration(*number)))?;
            removed.insert(name, generation);
        }
        Ok(removed)
    }

    fn period(
        &self,
        text: Option<&str>,
        path: &[Step<'_>],
    ) -> Result<Option<Duration>, PolicyError> {
        let Some(text) = text else { return Ok(None) };
        match period::parse(text) {
            Some(period) => Ok(Some(period)),
            None => Err(self.refusal(path, PolicyProblem::Period(Shown::new(text)))),
        }
    }

    fn check_name(&self, name: &str, path: &[Step<'_>]) -> Result<(), PolicyError> {
        if is_member_name(name) {
            Ok(())
        } else {
            Err(self.name_refusal(path, PolicyProblem::MemberName(Shown::new(name))))
        }
    }

    fn check_members(
        &self,
        members: &[String],
        path: &[Step<'_>],
        known: &BTreeSet<&str>,
    ) -> Result<(), PolicyError> {
        let mut seen = HashSet::new();
        for (index, member) in members.iter().enumerate() {
            let problem = if !known.contains(member.as_str()) {
                PolicyProblem::UnknownMember {
                    name: Shown::new(member),
                    nearest: nearest(member, known.iter().copied()).map(str::to_owned),
                }
            } else if !seen.insert(member) {
                PolicyProblem::RepeatedMember(member.clone())
            } else {
                continue;
            };
            let at: Vec<_> = path.iter().copied().chain([Item(index)]).collect();
            return Err(self.refusal(&at, problem));
        }
        Ok(())
    }
}

fn by_name(groups: &[Group]) -> Groups<'_> {
    groups.iter().map(|group| (group.name.as_str(), group.members.as_slice())).collect()
}

fn recipe(raw: RawRecipe) -> Result<Recipe, PolicyProblem> {
    let counts = [
        ("bytes", raw.bytes),
        ("hex", raw.hex),
        ("base64", raw.base64),
        ("base64url", raw.base64url),
    ];
    let mut counts = counts.into_iter().filter_map(|(form, count)| Some((form, count?)));
    let spec = match (counts.next(), counts.next(), raw.alphabet, raw.length) {
        (Some((form, count)), None, None, None) => format!("{form}:{count}"),
        (None, None, Some(alphabet), Some(length)) => format!("alphabet:{alphabet}:{length}"),
        _ => return Err(PolicyProblem::RecipeForm),
    };
    spec.parse().map_err(PolicyProblem::Recipe)
}

/// `YYYY-MM-DD` and no other spelling.
fn date(text: &str) -> Option<jiff::civil::Date> {
    let date: jiff::civil::Date = text.parse().ok()?;
    (date.to_string() == text).then_some(date)
}

/// Whether recipients and groups may have this name. YAML reads all of these without quotes.
pub(crate) fn is_member_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '+');
    first && characters.all(rest) && name.len() <= 64
}

/// Whether a variable can have this name (POSIX: letters, digits and `_`, no digit first).
pub(crate) fn is_identifier(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Printable ASCII without hyphens (RFC 7468 allows single ones, which no known label has).
fn is_pem_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_graphic() && c != '-' || c == ' ';
    !label.is_empty() && label.trim() == label && label.chars().all(allowed)
}
