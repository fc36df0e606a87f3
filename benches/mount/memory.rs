//! How much memory a mount takes, ready and after each secret was read once.

use std::fs;

use anyhow::{Context as _, Result};

use crate::daemon::Daemon;
use crate::made_vault::MadeVault;
use crate::report::Figure;

/// Beside twice the plaintext, in MiB.
const AT_MOST_BESIDE: f64 = 16.0;

pub(crate) fn run() -> Result<()> {
    for (count, size, sizes) in [(10_000, 64, "64 B"), (10, 10 << 20, "10 MiB")] {
        let vault = MadeVault::new(count, size)?;
        let daemon = Daemon::start(&vault, &[])?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let at_most = AT_MOST_BESIDE + 2.0 * (count * size) as f64 / f64::from(1 << 20);
        let figure = |what: &str, mib, at_most| Figure {
            what: format!("{what}, {count} × {sizes}"),
            vaultfs: mib,
            other: None,
            unit: "MiB",
            at_most_times: None,
            at_most,
        };
        let pid = daemon.pid();
        figure("resident when ready", resident(pid)?, Some(at_most)).report()?;
        for name in vault.names() {
            fs::read(daemon.file(name.as_str()))?;
        }
        figure("resident after each was read", resident(pid)?, Some(at_most)).report()?;
        // The memory map of a process that holds values is for root alone.
        if let Ok(pss) = field(&format!("/proc/{pid}/smaps_rollup"), "Pss:") {
            figure("proportional share", pss, None).report()?;
        }
        if let Some(helper) = child_of(pid)? {
            figure("the helper process, resident", resident(helper)?, None).report()?;
        }
    }
    Ok(())
}

/// In MiB.
fn resident(pid: u32) -> Result<f64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// A field in kB, as MiB.
fn field(path: &str, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path)?;
    let words = text.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
    let kib: f64 = words.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// The process that a thread of `pid` has started.
fn child_of(pid: u32) -> Result<Option<u32>> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next() {
            return Ok(Some(child.parse()?));
        }
    }
    Ok(None)
}
