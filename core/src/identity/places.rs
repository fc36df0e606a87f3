//! The places where identities are looked for, and their order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroize;

use super::Origin;
use crate::{Value, ValueError};

/// Where to look for identities; absent places are `None`.
///
/// All that is found counts, in the order of the fields.
#[derive(Default)]
pub struct IdentityPlaces {
    /// Files named by `--identity`.
    pub explicit: Vec<PathBuf>,
    /// `VAULTFS_IDENTITY`, a path.
    pub vaultfs_identity: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`, set by systemd; the file `identity` in it is optional.
    pub credentials_directory: Option<PathBuf>,
    /// `SOPS_AGE_KEY`: identities, one a line.
    pub sops_age_key: Option<Value>,
    /// `SOPS_AGE_KEY_FILE`, a path.
    pub sops_age_key_file: Option<PathBuf>,
    /// `SOPS_AGE_KEY_CMD`: a shell command that prints identities.
    pub sops_age_key_cmd: Option<OsString>,
    /// The home directory: `.config/vaultfs/identity.txt` and `.config/sops/age/keys.txt` are
    /// looked for in it, and after the next field `.ssh/id_ed25519` and `.ssh/id_rsa`.
    pub home: Option<PathBuf>,
    /// `SOPS_AGE_SSH_PRIVATE_KEY_FILE`, a path.
    pub sops_ssh_private_key_file: Option<PathBuf>,
    /// The host's own SSH key; for root alone.
    pub ssh_host_key: Option<PathBuf>,
    /// Whose identity files are as they should be, beside root's: the effective uid.
    pub uid: u32,
}

/// One place to look at.
pub(super) struct Place<'a> {
    pub(super) origin: Origin,
    pub(super) content: Content<'a>,
    pub(super) expectation: Expectation,
}

pub(super) enum Content<'a> {
    File(PathBuf),
    Text(&'a Value),
    Command(&'a OsString),
}

/// What it means that nothing is there, or nothing of use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Somebody named it: anything wrong with it is an error.
    Named,
    /// systemd may offer it: it may be absent, but not wrong.
    Offered,
    /// One of the usual places: it may be absent, and what is wrong there gets a warning.
    Usual,
}

impl Expectation {
    /// Whether something wrong is an error rather than left aside.
    pub(super) fn is_strict(self) -> bool {
        self != Self::Usual
    }
}

impl IdentityPlaces {
    /// All places, as the environment that `variable` reads gives them, for the user `uid` with
    /// the home directory `home`. `--identity` isn't in the environment: fill
    /// [`IdentityPlaces::explicit`]. A variable that is empty is as good as unset.
    ///
    /// What `SOPS_AGE_KEY` holds stays in the process's environment, where programs that it starts
    /// and others of the same uid can read it: no copy of ours can change that.
    ///
    /// # Errors
    /// [`ValueError`] where there is no memory for the identity in `SOPS_AGE_KEY`.
    pub fn from_lookup(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
        uid: u32,
    ) -> Result<Self, ValueError> {
        let variable = |name| variable(name).filter(|content| !content.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        let sops_age_key = variable("SOPS_AGE_KEY").map(|text| {
            let mut text = text.into_encoded_bytes();
            let value = Value::copy_of(&text);
            text.zeroize();
            value
        });
        Ok(Self {
            explicit: Vec::new(),
            vaultfs_identity: path("VAULTFS_IDENTITY"),
            credentials_directory: path("CREDENTIALS_DIRECTORY"),
            sops_age_key: sops_age_key.transpose()?,
            sops_age_key_file: path("SOPS_AGE_KEY_FILE"),
            sops_age_key_cmd: variable("SOPS_AGE_KEY_CMD"),
            home,
            sops_ssh_private_key_file: path("SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
            ssh_host_key: (uid == 0).then(|| PathBuf::from("/etc/ssh/ssh_host_ed25519_key")),
            uid,
        })
    }

    /// Where `vaultfs keygen` puts a new identity, and where it is looked for.
    pub fn own_identity_file(home: &Path) -> PathBuf {
        home.join(".config/vaultfs/identity.txt")
    }

    /// In the order in which they count.
    pub(super) fn in_order(&self) -> Vec<Place<'_>> {
        use Expectation::{Named, Offered, Usual};
        let named =
            |path: &Option<PathBuf>, by| path.clone().map(|path| file(path, Some(by), Named));
        let at_home =
            |below: &str| self.home.as_ref().map(|home| file(home.join(below), None, Usual));
        let variable =
            |name, content| Place { origin: Origin::Variable(name), content, expectation: Named };
        let explicit =
            self.explicit.iter().map(|path| file(path.clone(), Some("--identity"), Named));
        let others = [
            named(&self.vaultfs_identity, "VAULTFS_IDENTITY"),
            self.credentials_directory.as_ref().map(|directory| {
                file(directory.join("identity"), Some("CREDENTIALS_DIRECTORY"), Offered)
            }),
            self.sops_age_key.as_ref().map(|text| variable("SOPS_AGE_KEY", Content::Text(text))),
            named(&self.sops_age_key_file, "SOPS_AGE_KEY_FILE"),
            self.sops_age_key_cmd
                .as_ref()
                .map(|command| variable("SOPS_AGE_KEY_CMD", Content::Command(command))),
            self.home.as_deref().map(|home| file(Self::own_identity_file(home), None, Usual)),
            at_home(".config/sops/age/keys.txt"),
            named(&self.sops_ssh_private_key_file, "SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
            at_home(".ssh/id_ed25519"),
            at_home(".ssh/id_rsa"),
            self.ssh_host_key.clone().map(|path| file(path, None, Usual)),
        ];
        explicit.chain(others.into_iter().flatten()).collect()
    }
}

fn file(path: PathBuf, named_by: Option<&'static str>, expectation: Expectation) -> Place<'static> {
    let origin = Origin::File { path: path.clone(), named_by };
    Place { origin, content: Content::File(path), expectation }
}
