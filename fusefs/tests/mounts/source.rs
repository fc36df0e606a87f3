//! A source in memory, which can be made to fail and to hang.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use vaultfs_core::{FileHash, Listing, SecretName, Source, SourceError, Value, Version, Watch};

/// The source. Each change of a secret is a new version.
#[derive(Default)]
pub(crate) struct FakeSource {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Default)]
struct State {
    secrets: BTreeMap<SecretName, (Version, Content)>,
    versions: u64,
    watchers: Vec<Weak<dyn Fn() + Send + Sync>>,
    hanging: Vec<Call>,
    list_error: Option<String>,
    loads: u64,
}

enum Content {
    Good(Vec<u8>),
    Broken(String),
}

/// What can hang.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    List,
    Load,
}

impl FakeSource {
    pub(crate) fn with(secrets: &[(&str, &str)]) -> Arc<Self> {
        let source = Arc::new(Self::default());
        for (name, value) in secrets {
            source.set(name, value);
        }
        source
    }

    /// A new version of `name`.
    pub(crate) fn set(&self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.put(name, value.len() as u64, Content::Good(value.to_vec()));
    }

    /// A new version of `name` that can't be loaded.
    pub(crate) fn break_it(&self, name: &str, reason: &str) {
        self.put(name, 3, Content::Broken(reason.to_owned()));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.lock().secrets.remove(&name.parse().unwrap());
        self.changed();
    }

    /// From now on the whole source fails to be listed, or no longer does.
    pub(crate) fn fail_to_list(&self, reason: Option<&str>) {
        self.lock().list_error = reason.map(str::to_owned);
        self.changed();
    }

    /// From now on `call` doesn't return.
    pub(crate) fn hang(&self, call: Call) {
        self.lock().hanging.push(call);
    }

    pub(crate) fn resume(&self) {
        self.lock().hanging.clear();
        self.resumed.notify_all();
    }

    /// How many values were loaded, or tried.
    pub(crate) fn loads(&self) -> u64 {
        self.lock().loads
    }

    fn put(&self, name: &str, size_bytes: u64, content: Content) {
        {
            let mut state = self.lock();
            state.versions += 1;
            let hash = FileHash::of(format!("{name} {}", state.versions).as_bytes());
            let rotated_at = Some(Timestamp::from_second(1_700_000_000).unwrap());
            let version = Version { hash, size_bytes, rotated_at };
            state.secrets.insert(name.parse().unwrap(), (version, content));
        }
        self.changed();
    }

    fn changed(&self) {
        let watchers: Vec<_> = self.lock().watchers.iter().filter_map(Weak::upgrade).collect();
        for watcher in watchers {
            watcher();
        }
    }

    fn wait_while_hanging(&self, call: Call) -> MutexGuard<'_, State> {
        let hanging = |state: &mut State| state.hanging.contains(&call);
        self.resumed.wait_while(self.lock(), hanging).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for FakeSource {
    fn list(&self) -> Result<Listing, SourceError> {
        let state = self.wait_while_hanging(Call::List);
        if let Some(reason) = &state.list_error {
            return Err(reason.clone().into());
        }
        let versions = state.secrets.iter().map(|(name, (v, _))| (name.clone(), v.clone()));
        Ok(Listing { versions: versions.collect() })
    }

    fn load(&self, name: &SecretName, version: &Version) -> Result<Value, SourceError> {
        let mut state = self.wait_while_hanging(Call::Load);
        state.loads += 1;
        match state.secrets.get(name) {
            Some((current, Content::Good(bytes))) if current == version => {
                Ok(Value::copy_of(bytes)?)
            }
            Some((current, Content::Broken(reason))) if current == version => {
                Err(reason.clone().into())
            }
            _ => Err("this version is gone".into()),
        }
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch, SourceError> {
        let changed: Arc<dyn Fn() + Send + Sync> = changed.into();
        self.lock().watchers.push(Arc::downgrade(&changed));
        Ok(Watch::new(changed))
    }
}
