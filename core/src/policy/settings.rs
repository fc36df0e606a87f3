//! What a policy says of single secrets.

use std::collections::HashMap;
use std::time::Duration;

use crate::{Constraints, Pattern, Recipe, SecretName};

/// What the policy says of one secret, merged from all entries that match its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretSettings {
    /// What it is for, in the words of the policy; of control characters only line breaks and
    /// tabs.
    pub description: Option<String>,
    /// The environment variable it becomes, where the policy names one: see
    /// [`crate::Policy::env_name`] for the default.
    pub env: Option<String>,
    /// Whether the vault is incomplete without it.
    pub required: bool,
    /// How long a value is good for. Overdue afterwards.
    pub rotate_every: Option<Duration>,
    /// What its values must look like.
    pub constraints: Constraints,
    /// How a new value is made where none is given.
    pub generate: Option<Recipe>,
}

/// One entry: what it says, and nothing of what it doesn't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) description: Option<String>,
    pub(crate) env: Option<String>,
    pub(crate) required: Option<bool>,
    pub(crate) rotate_every: Option<Duration>,
    pub(crate) constraints: Constraints,
    pub(crate) generate: Option<Recipe>,
}

/// All entries, in the order of the policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entries {
    list: Vec<(Pattern, Entry)>,
    /// Which entry is for exactly this name. A policy may have one for each of its secrets.
    by_name: HashMap<SecretName, usize>,
    /// Which entries are for several names.
    by_pattern: Vec<usize>,
}

impl Entries {
    pub(crate) fn new(entries: Vec<(Pattern, Entry)>) -> Self {
        let mut by_name = HashMap::new();
        let mut by_pattern = Vec::new();
        for (index, (pattern, _)) in entries.iter().enumerate() {
            match pattern.exact_name() {
                Some(name) => {
                    by_name.insert(name, index);
                }
                None => by_pattern.push(index),
            }
        }
        Self { list: entries, by_name, by_pattern }
    }

    /// The entries as they stand in the policy.
    pub(crate) fn as_slice(&self) -> &[(Pattern, Entry)] {
        &self.list
    }

    /// Field by field, the entry with the exact name first, then patterns in their order.
    pub(crate) fn merged(&self, name: &SecretName) -> Entry {
        let exact = self.by_name.get(name).copied();
        let matching = self.by_pattern.iter().copied().filter(|&i| self.list[i].0.matches(name));
        exact
            .into_iter()
            .chain(matching)
            .fold(Entry::default(), |merged, index| merged.or(&self.list[index].1))
    }

    /// The names that have an entry of their own, in the order of the policy.
    pub(crate) fn exact_names(&self) -> impl Iterator<Item = SecretName> {
        self.list.iter().filter_map(|(pattern, _)| pattern.exact_name())
    }
}

impl Entry {
    fn or(self, other: &Self) -> Self {
        let constraints = Constraints {
            bytes: self.constraints.bytes.or_else(|| other.constraints.bytes.clone()),
            pattern: self.constraints.pattern.or_else(|| other.constraints.pattern.clone()),
            pem: self.constraints.pem.or_else(|| other.constraints.pem.clone()),
            url: self.constraints.url.or(other.constraints.url),
        };
        Self {
            description: self.description.or_else(|| other.description.clone()),
            env: self.env.or_else(|| other.env.clone()),
            required: self.required.or(other.required),
            rotate_every: self.rotate_every.or(other.rotate_every),
            constraints,
            generate: self.generate.or_else(|| other.generate.clone()),
        }
    }

    /// Whether the recipe makes a length that is allowed.
    pub(crate) fn refused_length(&self) -> Option<usize> {
        let (recipe, allowed) = (self.generate.as_ref()?, self.constraints.bytes.as_ref()?);
        (!allowed.contains(&recipe.len())).then_some(recipe.len())
    }
}
