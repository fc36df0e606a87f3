//! Users by name or number, as the system knows them.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// A user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    /// The primary group. None for a uid that no user has.
    pub(crate) gid: Option<u32>,
}

impl User {
    /// The user of that name or uid.
    ///
    /// # Errors
    /// Where a name is unknown. A number without a user is one that nobody gave a name to.
    pub(crate) fn find(name_or_uid: &str) -> Result<Self> {
        let uid = name_or_uid.parse().ok();
        match (lookup(name_or_uid), uid) {
            (Some(user), _) => Ok(user),
            (None, Some(uid)) => Ok(Self { uid, gid: None }),
            (None, None) => bail!(UnknownUser(name_or_uid.to_owned())),
        }
    }
}

/// No user has that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no user {0:?} on this machine")]
pub(crate) struct UnknownUser(String);

/// Reads the file that every system has, then asks `getent`, which knows of LDAP and the like. The
/// C library's own functions would load plugins, which a static binary can't.
fn lookup(name_or_uid: &str) -> Option<User> {
    let file = fs::read_to_string("/etc/passwd").unwrap_or_default();
    file.lines().find_map(|line| entry(line, name_or_uid)).or_else(|| {
        let mut getent = Command::new("getent");
        getent.args(["passwd", "--", name_or_uid]).stdin(Stdio::null()).stderr(Stdio::null());
        let output = getent.output().ok()?;
        entry(str::from_utf8(&output.stdout).ok()?.lines().next()?, name_or_uid)
    })
}

/// `name:password:uid:gid:…`, see passwd(5).
fn entry(line: &str, name_or_uid: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
    let user = User { uid: uid.parse().ok()?, gid: gid.parse().ok() };
    let is_meant = *name == name_or_uid || *uid == name_or_uid;
    is_meant.then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(User::find("root").unwrap(), User { uid: 0, gid: Some(0) });
        assert_eq!(User::find("0").unwrap(), User { uid: 0, gid: Some(0) });
        assert_eq!(User::find("4123456").unwrap(), User { uid: 4_123_456, gid: None });
        assert!(User::find("no-such-user").unwrap_err().is::<UnknownUser>());
        assert!(User::find("").is_err());
    }
}
