//! `vaultfs rewrap`.

use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Error, Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use vaultfs_core::{
    Drift, Identities, LockOut, Pattern, Rewrapped, SecretName, VaultWriter, status,
};

use super::DONE_IN_PART;
use crate::complete;
use crate::context::Context;
use crate::output::{PolicyChanged, confirm, json, note, warn};
use crate::report;

/// Bring files in line with the policy.
///
/// Encrypts anew exactly those secrets whose recipients differ from the policy's; values don't
/// change. Each file is the old one or the new one at any instant: Ctrl-C stops between two, and
/// doing it again goes on. Needs an identity that opens them.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct Rewrap {
    /// Only names that match, such as 'prod/**'
    #[arg(add = complete::secrets())]
    pattern: Option<Pattern>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the plan as one JSON document: an array of name, add, drop
    #[arg(long)]
    json: bool,
    /// How many threads work at it [default: one for each core]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Also where none of your identities could open the secret afterwards
    #[arg(long)]
    allow_lock_out: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// A secret that differs from the policy.
#[derive(Serialize)]
struct Planned {
    #[serde(serialize_with = "as_text")]
    name: SecretName,
    add: Vec<String>,
    drop: Vec<String>,
}

fn as_text<S: serde::Serializer>(name: &SecretName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

impl Rewrap {
    pub(crate) fn run(&self, context: &Context) -> Result<ExitCode> {
        let vault = context.vault()?;
        let now = Timestamp::now();
        let policy = vault.policy()?;
        let plan = self.plan(status(&policy, &vault.snapshot()?, now));
        self.show(&plan)?;
        if plan.is_empty() || self.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
        let identities = context.identities()?;
        confirm(self.yes.into(), &format!("Encrypt {} secrets anew?", plan.len()))?;
        let writer = vault.write(now)?;
        if *writer.policy() != policy {
            bail!(PolicyChanged);
        }
        let done = self.work(&writer, &identities, &plan)?;
        let left = plan.len() - done;
        note(format!("{done} secrets encrypted anew"));
        if left == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        warn(format!("{left} are as they were; doing it again goes on with them"));
        Ok(ExitCode::from(DONE_IN_PART))
    }

    fn plan(&self, statuses: Vec<vaultfs_core::Status>) -> Vec<Planned> {
        let wanted = |name: &SecretName| self.pattern.as_ref().is_none_or(|p| p.matches(name));
        let drifted = statuses.into_iter().filter(|status| wanted(&status.name));
        let planned = drifted.filter_map(|status| {
            let Drift { missing, extra } = status.drift?;
            Some(Planned { name: status.name, add: missing, drop: extra })
        });
        planned.collect()
    }

    fn show(&self, plan: &[Planned]) -> Result<()> {
        if self.json {
            return json(&plan);
        }
        for Planned { name, add, drop } in plan {
            let changes = add.iter().map(|who| format!("+{who}"));
            let changes = changes.chain(drop.iter().map(|who| format!("-{who}")));
            note(format!("  {name}  {}", changes.collect::<Vec<_>>().join(" ")));
        }
        if plan.is_empty() {
            note("every secret is encrypted to whom the policy says");
        }
        Ok(())
    }

    /// Works at the plan with all threads, and returns how many are done.
    fn work(
        &self,
        writer: &VaultWriter<'_>,
        identities: &Identities,
        plan: &[Planned],
    ) -> Result<usize> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&stop))?;
        }
        let lock_out = if self.allow_lock_out { LockOut::Allow } else { LockOut::Refuse };
        let jobs = self.jobs.or_else(|| thread::available_parallelism().ok());
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failures: Mutex<Vec<Error>> = Mutex::default();
        let progress = Progress::new(plan.len());
        thread::scope(|scope| {
            for _ in 0..jobs.map_or(1, NonZeroUsize::get).min(plan.len()) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed)
                        && let Some(planned) = plan.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        match writer.rewrap(&planned.name, identities, lock_out) {
                            // Somebody else may have done it since the plan.
                            Ok(Rewrapped::Written(_) | Rewrapped::Unchanged) => {
                                progress.show(done.fetch_add(1, Ordering::Relaxed) + 1);
                            }
                            Err(error) => {
                                let mut failures =
                                    failures.lock().unwrap_or_else(PoisonError::into_inner);
                                failures.push(error.into());
                            }
                        }
                    }
                });
            }
        });
        progress.clear();
        for error in failures.into_inner().unwrap_or_else(PoisonError::into_inner) {
            report::error(&error);
        }
        Ok(done.into_inner())
    }
}

/// A line on the terminal that counts. Nothing where standard error is no terminal.
struct Progress {
    total: usize,
    is_terminal: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, is_terminal: io::stderr().is_terminal() }
    }

    fn show(&self, done: usize) {
        // A hundred steps are enough for the eye, and cost nothing beside the work.
        if self.is_terminal && done.is_multiple_of((self.total / 100).max(1)) {
            let mut stderr = io::stderr().lock();
            // A terminal that went away doesn't stop the work.
            let _ = write!(stderr, "\r{done} of {}", self.total);
            let _ = stderr.flush();
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
