//! One line of the table of figures that `benches/run` prints. Measures nothing.

use std::env;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Context as _, Result};

/// Names the file that lines are added to, for `benches/run`.
const REPORT_VARIABLE: &str = "VAULTFS_BENCH_REPORT";

/// A figure, and what it is compared with.
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// In `unit`.
    pub(crate) vaultfs: f64,
    /// Measured in the same run: its name and figure.
    pub(crate) other: Option<(String, f64)>,
    /// `µs`, `ms`, `MiB` or `MB/s`.
    pub(crate) unit: &'static str,
    /// How many times the other figure it may be.
    pub(crate) at_most_times: Option<f64>,
    /// How much it may be, in `unit`.
    pub(crate) at_most: Option<f64>,
}

impl Figure {
    fn ratio(&self) -> Option<f64> {
        self.other.as_ref().map(|(_, other)| self.vaultfs / other)
    }

    fn met(&self) -> Option<bool> {
        let ratio = self.at_most_times.zip(self.ratio()).map(|(target, ratio)| ratio <= target);
        ratio.or(self.at_most.map(|target| self.vaultfs <= target))
    }

    /// Prints the figure, and adds it to the report that `benches/run` collects.
    ///
    /// # Errors
    /// Where the report can't be written.
    pub(crate) fn report(&self) -> Result<()> {
        let measured = |figure: f64| format!("{} {}", digits(figure), self.unit);
        let cells = [
            self.what.clone(),
            measured(self.vaultfs),
            self.other.as_ref().map_or_else(dash, |(name, f)| format!("{name}: {}", measured(*f))),
            self.ratio().map_or_else(dash, times),
            match (self.at_most_times, self.at_most) {
                (Some(ratio), _) => format!("≤ {}", times(ratio)),
                (None, Some(limit)) => format!("≤ {}", measured(limit)),
                (None, None) => dash(),
            },
            match self.met() {
                Some(true) => "met".to_owned(),
                Some(false) => "MISSED".to_owned(),
                None => dash(),
            },
        ];
        println!("{}", cells.join(" | "));
        if let Some(path) = env::var_os(REPORT_VARIABLE) {
            let mut report = OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(report, "{}", cells.join("\t")).context("the report can't be written")?;
        }
        Ok(())
    }
}

fn dash() -> String {
    "–".to_owned()
}

fn times(ratio: impl Display) -> String {
    format!("{ratio:.2}×")
}

/// Three digits that count.
fn digits(figure: f64) -> String {
    match figure {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
