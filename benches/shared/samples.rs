//! Times that were measured, and what is said of them. No means: one pause of a shared machine
//! would decide them.

use std::time::Duration;

/// Durations of one thing done again and again.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The time that this part of the samples, 0 to 1, doesn't exceed; zero where there are none.
    pub(crate) fn quantile(&mut self, part: f64) -> Duration {
        self.0.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number of samples is small"
        )]
        let index = ((self.0.len() as f64 * part).ceil() as usize).max(1) - 1;
        self.0.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn median(&mut self) -> Duration {
        self.quantile(0.5)
    }
}

/// In microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
