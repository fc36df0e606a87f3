//! The boundary for text that others wrote: nothing past it can move the cursor, reorder a line or
//! hide. It must be the only way for such text to reach a screen.

use std::borrow::Cow;
use std::fmt::Write as _;

use ratatui::text::Span;

/// Text whose every character takes at least one column; the others are written `<U+202E>`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Visible(String);

impl Visible {
    pub(crate) fn new(text: &str) -> Self {
        Self(visible(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Columns on a screen.
    pub(crate) fn columns(&self) -> usize {
        Span::raw(&self.0).width()
    }

    /// At most `columns` columns of it, with an ellipsis where something was cut.
    pub(crate) fn fit(&self, columns: usize) -> Cow<'_, str> {
        // A byte is never wider than a column, so short text needs no measuring.
        if self.0.len() <= columns || self.columns() <= columns {
            return Cow::Borrowed(&self.0);
        }
        let mut used = 1;
        let mut fitted = String::new();
        for c in self.0.chars() {
            used += width(c);
            if used > columns {
                break;
            }
            fitted.push(c);
        }
        if columns > 0 {
            fitted.push('…');
        }
        Cow::Owned(fitted)
    }
}

/// `text` with each character that controls, reorders or hides written out, as `<U+202E>`.
pub fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            write!(visible, "<U+{:04X}>", u32::from(c)).expect("a string takes any text");
        } else {
            visible.push(c);
        }
    }
    visible
}

/// Whether a character controls, reorders or takes no column of its own.
pub(crate) fn is_hidden(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return false;
    }
    // Bidirectional marks, embeddings, overrides and isolates (Unicode annex 9).
    let reorders = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // Soft hyphen, Hangul fillers, line and paragraph separators, blank braille: they have a width
    // in the tables and yet show nothing.
    let blank =
        matches!(c, '\u{ad}' | '\u{115f}' | '\u{2028}' | '\u{2029}' | '\u{2800}' | '\u{3164}');
    c.is_control() || reorders || blank || width(c) == 0
}

fn width(c: char) -> usize {
    Span::raw(c.encode_utf8(&mut [0; 4]) as &str).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_is_written_out() {
        for (hostile, shown) in [
            ("a\u{1b}[2Jb", "a<U+001B>[2Jb"),
            ("a\nb\tc\u{7f}\u{9b}", "a<U+000A>b<U+0009>c<U+007F><U+009B>"),
            ("x\u{202e}txt", "x<U+202E>txt"),
            ("p\u{200b}q\u{feff}\u{ad}", "p<U+200B>q<U+FEFF><U+00AD>"),
            ("e\u{301}\u{fe0f}\u{e0041}", "e<U+0301><U+FE0F><U+E0041>"),
            ("größe 秘密", "größe 秘密"),
        ] {
            assert_eq!(Visible::new(hostile).as_str(), shown);
        }
    }

    #[test]
    fn no_hidden_character_survives() {
        for c in '\0'..=char::MAX {
            let shown = Visible::new(c.encode_utf8(&mut [0; 4]));
            assert!(shown.as_str().chars().all(|c| !c.is_control() && width(c) > 0), "{c:?}");
        }
    }

    #[test]
    fn cut_text_fits_and_says_so() {
        let name = Visible::new("秘密/DATABASE_URL");
        assert_eq!(name.fit(80), "秘密/DATABASE_URL");
        assert_eq!(name.fit(7), "秘密/D…");
        assert_eq!(name.fit(2), "…");
        assert_eq!(name.fit(0), "");
    }
}
