//! How a name comes to lead to another version.
//!
//! 1. [`Tree::stage`] makes the new inode, found under a temporary name alone, and condemns the
//!    old one: the name still leads there, but the kernel hears nlink 0 and keeps neither name
//!    nor attributes.
//! 2. The kernel is told: a rename or unlink through the hidden mount, or a notification. Either
//!    may come back as a request, which commits.
//! 3. [`Tree::commit`] makes the name lead to the new inode, whether or not the kernel was told.
//! 4. A moment later, when no open that the name led to the old inode can still be under way,
//!    [`Tree::retire`] lets the old value go.
//!
//! One change is under way at a time; the caller stages, commits, and goes on.

use std::time::SystemTime;

use vaultfs_core::SecretName;

use super::{Content, Directory, File, FileNode, Link, Node, NodeKind, State, Tree, TreeError};
use crate::ino::Ino;

/// A change of one name that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Staged {
    /// The directory, relative to the root of the mount; empty for the root itself.
    pub(crate) directory: String,
    /// The directory's inode.
    pub(crate) parent: Ino,
    /// The name in it.
    pub(crate) name: String,
    /// Where the name leads until the commit.
    pub(crate) old: Option<Ino>,
    /// What happens to the name.
    pub(crate) change: Change,
}

/// What happens to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It leads to this inode, which until then is found under the temporary name.
    Replace { new: Ino, temporary: String },
    /// The file goes.
    RemoveFile,
    /// The directory, which is empty, goes.
    RemoveDirectory,
}

impl Staged {
    pub(super) fn temporary_ino(&self, parent: Ino, name: &str) -> Option<Ino> {
        match &self.change {
            Change::Replace { new, temporary } if self.parent == parent && temporary == name => {
                Some(*new)
            }
            Change::Replace { .. } | Change::RemoveFile | Change::RemoveDirectory => None,
        }
    }
}

impl Tree {
    /// Begins to serve `file` at `place`. `temporary` is a name that no secret can have.
    ///
    /// None where a directory stands at `place`, or a file where it needs a directory: a plan of
    /// places without conflicts never asks for it.
    pub(crate) fn stage(
        &self,
        place: &SecretName,
        file: File,
        temporary: String,
    ) -> Option<Staged> {
        let mut state = self.state();
        let (directory, parent) = self.ensure_directories(&mut state, place)?;
        let name = place.last_segment().to_owned();
        let old = state.nodes.get(&parent)?.directory()?.entries.get(&name).copied();
        if let Some(old) = old {
            state.nodes.get(&old)?.file()?;
        }
        let hash = file.version.hash;
        let new = self.unused_ino(&state, place.as_str(), Some(&hash));
        let node = FileNode { place: place.clone(), file, pinned: 0, handles: 0, cached: false };
        let kind = NodeKind::File(Box::new(node));
        state.nodes.insert(new, Node { link: Link::Staged, lookups: 0, kind });
        let change = Change::Replace { new, temporary };
        Some(state.begin(Staged { directory, parent, name, old, change }))
    }

    /// Begins to remove the file at `place`; None where there is none.
    pub(crate) fn stage_removal(&self, place: &SecretName) -> Option<Staged> {
        let mut state = self.state();
        let old = Some(state.current(place)?);
        let (directory, parent) = state.parent_of(place.as_str())?;
        let name = place.last_segment().to_owned();
        Some(state.begin(Staged { directory, parent, name, old, change: Change::RemoveFile }))
    }

    /// Begins to remove the deepest directory above `place`, if it is empty and not the root.
    pub(crate) fn stage_pruning(&self, place: &SecretName) -> Option<Staged> {
        let mut state = self.state();
        let mut path = place.as_str();
        loop {
            path = path.rsplit_once('/')?.0;
            if let Some(ino) = state.directory_at(path) {
                if !state.nodes.get(&ino)?.directory()?.entries.is_empty() {
                    return None;
                }
                let (directory, parent) = state.parent_of(path)?;
                let name = path.rsplit('/').next().unwrap_or(path).to_owned();
                let (old, change) = (Some(ino), Change::RemoveDirectory);
                return Some(state.begin(Staged { directory, parent, name, old, change }));
            }
        }
    }

    /// Ends `staged`: its name leads to the new inode. Does nothing where that has happened.
    pub(crate) fn commit(&self, staged: &Staged) {
        let mut state = self.state();
        if state.staged.as_ref() == Some(staged) {
            state.finish();
        }
    }

    /// A rename that came as a request: the one under way, or refused.
    pub(crate) fn rename(&self, from: (Ino, &str), to: (Ino, &str)) -> Result<(), TreeError> {
        let mut state = self.open_state()?;
        let expected = state.staged.as_ref().is_some_and(|staged| {
            staged.temporary_ino(from.0, from.1).is_some() && (staged.parent, &*staged.name) == to
        });
        if !expected {
            return Err(TreeError::ReadOnly);
        }
        state.finish();
        Ok(())
    }

    /// A removal that came as a request: the one under way, or refused.
    pub(crate) fn remove(&self, parent: Ino, name: &str) -> Result<(), TreeError> {
        let mut state = self.open_state()?;
        let expected = state.staged.as_ref().is_some_and(|staged| {
            !matches!(staged.change, Change::Replace { .. })
                && (staged.parent, &*staged.name) == (parent, name)
        });
        if !expected {
            return Err(TreeError::ReadOnly);
        }
        state.finish();
        Ok(())
    }

    /// Lets the value of a superseded inode go. Open handles keep it until they are released.
    pub(crate) fn retire(&self, ino: Ino) {
        let mut state = self.state();
        if let Some(node) = state.nodes.get_mut(&ino)
            && node.link == Link::Superseded
        {
            node.link = Link::Retired;
            if let Some(node) = node.file_mut() {
                // Attributes of the node's own version are shown while a handle pins it, so
                // what is known of it stays.
                if let Content::Loaded(value) = &node.file.content {
                    node.file.version.size_bytes = value.len() as u64;
                }
                node.file.content = Content::Unloaded;
            }
            state.drop_unreachable(ino);
        }
    }

    fn unused_ino(&self, state: &State, path: &str, hash: Option<&vaultfs_core::FileHash>) -> Ino {
        let mut attempt = 0;
        loop {
            let ino = Ino::derive(&self.namespace, path, hash, attempt);
            if !state.nodes.contains_key(&ino) {
                return ino;
            }
            attempt += 1;
        }
    }

    /// The directory of `place`, made where it is missing.
    fn ensure_directories(&self, state: &mut State, place: &SecretName) -> Option<(String, Ino)> {
        let (mut path, mut parent) = (String::new(), Ino::ROOT);
        let mut segments = place.segments();
        segments.next_back();
        for segment in segments {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(segment);
            let existing = state.nodes.get(&parent)?.directory()?.entries.get(segment).copied();
            let ino = existing.unwrap_or_else(|| {
                let ino = self.unused_ino(state, &path, None);
                let kind = NodeKind::Directory(Directory::empty());
                state.nodes.insert(ino, Node { link: Link::Current, lookups: 0, kind });
                state.link(parent, segment, Some(ino));
                ino
            });
            state.nodes.get(&ino)?.directory()?;
            parent = ino;
        }
        Some((path, parent))
    }
}

impl State {
    /// Puts `staged` under way, ending whatever was.
    fn begin(&mut self, staged: Staged) -> Staged {
        self.finish();
        if let Some(node) = staged.old.and_then(|old| self.nodes.get_mut(&old)) {
            node.link = Link::Condemned;
        }
        self.staged = Some(staged.clone());
        staged
    }

    fn finish(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        let new = match staged.change {
            Change::Replace { new, .. } => Some(new),
            Change::RemoveFile | Change::RemoveDirectory => None,
        };
        if let Some(node) = new.and_then(|new| self.nodes.get_mut(&new)) {
            node.link = Link::Current;
        }
        self.link(staged.parent, &staged.name, new);
        if let Some(old) = staged.old {
            if let Some(node) = self.nodes.get_mut(&old) {
                node.link = Link::Superseded;
            }
            self.drop_unreachable(old);
        }
    }

    fn link(&mut self, parent: Ino, name: &str, to: Option<Ino>) {
        if let Some(directory) = self.nodes.get_mut(&parent).and_then(Node::directory_mut) {
            match to {
                Some(ino) => directory.entries.insert(name.to_owned(), ino),
                None => directory.entries.remove(name),
            };
            directory.modified = SystemTime::now();
            directory.listing = None;
        }
    }

    fn directory_at(&self, path: &str) -> Option<Ino> {
        let mut ino = Ino::ROOT;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            ino = *self.nodes.get(&ino)?.directory()?.entries.get(segment)?;
        }
        self.nodes.get(&ino)?.directory().is_some().then_some(ino)
    }

    fn parent_of(&self, path: &str) -> Option<(String, Ino)> {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        Some((directory.to_owned(), self.directory_at(directory)?))
    }
}
