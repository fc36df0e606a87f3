//! Reads identity texts into locked memory: from files, and from what a command prints.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::places::Expectation;
use super::{IdentityError, Origin};
use crate::{Value, ValueError};

/// The largest identity text, in bytes. A file of age-keygen's has under 200, a large RSA key 4 KiB.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// How long a command may take to print identities. Some ask a person.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// An opened identity file: what the system says of it, before anything is read.
pub(super) struct IdentityFile {
    file: File,
    metadata: std::fs::Metadata,
}

impl IdentityFile {
    /// None where it is absent and may be.
    ///
    /// What a person names may also be a FIFO or a terminal, such as `<(command)` or
    /// `/dev/stdin`. In the other places, where a FIFO would hang us, only regular files count.
    /// Symbolic links are followed everywhere: people keep identities in other directories.
    pub(super) fn open(
        path: &Path,
        origin: &Origin,
        expectation: Expectation,
    ) -> Result<Option<Self>, IdentityError> {
        let named = expectation == Expectation::Named;
        let mut flags = OFlags::NOCTTY;
        if !named {
            flags |= OFlags::NONBLOCK;
        }
        let flags = i32::try_from(flags.bits()).expect("open flags fit the system's own type");
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .and_then(|file| Ok(Self { metadata: file.metadata()?, file }));
        match opened {
            Ok(Self { metadata, .. }) if metadata.is_dir() || !named && !metadata.is_file() => {
                Err(IdentityError::NotAFile { origin: origin.clone() })
            }
            Ok(file) => Ok(Some(file)),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                match expectation {
                    Expectation::Named => Err(IdentityError::Missing { origin: origin.clone() }),
                    _ => Ok(None),
                }
            }
            Err(source) => Err(unreadable(source, origin)),
        }
    }

    /// The same for two paths that lead to one file.
    pub(super) fn device_and_inode(&self) -> (u64, u64) {
        (self.metadata.dev(), self.metadata.ino())
    }

    /// The permission bits, where they let others than the owner at the file.
    pub(super) fn mode_for_others(&self) -> Option<u32> {
        let mode = self.metadata.mode() & 0o7777;
        (self.metadata.is_file() && mode & 0o077 != 0).then_some(mode)
    }

    /// The uid that owns it; none where nobody does, as with a pipe.
    pub(super) fn owner(&self) -> Option<u32> {
        self.metadata.is_file().then(|| self.metadata.uid())
    }

    pub(super) fn read(self, origin: &Origin) -> Result<Value, IdentityError> {
        read_text(self.file, origin)
    }
}

/// What the shell command `command` prints. Its errors go nowhere, since they may quote what it
/// prints, and its input is empty. It keeps our terminal, to ask for a passphrase of its own.
pub(super) fn read_command(command: &OsStr, origin: &Origin) -> Result<Value, IdentityError> {
    read_command_within(COMMAND_LIMIT, command, origin)
}

fn read_command_within(
    limit: Duration,
    command: &OsStr,
    origin: &Origin,
) -> Result<Value, IdentityError> {
    let failed = |status: String| IdentityError::Command { origin: origin.clone(), status };
    let deadline = Instant::now() + limit;
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| unreadable(source, origin))?;
    let output = child.stdout.take().expect("standard output was asked for as a pipe");
    let text = read_text(UntilDeadline { output, deadline }, origin);
    match (wait_until(deadline, &mut child), text) {
        (Ok(Some(status)), Ok(text)) if status.success() => Ok(text),
        (Ok(Some(status)), Ok(_)) => Err(failed(status.to_string())),
        (Ok(None), _) => Err(failed(format!("it took longer than {} seconds", limit.as_secs()))),
        (Err(source), _) => Err(unreadable(source, origin)),
        (Ok(Some(_)), Err(error)) => Err(error),
    }
}

/// Ends the child at the deadline; then there is no status.
fn wait_until(deadline: Instant, child: &mut Child) -> io::Result<Option<ExitStatus>> {
    // By now it has closed its output, and nearly always ended; std has no wait with a limit.
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// A command's output, which ends with an error at the deadline.
struct UntilDeadline {
    output: ChildStdout,
    deadline: Instant,
}

impl Read for UntilDeadline {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.output, PollFlags::IN)], Some(&timeout))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => self.output.read(into),
        }
    }
}

fn read_text(reader: impl Read, origin: &Origin) -> Result<Value, IdentityError> {
    let mut limited = reader.take(MAX_TEXT_BYTES as u64 + 1);
    let text = Value::read_from(&mut limited).map_err(|error| of_value(error, origin))?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(IdentityError::TooLarge { origin: origin.clone() });
    }
    Ok(text)
}

pub(super) fn of_value(error: ValueError, origin: &Origin) -> IdentityError {
    match error {
        ValueError::TooLarge => IdentityError::TooLarge { origin: origin.clone() },
        ValueError::OutOfMemory(error) => error.into(),
        ValueError::Read(source) => unreadable(source, origin),
    }
}

fn unreadable(source: io::Error, origin: &Origin) -> IdentityError {
    IdentityError::Read { origin: origin.clone(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    const ORIGIN: Origin = Origin::Variable("SOPS_AGE_KEY_CMD");

    fn run(limit: Duration, command: &str) -> Result<Value, IdentityError> {
        read_command_within(limit, OsStr::from_bytes(command.as_bytes()), &ORIGIN)
    }

    #[test]
    fn a_commands_output_is_read_whole() {
        let text = run(COMMAND_LIMIT, "printf one; printf two").unwrap();
        assert_eq!(text.expose_bytes(), b"onetwo");
    }

    #[test]
    fn a_failed_command_is_told_by_its_status_alone() {
        let error = run(COMMAND_LIMIT, "echo CANARY; echo CANARY >&2; exit 7").err().unwrap();
        let told = format!("{error} {error:?}");
        assert!(told.contains("exit status: 7") && !told.contains("CANARY"), "{told}");
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_at_the_limit() {
        for command in ["sleep 600", "exec >&-; sleep 600", "echo CANARY; sleep 600"] {
            let error = run(Duration::from_millis(50), command).err().unwrap();
            assert!(error.to_string().contains("took longer"), "{error}");
        }
    }

    #[test]
    fn endless_output_is_cut_off() {
        let error = run(COMMAND_LIMIT, "yes CANARY").err().unwrap();
        assert!(matches!(error, IdentityError::TooLarge { .. }), "{error}");
    }
}
