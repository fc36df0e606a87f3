//! `vaultfs` without a command: the workbench.

use std::env;

use anyhow::Result;
use jiff::Timestamp;
use vaultfs_core::{State, Status, Vault, VaultError, status};
use vaultfs_tui::{Options, Palette, Row, RowState, Severity, run};

use super::list::age;
use super::status::detail;
use crate::context::Context;

/// Opens the workbench on the vault at hand.
pub(crate) fn open(context: &Context) -> Result<()> {
    let vault = context.vault()?;
    let options = Options {
        title: vault.root().display().to_string(),
        palette: Palette::from_no_color(env::var_os("NO_COLOR").as_deref()),
        reload: Box::new(move || rows(&vault).map_err(|error| chain(&error))),
    };
    Ok(run(options)?)
}

fn rows(vault: &Vault) -> Result<Vec<Row>, VaultError> {
    let now = Timestamp::now();
    let (policy, snapshot) = (vault.policy()?, vault.snapshot()?);
    Ok(status(&policy, &snapshot, now).iter().map(|status| row(status, now)).collect())
}

fn row(status: &Status, now: Timestamp) -> Row {
    let severity = match status.state {
        State::Present => Severity::Good,
        State::NeedsRotation | State::Overdue | State::Drifted => Severity::Warning,
        _ => Severity::Problem,
    };
    let mut lines = vec![("state".to_owned(), detail(status, now))];
    if let Some(claims) = &status.claims {
        lines.push(("generation".to_owned(), claims.generation.to_string()));
        lines.push(("rotated".to_owned(), format!("{} ago", age(claims.rotated_at, now))));
        lines.push(("written".to_owned(), format!("{} ago", age(claims.written_at, now))));
    }
    if let Some(due) = status.due_at {
        lines.push(("due".to_owned(), due.strftime("%F").to_string()));
    }
    if !status.recipients.is_empty() {
        lines.push(("readable by".to_owned(), status.recipients.join(", ")));
    }
    let state = RowState { word: status.state.word().to_owned(), severity };
    Row { name: status.name.to_string(), state, detail: lines }
}

/// The error and its causes in one line.
fn chain(error: &VaultError) -> String {
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
