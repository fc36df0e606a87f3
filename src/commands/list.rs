//! `vaultfs list`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use vaultfs_core::{Pattern, Snapshot, StoredFile};

use crate::complete;
use crate::context::Context;
use crate::output::{json, line, note, table, visible, warn};

/// List the secrets.
///
/// Opens nothing and needs no identity; ages and generations are what the files claim.
#[derive(Args)]
pub(crate) struct List {
    /// Only names that match, such as 'prod/**'; 'prod' alone is one name
    #[arg(add = complete::secrets())]
    pattern: Option<Pattern>,
    /// Names alone, one a line
    #[arg(long, conflicts_with = "json")]
    names: bool,
    /// One JSON document: an array of name, generation, rotated_at, written_at, bytes, error
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    generation: Option<u64>,
    rotated_at: Option<String>,
    written_at: Option<String>,
    bytes: Option<u64>,
    error: Option<String>,
}

impl Row {
    fn new(name: &str, file: &StoredFile) -> Self {
        let header = file.header.as_ref().ok();
        let claims = header.map(|header| &header.claims);
        Self {
            name: name.to_owned(),
            generation: claims.map(|claims| claims.generation.number()),
            rotated_at: claims.map(|claims| claims.rotated_at.to_string()),
            written_at: claims.map(|claims| claims.written_at.to_string()),
            bytes: header.map(|header| header.value_bytes),
            error: file.header.as_ref().err().map(ToString::to_string),
        }
    }
}

impl List {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        let snapshot = context.vault()?.snapshot()?;
        let files = snapshot.files.iter();
        let wanted =
            files.filter(|(name, _)| self.pattern.as_ref().is_none_or(|p| p.matches(name)));
        let rows = wanted.map(|(name, file)| Row::new(name.as_str(), file));
        if self.json {
            return json(&rows.collect::<Vec<_>>());
        }
        if self.names {
            rows.for_each(|row| line(row.name));
            return Ok(());
        }
        let now = Timestamp::now();
        let cells = rows.map(|row| {
            let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let rotated = row.rotated_at.and_then(|at| at.parse().ok());
            let age = rotated.map_or_else(|| "-".to_owned(), |at| age(at, now));
            [
                row.name,
                age,
                number(row.generation),
                number(row.bytes),
                row.error.unwrap_or_default(),
            ]
        });
        let cells: Vec<_> = cells.collect();
        table(["NAME", "AGE", "GENERATION", "BYTES", ""], &cells);
        if let (Some(pattern), true) = (&self.pattern, cells.is_empty()) {
            note(format!(
                "no secret matches {pattern}; '**' matches all, 'prod/**' all below prod/"
            ));
        }
        warn_of_strays(&snapshot);
        Ok(())
    }
}

/// Names what stands among the secrets and isn't one.
pub(super) fn warn_of_strays(snapshot: &Snapshot) {
    for stray in &snapshot.strays {
        warn(format!(
            "{} is not a secret: {}",
            visible(&stray.path.to_string_lossy()),
            stray.reason
        ));
    }
}

/// The time since `then`, in its largest unit.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
