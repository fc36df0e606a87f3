//! Whole commands, each against the least that could do its work: reads through a mount, time to
//! ready, memory, rotation.
//!
//! Names on the command line choose among them: `cargo bench --bench mount -- read memory`. As
//! root or not, the reader is whoever runs this.

mod bare;
mod daemon;
mod made_vault;
mod memory;
mod read;
#[path = "../shared/report.rs"]
mod report;
mod rotation;
#[path = "../shared/samples.rs"]
mod samples;
mod start;

use std::env;
use std::path::Path;

use anyhow::Result;

type Bench = fn() -> Result<()>;

const BENCHES: [(&str, Bench); 4] = [
    ("read", read::run),
    ("start", start::run),
    ("memory", memory::run),
    ("rotation", rotation::run),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [bare::SERVE, mountpoint] => return bare::serve(Path::new(mountpoint)),
        [bare::DECRYPT, directory, identity] => {
            return bare::decrypt_all(Path::new(directory), Path::new(identity));
        }
        _ => {}
    }
    // `cargo test --benches` has nothing to test here.
    if !words.contains(&"--bench") {
        return Ok(());
    }
    let chosen = |name: &&str| !name.starts_with('-');
    let all = !words.iter().any(chosen);
    for (name, bench) in BENCHES {
        if all || words.contains(&name) {
            bench()?;
        }
    }
    Ok(())
}
