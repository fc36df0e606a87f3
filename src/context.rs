//! What commands share: the vault and the identities, found as the options and the environment say.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use vaultfs_core::{Identities, IdentityPlaces, Vault};

use crate::cli::Global;
use crate::output::warn;
use crate::terminal::TerminalPrompter;

/// The options of every command, and what follows from them.
pub(crate) struct Context {
    global: Global,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self { global }
    }

    /// The vault that `--vault` names, or the one that this directory lies in.
    pub(crate) fn vault(&self) -> Result<Vault> {
        if let Some(directory) = &self.global.vault {
            return Ok(Vault::at(directory)?);
        }
        let here = env::current_dir().context("the current directory can't be found")?;
        Ok(Vault::find(&here, &trusted_owners())?)
    }

    /// All identities at hand, and warnings about their files.
    pub(crate) fn identities(&self) -> Result<Identities> {
        let identities = Identities::find(&self.identity_places()?, Arc::new(TerminalPrompter))?;
        for warning in identities.warnings() {
            warn(warning);
        }
        Ok(identities)
    }

    pub(crate) fn identity_places(&self) -> Result<IdentityPlaces> {
        let uid = rustix::process::geteuid().as_raw();
        let mut places = IdentityPlaces::from_lookup(|name| env::var_os(name), home(), uid)?;
        places.explicit.clone_from(&self.global.identity);
        Ok(places)
    }

    /// Where `keygen` and `init` put a new identity.
    pub(crate) fn own_identity_file() -> Result<PathBuf> {
        let home = home().context("HOME is not set, so there is no place for an identity")?;
        Ok(IdentityPlaces::own_identity_file(&home))
    }
}

/// Whose vaults are taken without being named: our own, root's, and those of whoever ran `sudo`.
pub(crate) fn trusted_owners() -> Vec<u32> {
    let own = rustix::process::geteuid();
    let sudo = env::var("SUDO_UID").ok().filter(|_| own.is_root());
    [own.as_raw(), 0].into_iter().chain(sudo.and_then(|uid| uid.parse().ok())).collect()
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}
