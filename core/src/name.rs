//! Names of secrets: the one place that decides what a name may look like.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// The longest segment, in bytes. With `.age` and the suffix of a temporary file it stays below
/// the 255 bytes that Linux file systems allow.
pub const MAX_SEGMENT_BYTES: usize = 200;

/// The longest name, in bytes, all segments and slashes together.
pub const MAX_NAME_BYTES: usize = 1024;

/// The most segments. A tree of directories deeper than this is no vault's.
pub const MAX_SEGMENTS: usize = 32;

/// The name of a secret: 1 to [`MAX_SEGMENTS`] segments joined with `/`.
///
/// A segment has 1 to [`MAX_SEGMENT_BYTES`] bytes of `A-Z a-z 0-9 _ - .`, doesn't begin with a
/// dot, and doesn't end in `.age`, `.next` or `.previous`. Parsed once; whoever holds a
/// `SecretName` need not check it again, and may use it as a relative path. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(Arc<str>);

/// Why a text isn't the name of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// The name as a whole is too long.
    #[error("the name has {len} bytes; at most {MAX_NAME_BYTES} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// More than [`MAX_SEGMENTS`].
    #[error("the name has {segments} segments; at most {MAX_SEGMENTS} are allowed")]
    TooDeep {
        /// How many.
        segments: usize,
    },
    /// It begins with a slash.
    #[error("{0:?} begins with a slash; names are relative to the vault")]
    Absolute(String),
    /// Two slashes meet, or the last character is one.
    #[error("{0:?} has an empty segment")]
    EmptySegment(String),
    /// A segment is `..` or `.`, or hides itself with a leading dot.
    #[error("{0:?} has a segment that begins with a dot")]
    LeadingDot(String),
    /// A segment is longer than a file name may be.
    #[error("{name:?} has a segment of {len} bytes; at most {MAX_SEGMENT_BYTES} are allowed")]
    SegmentTooLong {
        /// The whole name.
        name: String,
        /// The segment's length in bytes.
        len: usize,
    },
    /// A character outside `A-Z a-z 0-9 _ - . /`. Control characters are shown escaped.
    #[error("{name:?} has the character {character:?}; only A-Z a-z 0-9 _ - . and / are allowed")]
    Character {
        /// The whole name.
        name: String,
        /// The first character that isn't allowed.
        character: char,
    },
    /// A segment ends in a suffix that vaultfs uses itself.
    #[error("{name:?} has a segment that ends in {suffix}, which vaultfs uses itself")]
    ReservedSuffix {
        /// The whole name.
        name: String,
        /// `.age`, `.next` or `.previous`.
        suffix: &'static str,
    },
}

const RESERVED_SUFFIXES: [&str; 3] = [".age", ".next", ".previous"];

impl SecretName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, in order; at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment: the file name in a mount, and the variable's name by default.
    pub fn last_segment(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(self.as_str())
    }

    /// The secret's file relative to the vault's `secrets` directory: `NAME.age`.
    pub fn file_path(&self) -> PathBuf {
        PathBuf::from(format!("{}.age", self.0))
    }

    /// True where one name is a directory on the other's path: `a` and `a/b` can't both exist.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let (short, long) =
            if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        long.0.strip_prefix(short.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong { len: text.len() });
        }
        let segments = text.split('/').count();
        if segments > MAX_SEGMENTS {
            return Err(NameError::TooDeep { segments });
        }
        let name = || text.to_owned();
        if text.starts_with('/') {
            return Err(NameError::Absolute(name()));
        }
        for segment in text.split('/') {
            if segment.is_empty() {
                return Err(NameError::EmptySegment(name()));
            }
            if segment.starts_with('.') {
                return Err(NameError::LeadingDot(name()));
            }
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if let Some(character) = segment.chars().find(|&c| !allowed(c)) {
                return Err(NameError::Character { name: name(), character });
            }
            if segment.len() > MAX_SEGMENT_BYTES {
                return Err(NameError::SegmentTooLong { name: name(), len: segment.len() });
            }
            if let Some(suffix) = RESERVED_SUFFIXES.into_iter().find(|s| segment.ends_with(s)) {
                return Err(NameError::ReservedSuffix { name: name(), suffix });
            }
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> NameError {
        text.parse::<SecretName>().unwrap_err()
    }

    #[test]
    fn ordinary_names_are_accepted() {
        for text in ["A", "prod/DATABASE_URL", "a.b-c_d/E.f", "x/y/z", &"a".repeat(200)] {
            assert_eq!(text.parse::<SecretName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn each_refusal_names_its_reason() {
        assert_eq!(error(""), NameError::Empty);
        assert!(matches!(error("/a"), NameError::Absolute(_)));
        assert!(matches!(error("a//b"), NameError::EmptySegment(_)));
        assert!(matches!(error("a/"), NameError::EmptySegment(_)));
        assert!(matches!(error("../a"), NameError::LeadingDot(_)));
        assert!(matches!(error("a/.."), NameError::LeadingDot(_)));
        assert!(matches!(error(".git/a"), NameError::LeadingDot(_)));
        assert!(matches!(error("a b"), NameError::Character { character: ' ', .. }));
        assert!(matches!(error("a\nb"), NameError::Character { character: '\n', .. }));
        assert!(matches!(error("é"), NameError::Character { .. }));
        assert!(matches!(error(&"a".repeat(201)), NameError::SegmentTooLong { len: 201, .. }));
        assert!(matches!(error(&"a/".repeat(600)), NameError::TooLong { .. }));
        assert_eq!(error(&["a"; 33].join("/")), NameError::TooDeep { segments: 33 });
        assert!(["a"; 32].join("/").parse::<SecretName>().is_ok());
        for suffix in RESERVED_SUFFIXES {
            assert!(matches!(error(&format!("a{suffix}/b")), NameError::ReservedSuffix { .. }));
        }
    }

    #[test]
    fn control_characters_are_shown_escaped() {
        assert!(!error("a\u{1b}[31m").to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_name_conflicts_with_what_lies_beneath_it() {
        let name = |text: &str| text.parse::<SecretName>().unwrap();
        assert!(name("a").conflicts_with(&name("a/b")));
        assert!(name("a/b/c").conflicts_with(&name("a/b")));
        assert!(!name("a").conflicts_with(&name("ab")));
        assert!(!name("a").conflicts_with(&name("a")));
    }
}
