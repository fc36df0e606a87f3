//! FUSE on one side, the tree on the other: translates, and decides nothing.
//!
//! No handler waits: what takes time (loading, telling the kernel) is handed to other threads.
//! Notifications from inside a handler can deadlock, so there are none here.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner,
    OpenAccMode, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::announcer::Note;
use crate::errno::errno;
use crate::ino::Ino;
use crate::loader::Loader;
use crate::tree::{Attributes, Fh, Kind, Opened, ReadKind, Tree, Want};

/// The block size that `stat` shows, in bytes.
const BLOCK_BYTES: u32 = 4096;

/// Keeps requests small: pinning 256 pages for a direct read costs 20 times what one costs. With
/// the kernel's usual read-ahead, a request is at most 128 KiB.
const MAX_WRITE_BYTES: u32 = 4096;

/// The filesystem as fuser sees it.
pub(crate) struct Adapter {
    tree: Arc<Tree>,
    loader: Arc<Loader>,
    notes: Sender<Note>,
}

impl Adapter {
    /// An adapter over `tree`. What has to be loaded first goes to `loader`, what the kernel has
    /// to be told to `notes`.
    pub(crate) fn new(tree: Arc<Tree>, loader: Arc<Loader>, notes: Sender<Note>) -> Self {
        Self { tree, loader, notes }
    }
}

fn attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.ino.0),
        size: attributes.size_bytes,
        blocks: attributes.size_bytes.div_ceil(512),
        atime: attributes.modified,
        mtime: attributes.modified,
        ctime: attributes.modified,
        crtime: attributes.modified,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.owner.uid,
        gid: attributes.owner.gid,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
    }
}

fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

/// Answers an open that the tree has decided, or leaves it to the loader.
pub(crate) fn answer_open(
    tree: &Tree,
    uid: u32,
    ino: Ino,
    want: Want,
    reply: ReplyOpen,
) -> Option<(Ino, ReplyOpen)> {
    match tree.open(uid, ino, want) {
        // Without direct i/o, plaintext stays in the page cache after the close, and a cached
        // size can cut a value short that has grown.
        Ok(Opened::Handle(fh)) => reply.opened(FileHandle(fh.0), FopenFlags::FOPEN_DIRECT_IO),
        Ok(Opened::Unloaded(ino)) => return Some((ino, reply)),
        Err(e) => reply.error(errno(e)),
    }
    None
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Neither is worth failing for: both only make things faster.
        let _ = config.set_max_write(MAX_WRITE_BYTES);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.tree.lookup(request.uid(), ino(parent), name) {
            Ok(found) => reply.entry(&found.validity, &attr(&found), Generation(0)),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        self.tree.forget(ino(number), count);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree.attributes(ino(number)) {
            Ok(found) => reply.attr(&found.validity, &attr(&found)),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let wants = [
            (AccessFlags::R_OK, Want::Read),
            (AccessFlags::X_OK, Want::Execute),
            (AccessFlags::W_OK, Want::Write),
        ];
        let wants: Vec<Want> =
            wants.into_iter().filter(|(flag, _)| mask.contains(*flag)).map(|(_, w)| w).collect();
        match self.tree.access(request.uid(), ino(number), &wants) {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let want = match flags.acc_mode() {
            OpenAccMode::O_RDONLY => Want::Read,
            OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR => Want::Write,
        };
        let (uid, number) = (request.uid(), ino(number));
        if let Some((unloaded, reply)) = answer_open(&self.tree, uid, number, want, reply) {
            self.loader.open_when_loaded(unloaded, uid, number, reply);
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // The kernel names a lock owner where it reads for a caller, and none where it fills
        // its page cache (fuse_send_read in fs/fuse/file.c).
        let kind = match lock_owner {
            Some(_) => ReadKind::Direct,
            None => ReadKind::PageCache,
        };
        match self.tree.read(Fh(fh.0), offset, size, kind) {
            Ok(chunk) => reply.data(chunk.expose_bytes()),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(ino) = self.tree.release(Fh(fh.0)) {
            // No receiver means that the mount is ending, and its page cache with it.
            let _ = self.notes.send(Note::DropPages(ino));
        }
        reply.ok();
    }

    fn opendir(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.tree.open_directory(request.uid(), ino(number)) {
            Ok(fh) => reply.opened(FileHandle(fh.0), FopenFlags::empty()),
            Err(e) => reply.error(errno(e)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = match self.tree.entries(Fh(fh.0)) {
            Ok(listing) => listing,
            Err(e) => return reply.error(errno(e)),
        };
        let dots = [".", ".."].map(|name| (number, FileType::Directory, name));
        let lines = listing.iter().map(|e| (INodeNo(e.ino.0), file_type(e.kind), &*e.name));
        let lines = (1..).zip(dots.into_iter().chain(lines));
        for (next, (number, kind, name)) in
            lines.skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            if reply.add(number, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.tree.release_directory(Fh(fh.0));
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, BLOCK_BYTES, 255, BLOCK_BYTES);
    }

    // What the kernel learns from "not implemented" is never to ask again.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn readlink(&self, _: &Request, _: INodeNo, reply: ReplyData) {
        reply.error(Errno::EINVAL);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // Changes. The one mount that the kernel lets write is hidden, and of its requests the tree
    // takes only the rename or removal that is under way.

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = match (name.to_str(), new_name.to_str()) {
            (Some(from), Some(to)) if flags.is_empty() => {
                self.tree.rename((ino(parent), from), (ino(new_parent), to)).map_err(errno)
            }
            _ => Err(Errno::EROFS),
        };
        answer(renamed, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_str().unwrap_or_default();
        answer(self.tree.remove(ino(parent), name).map_err(errno), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_str().unwrap_or_default();
        answer(self.tree.remove(ino(parent), name).map_err(errno), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}

fn answer(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}
