//! Styles. No meaning rests on colour alone, and the monochrome palette uses none.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

use crate::row::Severity;

/// Which styles to draw with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// The terminal's own sixteen colours.
    Colour,
    /// Bold, underline and reverse only.
    Monochrome,
}

impl Palette {
    /// The palette that `NO_COLOR`'s value asks for: set and not empty means monochrome
    /// (no-color.org).
    pub fn from_no_color(value: Option<&OsStr>) -> Self {
        match value {
            Some(value) if !value.is_empty() => Self::Monochrome,
            _ => Self::Colour,
        }
    }

    pub(crate) fn severity(self, severity: Severity) -> Style {
        match (self, severity) {
            (Self::Colour, Severity::Good) => Style::new().fg(Color::Green),
            (Self::Colour, Severity::Note) => Style::new().fg(Color::Cyan),
            (Self::Colour, Severity::Warning) => Style::new().fg(Color::Yellow),
            (Self::Colour, Severity::Problem) => Style::new().fg(Color::Red),
            (Self::Monochrome, Severity::Good | Severity::Note) => Style::new(),
            (Self::Monochrome, Severity::Warning | Severity::Problem) => self.strong(),
        }
    }

    pub(crate) fn selected(self) -> Style {
        self.strong().add_modifier(Modifier::REVERSED)
    }

    #[expect(clippy::unused_self, reason = "every style is asked of the palette")]
    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn faint(self) -> Style {
        match self {
            Self::Colour => Style::new().fg(Color::DarkGray),
            Self::Monochrome => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_only_when_it_is_not_empty() {
        assert_eq!(Palette::from_no_color(None), Palette::Colour);
        assert_eq!(Palette::from_no_color(Some(OsStr::new(""))), Palette::Colour);
        assert_eq!(Palette::from_no_color(Some(OsStr::new("1"))), Palette::Monochrome);
    }
}
