//! A small process beside the daemon that uses the mount as its reader does.
//!
//! It looks names up (so that "ready" means that the reader was seen to get through), and makes
//! real renames and removals through a hidden mount, which is what inotify tells watchers of.
//!
//! Why not a thread: a thread of a FUSE daemon that waits for its own mount can't be killed, and
//! one with the reader's uid would be the reader's to trace. The process never has a value: it
//! is started anew, with an empty environment.
//!
//! One request a line, one answer a line; the first message carries the hidden mount.

mod child;
mod link;

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::access::Reader;
pub use child::run_helper;
use link::Link;
pub(crate) use link::receive_descriptor;

/// A running helper. Dropping it kills it.
pub(crate) struct Helper {
    child: Option<Child>,
    link: Link,
}

/// Why a request to the helper failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    /// The helper did what it was asked and got this error number.
    #[error("{0}")]
    Refused(Errno),
    /// The helper couldn't be started, ended, or didn't answer in time.
    #[error("the helper process failed")]
    Lost(#[source] io::Error),
}

impl From<io::Error> for HelperError {
    fn from(e: io::Error) -> Self {
        Self::Lost(e)
    }
}

impl Helper {
    /// Starts `command` as `reader`, with the hidden mount if there is one. An answer that takes
    /// longer than `patience` is an error.
    pub(crate) fn start(
        command: &[OsString],
        reader: Reader,
        hidden: Option<BorrowedFd<'_>>,
        patience: Duration,
    ) -> Result<Self, HelperError> {
        let mut helper = Self::spawn(command, reader, hidden, patience)?;
        helper.answer()?;
        Ok(helper)
    }

    /// As [`Helper::start`], without waiting for the first answer.
    pub(crate) fn spawn(
        command: &[OsString],
        reader: Reader,
        hidden: Option<BorrowedFd<'_>>,
        patience: Duration,
    ) -> Result<Self, HelperError> {
        let (ours, theirs) = UnixStream::pair()?;
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other("no helper command is set"))?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut helper = Self { child: Some(child), link: Link::new(ours) };
        helper.set_patience(patience)?;
        helper.link.send_identity(reader, hidden)?;
        Ok(helper)
    }

    /// Changes how long an answer may take.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.link.socket().set_read_timeout(Some(patience))?;
        self.link.socket().set_write_timeout(Some(patience))
    }

    /// Our end of the conversation, once more: shutting it down ends a request under way.
    pub(crate) fn socket(&self) -> io::Result<UnixStream> {
        self.link.socket().try_clone()
    }

    /// Looks `path` up and asks for its attributes, as the reader.
    pub(crate) fn look_up(&mut self, path: &Path) -> Result<(), HelperError> {
        self.request(&["look", &path.to_string_lossy()])
    }

    /// Renames within the hidden mount; paths are relative to its root.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), HelperError> {
        self.request(&["rename", from, to])
    }

    /// Removes a file of the hidden mount.
    pub(crate) fn remove_file(&mut self, path: &str) -> Result<(), HelperError> {
        self.request(&["unlink", path])
    }

    /// Removes an empty directory of the hidden mount.
    pub(crate) fn remove_directory(&mut self, path: &str) -> Result<(), HelperError> {
        self.request(&["rmdir", path])
    }

    fn request(&mut self, words: &[&str]) -> Result<(), HelperError> {
        self.link.send(words)?;
        self.answer()
    }

    /// Waits for the answer that is due.
    pub(crate) fn answer(&mut self) -> Result<(), HelperError> {
        let words = self.link.receive()?;
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["ok"] => Ok(()),
            ["error", number] => {
                let number = number.parse().map_err(io::Error::other)?;
                Err(HelperError::Refused(Errno::from_raw_os_error(number)))
            }
            _ => Err(io::Error::other("the helper's answer isn't one").into()),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Fails only for a process that has ended.
        let _ = child.kill();
        // It may be waiting for the mount, so whoever drops the helper must not wait for it.
        thread::spawn(move || child.wait());
    }
}
