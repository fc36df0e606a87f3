//! The mount table as the kernel tells it: `/proc/self/mountinfo`, see
//! `proc_pid_mountinfo(5)`.
//!
//! Reading it asks no filesystem anything, which is why it is used instead of `stat`: a mount of
//! ours refuses root, and a dead or hung one never answers.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::access::Reader;

/// The type that mounts of ours have.
pub(crate) const FILESYSTEM_TYPE: &str = "fuse.vaultfs";

/// Which mount it is, as long as it exists: a number that the kernel uses again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MountId(u64);

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Which mount it is.
    pub(crate) id: MountId,
    /// Which mount it was put into, or over.
    pub(crate) parent: MountId,
    /// The device number of its superblock, such as `0:57`.
    pub(crate) device: String,
    /// Where it is.
    pub(crate) mountpoint: PathBuf,
    /// Its type, such as `fuse.vaultfs`.
    pub(crate) filesystem_type: String,
    /// The options of the superblock, comma-separated.
    pub(crate) super_options: String,
}

impl MountEntry {
    /// All mounts of this process's namespace, in the order in which they were made.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        Ok(fs::read("/proc/self/mountinfo")?
            .split(|&b| b == b'\n')
            .filter_map(Self::parse)
            .collect())
    }

    /// What is mounted at `mountpoint`, the topmost if there are several.
    pub(crate) fn at(mountpoint: &Path) -> io::Result<Option<Self>> {
        Ok(Self::all()?.into_iter().rfind(|entry| entry.mountpoint == mountpoint))
    }

    /// Whether `other` is a later line for the same mount. Its place doesn't count, which changes
    /// with the names of the directories above it; its number doesn't suffice, which is used again
    /// as soon as a mount has gone.
    pub(crate) fn is_same_mount(&self, other: &Self) -> bool {
        let identity = |entry: &Self| (entry.id, entry.fuse_user());
        identity(self) == identity(other)
            && self.device == other.device
            && self.filesystem_type == other.filesystem_type
    }

    /// Whether it lies over `other`. Not for the same path alone, which a mount elsewhere can seem
    /// to have while directories are being renamed.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.parent == other.id && self.mountpoint == other.mountpoint
    }

    /// Whether it is a mount of vaultfs.
    pub(crate) fn is_ours(&self) -> bool {
        self.filesystem_type == FILESYSTEM_TYPE
    }

    /// The user that the kernel's gate lets in.
    pub(crate) fn fuse_user(&self) -> Option<Reader> {
        let option = |name: &str| {
            self.super_options.split(',').find_map(|o| o.strip_prefix(name)?.parse().ok())
        };
        Some(Reader { uid: option("user_id=")?, gid: option("group_id=")? })
    }

    fn parse(line: &[u8]) -> Option<Self> {
        // 36 35 98:0 / /mnt/point rw,noatime master:1 - ext4 /dev/root rw,errors=continue
        let mut fields = line.split(|&b| b == b' ');
        let mut text = || Some(String::from_utf8_lossy(fields.next()?).into_owned());
        let (id, parent) = (MountId(text()?.parse().ok()?), MountId(text()?.parse().ok()?));
        let (device, _root) = (text()?, text()?);
        let mountpoint = unescape(fields.next()?);
        let mut fields = fields.skip_while(|&field| field != b"-").skip(1);
        let mut text = || Some(String::from_utf8_lossy(fields.next()?).into_owned());
        let (filesystem_type, _source, super_options) = (text()?, text()?, text()?);
        Some(Self { id, parent, device, mountpoint, filesystem_type, super_options })
    }
}

impl MountId {
    /// The mount that `file` is on, from its line in `/proc/self/fdinfo`.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        let path = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
        let info = fs::read_to_string(path)?;
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
        id.map(Self).ok_or_else(|| io::Error::other("the kernel doesn't tell mount ids"))
    }
}

/// Undoes the kernel's escapes: a backslash and three octal digits for space, tab, newline and
/// backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'\\'
            && let Some((digits, after)) = rest.split_at_checked(3)
            && let Some(escaped) = octal(digits)
        {
            bytes.push(escaped);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_optional_fields_and_escapes_is_read() {
        let line = b"36 35 0:57 / /run/a\\040b\\134c ro,nosuid shared:7 master:1 - fuse.vaultfs \
                     vaultfs rw,user_id=1000,group_id=100";
        let entry = MountEntry::parse(line).unwrap();
        assert_eq!((entry.id, entry.parent), (MountId(36), MountId(35)));
        assert_eq!(entry.mountpoint, Path::new("/run/a b\\c"));
        assert!(entry.is_ours());
        assert_eq!(entry.fuse_user(), Some(Reader { uid: 1000, gid: 100 }));
    }

    #[test]
    fn a_mount_is_the_same_elsewhere_and_a_number_used_again_is_another() {
        let line = "36 35 0:57 / /a/boot ro - fuse.vaultfs vaultfs rw,user_id=1,group_id=1";
        let entry = |line: String| MountEntry::parse(line.as_bytes()).unwrap();
        let same = |from, to| entry(line.to_owned()).is_same_mount(&entry(line.replace(from, to)));
        assert!(same("/a/boot", "/b/boot"));
        assert!(same(" rw,", " ro,"), "remounted");
        for (from, to) in [
            ("36 ", "37 "),
            ("0:57", "0:58"),
            ("fuse.vaultfs", "tmpfs"),
            ("user_id=1", "user_id=2"),
        ] {
            assert!(!same(from, to), "{to}");
        }
    }

    #[test]
    fn lines_that_are_cut_short_are_ignored() {
        assert_eq!(MountEntry::parse(b""), None);
        assert_eq!(MountEntry::parse(b"36 35 0:57 / /run/x ro"), None);
        assert_eq!(unescape(b"a\\04"), Path::new("a\\04"));
    }

    #[test]
    fn the_table_has_the_mount_that_a_file_is_on() {
        let id = MountId::of(fs::File::open("/proc/self/mountinfo").unwrap()).unwrap();
        assert!(MountEntry::all().unwrap().iter().any(|entry| entry.id == id));
    }
}
