//! Making a FUSE filesystem and putting it in its place, with the kernel's own calls where we
//! may, through `fusermount3` where we may not.
//!
//! Always read-only, without set-user-id, devices and programs.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{self as rfs, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::process::geteuid;

use crate::access::{Access, Reader};
use crate::helper::receive_descriptor;
use crate::mountinfo::{MountEntry, MountId};
use crate::mountpoint::Mountpoint;

/// Why the kernel or `fusermount3` didn't mount.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// `/dev/fuse` isn't there. Usual causes: the module isn't loaded, or a container without
    /// the device.
    #[error("/dev/fuse is missing")]
    DeviceMissing(#[source] io::Error),
    /// `/dev/fuse` is there, and we may not open it. Usual cause: a container that wasn't given
    /// the device.
    #[error("/dev/fuse can't be opened")]
    DeviceNotPermitted(#[source] io::Error),
    /// This process is root, and may not mount: `CAP_SYS_ADMIN` is missing.
    #[error("mounting is not permitted")]
    NotPermitted(#[source] io::Error),
    /// `fusermount3`, which mounts for users without privileges, isn't installed.
    #[error("fusermount3 is not installed")]
    FusermountMissing(#[source] io::Error),
    /// A shared mount without privileges, and `/etc/fuse.conf` doesn't allow that.
    #[error("a shared mount needs user_allow_other in /etc/fuse.conf")]
    AllowOther,
    /// Without privileges, the reader can only be oneself.
    #[error("only root can mount for uid {uid}", uid = .0.uid)]
    OtherReader(Reader),
    /// `fusermount3` failed otherwise.
    #[error("fusermount3 can't mount on {}: {message}", .path.display())]
    Fusermount {
        /// The mount point.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// The kernel failed otherwise.
    #[error("mounting on {} failed", .path.display())]
    Kernel {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A filesystem in its place.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The connection to the kernel.
    pub(crate) device: OwnedFd,
    /// A second, writable mount of the same filesystem, in nobody's mount table.
    pub(crate) hidden: Option<OwnedFd>,
    /// The line of the mount table.
    pub(crate) entry: MountEntry,
}

/// Mounts on `mountpoint`. In a private mount the kernel lets in `owner` alone.
pub(crate) fn attach(
    mountpoint: &Mountpoint,
    access: Access,
    owner: Reader,
) -> Result<Attached, AttachError> {
    if geteuid().is_root() {
        attach_directly(mountpoint, access, owner)
    } else {
        attach_through_fusermount(mountpoint, access, owner)
    }
}

fn attach_directly(
    mountpoint: &Mountpoint,
    access: Access,
    owner: Reader,
) -> Result<Attached, AttachError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rfs::openat(CWD, "/dev/fuse", flags, Mode::empty()).map_err(|e| match e {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => AttachError::DeviceMissing(e.into()),
        e => AttachError::DeviceNotPermitted(e.into()),
    })?;
    let kernel = |e: Errno| match e {
        Errno::PERM => AttachError::NotPermitted(e.into()),
        Errno::NODEV => AttachError::DeviceMissing(e.into()),
        e => AttachError::Kernel { path: mountpoint.path().to_owned(), source: e.into() },
    };
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let create = |attributes| {
        let filesystem = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (name, value) in [
            ("source", "vaultfs".to_owned()),
            ("subtype", "vaultfs".to_owned()),
            ("fd", device.as_raw_fd().to_string()),
            ("rootmode", "40000".to_owned()),
            ("user_id", owner.uid.to_string()),
            ("group_id", owner.gid.to_string()),
        ] {
            fsconfig_set_string(filesystem.as_fd(), name, value)?;
        }
        if access == Access::Shared {
            fsconfig_set_flag(filesystem.as_fd(), "allow_other")?;
        }
        fsconfig_create(filesystem.as_fd())?;
        fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    let public = create(attributes | MountAttrFlags::MOUNT_ATTR_RDONLY).map_err(kernel)?;
    // The same descriptor leads to the same filesystem (Linux 5.13); an older kernel refuses,
    // and directories are then served without their events.
    let hidden = create(attributes).ok();
    let place = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&public, "", mountpoint, "", place).map_err(kernel)?;
    let entry = MountId::of(&public).and_then(|id| entry_of(mountpoint, Some(id)));
    // An open descriptor would keep others from unmounting.
    drop(public);
    let path = mountpoint.path().to_owned();
    let entry = entry.map_err(|source| AttachError::Kernel { path, source })?;
    Ok(Attached { device, hidden, entry })
}

fn attach_through_fusermount(
    mountpoint: &Mountpoint,
    access: Access,
    owner: Reader,
) -> Result<Attached, AttachError> {
    if owner.uid != geteuid().as_raw() {
        return Err(AttachError::OtherReader(owner));
    }
    let path = mountpoint.path().to_owned();
    let failed =
        |message: String| AttachError::Fusermount { path: mountpoint.path().to_owned(), message };
    let io_failed = |e: io::Error| failed(e.to_string());
    let mut options = "ro,nosuid,nodev,noexec,fsname=vaultfs,subtype=vaultfs".to_owned();
    if access == Access::Shared {
        options.push_str(",allow_other");
    }
    let (ours, theirs) = UnixStream::pair().map_err(io_failed)?;
    let mut child = Command::new("fusermount3")
        .args(["-o", &options, "--"])
        .arg(&path)
        // As standard input, because every other descriptor is closed when the program starts.
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Signals to our whole process group, such as Ctrl-C, aren't for it.
        .process_group(0)
        .spawn()
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => AttachError::FusermountMissing(e),
            _ => io_failed(e),
        })?;
    let received = receive_descriptor(&ours, &mut [0]).map_err(io_failed);
    drop(ours);
    let mut message = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut message);
    }
    child.wait().map_err(io_failed)?;
    let (_, Some(device)) = received? else {
        return Err(fusermount_error(mountpoint, message.trim()));
    };
    let entry =
        entry_of(mountpoint, None).map_err(|source| AttachError::Kernel { path, source })?;
    Ok(Attached { device, hidden: None, entry })
}

/// Tells the usual failures of `fusermount3` apart, by the words of its util/fusermount.c.
fn fusermount_error(mountpoint: &Mountpoint, message: &str) -> AttachError {
    let cause = || io::Error::other(message.to_owned());
    if message.contains("user_allow_other") {
        AttachError::AllowOther
    } else if message.contains("fuse device not found") {
        AttachError::DeviceMissing(cause())
    } else if message.contains("failed to open /dev/fuse") {
        AttachError::DeviceNotPermitted(cause())
    } else {
        let path = mountpoint.path().to_owned();
        AttachError::Fusermount { path, message: message.to_owned() }
    }
}

/// The line of the mount table for the mount just made.
fn entry_of(mountpoint: &Mountpoint, id: Option<MountId>) -> io::Result<MountEntry> {
    let entries = MountEntry::all()?;
    entries
        .into_iter()
        .rfind(|entry| match id {
            Some(id) => entry.id == id,
            None => entry.mountpoint == mountpoint.path() && entry.is_ours(),
        })
        .ok_or_else(|| io::Error::other("the mount is not in the mount table"))
}
