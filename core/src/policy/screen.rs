//! What a policy's text must not contain, whatever it would mean: checked before any parser sees
//! it. Where people and parsers could read a text differently, it is refused.

use super::error::{PolicyError, PolicyProblem, Position};

/// Refuses what is too large, characters that are invisible or that parsers treat differently,
/// tabs in indentation, and private identities (comments included).
pub(crate) fn screen(text: &str) -> Result<(), PolicyError> {
    if text.len() > super::Policy::MAX_BYTES {
        return Err(PolicyError::new(None, PolicyProblem::TooLarge { bytes: text.len() }));
    }
    for (line, content) in (1..).zip(text.split('\n')) {
        let content = content.strip_suffix('\r').unwrap_or(content);
        let refuse =
            |column, problem| Err(PolicyError::new(Some(Position { line, column }), problem));
        for (column, character) in (1..).zip(content.chars()) {
            if is_deceptive(character) {
                return refuse(column, PolicyProblem::Character(character));
            }
        }
        let indentation = content.chars().take_while(|&c| c == ' ').count();
        if content[indentation..].starts_with('\t') {
            return refuse(indentation + 1, PolicyProblem::Tab);
        }
        if let Some(start) = private_identity(content) {
            return refuse(content[..start].chars().count() + 1, PolicyProblem::PrivateIdentity);
        }
    }
    Ok(())
}

fn is_deceptive(character: char) -> bool {
    match character {
        '\t' => false,
        // Line and paragraph separators, zero-width characters, and those that reorder text.
        '\u{61C}'
        | '\u{200B}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{FFFE}'
        | '\u{FFFF}' => true,
        other => other.is_control(),
    }
}

/// Where a line holds the private half of a key, if it does.
fn private_identity(line: &str) -> Option<usize> {
    let upper = line.to_ascii_uppercase();
    if let Some(start) = upper.find("PRIVATE KEY-----") {
        return Some(start);
    }
    ["AGE-SECRET-KEY-", "AGE-PLUGIN-"].into_iter().find_map(|marker| {
        upper.match_indices(marker).map(|(start, _)| start).find(|start| {
            // A mention in a comment has no long run of characters behind it.
            let rest = &upper.as_bytes()[start + marker.len()..];
            rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'-').count() >= 6
        })
    })
}
