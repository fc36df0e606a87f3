//! Notices when someone else unmounts.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;

use crate::mountinfo::MountEntry;

/// A look-out for one mount.
pub(super) struct Watcher {
    table: File,
    entry: MountEntry,
    end: UnixStream,
}

/// Why a look-out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The mount is gone.
    Gone,
    /// The other end of the stream was dropped.
    End,
}

impl Watcher {
    /// Looks out for the end of the mount `entry`, until the other end of `end` is dropped.
    pub(super) fn new(entry: MountEntry, end: UnixStream) -> io::Result<Self> {
        Ok(Self { table: File::open("/proc/self/mountinfo")?, entry, end })
    }

    /// Waits. The kernel reports each change of the mount table (see `proc_pid_mountinfo(5)`).
    pub(super) fn wait(&self) -> io::Result<Seen> {
        loop {
            if !MountEntry::all()?.iter().any(|entry| entry.is_same_mount(&self.entry)) {
                return Ok(Seen::Gone);
            }
            let mut descriptors =
                [PollFd::new(&self.table, PollFlags::PRI), PollFd::new(&self.end, PollFlags::IN)];
            retry_on_intr(|| poll(&mut descriptors, None))?;
            if !descriptors[1].revents().is_empty() {
                return Ok(Seen::End);
            }
        }
    }
}
