//! Bytes of a terminal as keys and pastes (ECMA-48 control sequences, xterm's `ctlseqs`). Pure.
//! What it doesn't know it drops whole, so that no tail of a sequence is taken for keys.

use crossterm::event::KeyCode;

use crate::key::Key;

const PASTE_END: &[u8] = b"\x1b[201~";
/// Most of one paste that is kept, in bytes.
const MAX_PASTE: usize = 64 * 1024;
/// Longest sequence that is waited for, in bytes.
const MAX_SEQUENCE: usize = 32;

/// What a terminal sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Key(Key),
    Pasted(String),
}

/// Keeps what is not complete until more bytes come.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    pending: Vec<u8>,
    paste: Option<Vec<u8>>,
}

/// One step at the front of the pending bytes.
enum Step {
    /// That many bytes, and the key they are, if any.
    Took(usize, Option<KeyCode>),
    Control(char),
    PasteBegins(usize),
    Incomplete,
}

impl Parser {
    /// Everything that is complete now. A lone escape at the end of what was read is the key Esc.
    pub(crate) fn parse(&mut self, bytes: &[u8]) -> Vec<Input> {
        self.pending.extend_from_slice(bytes);
        let mut inputs = vec![];
        while !self.pending.is_empty() {
            if self.paste.is_some() {
                match self.take_paste() {
                    Some(text) => inputs.push(Input::Pasted(text)),
                    None => break,
                }
                continue;
            }
            let (count, key) = match step(&self.pending) {
                Step::Took(count, code) => (count, code.map(Key::plain)),
                Step::Control(c) => (1, Some(Key::ctrl(c))),
                Step::PasteBegins(count) => {
                    self.paste = Some(vec![]);
                    (count, None)
                }
                Step::Incomplete => break,
            };
            self.pending.drain(..count);
            inputs.extend(key.map(Input::Key));
        }
        inputs
    }

    /// Moves pending bytes to the paste; the paste, once its end has come.
    fn take_paste(&mut self) -> Option<String> {
        let end = self.pending.windows(PASTE_END.len()).position(|window| window == PASTE_END);
        // Without an end, the last bytes may be the beginning of one.
        let ready = end.unwrap_or_else(|| self.pending.len().saturating_sub(PASTE_END.len() - 1));
        let paste = self.paste.get_or_insert_default();
        let room = MAX_PASTE.saturating_sub(paste.len());
        paste.extend_from_slice(&self.pending[..ready.min(room)]);
        self.pending.drain(..ready + end.map_or(0, |_| PASTE_END.len()));
        end?;
        self.paste.take().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn step(bytes: &[u8]) -> Step {
    match bytes {
        [b'\x1b'] | [b'\x1b', b'\x1b', ..] => Step::Took(1, Some(KeyCode::Esc)),
        [b'\x1b', b'[', rest @ ..] => control_sequence(rest),
        [b'\x1b', b'O'] => Step::Incomplete,
        [b'\x1b', b'O', last, ..] => Step::Took(3, named(&[], *last)),
        // With Alt: no action has such a key. The character is dropped with its escape.
        [b'\x1b', rest @ ..] => match step(rest) {
            Step::Took(count, _) => Step::Took(count + 1, None),
            Step::Control(_) | Step::PasteBegins(_) => Step::Took(2, None),
            Step::Incomplete => Step::Incomplete,
        },
        [b'\r', ..] => Step::Took(1, Some(KeyCode::Enter)),
        [b'\t', ..] => Step::Took(1, Some(KeyCode::Tab)),
        [b'\x7f', ..] => Step::Took(1, Some(KeyCode::Backspace)),
        [byte @ 1..=26, ..] => Step::Control(char::from(byte - 1 + b'a')),
        [0..=31, ..] => Step::Took(1, None),
        _ => character(bytes),
    }
}

/// A sequence after `ESC [`: parameters, intermediates, one final byte (ECMA-48, 5.4).
fn control_sequence(rest: &[u8]) -> Step {
    let parameters = rest.iter().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    match (&rest[..parameters], rest.get(parameters)) {
        (_, None) if parameters < MAX_SEQUENCE => Step::Incomplete,
        (b"200", Some(b'~')) => Step::PasteBegins(2 + parameters + 1),
        (parameters, Some(&last @ 0x40..=0x7e)) => {
            Step::Took(2 + parameters.len() + 1, named(parameters, last))
        }
        // Too long or not a sequence: what comes next is looked at for itself.
        _ => Step::Took(2 + parameters, None),
    }
}

fn named(parameters: &[u8], last: u8) -> Option<KeyCode> {
    match (parameters, last) {
        (b"", b'A') => Some(KeyCode::Up),
        (b"", b'B') => Some(KeyCode::Down),
        (b"", b'H') | (b"1" | b"7", b'~') => Some(KeyCode::Home),
        (b"", b'F') | (b"4" | b"8", b'~') => Some(KeyCode::End),
        (b"5", b'~') => Some(KeyCode::PageUp),
        (b"6", b'~') => Some(KeyCode::PageDown),
        _ => None,
    }
}

fn character(bytes: &[u8]) -> Step {
    let Some(chunk) = bytes.utf8_chunks().next() else { return Step::Incomplete };
    match chunk.valid().chars().next() {
        Some(c) => Step::Took(c.len_utf8(), Some(KeyCode::Char(c))),
        // Cut off rather than invalid: `Utf8Error` alone tells.
        None if std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none()) => {
            Step::Incomplete
        }
        None => Step::Took(chunk.invalid().len(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(inputs: &[Input]) -> String {
        let show = |input: &Input| match input {
            Input::Key(key) => key.to_string(),
            Input::Pasted(text) => format!("paste {text:?}"),
        };
        inputs.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    const TABLE: [(&[u8], &str); 12] = [
        (b"jG/", "j, G, /"),
        ("é秘".as_bytes(), "é, 秘"),
        (b"\x03\x0c\x1a\x08\x7f\r", "Ctrl-C, Ctrl-L, Ctrl-Z, Ctrl-H, Backspace, Enter"),
        (b"\x1b", "Esc"),
        (b"\x1b\x1b", "Esc, Esc"),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", "↑, ↓, ↑, ↓"),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~", "PgUp, PgDn, Home, End, Home, End"),
        // Unknown: with modifiers, Alt, a mouse report, a cursor report.
        (b"\x1b[1;5A\x1bq\x1b\x03\x1b[<0;3;4M\x1b[3;4Rj", "j"),
        (b"\xff\x00\x1b[\xc3\xa9j", "é, j"),
        (b"\x1b[200~q\x1b[A\rq\x1b[201~j", "paste \"q\\u{1b}[A\\rq\", j"),
        (b"\x1b[200~\xff\x1b[201~", "paste \"\u{fffd}\""),
        (b"\x1b[20", ""),
    ];

    #[test]
    fn bytes_become_keys_and_pastes() {
        for (bytes, expected) in TABLE {
            assert_eq!(shown(&Parser::default().parse(bytes)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn bytes_cut_anywhere_but_after_an_escape_mean_the_same() {
        for (bytes, expected) in TABLE {
            for cut in 1..bytes.len() {
                let (first, second) = bytes.split_at(cut);
                let mut parser = Parser::default();
                let mut inputs = parser.parse(first);
                if first.ends_with(b"\x1b") && parser.paste.is_none() {
                    continue;
                }
                inputs.extend(parser.parse(second));
                assert_eq!(shown(&inputs), expected, "{first:?} {second:?}");
            }
        }
    }

    #[test]
    fn neither_a_paste_nor_a_sequence_grows_without_end() {
        let mut parser = Parser::default();
        parser.parse(b"\x1b[200~");
        for _ in 0..100 {
            parser.parse(&[b'x'; 4096]);
        }
        assert!(parser.pending.len() < PASTE_END.len());
        let inputs = parser.parse(PASTE_END);
        assert!(matches!(&inputs[..], [Input::Pasted(text)] if text.len() == MAX_PASTE));
        parser.parse(b"\x1b[");
        parser.parse(&[b';'; 4096]);
        assert_eq!(parser.pending, b"");
    }
}
