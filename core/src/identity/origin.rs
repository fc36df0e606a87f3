//! Where an identity came from, in words that lead a person back to it.

use std::fmt;
use std::path::{Path, PathBuf};

/// The file or the environment variable that an identity was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// The option or the variable that named it; none for one of the usual places.
        named_by: Option<&'static str>,
    },
    /// The content of an environment variable, or of what the command in it prints.
    Variable(&'static str),
}

impl Origin {
    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Variable(_) => None,
        }
    }
}

/// The path, followed by what named it: `/etc/app/identity.txt (from SOPS_AGE_KEY_FILE)`; or the
/// variable's name.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, named_by: None } => write!(f, "{}", path.display()),
            Self::File { path, named_by: Some(by) } => write!(f, "{} (from {by})", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}
