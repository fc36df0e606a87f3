//! What vaultfs is compared with: age without a vault, and fuser without a tree. Both run in
//! processes of their own, as vaultfs does.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use age::{Decryptor, x25519};
use anyhow::{Context as _, Result, anyhow};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
    Session,
};

use crate::daemon::{eventually, unmount};

/// The first argument of a process that serves [`BareMount`].
pub(crate) const SERVE: &str = "__serve";
/// The first argument of a process that decrypts a directory.
pub(crate) const DECRYPT: &str = "__decrypt";

/// The one file of a [`BareMount`].
pub(crate) const FILE: &str = "SECRET";
const FILE_BYTES: [u8; 64] = [0x5A; 64];
const FILE_INO: INodeNo = INodeNo(2);

/// As long as a vaultfs mount lets the kernel keep names and attributes.
const VALIDITY: Duration = Duration::from_secs(1);
/// As many as a vaultfs mount has.
const SESSION_THREADS: usize = 2;

/// The least filesystem with one file in it: direct i/o, two threads, no checks, no locks.
struct Bare;

fn attr(ino: INodeNo) -> FileAttr {
    let is_file = ino == FILE_INO;
    FileAttr {
        ino,
        size: if is_file { FILE_BYTES.len() as u64 } else { 0 },
        blocks: 1,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_file { FileType::RegularFile } else { FileType::Directory },
        perm: if is_file { 0o400 } else { 0o500 },
        nlink: 1,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Bare {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == FILE {
            reply.entry(&VALIDITY, &attr(FILE_INO), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&VALIDITY, &attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        _: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(if offset == 0 { &FILE_BYTES } else { &[] });
    }
}

/// Serves the bare filesystem until someone unmounts it.
pub(crate) fn serve(mountpoint: &Path) -> Result<()> {
    let mut config = Config::default();
    config.n_threads = Some(SESSION_THREADS);
    config.clone_fd = true;
    config.mount_options = vec![
        MountOption::FSName("bare".to_owned()),
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
    ];
    Ok(Session::new(Bare, mountpoint, &config)?.run()?)
}

/// A mounted bare filesystem. Unmounted on drop.
pub(crate) struct BareMount {
    mountpoint: PathBuf,
    child: Child,
}

impl BareMount {
    pub(crate) fn new(mountpoint: PathBuf) -> Result<Self> {
        fs::create_dir(&mountpoint)?;
        let child = itself().arg(SERVE).arg(&mountpoint).spawn()?;
        let mount = Self { mountpoint, child };
        eventually("the bare filesystem is mounted", || mount.file().exists())?;
        Ok(mount)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.mountpoint.join(FILE)
    }
}

impl Drop for BareMount {
    fn drop(&mut self) {
        unmount(&self.mountpoint);
        // Nothing can be done about a child that didn't end well.
        let _ = self.child.wait();
    }
}

/// A process that decrypts every file in `directory` and ends.
pub(crate) fn decrypting(directory: &Path, identity: &Path) -> Command {
    let mut command = itself();
    command.arg(DECRYPT).arg(directory).arg(identity).stdin(Stdio::null());
    command
}

/// This program again.
fn itself() -> Command {
    Command::new("/proc/self/exe")
}

/// Reads and decrypts every file of `directory` on all cores, and keeps the values to the end.
pub(crate) fn decrypt_all(directory: &Path, identity: &Path) -> Result<()> {
    let text = fs::read_to_string(identity)?;
    let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-"));
    let identity: x25519::Identity =
        line.context("no identity")?.parse().map_err(|e: &str| anyhow!(e))?;
    let files: Vec<PathBuf> = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Vec<u8>>> {
        let mut values = Vec::new();
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = fs::read(path)?;
            let mut value = Vec::with_capacity(file.len());
            let decryptor = Decryptor::new_buffered(&file[..])?;
            decryptor.decrypt(iter::once(&identity as _))?.read_to_end(&mut value)?;
            values.push(value);
        }
        Ok(values)
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let running: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(values) => values.map(drop),
            Err(_) => Err(anyhow!("a thread panicked")),
        })
    })
}
