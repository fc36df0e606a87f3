//! Keeps what this process holds in memory out of core dumps and debuggers.
//!
//! Values are in locked memory that core dumps leave out anyway (`memory.rs`); identities, and
//! copies on stacks and in registers, are not.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The system refused to harden the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// The size limit of core dumps couldn't be set to 0.
    #[error("core dumps can't be switched off")]
    CoreLimit(#[source] io::Error),
    /// The process couldn't be made undumpable (`PR_SET_DUMPABLE`).
    #[error("the process can't be made undumpable")]
    Dumpable(#[source] io::Error),
}

/// Switches core dumps of this process off, and on Linux makes it undumpable: others of the same
/// uid can then neither attach to it nor read its memory in `/proc`. Call it first of all, in each
/// process that will hold values or identities.
///
/// Both are needed: a core handler that is a pipe (systemd-coredump, apport) ignores the size
/// limit, and other systems know no undumpable processes. The limit's hard half stays, so that
/// programs started by us can have core dumps of their own.
///
/// It does not protect from root and `CAP_SYS_PTRACE`, nor from swap and suspend to disk. A
/// program started by us is dumpable again. So is this process after a change of its uid or gid,
/// where `fs.suid_dumpable` says so: call it again after one. An undumpable process's files in
/// `/proc/self` belong to root, so that those with mode 0600 and 0400 can't be opened by us either.
///
/// # Errors
/// [`HardenError`], as inside a sandbox that forbids the calls.
pub fn harden_process() -> Result<(), HardenError> {
    let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    setrlimit(Resource::Core, limit).map_err(|e| HardenError::CoreLimit(e.into()))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|e| HardenError::Dumpable(e.into()))?;
    Ok(())
}
