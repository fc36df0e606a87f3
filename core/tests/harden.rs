//! Hardening changes the whole process, so its test has a process of its own.
#![cfg(target_os = "linux")]

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
use vaultfs_core::harden_process;

/// Runs this test again in a process that hardens itself, checks that, and crashes.
#[test]
fn a_hardened_process_leaves_no_core_dump() {
    if env::var_os("VAULTFS_TEST_CRASH").is_some() {
        harden_process().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        std::process::abort();
    }
    let directory = tempfile::tempdir().unwrap();
    // With the largest core dumps that the machine allows.
    let status = Command::new("sh")
        .args(["-c", "ulimit -c \"$(ulimit -H -c)\"; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "a_hardened_process_leaves_no_core_dump", "--nocapture"])
        .env("VAULTFS_TEST_CRASH", "1")
        .current_dir(directory.path())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{status}");
    assert!(!status.core_dumped());
}
