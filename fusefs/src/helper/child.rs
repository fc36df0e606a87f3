//! What the helper process does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{self, AtFlags, CWD, StatxFlags};
use rustix::process::{getegid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::link::Link;
use crate::access::Reader;

/// Runs the helper of a mount: the whole of a process that [`MountOptions::helper`] starts. It
/// talks over its standard input, and returns when the daemon is gone.
///
/// To be called before the process has a second thread that does anything: it changes the
/// credentials of its own thread alone.
///
/// # Errors
/// Where standard input isn't what the daemon gave it.
///
/// [`MountOptions::helper`]: crate::MountOptions::helper
pub fn run_helper() -> io::Result<()> {
    match serve() {
        // However the daemon ended, there is nothing left to do.
        Err(e) if DAEMON_IS_GONE.contains(&e.kind()) => Ok(()),
        result => result,
    }
}

const DAEMON_IS_GONE: [io::ErrorKind; 3] =
    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];

fn serve() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut link = Link::new(socket);
    let (reader, hidden) = link.receive_identity()?;
    let mut result = become_reader(reader);
    loop {
        match result {
            Ok(()) => link.send(&["ok"])?,
            Err(e) => link.send(&["error", &e.raw_os_error().to_string()])?,
        }
        result = obey(&link.receive()?, hidden.as_ref());
    }
}

fn become_reader(reader: Reader) -> rustix::io::Result<()> {
    let (uid, gid) = (fs::Uid::from_raw(reader.uid), fs::Gid::from_raw(reader.gid));
    if (geteuid(), getegid()) == (uid, gid) {
        return Ok(());
    }
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

fn obey(words: &[String], hidden: Option<&OwnedFd>) -> rustix::io::Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let hidden = hidden.ok_or(rustix::io::Errno::ROFS);
    match words[..] {
        // Attributes that the kernel still has would say nothing of who answers.
        ["look", path] => {
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
            fs::statx(CWD, path, flags, StatxFlags::BASIC_STATS).map(drop)
        }
        ["rename", from, to] => hidden.and_then(|root| fs::renameat(root, from, root, to)),
        ["unlink", path] => hidden.and_then(|root| fs::unlinkat(root, path, AtFlags::empty())),
        ["rmdir", path] => hidden.and_then(|root| fs::unlinkat(root, path, AtFlags::REMOVEDIR)),
        _ => Err(rustix::io::Errno::INVAL),
    }
}
