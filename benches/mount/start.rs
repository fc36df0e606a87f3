//! How long it takes until a mount of many secrets is ready, and what needs no decrypting.
//!
//! The comparison reads the same values from bare age files, decrypts them on all cores, and does
//! nothing else. Both take turns.

use std::time::Duration;

use anyhow::Result;

use crate::bare;
use crate::daemon::{Daemon, time, vaultfs};
use crate::made_vault::MadeVault;
use crate::report::Figure;
use crate::samples::Samples;

const SECRETS: usize = 10_000;
const VALUE_BYTES: usize = 64;
const ROUNDS: usize = 7;
/// How many times the bare decryption it may take to be ready.
const AT_MOST_TIMES: f64 = 1.2;
/// How long what decrypts nothing may take.
const AT_MOST_MILLIS: f64 = 150.0;

pub(crate) fn run() -> Result<()> {
    let vault = MadeVault::new(SECRETS, VALUE_BYTES)?;
    let bare = vault.as_bare_age(VALUE_BYTES)?;
    let [mut ready, mut decrypted, mut lazy, mut listed]: [Samples; 4] = Default::default();
    for round in 0..=ROUNDS {
        let times = [
            ready_after(&vault, &[])?,
            time(&mut bare::decrypting(&bare, &vault.identity()))?,
            ready_after(&vault, &["--lazy"])?,
            time(&mut vaultfs(&vault, &["list"]))?,
        ];
        // The first round warms the caches.
        if round > 0 {
            for (samples, time) in
                [&mut ready, &mut decrypted, &mut lazy, &mut listed].into_iter().zip(times)
            {
                samples.add(time);
            }
        }
    }
    let figure = |what: &str, samples: &mut Samples, at_most| Figure {
        what: format!("{what}, {SECRETS} secrets"),
        vaultfs: samples.median().as_secs_f64() * 1e3,
        other: None,
        unit: "ms",
        at_most_times: None,
        at_most,
    };
    let decrypted = ("age on all cores".to_owned(), decrypted.median().as_secs_f64() * 1e3);
    let ready = figure("ready", &mut ready, None);
    Figure { other: Some(decrypted), at_most_times: Some(AT_MOST_TIMES), ..ready }.report()?;
    figure("ready with --lazy", &mut lazy, Some(AT_MOST_MILLIS)).report()?;
    figure("list", &mut listed, Some(AT_MOST_MILLIS)).report()
}

fn ready_after(vault: &MadeVault, options: &[&str]) -> Result<Duration> {
    Ok(Daemon::start(vault, options)?.ready_after)
}
