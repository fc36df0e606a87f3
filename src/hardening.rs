//! Keeps this process's memory from other processes and from core dumps.

/// Applied first, before anything secret is read. What fails is told, and doesn't stop the work:
/// a container may forbid it.
pub(crate) fn apply() {
    if let Err(error) = vaultfs_core::harden_process() {
        eprintln!("warning: {error}: a crash could leave values in a core dump");
    }
}
