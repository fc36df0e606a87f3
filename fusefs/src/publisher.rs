//! Keeps the tree in step with the source.
//!
//! Nothing that goes wrong with the source takes away what is served: the last good version
//! stays until a good one replaces it, or until the source says that the secret is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use vaultfs_core::{FileHash, SecretName, Source, SourceError, Value, Version};

use crate::announcer::{ANNOUNCE_WITHIN, Note, Told, announce_and_commit};
use crate::ino::Ino;
use crate::options::{Exposure, Loading, Need};
use crate::plan::{Plan, Planned};
use crate::status::{Changed, MountState, Status, reason};
use crate::tree::{Content, File, Staged, Tree};

/// How long an open may take from its lookup on: so long a superseded version stays.
const LINGER: Duration = Duration::from_millis(100);

/// How long changes don't wait for the kernel after it was told of one too late.
const HELD_UP: Duration = Duration::from_secs(5);

/// What is replaced in two steps is missing in between: git removes a file before it writes the next.
/// Only what is missing for this long is gone.
const GONE_AFTER: Duration = Duration::from_millis(250);

/// What is served, and how it is renewed.
pub(crate) struct Publisher {
    tree: Arc<Tree>,
    source: Arc<dyn Source>,
    status: Arc<Status>,
    stopping: Arc<AtomicBool>,
    exposures: Vec<Exposure>,
    loading: Loading,
    /// None until there is a kernel to be told.
    notes: Option<Sender<Note>>,
    /// By place.
    served: BTreeMap<SecretName, Served>,
    lingering: VecDeque<(Instant, Ino)>,
    /// Served places whose secret the source has lost, with the time when that was seen first.
    lost: BTreeMap<SecretName, Instant>,
    /// Required exposures that select nothing.
    missing: BTreeSet<String>,
    held_up_until: Option<Instant>,
}

struct Served {
    secret: SecretName,
    hash: FileHash,
    health: Health,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Broken,
}

type Loaded = Result<Arc<Value>, String>;

impl Publisher {
    /// A publisher that has published nothing yet.
    pub(crate) fn new(
        tree: Arc<Tree>,
        source: Arc<dyn Source>,
        status: Arc<Status>,
        stopping: Arc<AtomicBool>,
        exposures: Vec<Exposure>,
        loading: Loading,
    ) -> Self {
        Self {
            tree,
            source,
            status,
            stopping,
            exposures,
            loading,
            notes: None,
            served: BTreeMap::new(),
            lingering: VecDeque::new(),
            lost: BTreeMap::new(),
            missing: BTreeSet::new(),
            held_up_until: None,
        }
    }

    /// From now on the kernel is told of each change.
    pub(crate) fn announce_through(&mut self, notes: Sender<Note>) {
        self.notes = Some(notes);
    }

    /// Brings the tree in line with what the source holds now.
    pub(crate) fn refresh(&mut self) -> Result<Changed, SourceError> {
        let listing = self.source.list()?;
        let serving = self.served.iter().map(|(p, s)| (p.clone(), s.secret.clone())).collect();
        let plan = Plan::new(&self.exposures, &listing, &serving);
        self.missing = Plan::missing(&self.exposures, &listing);
        // What is served is what the source has, again if something else was there meanwhile.
        let current: BTreeSet<&SecretName> = plan
            .files
            .iter()
            .filter(|(place, planned)| !self.is_due(place, planned))
            .map(|(_, planned)| &planned.secret)
            .collect();
        let mut changes = self.status.update(|state| {
            state.source_problem = None;
            state.displaced.clone_from(&plan.displaced);
            state.broken.retain(|secret, _| listing.versions.contains_key(secret));
            state.last_good.retain(|secret, _| {
                let is_current = current.contains(secret);
                if is_current {
                    tracing::info!(secret = %secret, "served again in its current version");
                }
                listing.versions.contains_key(secret) && !is_current
            });
        });
        for (secret, reason) in &plan.displaced {
            if changes == Changed::Yes {
                tracing::warn!(%secret, reason, "{secret}: not served: {reason}");
            }
        }
        self.remove_all_but(&plan);
        let due: Vec<_> = plan.files.iter().filter(|(place, p)| self.is_due(place, p)).collect();
        let loads: BTreeMap<&SecretName, &Version> = due
            .iter()
            .filter(|(place, _)| !self.may_wait(place))
            .map(|(_, planned)| (&planned.secret, &planned.version))
            .collect();
        let mut loaded = self.load(&loads);
        if self.stopping.load(Ordering::Relaxed) {
            return Ok(changes);
        }
        let good = self.served.values().filter(|served| served.health == Health::Good);
        let good: BTreeSet<SecretName> = good.map(|served| served.secret.clone()).collect();
        let outcomes = self.status.update(|state| {
            for (secret, result) in &loaded {
                note_outcome(state, secret, result, good.contains(secret));
            }
        });
        if outcomes == Changed::Yes {
            changes = Changed::Yes;
        }
        for (place, planned) in due {
            let content = match loaded.get_mut(&planned.secret) {
                None => Some(Content::Unloaded),
                Some(Ok(value)) => Some(Content::Loaded(Arc::clone(value))),
                Some(Err(_)) if self.served.contains_key(place) => None,
                Some(Err(_)) => Some(Content::Broken),
            };
            if let Some(content) = content {
                self.publish(place, planned, content);
            }
        }
        let good = self.served.values().filter(|s| s.health == Health::Good).count();
        let counted = self.status.update(|state| state.served = good);
        Ok(if counted == Changed::Yes { counted } else { changes })
    }

    /// The required secrets that can't be served, with the reasons.
    pub(crate) fn unmet_needs(&self) -> BTreeMap<String, String> {
        let state = self.status.snapshot();
        let missing = |name: &String| (name.clone(), "the source doesn't have it".to_owned());
        let mut unmet: BTreeMap<_, _> = self.missing.iter().map(missing).collect();
        for exposure in self.exposures.iter().filter(|e| e.need == Need::Required) {
            for (secret, reason) in state.broken.iter().chain(&state.displaced) {
                if exposure.secrets.selects(secret) {
                    unmet.insert(secret.to_string(), reason.clone());
                }
            }
        }
        unmet
    }

    /// Gives up superseded versions whose time has come; returns when the next one's comes.
    pub(crate) fn retire_lingering(&mut self) -> Option<Instant> {
        while let Some(&(due, ino)) = self.lingering.front() {
            if due > Instant::now() {
                return Some(due);
            }
            self.lingering.pop_front();
            let told = self.notes.as_ref().is_some_and(|n| n.send(Note::Retire(ino)).is_ok());
            if !told {
                self.tree.retire(ino);
            }
        }
        None
    }

    /// When to look whether what is lost has come back.
    pub(crate) fn gone_at(&self) -> Option<Instant> {
        self.lost.values().min().map(|since| *since + GONE_AFTER)
    }

    fn remove_all_but(&mut self, plan: &Plan) {
        let now = Instant::now();
        let lost = self.served.keys().filter(|place| !plan.files.contains_key(place));
        let since = |place: &SecretName| self.lost.get(place).copied().unwrap_or(now);
        self.lost = lost.map(|place| (place.clone(), since(place))).collect();
        // What takes the place of something lost doesn't wait for it.
        let is_gone = |place: &SecretName, since: &Instant| {
            now.duration_since(*since) >= GONE_AFTER || plan.obstacle(place).is_some()
        };
        let gone: Vec<_> = self.lost.extract_if(.., |place, since| is_gone(place, since)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(place, _)| place).collect();
        for place in &gone {
            self.served.remove(place);
            if let Some(staged) = self.tree.stage_removal(place) {
                self.carry_out(&staged);
            }
        }
        for place in &gone {
            while let Some(staged) = self.tree.stage_pruning(place) {
                self.carry_out(&staged);
            }
        }
    }

    /// Whether what is planned for `place` isn't served there. What is broken is tried again.
    fn is_due(&self, place: &SecretName, planned: &Planned) -> bool {
        self.served.get(place).is_none_or(|served| {
            (&served.secret, served.hash) != (&planned.secret, planned.version.hash)
                || served.health == Health::Broken
        })
    }

    /// Whether loading may wait until the first open. Not where a value is served already: it
    /// is the last good one until the next has been seen to be good.
    fn may_wait(&self, place: &SecretName) -> bool {
        self.loading == Loading::Lazy
            && (!self.served.contains_key(place) || self.tree.waits_to_be_loaded(place))
    }

    fn publish(&mut self, place: &SecretName, planned: &Planned, content: Content) {
        let health = match content {
            Content::Loaded(_) | Content::Unloaded => Health::Good,
            Content::Broken => Health::Broken,
        };
        let rotated_at = planned.version.rotated_at.and_then(|at| SystemTime::try_from(at).ok());
        let file = File {
            secret: planned.secret.clone(),
            version: planned.version.clone(),
            readers: Arc::clone(&planned.readers),
            content,
            modified: rotated_at.unwrap_or_else(SystemTime::now),
        };
        if let Some(staged) = self.tree.stage(place, file, temporary_name()) {
            self.carry_out(&staged);
            let (secret, hash) = (planned.secret.clone(), planned.version.hash);
            self.served.insert(place.clone(), Served { secret, hash, health });
        }
    }

    fn carry_out(&mut self, staged: &Staged) {
        match &self.notes {
            None => self.tree.commit(staged),
            Some(notes) => {
                // Someone holds the kernel up. Other changes must not wait for that as well.
                let held_up = self.held_up_until.is_some_and(|until| Instant::now() < until);
                let patience = if held_up { Duration::ZERO } else { ANNOUNCE_WITHIN };
                let told = announce_and_commit(&self.tree, notes, staged, patience);
                if told == Told::TooLate && !held_up {
                    tracing::warn!(
                        name = staged.name,
                        "{}: watchers may miss a change",
                        staged.name
                    );
                    self.held_up_until = Some(Instant::now() + HELD_UP);
                }
            }
        }
        if let Some(old) = staged.old {
            self.lingering.push_back((Instant::now() + LINGER, old));
        }
        self.retire_lingering();
    }

    /// Loads on all cores. What isn't reached because the mount stops is left out.
    fn load(&self, loads: &BTreeMap<&SecretName, &Version>) -> BTreeMap<SecretName, Loaded> {
        let one = |(secret, version): (&&SecretName, &&Version)| {
            let loaded = self.source.load(secret, version).map(Arc::new);
            ((*secret).clone(), loaded.map_err(|e| reason(&*e)))
        };
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        if loads.len() < 2 || cores == 1 {
            let running = |_: &_| !self.stopping.load(Ordering::Relaxed);
            return loads.iter().take_while(running).map(one).collect();
        }
        let (work, next) = (loads.iter().collect::<Vec<_>>(), AtomicUsize::new(0));
        let loaded = Mutex::new(BTreeMap::new());
        thread::scope(|scope| {
            for _ in 0..cores.min(work.len()) {
                scope.spawn(|| {
                    while let Some(&item) = work.get(next.fetch_add(1, Ordering::Relaxed))
                        && !self.stopping.load(Ordering::Relaxed)
                    {
                        let (secret, result) = one(item);
                        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                        loaded.insert(secret, result);
                    }
                });
            }
        });
        loaded.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes what loading a secret came to. `good` says whether some version of it is served.
fn note_outcome(state: &mut MountState, secret: &SecretName, result: &Loaded, good: bool) {
    let (was_broken, was_last_good) = (state.broken.remove(secret), state.last_good.remove(secret));
    match result {
        Ok(_) if was_broken.is_some() || was_last_good.is_some() => {
            tracing::info!(%secret, "{secret}: served again in its current version");
        }
        Ok(_) => {}
        Err(reason) if good => {
            if was_last_good.as_ref() != Some(reason) {
                tracing::error!(%secret, reason, "{secret}: an earlier version is served: {reason}");
            }
            state.last_good.insert(secret.clone(), reason.clone());
        }
        Err(reason) => {
            if was_broken.as_ref() != Some(reason) {
                tracing::error!(%secret, reason, "{secret}: can't be served: {reason}");
            }
            state.broken.insert(secret.clone(), reason.clone());
        }
    }
}

/// A name that no secret has and nobody guesses, for the source of a rename.
fn temporary_name() -> String {
    let mut random = [0; 16];
    // Guessing it would gain nothing: the rename that it names is under way anyway.
    let _ = getrandom::fill(&mut random);
    format!(".vaultfs-{:032x}", u128::from_le_bytes(random))
}
