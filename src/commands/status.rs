//! `vaultfs status`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use serde::Serialize;
use vaultfs_core::{
    Drift, EnvFileSource, NeedsRotation, Pattern, SecretName, Source as _, State,
    Status as SecretStatus, parse_period, status,
};

use super::list::{age, warn_of_strays};
use crate::complete;
use crate::context::Context;
use crate::output::{json, note, table, warn};

/// Show what is present, missing, overdue or broken.
///
/// Opens nothing and needs no identity, so all of this is what the files claim. The policy may ask
/// for secrets (required), for their age (rotate_every), and says who should be able to read them.
#[derive(Args)]
pub(crate) struct Status {
    /// Only names that match, such as 'prod/**'
    #[arg(add = complete::secrets())]
    pattern: Option<Pattern>,
    /// Only what is overdue or will be within PERIOD, such as 14d (h, d or w)
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    due: Option<Duration>,
    /// Exit with 1 if anything is wrong
    #[arg(long)]
    check: bool,
    /// One JSON document: an array with the fields that docs/semantics.md lists
    #[arg(long)]
    json: bool,
    /// Count the entries of this plaintext .env file as present, instead of a vault's secrets or
    /// beside them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    generation: Option<u64>,
    rotated_at: Option<String>,
    due_at: Option<String>,
    overdue: bool,
    needs_rotation: Vec<String>,
    drift: Option<DriftRow>,
    recipients: Vec<String>,
    signed_by: Option<String>,
    source: Option<&'static str>,
}

#[derive(Serialize)]
struct DriftRow {
    missing: Vec<String>,
    extra: Vec<String>,
}

impl From<&SecretStatus> for Row {
    fn from(status: &SecretStatus) -> Self {
        let claims = status.claims.as_ref();
        Self {
            name: status.name.to_string(),
            state: status.state.word(),
            generation: claims.map(|claims| claims.generation.number()),
            rotated_at: claims.map(|claims| claims.rotated_at.to_string()),
            due_at: status.due_at.map(|at| at.to_string()),
            overdue: status.overdue,
            needs_rotation: status.needs_rotation.iter().map(reason).collect(),
            drift: status.drift.clone().map(|Drift { missing, extra }| DriftRow { missing, extra }),
            recipients: status.recipients.clone(),
            signed_by: None,
            source: (status.state != State::Missing).then_some("vault"),
        }
    }
}

impl Row {
    fn of_env_file(name: &SecretName) -> Self {
        Self {
            name: name.to_string(),
            state: "plaintext",
            generation: None,
            rotated_at: None,
            due_at: None,
            overdue: false,
            needs_rotation: Vec::new(),
            drift: None,
            recipients: Vec::new(),
            signed_by: None,
            source: Some("env-file"),
        }
    }
}

impl Status {
    pub(crate) fn run(&self, context: &Context) -> Result<ExitCode> {
        let now = Timestamp::now();
        let mut rows = Vec::new();
        let mut details = Vec::new();
        match (context.vault(), &self.env_file) {
            (Ok(vault), _) => {
                let snapshot = vault.snapshot()?;
                let policy = vault.policy()?;
                let until = self.due.and_then(|period| now.checked_add(period).ok());
                let is_due =
                    |s: &SecretStatus| until.is_none_or(|u| s.due_at.is_some_and(|due| due <= u));
                for status in status(&policy, &snapshot, now).into_iter().filter(is_due) {
                    rows.push(Row::from(&status));
                    details.push(detail(&status, now));
                }
                if !self.json {
                    warn_of_strays(&snapshot);
                }
                for rule in policy.unused_rules(snapshot.files.keys()) {
                    let at = rule.position.map_or_else(String::new, |at| format!("{at}: "));
                    warn(format!("{at}the rule for {} decides about no secret", rule.pattern));
                }
            }
            // Without a vault, the file alone will do.
            (Err(_), Some(_)) => {}
            (Err(error), None) => return Err(error),
        }
        if let Some(path) = &self.env_file {
            warn(format!(
                "{} holds its values in plaintext; `vaultfs migrate` moves them",
                path.display()
            ));
            for name in
                EnvFileSource::open(path)?.list().map_err(Error::from_boxed)?.versions.keys()
            {
                match rows
                    .iter()
                    .position(|row| row.name == name.as_str() && row.state == "missing")
                {
                    Some(missing) => {
                        rows[missing] = Row::of_env_file(name);
                        details[missing] = String::new();
                    }
                    None if rows.iter().any(|row| row.name == name.as_str()) => {}
                    None => {
                        rows.push(Row::of_env_file(name));
                        details.push(String::new());
                    }
                }
            }
        }
        self.print(rows, details)
    }

    fn print(&self, rows: Vec<Row>, details: Vec<String>) -> Result<ExitCode> {
        let matches = |row: &Row| match (&self.pattern, row.name.parse::<SecretName>()) {
            (Some(pattern), Ok(name)) => pattern.matches(&name),
            _ => true,
        };
        let (rows, details): (Vec<Row>, Vec<String>) =
            rows.into_iter().zip(details).filter(|(row, _)| matches(row)).unzip();
        // What is asked for by its date is what needs attention.
        let is_wrong = |row: &&Row| self.due.is_some() || row.state != "present";
        let wrong = rows.iter().filter(is_wrong).count();
        let total = rows.len();
        if self.json {
            json(&rows)?;
        } else {
            let cells = rows.into_iter().zip(details).map(|(row, detail)| {
                [row.name, row.state.to_owned(), row.source.unwrap_or("-").to_owned(), detail]
            });
            table(["NAME", "STATE", "SOURCE", ""], &cells.collect::<Vec<_>>());
            note(format!("{total} secrets, {wrong} of them need attention"));
        }
        Ok(if self.check && wrong > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn period(text: &str) -> Result<Duration, &'static str> {
    parse_period(text).ok_or("not a period, such as 12h, 14d or 2w")
}

/// What else there is to say of a secret, in a few words.
pub(super) fn detail(status: &SecretStatus, now: Timestamp) -> String {
    match &status.state {
        State::Missing => "the policy requires it".to_owned(),
        State::Damaged(error) => error.to_string(),
        State::Unbound => "bound to no vault; `vaultfs adopt` binds it".to_owned(),
        State::OtherName(name) => format!("its file belongs to {name}"),
        State::OtherVault => "its file belongs to another vault".to_owned(),
        State::Collides(name) => format!("can't exist beside {name}"),
        State::NoRule => "no rule says who may read it".to_owned(),
        State::NeedsRotation => {
            status.needs_rotation.iter().map(reason).collect::<Vec<_>>().join(", ")
        }
        State::Overdue => {
            let due = status.due_at.map_or_else(String::new, |due| age(due, now));
            format!("should have been rotated {due} ago")
        }
        State::Drifted => status.drift.as_ref().map_or_else(String::new, |drift| {
            let part = |verb: &str, names: &[String]| match names {
                [] => None,
                names => Some(format!("{verb} {}", names.join(", "))),
            };
            let parts =
                [part("not readable by", &drift.missing), part("readable by", &drift.extra)];
            parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
        }),
        _ => match (&status.claims, status.due_at) {
            (_, Some(due)) => format!("rotate in {}", age(now, due)),
            (Some(claims), None) => format!("{} old", age(claims.rotated_at, now)),
            (None, None) => String::new(),
        },
    }
}

fn reason(reason: &NeedsRotation) -> String {
    match reason {
        NeedsRotation::Flagged(flag) => format!("flagged as {flag}"),
        NeedsRotation::WasReadableBy(name) => format!("was readable by {name}"),
        _ => "needs rotation".to_owned(),
    }
}
