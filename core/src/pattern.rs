//! Patterns over names of secrets: what rules and command lines select with.

use std::fmt;
use std::str::FromStr;

use crate::{MAX_NAME_BYTES, SecretName};

/// A pattern that names of secrets match or don't.
///
/// Segments joined with `/`, of the characters of names (`A-Z a-z 0-9 _ - .`) and `*`:
///
/// - `*` stands for zero or more characters within one segment, anywhere in it;
/// - a segment that is exactly `**` stands for zero or more whole segments, and as the last
///   segment for one or more: `prod/**` matches all beneath `prod`, but not `prod` itself;
/// - anything else stands for itself, so every name is a pattern that matches only that name.
///
/// Case matters. There are no other special characters and no escapes.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text isn't a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is empty.
    #[error("the pattern is empty; `**` matches every name")]
    Empty,
    /// The text is longer than a name can be.
    #[error("the pattern has {len} bytes; at most {MAX_NAME_BYTES} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It begins with a slash.
    #[error("{0:?} begins with a slash; names are relative to the vault")]
    Absolute(String),
    /// Two slashes meet, or the last character is one. Often `prod/` where `prod/**` is meant.
    #[error("{0:?} has an empty segment; write `/**` for all that lies beneath")]
    EmptySegment(String),
    /// A segment begins with a dot, as no segment of a name does.
    #[error("{0:?} has a segment that begins with a dot, as no name has")]
    LeadingDot(String),
    /// `**` is only part of a segment, or there are more than two stars in a row.
    #[error("{0:?} has `**` beside other characters; it must be a whole segment")]
    PartialDoubleStar(String),
    /// `**` follows `**`, which means nothing more than one of them.
    #[error("{0:?} has `**` twice in a row; once is enough")]
    RepeatedDoubleStar(String),
    /// A character that names don't have. Control characters are shown escaped.
    #[error(
        "{pattern:?} has the character {character:?}; only A-Z a-z 0-9 _ - . / and * are allowed"
    )]
    Character {
        /// The whole pattern.
        pattern: String,
        /// The first character that isn't allowed.
        character: char,
    },
    /// It ends like files of vaultfs, so that no name could match.
    #[error("{pattern:?} has a segment that ends in {suffix}, as no name has")]
    ReservedSuffix {
        /// The whole pattern.
        pattern: String,
        /// `.age`, `.next` or `.previous`.
        suffix: &'static str,
    },
}

impl Pattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` as a whole matches. Takes time in proportion to the product of both lengths
    /// at most, whatever the pattern.
    pub fn matches(&self, name: &SecretName) -> bool {
        let Some((prefix, _)) = self.0.split_once('*') else {
            return self.0 == name.as_str();
        };
        if !name.as_str().starts_with(prefix) {
            return false;
        }
        let mut pattern: Vec<&str> = self.0.split('/').collect();
        if pattern.last() == Some(&"**") {
            // At the end it stands for at least one segment.
            pattern.push("*");
        }
        let segments: Vec<&str> = name.segments().collect();
        wildcard(&pattern, &segments, &"**", |pattern, segment| {
            wildcard(pattern.as_bytes(), segment.as_bytes(), &b'*', |p, s| p == s)
        })
    }

    /// The one name that this pattern matches, where it has no `*`.
    pub fn exact_name(&self) -> Option<SecretName> {
        self.0.parse().ok()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// Whether `pattern` matches all of `text`, one element after another, where `star` stands for
/// any number of them.
fn wildcard<P: PartialEq, T>(
    pattern: &[P],
    text: &[T],
    star: &P,
    matches: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and the first element that it doesn't stand for. Trying only the last
    // one is enough: an earlier star can't make more of the text match.
    let mut last: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(star) {
            p += 1;
            last = Some((p, t));
        } else if pattern.get(p).is_some_and(|p| matches(p, &text[t])) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, begin)) = last {
            (p, t) = (after, begin + 1);
            last = Some((after, begin + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|p| p == star)
}

fn check(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(PatternError::TooLong { len: text.len() });
    }
    let pattern = || text.to_owned();
    if text.starts_with('/') {
        return Err(PatternError::Absolute(pattern()));
    }
    let mut previous = "";
    for segment in text.split('/') {
        if segment.is_empty() {
            return Err(PatternError::EmptySegment(pattern()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*');
        if let Some(character) = segment.chars().find(|&c| !allowed(c)) {
            return Err(PatternError::Character { pattern: pattern(), character });
        }
        if segment.starts_with('.') {
            return Err(PatternError::LeadingDot(pattern()));
        }
        if segment == "**" && previous == "**" {
            return Err(PatternError::RepeatedDoubleStar(pattern()));
        }
        if segment != "**" && segment.contains("**") {
            return Err(PatternError::PartialDoubleStar(pattern()));
        }
        let reserved = [".age", ".next", ".previous"].into_iter().find(|s| segment.ends_with(s));
        if let Some(suffix) = reserved {
            return Err(PatternError::ReservedSuffix { pattern: pattern(), suffix });
        }
        previous = segment;
    }
    Ok(())
}

impl From<&SecretName> for Pattern {
    fn from(name: &SecretName) -> Self {
        name.as_str().parse().expect("every name is a pattern")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&name.parse().unwrap())
    }

    fn error(text: &str) -> PatternError {
        text.parse::<Pattern>().unwrap_err()
    }

    #[test]
    fn a_star_stays_within_its_segment() {
        assert!(matches("prod/*", "prod/A"));
        assert!(matches("prod/DB_*", "prod/DB_"));
        assert!(matches("*/*_URL", "prod/DATABASE_URL"));
        assert!(matches("*", "A.b-c"));
        assert!(!matches("prod/*", "prod/a/b"));
        assert!(!matches("prod/*", "production/a"));
        assert!(!matches("*", "a/b"));
    }

    #[test]
    fn a_double_star_crosses_segments() {
        for name in ["A", "a/b", "a/b/c"] {
            assert!(matches("**", name));
        }
        assert!(matches("prod/**", "prod/a"));
        assert!(matches("prod/**", "prod/a/b/c"));
        assert!(!matches("prod/**", "prod"));
        assert!(!matches("prod/**", "prod2/a"));
        assert!(matches("**/URL", "URL"));
        assert!(matches("**/URL", "a/b/URL"));
        assert!(!matches("**/URL", "a/MYURL"));
        assert!(matches("a/**/z", "a/z"));
        assert!(matches("a/**/z", "a/b/c/z"));
        assert!(!matches("a/**/z", "az"));
    }

    #[test]
    fn exact_names_are_patterns_for_themselves() {
        assert!(matches("prod/a.b-c_D", "prod/a.b-c_D"));
        assert!(!matches("prod/a.b", "prod/aXb"));
        assert!(!matches("prod/a", "PROD/a"));
        let name: SecretName = "prod/a".parse().unwrap();
        assert_eq!(Pattern::from(&name).exact_name(), Some(name));
        assert_eq!("prod/*".parse::<Pattern>().unwrap().exact_name(), None);
    }

    #[test]
    fn each_refusal_names_its_reason() {
        assert_eq!(error(""), PatternError::Empty);
        assert!(matches!(error("/a"), PatternError::Absolute(_)));
        assert!(matches!(error("prod/"), PatternError::EmptySegment(_)));
        assert!(matches!(error("../a"), PatternError::LeadingDot(_)));
        assert!(matches!(error("a**"), PatternError::PartialDoubleStar(_)));
        assert!(matches!(error("a/***"), PatternError::PartialDoubleStar(_)));
        assert!(matches!(error("**/**"), PatternError::RepeatedDoubleStar(_)));
        assert!(matches!(error("*.age"), PatternError::ReservedSuffix { suffix: ".age", .. }));
        assert!(matches!(error(&"a".repeat(1025)), PatternError::TooLong { .. }));
        for text in ["a?", "[a]", "{a,b}", "!a", "a\\*", "a b", "é", "a\u{1b}"] {
            assert!(matches!(error(text), PatternError::Character { .. }), "{text}");
            assert!(!error(text).to_string().contains('\u{1b}'));
        }
    }

    /// The documented meaning, as plainly as it can be written.
    fn expected(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (["**"], rest) => !rest.is_empty(),
            (["**", after @ ..], _) => (0..=name.len()).any(|skip| expected(after, &name[skip..])),
            ([segment, after @ ..], [first, rest @ ..]) => {
                within(segment.as_bytes(), first.as_bytes()) && expected(after, rest)
            }
            _ => false,
        }
    }

    fn within(pattern: &[u8], segment: &[u8]) -> bool {
        match (pattern, segment) {
            ([], []) => true,
            ([b'*', after @ ..], _) => {
                (0..=segment.len()).any(|skip| within(after, &segment[skip..]))
            }
            ([p, after @ ..], [s, rest @ ..]) => p == s && within(after, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_means_what_is_documented(
            pattern in "(\\*\\*|[ab*]{1,3})(/(\\*\\*|[ab*]{1,3})){0,3}",
            name in "[ab]{1,3}(/[ab]{1,3}){0,4}",
        ) {
            if let Ok(parsed) = pattern.parse::<Pattern>() {
                let name: SecretName = name.parse().unwrap();
                let segments: Vec<_> = pattern.split('/').collect();
                let of_name: Vec<_> = name.segments().collect();
                prop_assert_eq!(parsed.matches(&name), expected(&segments, &of_name));
            }
        }
    }
}
