//! How the caller of a system call sees a refusal.

use fuser::Errno;

use crate::tree::TreeError;

/// The error number for `error`.
pub(crate) fn errno(error: TreeError) -> Errno {
    match error {
        TreeError::NotFound => Errno::ENOENT,
        TreeError::Denied => Errno::EACCES,
        TreeError::ReadOnly => Errno::EROFS,
        TreeError::Broken => Errno::EIO,
        TreeError::NotADirectory => Errno::ENOTDIR,
        TreeError::IsADirectory => Errno::EISDIR,
        TreeError::BadHandle => Errno::EBADF,
        TreeError::Shut => Errno::ENOTCONN,
    }
}
