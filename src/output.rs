//! What commands print. Names and texts from a vault are a stranger's, and pass through [`visible`].

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Result, bail};
use serde::Serialize;

pub(crate) use vaultfs_tui::visible;

/// Prints a line to standard output. A reader that closed the pipe (`| head`) ends the program.
pub(crate) fn line(text: impl Display) {
    if let Err(error) = writeln!(io::stdout().lock(), "{text}") {
        std::process::exit(i32::from(error.kind() != io::ErrorKind::BrokenPipe));
    }
}

/// Prints a warning to standard error.
pub(crate) fn warn(text: impl Display) {
    eprintln!("warning: {text}");
}

/// Prints a note to standard error: what was done, what to do next.
pub(crate) fn note(text: impl Display) {
    eprintln!("{text}");
}

/// Prints `items` as one JSON document.
pub(crate) fn json(items: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(items)?);
    Ok(())
}

/// Prints rows in columns, with a heading.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let print = |cells: [&str; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    print(heading);
    for row in rows {
        print(row.each_ref().map(String::as_str));
    }
}

/// How the user agreed to what can't be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// `--yes` was given.
    Given,
    /// Ask at the terminal.
    Ask,
}

impl From<bool> for Consent {
    fn from(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Ask }
    }
}

/// Asks whether to go on with the plan that was just shown.
pub(crate) fn confirm(consent: Consent, question: &str) -> Result<()> {
    if consent == Consent::Given {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!(NotConfirmed::NoTerminal);
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { bail!(NotConfirmed::Declined) }
}

/// The plan that was agreed to isn't what would be done any more.
#[derive(Debug, thiserror::Error)]
#[error("the policy was changed since the plan was shown; nothing was changed")]
pub(crate) struct PolicyChanged;

/// A plan that wasn't agreed to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotConfirmed {
    #[error("this needs your consent, and there is no terminal to ask at; nothing was changed")]
    NoTerminal,
    #[error("nothing was changed")]
    Declined,
}
