//! A policy as YAML has it: the right fields with the right types, nothing checked beyond.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::document::Document;
use super::error::{PolicyError, PolicyProblem, Position, Shown};
use super::nearest::nearest;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPolicy {
    #[serde(rename = "version")]
    _version: u64,
    pub(crate) vault: String,
    pub(crate) recipients: Entries<String>,
    #[serde(default)]
    pub(crate) groups: Entries<Vec<String>>,
    pub(crate) rules: Vec<RawRule>,
    #[serde(default)]
    pub(crate) leaving: Vec<RawLeaving>,
    #[serde(default)]
    pub(crate) secrets: Entries<RawSettings>,
    #[serde(default)]
    pub(crate) removed: Entries<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    pub(crate) path: String,
    pub(crate) to: Vec<String>,
    pub(crate) rotate_every: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLeaving {
    pub(crate) recipient: String,
    pub(crate) until: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSettings {
    pub(crate) description: Option<String>,
    pub(crate) env: Option<String>,
    pub(crate) required: Option<bool>,
    pub(crate) rotate_every: Option<String>,
    pub(crate) bytes: Option<OneOrMore>,
    pub(crate) pattern: Option<String>,
    pub(crate) pem: Option<SwitchOrText>,
    pub(crate) url: Option<bool>,
    pub(crate) generate: Option<RawRecipe>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRecipe {
    pub(crate) bytes: Option<u64>,
    pub(crate) hex: Option<u64>,
    pub(crate) base64: Option<u64>,
    pub(crate) base64url: Option<u64>,
    pub(crate) alphabet: Option<String>,
    pub(crate) length: Option<u64>,
}

/// A mapping with names of the writer's choice, in the order of the file.
pub(crate) struct Entries<T>(pub(crate) Vec<(String, T)>);

/// One number, or a list of numbers.
pub(crate) struct OneOrMore(pub(crate) Vec<u64>);

/// `true`, `false`, or a text.
pub(crate) enum SwitchOrText {
    Switch(bool),
    Text(String),
}

impl RawPolicy {
    /// Reads `text`; `document` is the same text's.
    pub(crate) fn parse(text: &str, document: &Document) -> Result<Self, PolicyError> {
        serde_yaml::from_str(text).map_err(|e| explain(&e, document))
    }
}

/// Says in the words of a policy what serde says in those of Rust.
fn explain(error: &serde_yaml::Error, document: &Document) -> PolicyError {
    let location = error.location();
    let position = location.map(|l| Position { line: l.line(), column: l.column() });
    let mut text = error.to_string();
    if let Some(Position { line, column }) = position
        && let Some(rest) = text.strip_suffix(&format!(" at line {line} column {column}"))
    {
        text.truncate(rest.len());
    }
    let problem = unknown_field(&text)
        .or_else(|| missing_field(&text))
        .or_else(|| wrong_type(&text, document, position?))
        .unwrap_or(PolicyProblem::Syntax(text));
    PolicyError::new(position, problem)
}

fn unknown_field(text: &str) -> Option<PolicyProblem> {
    let (_, rest) = text.split_once("unknown field `")?;
    let (field, known) = rest.rsplit_once("`, expected ")?;
    // Every other piece between back-quotes is a field's name.
    let known = known.split('`').skip(1).step_by(2);
    Some(PolicyProblem::UnknownField {
        field: Shown::new(field),
        nearest: nearest(field, known).map(str::to_owned),
    })
}

fn missing_field(text: &str) -> Option<PolicyProblem> {
    let (_, rest) = text.split_once("missing field `")?;
    Some(PolicyProblem::MissingField(rest.strip_suffix('`')?.to_owned()))
}

/// The message repeats what stands there; only its kind is taken over.
fn wrong_type(text: &str, document: &Document, position: Position) -> Option<PolicyProblem> {
    let (before, rest) = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|marker| text.split_once(marker))?;
    let (_, expected) = rest.rsplit_once("expected ")?;
    let expected = match expected {
        "a sequence" => "a list",
        "a string" => "text",
        "a boolean" => "true or false",
        "u64" => "a whole number, 0 or more",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    };
    let field = before.strip_suffix(": ").unwrap_or("the policy");
    Some(PolicyProblem::WrongType {
        field: field.chars().take(Shown::MAX_CHARS).flat_map(char::escape_debug).collect(),
        expected: expected.to_owned(),
        found: document.beginning_at(position).map_or("that", |node| node.description()),
    })
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // Duplicates have been refused while the document was indexed.
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMoreVisitor;

        impl<'de> Visitor<'de> for OneOrMoreVisitor {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a list of them")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![number]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = list.next_element()? {
                    numbers.push(number);
                }
                Ok(OneOrMore(numbers))
            }
        }

        deserializer.deserialize_any(OneOrMoreVisitor)
    }
}

impl<'de> Deserialize<'de> for SwitchOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchOrTextVisitor;

        impl Visitor<'_> for SwitchOrTextVisitor {
            type Value = SwitchOrText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or text")
            }

            fn visit_bool<E: de::Error>(self, switch: bool) -> Result<Self::Value, E> {
                Ok(SwitchOrText::Switch(switch))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(SwitchOrText::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(SwitchOrTextVisitor)
    }
}
