//! What a mount says about itself: how much it serves, and what is wrong. Never a value.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vaultfs_core::SecretName;

/// How a mount is doing, at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountState {
    /// Whether the mount is up and a reader has been seen to reach it.
    pub ready: bool,
    /// How many files can be opened.
    pub served: usize,
    /// Secrets of which no version can be served, with the reason: opening them is `EIO`.
    pub broken: BTreeMap<SecretName, String>,
    /// Secrets of which an earlier version is served, with what is wrong with the current one.
    pub last_good: BTreeMap<SecretName, String>,
    /// Secrets that have no place, because another one has it, with the reason.
    pub displaced: BTreeMap<SecretName, String>,
    /// Why the source as a whole can't be read or watched at the moment.
    pub source_problem: Option<String>,
}

/// The state that all threads of a mount share.
#[derive(Default)]
pub(crate) struct Status(Mutex<MountState>);

impl Status {
    /// A copy of the state.
    pub(crate) fn snapshot(&self) -> MountState {
        self.lock().clone()
    }

    /// Changes the state, and says whether that made it another one.
    pub(crate) fn update(&self, change: impl FnOnce(&mut MountState)) -> Changed {
        let mut state = self.lock();
        let before = state.clone();
        change(&mut state);
        if *state == before { Changed::No } else { Changed::Yes }
    }

    fn lock(&self) -> MutexGuard<'_, MountState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an update changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Yes,
    No,
}

/// The text of an error with all its causes, for a state that outlives the error.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string doesn't fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
