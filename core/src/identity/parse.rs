//! Tells the forms of identity texts apart, and reads the one with an identity on each line.

use super::locked::Locked;
use super::plugin::PluginIdentity;
use super::prompter::Asking;
use super::read::of_value;
use super::{Identity, IdentityError, Opener, Origin, ssh};
use crate::{Recipient, Value, ValueBuffer};

const UTF8_BOM: &[u8] = b"\xEF\xBB\xBF";
const UTF16_BOMS: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];
const BINARY_AGE: &[u8] = b"age-encryption.org/";
const ARMORED_AGE: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const PEM: &[u8] = b"-----BEGIN ";

/// What a text holds.
pub(super) struct Parsed {
    pub(super) identities: Vec<Identity>,
    /// What is wrong with single lines; the others count nevertheless, if the caller wants.
    pub(super) bad_lines: Vec<IdentityError>,
}

/// Reads `text`: lines with identities, an SSH key, or either in an age file with a passphrase.
/// Accepts Windows newlines, a byte order mark, blank lines, comments and spaces around lines.
pub(super) fn parse(
    text: &Value,
    origin: &Origin,
    asking: &Asking,
) -> Result<Parsed, IdentityError> {
    let bytes = text.expose_bytes();
    if UTF16_BOMS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(IdentityError::Utf16 { origin: origin.clone() });
    }
    let bytes = bytes.strip_prefix(UTF8_BOM).unwrap_or(bytes);
    if bytes.starts_with(BINARY_AGE) {
        let file = Value::copy_of(bytes).map_err(|error| of_value(error, origin))?;
        return Ok(one(Locked::file(file, origin, asking)?));
    }
    match lines(bytes).find(|(_, line)| is_content(line)) {
        Some((first, line)) if line.starts_with(ARMORED_AGE) => {
            let file = joined(bytes, first, origin)?;
            Ok(one(Locked::file(file, origin, asking)?))
        }
        Some((first, line)) if line.starts_with(PEM) => {
            ssh::parse(&joined(bytes, first, origin)?, first, origin, asking).map(one)
        }
        Some(_) => Ok(each_line(bytes, origin, asking)),
        None => Err(IdentityError::Empty { origin: origin.clone() }),
    }
}

fn one(identity: Identity) -> Parsed {
    Parsed { identities: vec![identity], bad_lines: Vec::new() }
}

/// The lines with their numbers, counted from 1, without the white space around them.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii))
}

fn is_content(line: &[u8]) -> bool {
    !line.is_empty() && !line.starts_with(b"#")
}

/// The trimmed lines from `first` on, in the form that age's parsers take.
fn joined(bytes: &[u8], first: usize, origin: &Origin) -> Result<Value, IdentityError> {
    let mut text =
        ValueBuffer::with_capacity(bytes.len() + 1).map_err(|error| of_value(error, origin))?;
    for (_, line) in lines(bytes).skip(first - 1) {
        text.push(line).and_then(|()| text.push(b"\n")).map_err(|e| of_value(e, origin))?;
    }
    Ok(text.finish())
}

fn each_line(bytes: &[u8], origin: &Origin, asking: &Asking) -> Parsed {
    let mut parsed = Parsed { identities: Vec::new(), bad_lines: Vec::new() };
    for (number, line) in lines(bytes).filter(|(_, line)| is_content(line)) {
        let identity = str::from_utf8(line).ok().and_then(|line| one_line(line, origin, asking));
        match identity {
            Some(identity) => parsed.identities.push(identity),
            None => parsed.bad_lines.push(bad_line(line, number, origin)),
        }
    }
    parsed
}

fn one_line(line: &str, origin: &Origin, asking: &Asking) -> Option<Identity> {
    if let Ok(native) = line.parse::<age::x25519::Identity>() {
        let recipient = native.to_public().to_string().parse().expect("age reads what it writes");
        let opener = Opener::Native(native);
        return Some(Identity { origin: origin.clone(), recipient: Some(recipient), opener });
    }
    let plugin = PluginIdentity::parse(line, origin, asking)?;
    let opener = Opener::Plugin(plugin);
    Some(Identity { origin: origin.clone(), recipient: None, opener })
}

/// What is wrong with a line, without a word of it.
fn bad_line(line: &[u8], number: usize, origin: &Origin) -> IdentityError {
    let (origin, line_number) = (origin.clone(), number);
    let begins = |with: &str| {
        line.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    let is_recipient = || str::from_utf8(line).is_ok_and(|line| line.parse::<Recipient>().is_ok());
    if begins("AGE-SECRET-KEY-PQ-") {
        IdentityError::PostQuantum { origin, line: line_number }
    } else if begins("AGE-SECRET-KEY-") || begins("AGE-PLUGIN-") {
        IdentityError::Checksum { origin, line: line_number }
    } else if begins("age1") || is_recipient() {
        IdentityError::PublicHalf { origin, line: line_number }
    } else {
        IdentityError::NotAnIdentity { origin, line: line_number }
    }
}
