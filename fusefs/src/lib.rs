//! The mount of vaultfs: each secret is a read-only file that one chosen uid may open.
//!
//! Values come from a [`Source`](vaultfs_core::Source) and stay in locked memory. This crate
//! knows no vault, no cryptography and no command line; what belongs to the kernel's side of a
//! mount (FUSE, the mount table, inotify) is known here alone.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod access;
mod adapter;
mod announcer;
mod attach;
mod errno;
mod helper;
mod ino;
mod loader;
mod mount;
mod mountinfo;
mod mountpoint;
mod options;
mod plan;
mod publisher;
mod refresh;
mod status;
mod tree;
mod unmount;

pub use access::{Access, Reader};
pub use attach::AttachError;
pub use helper::run_helper;
pub use mount::{Ending, Mount, MountError, MountEvent};
pub use mountpoint::MountpointError;
pub use options::{Exposure, Loading, Memory, MountOptions, Need, Place, Selector};
pub use status::MountState;
pub use unmount::{UnmountError, unmount};
