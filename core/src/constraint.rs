//! What a consumer accepts: checked whenever a value is written, so that a service doesn't find
//! out at its next start. Violations never show anything of a value but its length.

use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};
use url::Url;
use zeroize::Zeroize;

use crate::Value;

/// What the values of a secret must look like. Without any field set, every value passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Constraints {
    /// The allowed lengths, in bytes, each 1 to [`Value::MAX_BYTES`].
    pub bytes: Option<Vec<usize>>,
    /// A regular expression for the whole value.
    pub pattern: Option<ValuePattern>,
    /// PEM blocks, and nothing else.
    pub pem: Option<PemConstraint>,
    /// Whether it must be an absolute URL: printable ASCII or UTF-8 text without whitespace, with
    /// a scheme, and a host or a path. `postgres://user:password@host/db` is one.
    pub url: Option<bool>,
}

/// A regular expression that a value must match as a whole, from its first to its last byte.
///
/// The syntax is that of the `regex` crate, over bytes: `\w`, `\d` and `\s` are ASCII, `.` is any
/// byte but `\n`. At most [`ValuePattern::MAX_BYTES`] bytes, and small once compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuePattern(String);

/// The regular expression isn't one, or is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ValuePatternError {
    reason: String,
}

/// Whether, and which, PEM blocks a value must consist of (RFC 7468; RFC 1421 headers are allowed).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PemConstraint {
    /// It need not be PEM. Overrides a more general entry.
    No,
    /// One or more blocks of any label.
    Any,
    /// One or more blocks that all have this label, such as `CERTIFICATE`.
    Label(String),
}

/// How a value fails its constraints. Holds lengths and the policy's own words, never the value's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A length that isn't allowed; one byte too many is often a final newline.
    #[error("the value has {len} bytes, and {} allowed", lengths(allowed))]
    Length {
        /// Its length in bytes.
        len: usize,
        /// The allowed ones.
        allowed: Vec<usize>,
    },
    /// It doesn't match the regular expression as a whole.
    #[error("the value doesn't match the pattern {0:?}")]
    Pattern(String),
    /// It isn't PEM.
    #[error("the value is not PEM: {0}")]
    Pem(PemProblem),
    /// It isn't an absolute URL.
    #[error("the value is not a URL: {0}")]
    Url(&'static str),
}

/// What is wrong with a PEM value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemProblem {
    /// There is no block at all.
    #[error("it has no -----BEGIN … line")]
    NoBlock,
    /// Other text before, between or after the blocks. Lines are counted from 1.
    #[error("line {0} stands outside of a block")]
    Outside(usize),
    /// A block doesn't end, or not with the label it began with.
    #[error("the block that begins on line {0} has no matching -----END … line")]
    Unended(usize),
    /// The block's content isn't base64.
    #[error("the block that begins on line {0} is not base64")]
    NotBase64(usize),
    /// A block of another label.
    #[error("the block that begins on line {line} is not a {expected}")]
    Label {
        /// The line of its `-----BEGIN`, from 1.
        line: usize,
        /// The label that the policy asks for.
        expected: String,
    },
}

fn lengths(allowed: &[usize]) -> String {
    match allowed {
        [one] => format!("only {one} is"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(ToString::to_string).collect();
            format!("only {} and {last} are", first.join(", "))
        }
        [] => "none is".to_owned(),
    }
}

impl Constraints {
    /// Checks `value` against all that is set.
    ///
    /// # Errors
    /// The first [`Violation`], in the order of the fields.
    pub fn check(&self, value: &Value) -> Result<(), Violation> {
        let bytes = value.expose_bytes();
        if let Some(allowed) = &self.bytes
            && !allowed.contains(&bytes.len())
        {
            return Err(Violation::Length { len: bytes.len(), allowed: allowed.clone() });
        }
        if let Some(pattern) = &self.pattern
            && !pattern.matches(bytes)
        {
            return Err(Violation::Pattern(pattern.0.clone()));
        }
        match &self.pem {
            Some(PemConstraint::Any) => check_pem(bytes, None).map_err(Violation::Pem)?,
            Some(PemConstraint::Label(label)) => {
                check_pem(bytes, Some(label)).map_err(Violation::Pem)?;
            }
            Some(PemConstraint::No) | None => {}
        }
        if self.url == Some(true) {
            check_url(bytes).map_err(Violation::Url)?;
        }
        Ok(())
    }
}

impl ValuePattern {
    /// The longest regular expression, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Compiled, in bytes: a policy is not to eat a host's memory or time.
    const MAX_COMPILED_BYTES: usize = 128 << 10;

    /// The regular expression, without the anchors that it doesn't need.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compiled anew each time: values are written rarely, and a policy may hold thousands.
    fn matches(&self, bytes: &[u8]) -> bool {
        anchored(&self.0).is_ok_and(|regex| regex.is_match(bytes))
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    let limit = ValuePattern::MAX_COMPILED_BYTES;
    RegexBuilder::new(text).unicode(false).size_limit(limit).build()
}

fn anchored(text: &str) -> Result<Regex, regex::Error> {
    compile(&format!(r"\A(?:{text})\z"))
}

impl FromStr for ValuePattern {
    type Err = ValuePatternError;

    fn from_str(text: &str) -> Result<Self, ValuePatternError> {
        if text.len() > Self::MAX_BYTES {
            let reason = format!("it has more than {} bytes", Self::MAX_BYTES);
            return Err(ValuePatternError { reason });
        }
        // Alone first: `a)|(b` would become valid, and mean something else, inside the group.
        match compile(text).and_then(|_| anchored(text)) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(ValuePatternError { reason: "it is too large once compiled".to_owned() })
            }
            // The parser draws a picture over several lines; its last line says what is wrong.
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                let reason = last.strip_prefix("error: ").unwrap_or(last).to_owned();
                Err(ValuePatternError { reason })
            }
        }
    }
}

/// Looks at the lines where they are: a PEM library would leave decoded copies of a private key.
fn check_pem(bytes: &[u8], expected: Option<&str>) -> Result<(), PemProblem> {
    let mut lines = (1..).zip(bytes.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end));
    let mut blocks = 0;
    while let Some((begin, line)) = lines.next() {
        let label = match boundary(line, b"-----BEGIN ") {
            Some(label) => label,
            None if line.trim_ascii().is_empty() => continue,
            None if blocks == 0 => return Err(PemProblem::NoBlock),
            None => return Err(PemProblem::Outside(begin)),
        };
        if let Some(expected) = expected
            && expected.as_bytes() != label
        {
            return Err(PemProblem::Label { line: begin, expected: expected.to_owned() });
        }
        let mut content = Base64Lines::default();
        loop {
            let (_, line) = lines.next().ok_or(PemProblem::Unended(begin))?;
            if line.starts_with(b"-----") {
                if boundary(line, b"-----END ") != Some(label) {
                    return Err(PemProblem::Unended(begin));
                }
                break;
            }
            content.push(line);
        }
        if !content.is_well_formed() {
            return Err(PemProblem::NotBase64(begin));
        }
        blocks += 1;
    }
    if blocks == 0 { Err(PemProblem::NoBlock) } else { Ok(()) }
}

/// The label of a boundary line.
fn boundary<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(start)?.strip_suffix(b"-----").filter(|label| !label.is_empty())
}

/// What stands between the boundaries: perhaps headers and a blank line, then base64.
#[derive(Default)]
struct Base64Lines {
    digits: usize,
    padding: usize,
    in_headers: bool,
    malformed: bool,
}

impl Base64Lines {
    fn push(&mut self, line: &[u8]) {
        if self.digits == 0 && line.contains(&b':') {
            self.in_headers = true;
        } else if self.in_headers {
            // Continued headers are indented; a blank line ends them.
            self.in_headers = !line.is_empty();
            self.malformed |= self.in_headers && !line[0].is_ascii_whitespace();
        } else {
            for &byte in line {
                match byte {
                    b'=' => self.padding += 1,
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if self.padding == 0 => {
                        self.digits += 1;
                    }
                    _ => self.malformed = true,
                }
            }
        }
    }

    fn is_well_formed(&self) -> bool {
        let whole = (self.digits + self.padding).is_multiple_of(4) && self.padding <= 2;
        !self.malformed && !self.in_headers && self.digits > 0 && whole
    }
}

fn check_url(bytes: &[u8]) -> Result<(), &'static str> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not text")?;
    // The parser would drop these in silence; whoever reads the value may not.
    if text.ends_with('\n') {
        return Err("it ends with a newline");
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it contains whitespace or control characters");
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => return Err("it has no scheme"),
        Err(url::ParseError::EmptyHost) => return Err("its host is empty"),
        Err(url::ParseError::InvalidPort) => return Err("its port is not a number up to 65535"),
        Err(_) => return Err("its host is malformed"),
    };
    let place = url.host_str().is_some_and(|host| !host.is_empty())
        || !url.path().trim_matches('/').is_empty();
    String::from(url).zeroize();
    if place { Ok(()) } else { Err("it has neither a host nor a path") }
}

#[cfg(test)]
mod tests;
