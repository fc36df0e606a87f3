//! What the caller hands over: one row a secret, as plain text.

/// One secret as the list shows it. Text may be hostile: it is made visible when it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The secret's name.
    pub name: String,
    /// What is the matter with it, if anything.
    pub state: RowState,
    /// Label and text of each line of the detail, in order. Never a value.
    pub detail: Vec<(String, String)>,
}

/// A state: its word is shown beside the glyph and the colour of its severity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowState {
    /// One short word: `present`, `overdue`.
    pub word: String,
    /// How much it matters.
    pub severity: Severity,
}

/// How much a state matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing, nothing to do.
    Note,
    /// Something to do, not broken yet.
    Warning,
    /// Broken.
    Problem,
}

impl Severity {
    /// One column wide, so that states differ without colour.
    pub(crate) fn glyph(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Note => "·",
            Self::Warning => "!",
            Self::Problem => "✗",
        }
    }
}
