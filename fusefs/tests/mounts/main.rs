//! Real mounts, read by real other users, over a source in memory.

mod gates;
mod lifecycle;
mod rotation;
mod source;
mod support;

/// Not a test: the process that each mount starts beside itself, which is this program again.
#[test]
fn helper_process() {
    if std::env::var_os(support::HELPER_VARIABLE).is_some() {
        vaultfs_fusefs::run_helper().unwrap();
    }
}
