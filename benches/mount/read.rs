//! Opening, reading and closing a file of 64 bytes: tmpfs, a bare fuser filesystem, vaultfs.
//!
//! All processes are on one CPU: how long a wake-up across CPUs takes varies fivefold from run to
//! run on a virtual machine. The three take turns, in blocks; the first of each block isn't counted,
//! because the server before is still closing its last file then.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::bare::BareMount;
use crate::daemon::Daemon;
use crate::made_vault::MadeVault;
use crate::report::Figure;
use crate::samples::{Samples, micros};

const VALUE_BYTES: usize = 64;
const BLOCKS: usize = 1000;
const BLOCK: usize = 41;
/// How many times the bare filesystem's time it may take.
const AT_MOST_TIMES: f64 = 1.3;

pub(crate) fn run() -> Result<()> {
    let everywhere = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| everywhere.is_set(cpu));
    let mut one = CpuSet::new();
    one.set(last.context("there is a CPU")?);
    // Inherited by the servers, which are started after this.
    sched_setaffinity(None, &one)?;
    let measured = measure();
    sched_setaffinity(None, &everywhere)?;
    let [mut tmpfs, mut bare, mut vaultfs] = measured?;
    for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
        let at = |samples: &mut Samples| micros(samples.quantile(quantile));
        let (tmpfs, bare, vaultfs) = (at(&mut tmpfs), at(&mut bare), at(&mut vaultfs));
        let figure = |other: &str, time, at_most_times| Figure {
            what: format!("open, read, close {VALUE_BYTES} B, {name}"),
            vaultfs,
            other: Some((other.to_owned(), time)),
            unit: "µs",
            at_most_times,
            at_most: None,
        };
        figure("bare fuser", bare, Some(AT_MOST_TIMES)).report()?;
        figure("tmpfs", tmpfs, None).report()?;
    }
    Ok(())
}

fn measure() -> Result<[Samples; 3]> {
    let vault = MadeVault::new(10, VALUE_BYTES)?;
    let daemon = Daemon::start(&vault, &[])?;
    let bare = BareMount::new(vault.path("bare-mount"))?;
    let memory = tempfile::Builder::new().prefix("vaultfs-bench-").tempdir_in("/dev/shm")?;
    let in_memory = memory.path().join("SECRET");
    fs::write(&in_memory, [0x5A; VALUE_BYTES])?;
    let arms: [PathBuf; 3] = [in_memory, bare.file(), daemon.file("SECRET_0")];
    let mut samples: [Samples; 3] = Default::default();
    for block in 0..BLOCKS {
        for place in 0..arms.len() {
            // Each arm comes first as often as the others.
            let arm = (block + place) % arms.len();
            for i in 0..BLOCK {
                let took = once(&arms[arm])?;
                if i > 0 {
                    samples[arm].add(took);
                }
            }
        }
    }
    Ok(samples)
}

fn once(path: &PathBuf) -> Result<Duration> {
    let mut buffer = [0; 4096];
    let start = Instant::now();
    let mut file = File::open(path)?;
    let count = file.read(&mut buffer)?;
    drop(file);
    let took = start.elapsed();
    anyhow::ensure!(count == VALUE_BYTES, "{} has {count} bytes", path.display());
    black_box(buffer);
    Ok(took)
}
