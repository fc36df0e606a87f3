//! Dotenv files: `KEY=value` lines, as shells, docker compose and countless libraries read them.
//!
//! They don't read them alike. What they agree on is read here; what they differ in is refused
//! with the line's number, never guessed. Values go from the file's bytes straight into locked
//! memory; no error shows any part of one.

use std::collections::HashMap;

use crate::{Value, ValueBuffer, ValueError};

/// One variable of a dotenv file.
///
/// A file is read line by line; lines end with `\n` or `\r\n`, and a byte order mark at the very
/// beginning is skipped:
///
/// - blank lines, and those whose first character but spaces and tabs is `#`, say nothing;
/// - `KEY=value`, perhaps after `export ` and after spaces or tabs. The key is
///   `[A-Za-z_][A-Za-z0-9_]*`, and no white space stands on either side of the `=`;
/// - a value in single quotes ends at the next single quote and is taken literally, line breaks
///   and backslashes included. A backslash before the closing quote is refused;
/// - a value in double quotes ends at the next double quote that isn't escaped, and may span
///   lines. `\n`, `\r`, `\t`, `\"`, `\\` and `\$` stand for a newline, a carriage return, a tab
///   and the character itself; other backslashes are refused, and so are `$` and back-quotes;
/// - after a closing quote only spaces, tabs and a comment may follow;
/// - any other value ends with the line, or where white space and a `#` follow. White space at
///   its end is dropped. Quotes, back-quotes, backslashes, `$`, and `#` elsewhere are refused;
/// - nothing after the `=` is the empty value;
/// - no variable is set twice, and neither NUL bytes nor carriage returns stand anywhere but
///   before a newline outside of quotes.
pub struct DotenvEntry {
    /// The variable's name.
    pub key: String,
    /// The line it begins on, from 1.
    pub line: usize,
    /// Its value, perhaps empty; any bytes but NUL.
    pub value: Value,
}

/// Why a file can't be read as dotenv. Lines are counted from 1; values are never shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DotenvError {
    /// A line without `=`.
    #[error("line {line} is neither KEY=value nor a comment")]
    NoEquals {
        /// The line.
        line: usize,
    },
    /// What stands before `=` isn't a variable's name. It isn't shown: in a damaged file it may
    /// be part of a value.
    #[error("line {line} doesn't begin with a variable's name (letters, digits and _)")]
    Key {
        /// The line.
        line: usize,
    },
    /// Shells refuse spaces around `=`, others drop them, others keep them.
    #[error("line {line} has white space beside the `=`, which tools read differently")]
    SpaceAroundEquals {
        /// The line.
        line: usize,
    },
    /// Some tools take the first, some the last.
    #[error("{key} is set on line {first_line} and again on line {line}")]
    Duplicate {
        /// The variable.
        key: String,
        /// Where it is set first.
        first_line: usize,
        /// Where it is set again.
        line: usize,
    },
    /// `$` outside single quotes: some tools put another variable there.
    #[error(
        "line {line} has a `$` outside single quotes, which some tools replace; single-quote it"
    )]
    Interpolation {
        /// The line of the `$`.
        line: usize,
    },
    /// Shells run what stands in back-quotes, others take them for quotes.
    #[error("line {line} has a back-quote, which tools read differently; single-quote it")]
    Backquote {
        /// The line.
        line: usize,
    },
    /// A backslash in an unquoted value, before a closing single quote, or before a character
    /// with which it means nothing in double quotes.
    #[error("line {line} has a backslash that tools read differently")]
    Backslash {
        /// The line.
        line: usize,
    },
    /// A quote within a value that doesn't begin with one, or text after a closing quote.
    #[error(
        "line {line} has a quote inside the value, which tools read differently; quote it whole"
    )]
    StrayQuote {
        /// The line.
        line: usize,
    },
    /// `#` right behind the value: a comment for some, part of the value for others.
    #[error("line {line} has a `#` that some tools take for a comment; quote the value")]
    AmbiguousComment {
        /// The line.
        line: usize,
    },
    /// A quote that nothing closes.
    #[error("the quote opened on line {line} is never closed")]
    UnclosedQuote {
        /// The line of the opening quote.
        line: usize,
    },
    /// No variable can hold a NUL byte.
    #[error("line {line} has a NUL byte")]
    Nul {
        /// The line.
        line: usize,
    },
    /// A carriage return inside quotes, where some tools drop it, or in the middle of a line,
    /// where some begin a new one.
    #[error("line {line} has a carriage return, which tools read differently there")]
    CarriageReturn {
        /// The line.
        line: usize,
    },
    /// The value is too large, or there is no memory for it.
    #[error("the value on line {line} can't be kept")]
    Value {
        /// The line that it begins on.
        line: usize,
        /// Why.
        #[source]
        source: ValueError,
    },
}

impl DotenvEntry {
    /// Reads all variables of a file, in its order. `file` should be in locked memory already.
    ///
    /// # Errors
    /// The first line that can't be read, or that tools read differently.
    pub fn read_all(file: &[u8]) -> Result<Vec<Self>, DotenvError> {
        let rest = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
        let mut reader = Reader { rest, line: 1 };
        let mut entries = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        while !reader.rest.is_empty() {
            let Some(entry) = reader.entry()? else { continue };
            if let Some(first_line) = lines.insert(entry.key.clone(), entry.line) {
                return Err(DotenvError::Duplicate {
                    key: entry.key,
                    first_line,
                    line: entry.line,
                });
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// What hasn't been read yet, and the line that it begins on.
struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Reader<'_> {
    /// Reads one line, or several where quotes hold them together.
    fn entry(&mut self) -> Result<Option<DotenvEntry>, DotenvError> {
        let line = self.line;
        self.skip_blanks();
        if matches!(self.rest, [] | [b'#' | b'\n', ..] | [b'\r', b'\n', ..]) {
            self.finish_line()?;
            return Ok(None);
        }
        let key = self.key()?;
        let quote = self.rest.first().copied();
        let value = match quote {
            Some(b'\'') => self.single_quoted()?,
            Some(b'"') => self.double_quoted()?,
            _ => self.unquoted()?,
        };
        if matches!(quote, Some(b'\'' | b'"')) {
            self.skip_blanks();
            if !matches!(self.rest, [] | [b'#' | b'\n' | b'\r', ..]) {
                return Err(DotenvError::StrayQuote { line: self.line });
            }
        }
        self.finish_line()?;
        Ok(Some(DotenvEntry { key, line, value }))
    }

    /// Reads the name and the `=`.
    fn key(&mut self) -> Result<String, DotenvError> {
        let line = self.line;
        if let Some(rest) = self.rest.strip_prefix(b"export")
            && rest.first().is_some_and(|&b| is_blank(b))
        {
            self.rest = rest;
            self.skip_blanks();
        }
        let end = self.rest.iter().position(|&b| b == b'\n').unwrap_or(self.rest.len());
        let equals = self.rest[..end].iter().position(|&b| b == b'=');
        let (key, rest) = self.rest.split_at(equals.ok_or(DotenvError::NoEquals { line })?);
        if key.last().is_some_and(|&b| is_blank(b)) || rest.get(1).is_some_and(|&b| is_blank(b)) {
            return Err(DotenvError::SpaceAroundEquals { line });
        }
        let allowed = |&b: &u8| b.is_ascii_alphanumeric() || b == b'_';
        if key.first().is_none_or(u8::is_ascii_digit) || !key.iter().all(allowed) {
            return Err(DotenvError::Key { line });
        }
        self.rest = &rest[1..];
        Ok(key.iter().copied().map(char::from).collect())
    }

    fn single_quoted(&mut self) -> Result<Value, DotenvError> {
        let line = self.line;
        let content = &self.rest[1..];
        let end = content.iter().position(|&b| b == b'\'');
        let (content, rest) = content.split_at(end.ok_or(DotenvError::UnclosedQuote { line })?);
        for &byte in content {
            self.check_inside_quotes(byte)?;
        }
        if content.ends_with(b"\\") {
            return Err(DotenvError::Backslash { line: self.line });
        }
        self.rest = &rest[1..];
        Value::copy_of(content).map_err(|source| DotenvError::Value { line, source })
    }

    fn double_quoted(&mut self) -> Result<Value, DotenvError> {
        let begin = self.line;
        let failed = |source| DotenvError::Value { line: begin, source };
        let mut value = ValueBuffer::new().map_err(failed)?;
        self.rest = &self.rest[1..];
        loop {
            let plain = |b: &u8| matches!(b, b'"' | b'\\' | b'$' | b'`');
            let end = self.rest.iter().position(plain);
            let (run, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            for &byte in run {
                self.check_inside_quotes(byte)?;
            }
            value.push(run).map_err(failed)?;
            let line = self.line;
            let (escaped, rest) = match rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(value.finish());
                }
                [b'$', ..] => return Err(DotenvError::Interpolation { line }),
                [b'`', ..] => return Err(DotenvError::Backquote { line }),
                [b'\\', b'n', rest @ ..] => (b'\n', rest),
                [b'\\', b'r', rest @ ..] => (b'\r', rest),
                [b'\\', b't', rest @ ..] => (b'\t', rest),
                [b'\\', itself @ (b'"' | b'\\' | b'$'), rest @ ..] => (*itself, rest),
                [b'\\', _, ..] => return Err(DotenvError::Backslash { line }),
                _ => return Err(DotenvError::UnclosedQuote { line: begin }),
            };
            value.push(&[escaped]).map_err(failed)?;
            self.rest = rest;
        }
    }

    fn unquoted(&mut self) -> Result<Value, DotenvError> {
        let line = self.line;
        let end = self.rest.iter().position(|&b| b == b'\n').unwrap_or(self.rest.len());
        let text = self.rest[..end].strip_suffix(b"\r").unwrap_or(&self.rest[..end]);
        let hash = text.iter().position(|&b| b == b'#').unwrap_or(text.len());
        let (text, comment) = text.split_at(hash);
        for &byte in text {
            match byte {
                b'$' => return Err(DotenvError::Interpolation { line }),
                b'`' => return Err(DotenvError::Backquote { line }),
                b'\\' => return Err(DotenvError::Backslash { line }),
                b'"' | b'\'' => return Err(DotenvError::StrayQuote { line }),
                other => check(other, line)?,
            }
        }
        if !comment.is_empty() && !text.last().is_some_and(|&b| is_blank(b)) {
            return Err(DotenvError::AmbiguousComment { line });
        }
        self.rest = &self.rest[text.len()..];
        let kept = text.iter().rposition(|&b| !is_blank(b)).map_or(0, |last| last + 1);
        Value::copy_of(&text[..kept]).map_err(|source| DotenvError::Value { line, source })
    }

    /// Skips a comment, if there is one, and the end of the line.
    fn finish_line(&mut self) -> Result<(), DotenvError> {
        let end = self.rest.iter().position(|&b| b == b'\n').unwrap_or(self.rest.len());
        let skipped = &self.rest[..end];
        for &byte in skipped.strip_suffix(b"\r").unwrap_or(skipped) {
            check(byte, self.line)?;
        }
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.line += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest.iter().take_while(|&&b| is_blank(b)).count();
        self.rest = &self.rest[blanks..];
    }

    /// Within quotes; counts their lines.
    fn check_inside_quotes(&mut self, byte: u8) -> Result<(), DotenvError> {
        check(byte, self.line)?;
        self.line += usize::from(byte == b'\n');
        Ok(())
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Refuses what can't stand anywhere within a line.
fn check(byte: u8, line: usize) -> Result<(), DotenvError> {
    match byte {
        0 => Err(DotenvError::Nul { line }),
        b'\r' => Err(DotenvError::CarriageReturn { line }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
