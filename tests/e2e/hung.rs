//! A disk that never answers.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A filesystem whose server never reads a request. Whoever asks it anything waits until it is
/// dropped, in the kernel's uninterruptible sleep, as with a network disk whose server is gone.
pub(crate) struct Hung {
    path: PathBuf,
    _device: File,
}

impl Hung {
    /// Mounts one over a directory.
    pub(crate) fn over(path: &Path) -> Self {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let data = CString::new(data).unwrap();
        mount("hung", path, "fuse", MountFlags::empty(), Some(data.as_c_str())).unwrap();
        Self { path: path.to_owned(), _device: device }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}
