//! A vault as the source of a mount: opens what a [`Store`] carries, and refuses what it must not
//! believe.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    Identities, Listing, Marks, Policy, RollbackError, SecretName, Source, SourceError, Store,
    Value, VaultId, Version, Watch, open,
};

/// Opens the secrets of one vault with one set of identities, and remembers the generations it
/// has seen for as long as it lives.
pub struct VaultSource {
    store: Arc<dyn Store>,
    vault: VaultId,
    identities: Identities,
    marks: Mutex<Marks>,
}

impl VaultSource {
    /// The vault that `store` holds now. Later changes of its policy don't change which vault
    /// this is.
    ///
    /// # Errors
    /// Where the store can't be read or its policy can't be understood.
    pub fn new(store: Arc<dyn Store>, identities: Identities) -> Result<Self, SourceError> {
        let vault = Policy::parse(&store.policy()?)?.vault_id();
        Ok(Self { store, vault, identities, marks: Mutex::default() })
    }

    /// Which vault it is.
    pub fn vault_id(&self) -> VaultId {
        self.vault
    }
}

impl Source for VaultSource {
    fn list(&self) -> Result<Listing, SourceError> {
        Ok(Listing { versions: self.store.versions()? })
    }

    fn load(&self, name: &SecretName, version: &Version) -> Result<Value, SourceError> {
        let file = self.store.fetch(name, version.hash)?;
        let opened = open(&file, self.vault, name, self.identities.as_age())?;
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted: Result<(), RollbackError> =
            marks.accept(name, opened.claims.generation, version.hash);
        accepted?;
        Ok(opened.value)
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch, SourceError> {
        self.store.watch(changed)
    }
}
