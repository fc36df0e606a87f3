//! A vault on disk, as operators read and change it.

pub(crate) mod directory;
pub(crate) mod files;
