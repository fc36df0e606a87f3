//! When to refresh: after a change, soon after several, and after a while in any case.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use vaultfs_core::{Source, Watch};

use crate::publisher::Publisher;
use crate::status::{Changed, Status, reason};

/// Changes that follow each other this closely are taken together.
const SETTLE: Duration = Duration::from_millis(1);

/// A stream of changes is looked at this often all the same.
const SETTLE_AT_MOST: Duration = Duration::from_millis(100);

/// Without any change: a watch can lose events, on network disks for one.
const POLL: Duration = Duration::from_secs(30);

/// The first pause after the source couldn't be read or watched; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// What wakes the refreshing thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The source may have changed.
    Changed,
    /// The mount stops.
    Stop,
}

/// The watch over a source, with what to do where it fails.
pub(crate) struct Refresh {
    wake: Sender<Wake>,
    watch: Option<Watch>,
    retry: Duration,
}

impl Refresh {
    /// Nothing is watched yet: a watch hears of each file that we open ourselves, so it begins once
    /// everything was read.
    pub(crate) fn new(wake: Sender<Wake>) -> Self {
        Self { wake, watch: None, retry: FIRST_RETRY }
    }

    /// Refreshes until the mount stops. `changed` hears of each change of the state.
    pub(crate) fn run(
        mut self,
        source: &dyn Source,
        status: &Status,
        publisher: &mut Publisher,
        wakes: &Receiver<Wake>,
        changed: &dyn Fn(),
    ) {
        // At once: what changed between the first look and the watch is found by looking again.
        let mut poll_at = Instant::now();
        loop {
            let retire_at = publisher.retire_lingering();
            let look_at = publisher.gone_at().map_or(poll_at, |at| at.min(poll_at));
            let next = retire_at.map_or(look_at, |at| at.min(look_at));
            match wakes.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Wake::Changed) if settle(wakes) == Settled::Stop => return,
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if Instant::now() < look_at => continue,
                Ok(Wake::Changed) | Err(RecvTimeoutError::Timeout) => {}
            }
            if self.watch.is_none() {
                self.watch(source, status);
            }
            let outcome = match publisher.refresh() {
                Ok(outcome) => outcome,
                Err(e) => {
                    // A watch of what has vanished sees nothing of what comes in its place.
                    self.watch = None;
                    problem(status, "the source can't be read", "what is served stays", &*e)
                }
            };
            if outcome == Changed::Yes {
                changed();
            }
            poll_at = Instant::now() + self.pause();
        }
    }

    fn watch(&mut self, source: &dyn Source, status: &Status) {
        let wake = self.wake.clone();
        // Nobody receives once the mount has stopped.
        let changed = move || {
            let _ = wake.send(Wake::Changed);
        };
        match source.watch(Box::new(changed)) {
            Ok(watch) => self.watch = Some(watch),
            Err(e) => {
                problem(status, "the source can't be watched", "changes may be seen late", &*e);
            }
        }
    }

    /// How long to wait for a change: shorter, and then longer again, where nothing tells of one.
    fn pause(&mut self) -> Duration {
        if self.watch.is_some() {
            self.retry = FIRST_RETRY;
            return POLL;
        }
        let pause = self.retry;
        self.retry = (pause * 2).min(POLL);
        pause
    }
}

/// Notes that the source as a whole fails, and says so once.
fn problem(
    status: &Status,
    what: &str,
    consequence: &str,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Changed {
    let text = format!("{what}: {}", reason(error));
    let changed = status.update(|state| state.source_problem = Some(text.clone()));
    if changed == Changed::Yes {
        tracing::error!(problem = text, "{consequence}: {text}");
    }
    changed
}

#[derive(PartialEq, Eq)]
enum Settled {
    Refresh,
    Stop,
}

fn settle(wakes: &Receiver<Wake>) -> Settled {
    let end = Instant::now() + SETTLE_AT_MOST;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match wakes.recv_timeout(SETTLE.min(left)) {
            Ok(Wake::Changed) if !left.is_zero() => {}
            Ok(Wake::Changed) | Err(RecvTimeoutError::Timeout) => return Settled::Refresh,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return Settled::Stop,
        }
    }
}
