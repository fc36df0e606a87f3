//! Tells the kernel that a name is about to lead elsewhere, so that watchers hear of it and
//! caches let go.
//!
//! On a thread of its own: telling the kernel can wait for locks that its clients hold, and
//! nothing that readers or rotations need may wait with it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier};

use crate::access::Reader;
use crate::helper::{Helper, HelperError};
use crate::ino::Ino;
use crate::tree::{Change, Staged, Tree};

/// How long a rotation waits for the kernel to be told, at most.
pub(crate) const ANNOUNCE_WITHIN: Duration = Duration::from_millis(100);

/// How long the helper may take to answer.
const HELPER_PATIENCE: Duration = Duration::from_secs(2);

/// How long to do without a helper that was lost.
const HELPER_PAUSE: Duration = Duration::from_secs(30);

/// What the kernel has to be told.
pub(crate) enum Note {
    /// A change is under way; answer when the kernel knows.
    Announce(Staged, SyncSender<()>),
    /// An inode is superseded, and no open that meant its version can be under way any more.
    Retire(Ino),
    /// Nobody has this inode open any more: its pages can go.
    DropPages(Ino),
    /// The mount has ended.
    End,
}

/// The receiving side, and what it tells the kernel with.
pub(crate) struct Announcer {
    pub(crate) tree: Arc<Tree>,
    pub(crate) notifier: Notifier,
    pub(crate) renamer: Option<Arc<Renamer>>,
}

/// The helper process with its hidden mount.
pub(crate) struct Renamer {
    command: Vec<OsString>,
    reader: Reader,
    /// Our end of the conversation with the helper, to break it off without waiting for the state;
    /// none once it is to end for good. The helper is the reader's to stop.
    line: Mutex<Option<UnixStream>>,
    state: Mutex<RenamerState>,
}

struct RenamerState {
    hidden: Option<OwnedFd>,
    helper: Option<Helper>,
    retry_at: Instant,
}

impl Renamer {
    /// A renamer over a helper that runs.
    pub(crate) fn new(
        command: Vec<OsString>,
        reader: Reader,
        hidden: OwnedFd,
        helper: Helper,
    ) -> io::Result<Self> {
        helper.set_patience(HELPER_PATIENCE)?;
        let line = Mutex::new(Some(helper.socket()?));
        let (hidden, helper) = (Some(hidden), Some(helper));
        let state = Mutex::new(RenamerState { hidden, helper, retry_at: Instant::now() });
        Ok(Self { command, reader, line, state })
    }

    /// Ends the helper and closes the hidden mount, which keeps the filesystem alive. Doesn't wait
    /// for an answer that is due.
    pub(crate) fn close(&self) {
        if let Some(line) = self.line().take() {
            // Fails only where the helper has ended.
            let _ = line.shutdown(Shutdown::Both);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.helper = None;
        state.hidden = None;
    }

    fn line(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_helper(&self, hidden: BorrowedFd<'_>) -> Result<Helper, HelperError> {
        let mut helper = Helper::spawn(&self.command, self.reader, Some(hidden), HELPER_PATIENCE)?;
        let socket = helper.socket()?;
        match &mut *self.line() {
            Some(line) => *line = socket,
            None => return Err(HelperError::Lost(io::ErrorKind::NotConnected.into())),
        }
        helper.answer()?;
        Ok(helper)
    }

    fn perform(&self, staged: &Staged) -> Result<(), HelperError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let RenamerState { hidden, helper, retry_at } = &mut *state;
        if let (None, Some(hidden)) = (&helper, &hidden)
            && Instant::now() >= *retry_at
        {
            *helper = self.start_helper(hidden.as_fd()).ok();
            *retry_at = Instant::now() + HELPER_PAUSE;
        }
        let Some(running) = helper.as_mut() else {
            return Err(HelperError::Lost(io::ErrorKind::NotConnected.into()));
        };
        let path = |name: &str| match &*staged.directory {
            "" => name.to_owned(),
            directory => format!("{directory}/{name}"),
        };
        let done = match &staged.change {
            Change::Replace { temporary, .. } => {
                running.rename(&path(temporary), &path(&staged.name))
            }
            Change::RemoveFile => running.remove_file(&path(&staged.name)),
            Change::RemoveDirectory => running.remove_directory(&path(&staged.name)),
        };
        if let Err(HelperError::Lost(e)) = &done {
            tracing::warn!(error = %e, "directory watchers get no events for a while: {e}");
            *helper = None;
        }
        done
    }
}

impl Announcer {
    /// Works until [`Note::End`], or until nobody can send any more.
    pub(crate) fn run(self, notes: &Receiver<Note>) {
        while let Ok(note) = notes.recv() {
            match note {
                Note::Announce(staged, done) => {
                    self.announce(&staged);
                    // The rotation has stopped waiting if it took too long.
                    let _ = done.try_send(());
                }
                Note::Retire(ino) => {
                    self.tree.retire(ino);
                    self.drop_pages(ino);
                }
                Note::DropPages(ino) => self.drop_pages(ino),
                Note::End => return,
            }
        }
    }

    fn announce(&self, staged: &Staged) {
        if let Some(renamer) = &self.renamer {
            match renamer.perform(staged) {
                Ok(()) => return,
                Err(e) => {
                    tracing::debug!(error = %e, name = staged.name, "{}: not renamed: {e}", staged.name);
                }
            }
        }
        if let Some(old) = staged.old {
            let (parent, old) = (INodeNo(staged.parent.0), INodeNo(old.0));
            if let Err(e) = self.notifier.delete(parent, old, OsStr::new(&staged.name)) {
                tracing::debug!(error = %e, name = staged.name, "{}: watchers aren't told: {e}", staged.name);
            }
        }
    }

    fn drop_pages(&self, ino: Ino) {
        // The whole file, and its attributes. It fails where the mount is gone.
        let _ = self.notifier.inval_inode(INodeNo(ino.0), 0, 0);
    }
}

/// Whether the kernel was told of a change in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Yes,
    TooLate,
}

/// Has `staged` announced, and commits it: within `patience` in any case.
pub(crate) fn announce_and_commit(
    tree: &Tree,
    notes: &Sender<Note>,
    staged: &Staged,
    patience: Duration,
) -> Told {
    let (done, told) = sync_channel(1);
    let sent = notes.send(Note::Announce(staged.clone(), done)).is_ok();
    let told = sent && told.recv_timeout(patience).is_ok();
    tree.commit(staged);
    if told { Told::Yes } else { Told::TooLate }
}
