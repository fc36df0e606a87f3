//! Real mounts, read by real other users, over a source in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;
mod gates;
mod hostile;
mod lazy;
mod lifecycle;
mod rotation;
mod semantics;
mod served;
mod source;
mod support;

/// Not a test: the process that each mount starts beside itself, which is this program again.
#[test]
fn helper_process() {
    if std::env::var_os(support::HELPER_VARIABLE).is_some() {
        vaultfs_fusefs::run_helper().unwrap();
    }
}

/// Not a test: a reader that runs as another user.
#[test]
fn hammer_process() {
    if let Ok(task) = std::env::var(rotation::HAMMER_VARIABLE) {
        let (reads, path) = task.split_once(' ').unwrap();
        rotation::hammer(path.as_ref(), reads.parse().unwrap());
    }
}

/// Not a test: a user who swaps directories.
#[test]
fn swapping_process() {
    if let Some(directory) = std::env::var_os(hostile::SWAP_VARIABLE) {
        hostile::swap(directory.as_ref());
    }
}

/// Not a test: a mount in a process of its own.
#[test]
fn serving_process() {
    if let Ok(task) = std::env::var(served::VARIABLE) {
        served::serve(&task);
    }
}
