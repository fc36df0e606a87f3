//! What can be wrong with a policy, and where.

use std::error::Error;
use std::fmt;

use super::period::MAX_DAYS;
use crate::{
    NameError, PatternError, RecipeError, RecipientError, Value, ValuePatternError, VaultIdError,
};

/// A place in a policy's text. Lines and columns are counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column within the line, in Unicode characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text isn't a policy: the first problem in it, and its place.
///
/// Its text is `line L, column C: problem`, or only the problem where the file as a whole is
/// meant. It repeats no private identity, and escapes control characters.
#[derive(Debug)]
pub struct PolicyError {
    // Boxed: results carry it through many calls.
    inner: Box<(Option<Position>, PolicyProblem)>,
}

impl PolicyError {
    pub(crate) fn new(position: Option<Position>, problem: PolicyProblem) -> Self {
        Self { inner: Box::new((position, problem)) }
    }

    /// Where it is; none where the file as a whole is meant.
    pub fn position(&self) -> Option<Position> {
        self.inner.0
    }

    /// What it is.
    pub fn problem(&self) -> &PolicyProblem {
        &self.inner.1
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position() {
            Some(position) => write!(f, "{position}: {}", self.problem()),
            None => self.problem().fmt(f),
        }
    }
}

impl Error for PolicyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem().source()
    }
}

/// What is wrong. Texts from the policy are shown escaped and cut to [`Shown::MAX_CHARS`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyProblem {
    /// The file is larger than any policy needs to be.
    #[error("the policy has {bytes} bytes; at most {} are allowed", super::Policy::MAX_BYTES)]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The file is empty, or has only comments.
    #[error("the policy is empty")]
    Empty,
    /// A character that people don't see or that YAML parsers disagree on: control characters, a
    /// byte order mark, exotic line breaks, characters that reorder text.
    #[error("the character U+{:04X} isn't allowed in a policy", u32::from(*.0))]
    Character(char),
    /// A tab among the white space that a line begins with.
    #[error("a tab is used for indentation; use spaces")]
    Tab,
    /// The private half of somebody's key stands in the file. It isn't shown.
    #[error("a private identity stands here; a policy holds public recipients only")]
    PrivateIdentity,
    /// Not YAML. The text is the parser's.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// `&name`, `*name`: they hide what a file says from those who read it.
    #[error("anchors and aliases (& and *) aren't allowed; write the text out, or quote it")]
    Alias,
    /// `!tag`.
    #[error("tags (!) aren't allowed; quote the text if it begins with an exclamation mark")]
    Tag,
    /// Nested deeper than any policy.
    #[error("nested too deeply")]
    TooDeep,
    /// A second document after `---`.
    #[error("a policy is one YAML document; this begins a second one")]
    SecondDocument,
    /// A mapping or a list where the left side of a mapping must be text.
    #[error("the name of an entry must be plain text")]
    EntryName,
    /// The same entry twice in one mapping.
    #[error("{name} is here already, on line {first_line}")]
    Duplicate {
        /// The entry's name.
        name: Shown,
        /// Where it stands first.
        first_line: usize,
    },
    /// Written for another version of vaultfs.
    #[error("policy version {0} is not known; this vaultfs knows version 1")]
    UnknownVersion(Shown),
    /// So many rules or patterns that matching names would take too long.
    #[error("a policy has at most {} {what}", super::Policy::MAX_PATTERNS)]
    TooMany {
        /// `rules`, or `patterns in secrets`.
        what: &'static str,
    },
    /// A misspelt field, or one of a later version.
    #[error("unknown field {field}{}", suggestion(nearest.as_deref()))]
    UnknownField {
        /// The field.
        field: Shown,
        /// A known field with a similar name.
        nearest: Option<String>,
    },
    /// A field that can't be left out. The position is that of the mapping without it.
    #[error("the field `{0}` is missing")]
    MissingField(String),
    /// Text where a list is needed, and the like.
    #[error("`{field}` must be {expected}, not {found}")]
    WrongType {
        /// The path of the field, such as `rules[0].to`.
        field: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: &'static str,
    },
    /// `vault` isn't a vault id.
    #[error("`vault` can't be read")]
    VaultId(#[source] VaultIdError),
    /// The name of a recipient or group has other characters than allowed, or too many.
    #[error(
        "{0} can't name a recipient or group (1 to 64 of A-Z a-z 0-9 _ - . @ +, \
         beginning with a letter, a digit or _)"
    )]
    MemberName(Shown),
    /// The text isn't a recipient.
    #[error("the recipient {name} can't be read")]
    Recipient {
        /// The name it was given.
        name: String,
        /// What is wrong with its text.
        #[source]
        source: RecipientError,
    },
    /// The same recipient twice under two names: removing one of them would remove nobody.
    #[error("{name} is the same recipient as {first}")]
    SameRecipient {
        /// The second name.
        name: String,
        /// The first name.
        first: String,
    },
    /// A group has the name of a recipient.
    #[error("{0} is both a recipient and a group")]
    RecipientAndGroup(String),
    /// A group or rule names what is neither a recipient nor a group.
    #[error("{name} is neither a recipient nor a group{}", suggestion(nearest.as_deref()))]
    UnknownMember {
        /// The name.
        name: Shown,
        /// A similar name that exists.
        nearest: Option<String>,
    },
    /// `leaving` names what isn't a recipient.
    #[error("{name} is not a recipient{}", suggestion(nearest.as_deref()))]
    UnknownRecipient {
        /// The name.
        name: Shown,
        /// The recipient with a similar name.
        nearest: Option<String>,
    },
    /// The same name twice in one list.
    #[error("{0} is in this list twice")]
    RepeatedMember(String),
    /// A group that contains itself.
    #[error("the group {} contains itself: {}", path[0], path.join(" → "))]
    GroupCycle {
        /// From the group, through those that contain it, back to it.
        path: Vec<String>,
    },
    /// A rule whose secrets nobody could open.
    #[error("the rule for {pattern} reaches no recipient")]
    NoRecipients {
        /// The rule's pattern.
        pattern: String,
    },
    /// `path`, or the left side of an entry of `secrets`, isn't a pattern.
    #[error("the pattern can't be read")]
    Pattern(#[source] PatternError),
    /// `rotate_every` isn't a period.
    #[error("{0} is not a period (such as 12h, 90d or 4w, at most {max} days)", max = MAX_DAYS)]
    Period(Shown),
    /// `until` isn't a date.
    #[error("{0} is not a date (such as 2026-12-01)")]
    Date(Shown),
    /// A recipient that leaves twice.
    #[error("{0} is listed as leaving already")]
    LeavingTwice(String),
    /// A length in `bytes` that no value can have.
    #[error("no value can have {0} bytes (1 to {max} are possible)", max = Value::MAX_BYTES)]
    ValueLength(u64),
    /// An empty list of lengths, which no value would fit.
    #[error("`bytes` allows no length at all")]
    NoLength,
    /// `pattern` isn't a regular expression.
    #[error("the regular expression {text} can't be used")]
    ValuePattern {
        /// Its text.
        text: Shown,
        /// Why.
        #[source]
        source: ValuePatternError,
    },
    /// `pem` names a label that no PEM block has.
    #[error("{0} is not the label of a PEM block (such as PRIVATE KEY)")]
    PemLabel(Shown),
    /// `env` isn't a variable's name.
    #[error("{0} can't name a variable (letters, digits and _, not beginning with a digit)")]
    EnvName(Shown),
    /// `env` for several secrets at once: all would be the same variable.
    #[error("`env` needs the exact name of a secret; {0} may match several")]
    EnvOnPattern(String),
    /// `description` has control characters, which could disturb a terminal.
    #[error("the description has control characters")]
    Description,
    /// `generate` names no recipe, or more than one.
    #[error(
        "`generate` takes one of `bytes`, `hex`, `base64` and `base64url`, or `alphabet` with \
         `length`"
    )]
    RecipeForm,
    /// `generate` can't make a value.
    #[error("the recipe can't be used")]
    Recipe(#[source] RecipeError),
    /// `generate` makes what `bytes` refuses.
    #[error("`generate` makes values of {len} bytes, which `bytes` doesn't allow")]
    RecipeLength {
        /// The length it makes.
        len: usize,
    },
    /// The left side of an entry of `removed` isn't a name.
    #[error("the name of the removed secret can't be read")]
    RemovedName(#[source] NameError),
    /// The right side of an entry of `removed` isn't a generation.
    #[error("{0} is not a generation (1, 2, 3 …)")]
    RemovedGeneration(u64),
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A text from the policy in a form that an error may show: quoted, escaped, and cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// How many characters of a longer text are shown.
    pub const MAX_CHARS: usize = 80;

    pub(crate) fn new(text: &str) -> Self {
        let mut shown: String = text.chars().take(Self::MAX_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
