//! What to do where a mount doesn't come up or go down.

use std::error::Error as StdError;

use vaultfs_fusefs::{AttachError, MountError, MountpointError, UnmountError};

use super::is;
use crate::users::UnknownUser;

/// The next step for an error of a mount.
pub(crate) fn hint(error: &(dyn StdError + 'static)) -> Option<String> {
    if is::<UnknownUser>(error).is_some() {
        return Some(
            "give a user of this machine, by name or uid; `getent passwd` lists them".into(),
        );
    }
    if let Some(error) = is::<MountError>(error) {
        return match error {
            MountError::Mountpoint(error) => mountpoint_hint(error),
            MountError::Attach(error) => attach_hint(error),
            error => mount_hint(error).map(str::to_owned),
        };
    }
    is::<UnmountError>(error).and_then(|error| match error {
        UnmountError::NotMounted(_) => {
            Some("`findmnt -t fuse.vaultfs` lists what is mounted".into())
        }
        _ => None,
    })
}

fn mountpoint_hint(error: &MountpointError) -> Option<String> {
    Some(match error {
        MountpointError::Missing(path) => format!("make it: mkdir -p {}", path.display()),
        MountpointError::Symlink(_) => "name the directory that it points to".into(),
        MountpointError::NotADirectory(_) => "choose a directory".into(),
        MountpointError::NotEmpty(_) => {
            "choose an empty directory: what is in this one would be hidden".into()
        }
        MountpointError::NotOurs { .. } => "choose a directory of your own".into(),
        MountpointError::AlreadyMounted { path, .. } => {
            format!("choose another, or end what is there: vaultfs unmount {}", path.display())
        }
        MountpointError::Stale { path, .. } => format!("as root: umount -l {}", path.display()),
        _ => return None,
    })
}

fn attach_hint(error: &AttachError) -> Option<String> {
    Some(match error {
        AttachError::DeviceMissing(_) => {
            "load the kernel's module as root: modprobe fuse; in a container, start it with \
             --device /dev/fuse"
                .into()
        }
        AttachError::DeviceNotPermitted(_) => {
            "the device should be open to all: as root, chmod 0666 /dev/fuse; in a container, start \
             it with --device /dev/fuse --cap-add SYS_ADMIN"
                .into()
        }
        AttachError::NotPermitted(_) => {
            "mounting as root takes CAP_SYS_ADMIN; in a container, start it with --cap-add SYS_ADMIN"
                .into()
        }
        AttachError::FusermountMissing(_) => {
            "install it: apt-get install fuse3; or mount as root, which needs none".into()
        }
        AttachError::AllowOther => {
            "as root, put the line user_allow_other into /etc/fuse.conf; or mount as root, or with \
             --access private"
                .into()
        }
        AttachError::OtherReader(_) => "mount as root, or leave --uid out".into(),
        _ => return None,
    })
}

fn mount_hint(error: &MountError) -> Option<&'static str> {
    Some(match error {
        MountError::SeveralReaders { .. } => "use --access shared for several readers",
        MountError::Unlocked { .. } => {
            "raise the limit on locked memory: LimitMEMLOCK= in systemd, `ulimit -l` in a shell; or \
             leave --require-mlock out"
        }
        MountError::Unreachable { .. } => {
            "the reader must be able to enter each directory above the mount point"
        }
        MountError::Required(_) => "`vaultfs status` says what is wrong with them",
        _ => return None,
    })
}
