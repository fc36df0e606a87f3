//! How long it takes from the rename that puts a new version into the vault until an open through
//! the mount shows it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::daemon::Daemon;
use crate::made_vault::MadeVault;
use crate::report::Figure;
use crate::samples::Samples;

const VALUE_BYTES: usize = 64;
const ROTATIONS: usize = 100;
/// How long it may take.
const AT_MOST_MILLIS: f64 = 250.0;
/// The finest difference that is seen. Looking without a pause would slow down what is looked at.
const LOOK_EVERY: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result<()> {
    for count in [10, 10_000] {
        let mut times = measure(count)?;
        for (quantile, name) in [(0.0, "fastest"), (0.5, "p50"), (0.99, "p99"), (1.0, "slowest")] {
            let figure = Figure {
                what: format!("rotation to visible, vault of {count}, {name}"),
                vaultfs: times.quantile(quantile).as_secs_f64() * 1e3,
                other: None,
                unit: "ms",
                at_most_times: None,
                at_most: (quantile > 0.5).then_some(AT_MOST_MILLIS),
            };
            figure.report()?;
        }
    }
    Ok(())
}

fn measure(count: usize) -> Result<Samples> {
    let vault = MadeVault::new(count, VALUE_BYTES)?;
    let daemon = Daemon::start(&vault, &[])?;
    let mut times = Samples::default();
    for i in 0..ROTATIONS {
        let name = &vault.names()[i % count];
        let value = format!("{i:064}").into_bytes();
        let file = vault.secret_file(name);
        // Outside the vault, so that the rename is the first that the mount can hear of.
        let temporary = vault.path("new");
        fs::write(&temporary, vault.seal_next(name, &value)?)?;
        fs::rename(&temporary, &file)?;
        let start = Instant::now();
        while fs::read(daemon.file(name.as_str()))? != value {
            ensure!(start.elapsed() < PATIENCE, "the new version of {name} doesn't show");
            thread::sleep(LOOK_EVERY);
        }
        times.add(start.elapsed());
        // So that this rotation's aftermath isn't the next one's.
        thread::sleep(Duration::from_millis(150));
    }
    Ok(times)
}
