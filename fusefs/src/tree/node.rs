//! What an inode number stands for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use vaultfs_core::{SecretName, Value, Version};

use crate::access::Reader;
use crate::ino::Ino;

/// A file to serve: one version of one secret, at one place.
#[derive(Clone)]
pub(crate) struct File {
    /// Whose value it is.
    pub(crate) secret: SecretName,
    /// Which version of it.
    pub(crate) version: Version,
    /// Who may open it; the first is the owner that `stat` shows.
    pub(crate) readers: Arc<[Reader]>,
    /// Its bytes.
    pub(crate) content: Content,
    /// Its modification time: when the value was last rotated.
    pub(crate) modified: SystemTime,
}

/// The bytes of a file, as far as they are there.
#[derive(Clone)]
pub(crate) enum Content {
    /// In memory.
    Loaded(Arc<Value>),
    /// To be loaded when it is first opened.
    Unloaded,
    /// Neither this version nor an earlier one could be loaded.
    Broken,
}

impl File {
    pub(super) fn size_bytes(&self) -> u64 {
        match &self.content {
            Content::Loaded(value) => value.len() as u64,
            Content::Unloaded | Content::Broken => self.version.size_bytes,
        }
    }

    pub(super) fn owner(&self) -> Reader {
        // An exposure has at least one reader; were there none, root is nobody's reader either.
        self.readers.first().copied().unwrap_or(Reader { uid: 0, gid: 0 })
    }

    pub(super) fn may_open(&self, uid: u32) -> bool {
        self.readers.iter().any(|reader| reader.uid == uid)
    }
}

/// One inode.
pub(super) struct Node {
    pub(super) link: Link,
    /// How many lookups the kernel hasn't forgotten yet.
    pub(super) lookups: u64,
    pub(super) kind: NodeKind,
}

pub(super) enum NodeKind {
    Directory(Directory),
    /// Boxed: a hash table keeps places free, and this is large.
    File(Box<FileNode>),
}

/// How a node hangs in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// About to take a name; found under its temporary name alone.
    Staged,
    /// The name leads here.
    Current,
    /// The name still leads here, but is about to lead elsewhere. Says nlink 0, so that the
    /// kernel tells those who watch the file, whichever way it drops the name.
    Condemned,
    /// The name leads elsewhere. Still serves its own version, for an open that is on its way.
    Superseded,
    /// Its own version is given up. A bound mount may still lead here: what it opens is whatever
    /// its place serves now.
    Retired,
}

pub(super) struct Directory {
    pub(super) entries: BTreeMap<String, Ino>,
    pub(super) modified: SystemTime,
    /// What `readdir` returns, made when it is first asked for after a change.
    pub(super) listing: Option<Arc<[super::DirectoryEntry]>>,
}

pub(super) struct FileNode {
    pub(super) place: SecretName,
    pub(super) file: File,
    /// Open handles on the node's own version.
    pub(super) pinned: u32,
    /// Open handles on any version.
    pub(super) handles: u32,
    /// A mapping made the kernel keep pages of this inode.
    pub(super) cached: bool,
}

impl Node {
    pub(super) fn nlink(&self) -> u32 {
        match (self.link, &self.kind) {
            (Link::Staged | Link::Current, NodeKind::File(_)) => 1,
            (Link::Staged | Link::Current, NodeKind::Directory(_)) => 2,
            (Link::Condemned | Link::Superseded | Link::Retired, _) => 0,
        }
    }

    pub(super) fn directory(&self) -> Option<&Directory> {
        match &self.kind {
            NodeKind::Directory(directory) => Some(directory),
            NodeKind::File(_) => None,
        }
    }

    pub(super) fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.kind {
            NodeKind::Directory(directory) => Some(directory),
            NodeKind::File(_) => None,
        }
    }

    pub(super) fn file(&self) -> Option<&FileNode> {
        match &self.kind {
            NodeKind::File(file) => Some(file),
            NodeKind::Directory(_) => None,
        }
    }

    pub(super) fn file_mut(&mut self) -> Option<&mut FileNode> {
        match &mut self.kind {
            NodeKind::File(file) => Some(file),
            NodeKind::Directory(_) => None,
        }
    }

    /// Nothing leads here any more: the number may be used again.
    pub(super) fn unreachable(&self) -> bool {
        let open = self.file().is_some_and(|file| file.handles > 0);
        matches!(self.link, Link::Superseded | Link::Retired) && self.lookups == 0 && !open
    }
}
