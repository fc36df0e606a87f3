//! Who may do what in a mount: readers, and the two gates.

/// A user that a mount lets read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reader {
    /// The user id, as the host sees it. What decides whether a file opens.
    pub uid: u32,
    /// The primary group id: part of what a private mount's kernel gate compares, and the group
    /// that `stat` shows.
    pub gid: u32,
}

/// Which of the two gates a mount has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// One reader. The kernel refuses everyone else, root included, before we are asked.
    Private,
    /// Several readers: anyone may look at names, sizes and times, readers may open.
    Shared,
}

/// The gate of one mount, with the owner of its directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Only this reader may even look.
    Private(Reader),
    /// Everybody may look; directories belong to this user.
    Shared(Reader),
}

impl Gate {
    /// Who owns the directories.
    pub(crate) fn directory_owner(self) -> Reader {
        match self {
            Self::Private(owner) | Self::Shared(owner) => owner,
        }
    }

    /// The permission bits of the directories.
    pub(crate) fn directory_mode(self) -> u16 {
        match self {
            Self::Private(_) => 0o500,
            Self::Shared(_) => 0o555,
        }
    }

    /// Whether `uid` may look at names. The kernel has already asked this in a private mount,
    /// unless `fuse.allow_sys_admin_access` let root past it.
    pub(crate) fn may_look(self, uid: u32) -> bool {
        match self {
            Self::Private(reader) => reader.uid == uid,
            Self::Shared(_) => true,
        }
    }
}
