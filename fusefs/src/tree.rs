//! The filesystem itself, without FUSE: names, versions, handles, and who may open what.
//!
//! It decides and never waits: no disk, no cryptography, no log. Every method takes one short
//! lock, so that a reader never waits for another one or for a rotation.
//!
//! A name moves from one version to the next in steps (see [`publish`]), because the kernel has
//! to be told of the old one while the name still leads there:
//! staged → current → condemned → superseded → retired.

mod node;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use vaultfs_core::{SecretName, Value, Version};

use crate::access::{Gate, Reader};
use crate::ino::Ino;
pub(crate) use node::{Content, File};
use node::{Directory, FileNode, Link, Node, NodeKind};
pub(crate) use publish::{Change, Staged};

/// How long the kernel may believe names and attributes of what isn't about to change. Below a
/// second, watchers lose events (measured); rotations don't wait for it.
const VALIDITY: Duration = Duration::from_secs(1);

/// The files of one mount.
pub(crate) struct Tree {
    gate: Gate,
    namespace: Box<[u8]>,
    state: Mutex<State>,
}

struct State {
    nodes: HashMap<Ino, Node>,
    handles: HashMap<Fh, Handle>,
    next_handle: u64,
    staged: Option<Staged>,
    shut: bool,
}

enum Handle {
    File { ino: Ino, value: Arc<Value>, own: OwnVersion },
    Directory(Arc<[DirectoryEntry]>),
}

/// Whether a handle reads the version of its own inode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnVersion {
    Yes,
    /// A retired inode, opened through a bound mount: it reads a later version.
    No,
}

/// A file handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fh(pub(crate) u64);

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// What `stat` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) ino: Ino,
    pub(crate) kind: Kind,
    pub(crate) size_bytes: u64,
    pub(crate) modified: SystemTime,
    pub(crate) mode: u16,
    pub(crate) nlink: u32,
    pub(crate) owner: Reader,
    /// How long the kernel may keep all this.
    pub(crate) validity: Duration,
}

/// One line of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryEntry {
    pub(crate) ino: Ino,
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// What an open leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// A handle that pins one version.
    Handle(Fh),
    /// Allowed, but the bytes have to be loaded into this inode first.
    Unloaded(Ino),
}

/// What an open or `access(2)` asks for, beyond being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Reading.
    Read,
    /// Running a file, or passing through a directory.
    Execute,
    /// Any change.
    Write,
}

/// How the kernel reads: into the caller's buffer, or into pages that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadKind {
    Direct,
    PageCache,
}

/// Bytes of one version, kept alive while the kernel copies them.
pub(crate) struct Chunk {
    value: Arc<Value>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// The bytes themselves.
    pub(crate) fn expose_bytes(&self) -> &[u8] {
        &self.value.expose_bytes()[self.start..self.end]
    }
}

/// Why a request is refused. `errno.rs` says how the caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("no such name")]
    NotFound,
    #[error("not one of the readers")]
    Denied,
    #[error("the mount is read-only")]
    ReadOnly,
    #[error("the secret can't be loaded")]
    Broken,
    #[error("not a directory")]
    NotADirectory,
    #[error("a directory")]
    IsADirectory,
    #[error("no such handle")]
    BadHandle,
    #[error("the mount has ended")]
    Shut,
}

impl Tree {
    /// An empty tree. `namespace` keeps the inode numbers of different vaults apart.
    pub(crate) fn new(gate: Gate, namespace: &[u8]) -> Self {
        let root =
            Node { link: Link::Current, lookups: 0, kind: NodeKind::Directory(Directory::empty()) };
        let state = State {
            nodes: HashMap::from([(Ino::ROOT, root)]),
            handles: HashMap::new(),
            next_handle: 1,
            staged: None,
            shut: false,
        };
        Self { gate, namespace: namespace.into(), state: Mutex::new(state) }
    }

    /// What `name` in `parent` is. Each success counts as one lookup, until it is forgotten.
    pub(crate) fn lookup(
        &self,
        uid: u32,
        parent: Ino,
        name: &OsStr,
    ) -> Result<Attributes, TreeError> {
        self.look(uid)?;
        let mut state = self.open_state()?;
        let name = name.to_str().ok_or(TreeError::NotFound)?;
        let ino = state.child(parent, name)?;
        state.nodes.get_mut(&ino).ok_or(TreeError::NotFound)?.lookups += 1;
        self.attributes_in(&state, ino)
    }

    /// Takes back `count` lookups of `ino`.
    pub(crate) fn forget(&self, ino: Ino, count: u64) {
        let mut state = self.state();
        if let Some(node) = state.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
            state.drop_unreachable(ino);
        }
    }

    /// What `stat` shows of `ino`.
    pub(crate) fn attributes(&self, ino: Ino) -> Result<Attributes, TreeError> {
        self.attributes_in(&*self.open_state()?, ino)
    }

    /// Whether `uid` may do all of `wants` with `ino`.
    pub(crate) fn access(&self, uid: u32, ino: Ino, wants: &[Want]) -> Result<(), TreeError> {
        self.look(uid)?;
        let state = self.open_state()?;
        let node = state.nodes.get(&ino).ok_or(TreeError::NotFound)?;
        if node.file().is_some() {
            let shown = state.shown(ino).ok_or(TreeError::NotFound)?;
            if !wants.is_empty() && !shown.file.may_open(uid) || wants.contains(&Want::Execute) {
                return Err(TreeError::Denied);
            }
        }
        if wants.contains(&Want::Write) {
            return Err(TreeError::ReadOnly);
        }
        Ok(())
    }

    /// Opens a file for `uid`. The handle reads one version until it is released.
    pub(crate) fn open(&self, uid: u32, ino: Ino, want: Want) -> Result<Opened, TreeError> {
        self.look(uid)?;
        let mut state = self.open_state()?;
        match state.nodes.get(&ino) {
            None => return Err(TreeError::NotFound),
            Some(Node { kind: NodeKind::Directory(_), .. }) => return Err(TreeError::IsADirectory),
            Some(_) => {}
        }
        let shown = state.shown_ino(ino).ok_or(TreeError::NotFound)?;
        let file = &state.nodes[&shown].file().ok_or(TreeError::NotFound)?.file;
        if !file.may_open(uid) {
            return Err(TreeError::Denied);
        }
        if want != Want::Read {
            return Err(TreeError::ReadOnly);
        }
        let value = match &file.content {
            Content::Loaded(value) => Arc::clone(value),
            Content::Unloaded => return Ok(Opened::Unloaded(shown)),
            Content::Broken => return Err(TreeError::Broken),
        };
        let own = if shown == ino { OwnVersion::Yes } else { OwnVersion::No };
        let node = state.nodes.get_mut(&ino).and_then(Node::file_mut);
        let node = node.ok_or(TreeError::NotFound)?;
        node.handles += 1;
        if own == OwnVersion::Yes {
            node.pinned += 1;
        }
        Ok(Opened::Handle(state.add_handle(Handle::File { ino, value, own })))
    }

    /// Up to `size` bytes of the handle's version from `offset` on; fewer only at the end.
    pub(crate) fn read(
        &self,
        fh: Fh,
        offset: u64,
        size: u32,
        kind: ReadKind,
    ) -> Result<Chunk, TreeError> {
        let mut state = self.open_state()?;
        let State { handles, nodes, .. } = &mut *state;
        let Some(Handle::File { ino, value, .. }) = handles.get(&fh) else {
            return Err(TreeError::BadHandle);
        };
        if kind == ReadKind::PageCache
            && let Some(node) = nodes.get_mut(ino).and_then(Node::file_mut)
        {
            node.cached = true;
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(value.len());
        let end = start.saturating_add(size as usize).min(value.len());
        Ok(Chunk { value: Arc::clone(value), start, end })
    }

    /// Ends a file handle. Returns the inode whose pages the kernel should now drop, if it may
    /// have kept some and nobody else has it open.
    pub(crate) fn release(&self, fh: Fh) -> Option<Ino> {
        let mut state = self.state();
        let Some(Handle::File { ino, own, .. }) = state.handles.remove(&fh) else { return None };
        let node = state.nodes.get_mut(&ino)?.file_mut()?;
        node.handles -= 1;
        if own == OwnVersion::Yes {
            node.pinned -= 1;
        }
        let drop_pages = node.handles == 0 && std::mem::take(&mut node.cached);
        state.drop_unreachable(ino);
        drop_pages.then_some(ino)
    }

    /// Opens a directory: the handle lists what is there now.
    pub(crate) fn open_directory(&self, uid: u32, ino: Ino) -> Result<Fh, TreeError> {
        self.look(uid)?;
        let mut state = self.open_state()?;
        let listing = state.listing(ino)?;
        Ok(state.add_handle(Handle::Directory(listing)))
    }

    /// The lines of an open directory, without `.` and `..`.
    pub(crate) fn entries(&self, fh: Fh) -> Result<Arc<[DirectoryEntry]>, TreeError> {
        match self.open_state()?.handles.get(&fh) {
            Some(Handle::Directory(listing)) => Ok(Arc::clone(listing)),
            Some(Handle::File { .. }) | None => Err(TreeError::BadHandle),
        }
    }

    /// Ends a directory handle.
    pub(crate) fn release_directory(&self, fh: Fh) {
        self.state().handles.remove(&fh);
    }

    /// What has to be loaded so that `ino` can be opened; None where there is nothing to load.
    pub(crate) fn unloaded(&self, ino: Ino) -> Option<(SecretName, Version)> {
        let state = self.state();
        let file = &state.nodes.get(&ino)?.file()?.file;
        matches!(file.content, Content::Unloaded)
            .then(|| (file.secret.clone(), file.version.clone()))
    }

    /// Whether the file at `place` waits to be loaded. False where there is none.
    pub(crate) fn waits_to_be_loaded(&self, place: &SecretName) -> bool {
        let state = self.state();
        let node = state.current(place).and_then(|ino| state.nodes.get(&ino)?.file());
        node.is_some_and(|node| matches!(node.file.content, Content::Unloaded))
    }

    /// Gives an unloaded file its bytes.
    pub(crate) fn fill(&self, ino: Ino, value: Arc<Value>) {
        let mut state = self.state();
        if let Some(node) = state.nodes.get_mut(&ino).and_then(Node::file_mut)
            && matches!(node.file.content, Content::Unloaded)
        {
            node.file.content = Content::Loaded(value);
        }
    }

    /// Ends everything: all values are let go, and every request is refused from now on.
    pub(crate) fn shut(&self) {
        let mut state = self.state();
        state.shut = true;
        state.nodes.clear();
        state.handles.clear();
        state.staged = None;
    }

    fn look(&self, uid: u32) -> Result<(), TreeError> {
        if self.gate.may_look(uid) { Ok(()) } else { Err(TreeError::Denied) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed only by code that doesn't panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, TreeError> {
        let state = self.state();
        if state.shut { Err(TreeError::Shut) } else { Ok(state) }
    }

    fn attributes_in(&self, state: &State, ino: Ino) -> Result<Attributes, TreeError> {
        let node = state.nodes.get(&ino).ok_or(TreeError::NotFound)?;
        let validity = match node.link {
            Link::Staged | Link::Current => VALIDITY,
            Link::Condemned | Link::Superseded | Link::Retired => Duration::ZERO,
        };
        let attributes = match &node.kind {
            NodeKind::Directory(directory) => Attributes {
                ino,
                kind: Kind::Directory,
                size_bytes: 0,
                modified: directory.modified,
                mode: self.gate.directory_mode(),
                nlink: node.nlink(),
                owner: self.gate.directory_owner(),
                validity,
            },
            NodeKind::File(own) => {
                // While someone holds the inode's own version, its size is the one that fits:
                // who reads exactly as many bytes as fstat says must get all of them.
                let file = if own.pinned > 0 { own } else { state.shown(ino).unwrap_or(own) };
                Attributes {
                    ino,
                    kind: Kind::File,
                    size_bytes: file.file.size_bytes(),
                    modified: file.file.modified,
                    mode: 0o400,
                    nlink: node.nlink(),
                    owner: file.file.owner(),
                    validity,
                }
            }
        };
        Ok(attributes)
    }
}

impl State {
    fn child(&self, parent: Ino, name: &str) -> Result<Ino, TreeError> {
        let node = self.nodes.get(&parent).ok_or(TreeError::NotFound)?;
        let directory = node.directory().ok_or(TreeError::NotADirectory)?;
        if let Some(staged) = &self.staged
            && let Some(ino) = staged.temporary_ino(parent, name)
        {
            return Ok(ino);
        }
        directory.entries.get(name).copied().ok_or(TreeError::NotFound)
    }

    /// The inode whose version an open of `ino` gets: itself, or what its place serves now.
    fn shown_ino(&self, ino: Ino) -> Option<Ino> {
        let node = self.nodes.get(&ino)?;
        let file = node.file()?;
        match (node.link, &file.file.content) {
            (Link::Staged | Link::Current | Link::Condemned, _)
            | (Link::Superseded, Content::Loaded(_)) => Some(ino),
            (Link::Superseded | Link::Retired, _) => self.current(&file.place),
        }
    }

    fn shown(&self, ino: Ino) -> Option<&FileNode> {
        self.nodes.get(&self.shown_ino(ino)?)?.file()
    }

    /// The file that `place` leads to.
    fn current(&self, place: &SecretName) -> Option<Ino> {
        let mut ino = Ino::ROOT;
        for segment in place.segments() {
            ino = *self.nodes.get(&ino)?.directory()?.entries.get(segment)?;
        }
        self.nodes.get(&ino)?.file().is_some().then_some(ino)
    }

    fn add_handle(&mut self, handle: Handle) -> Fh {
        let fh = Fh(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(fh, handle);
        fh
    }

    fn drop_unreachable(&mut self, ino: Ino) {
        if self.nodes.get(&ino).is_some_and(Node::unreachable) {
            self.nodes.remove(&ino);
        }
    }

    fn listing(&mut self, ino: Ino) -> Result<Arc<[DirectoryEntry]>, TreeError> {
        let node = self.nodes.get(&ino).ok_or(TreeError::NotFound)?;
        let directory = node.directory().ok_or(TreeError::NotADirectory)?;
        if let Some(listing) = &directory.listing {
            return Ok(Arc::clone(listing));
        }
        let kind = |ino| match self.nodes.get(ino).and_then(Node::directory) {
            Some(_) => Kind::Directory,
            None => Kind::File,
        };
        let lines = directory.entries.iter().map(|(name, ino)| DirectoryEntry {
            ino: *ino,
            kind: kind(ino),
            name: name.clone(),
        });
        let listing: Arc<[DirectoryEntry]> = lines.collect();
        if let Some(directory) = self.nodes.get_mut(&ino).and_then(Node::directory_mut) {
            directory.listing = Some(Arc::clone(&listing));
        }
        Ok(listing)
    }
}

impl Directory {
    fn empty() -> Self {
        Self { entries: BTreeMap::new(), modified: SystemTime::now(), listing: None }
    }
}
