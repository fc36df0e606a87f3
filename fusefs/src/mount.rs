//! The life of a mount: start, serve, stop, whatever hangs meanwhile.
//!
//! Threads that hang with the source are left behind; stopping never waits for one.

mod error;
mod watcher;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use rustix::fs::{self as rfs, CWD, Mode, OFlags};
use rustix::process::{getegid, geteuid};
use vaultfs_core::{Source, unlocked_bytes};

use crate::access::{Access, Gate, Reader};
use crate::adapter::Adapter;
use crate::announcer::{Announcer, Note, Renamer};
use crate::attach::{Attached, attach};
use crate::helper::{Helper, HelperError};
use crate::loader::Loader;
use crate::mountinfo::MountEntry;
use crate::mountpoint::Mountpoint;
use crate::options::{Loading, Memory, MountOptions};
use crate::publisher::Publisher;
use crate::refresh::{Refresh, Wake};
use crate::status::{MountState, Status};
use crate::tree::Tree;
use crate::unmount::{UnmountError, detach};
pub use error::MountError;
use watcher::{Seen, Watcher};

/// Two suit two cores; each has a buffer of 16 MiB, of which only what is used is resident.
const SESSION_THREADS: usize = 2;

/// How long a stop waits for each of the things that usually take a millisecond.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// How long the first lookup as a reader may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// How often secrets that changed while they were loaded are tried again before the mount is up.
const START_ATTEMPTS: usize = 2;

/// A mount, from the moment its start begins. Dropping it stops it.
pub struct Mount {
    shared: Arc<Shared>,
    wake: Sender<Wake>,
}

/// What a mount tells its owner, on threads of its own.
#[derive(Debug)]
#[non_exhaustive]
pub enum MountEvent {
    /// A reader was seen to get through: the mount is ready.
    Ready,
    /// The mount didn't start, and nothing of it is left.
    Failed(MountError),
    /// [`Mount::state`] has changed.
    Changed,
    /// Someone else unmounted it. It serves nobody any more, and is still to be stopped.
    Unmounted,
    /// The connection to the kernel broke. Readers hang until the mount is stopped and this
    /// process has ended.
    Lost(io::Error),
}

/// How a mount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nobody uses it any more.
    Unused,
    /// It is out of the mount table, but someone still has a file or a directory of it open.
    /// Their reads fail from now on.
    InUse,
}

struct Shared {
    tree: Arc<Tree>,
    status: Arc<Status>,
    loader: Arc<Loader>,
    stopping: Arc<AtomicBool>,
    stage: Mutex<Stage>,
    stage_changed: Condvar,
    events: Arc<dyn Fn(MountEvent) + Send + Sync>,
}

enum Stage {
    /// Nothing is mounted.
    Preparing,
    /// For the few milliseconds in which it isn't known whether something is.
    Attaching,
    Attached(Live),
    Ended,
}

/// What a mount consists of while it is mounted.
struct Live {
    mountpoint: Mountpoint,
    entry: MountEntry,
    notes: Sender<Note>,
    renamer: Option<Arc<Renamer>>,
    session_ended: Receiver<()>,
    /// Its end wakes the thread that watches the mount table.
    _watcher: UnixStream,
}

impl Live {
    fn detach(&self) -> Result<(), UnmountError> {
        detach(&self.entry, Some(self.mountpoint.as_fd()))
    }
}

impl Mount {
    /// Begins to mount `source`, and returns at once: `events` says how it goes on. Drop the
    /// mount, or call [`Mount::stop`], at any time.
    ///
    /// # Errors
    /// Options that contradict each other.
    pub fn start(
        options: MountOptions,
        source: Arc<dyn Source>,
        events: impl Fn(MountEvent) + Send + Sync + 'static,
    ) -> Result<Self, MountError> {
        let owner = owner(&options)?;
        let gate = match options.access {
            Access::Private => Gate::Private(owner),
            Access::Shared => Gate::Shared(owner),
        };
        let tree = Arc::new(Tree::new(gate, &options.namespace));
        let status = Arc::new(Status::default());
        let events: Arc<dyn Fn(MountEvent) + Send + Sync> = Arc::new(events);
        let told = Arc::clone(&events);
        let changed = move || told(MountEvent::Changed);
        let loader =
            Loader::new(Arc::clone(&tree), Arc::clone(&source), Arc::clone(&status), changed);
        let shared = Arc::new(Shared {
            tree,
            status,
            loader: Arc::new(loader),
            stopping: Arc::default(),
            stage: Mutex::new(Stage::Preparing),
            stage_changed: Condvar::new(),
            events,
        });
        let (wake, wakes) = mpsc::channel();
        let mount = Self { shared: Arc::clone(&shared), wake: wake.clone() };
        spawn("vaultfs-mount", move || shared.serve(options, owner, &source, wake, &wakes))?;
        Ok(mount)
    }

    /// How the mount is doing.
    pub fn state(&self) -> MountState {
        self.shared.status.snapshot()
    }

    /// Unmounts, also while files are open, the source hangs, or the start is under way. Takes a
    /// few seconds at most.
    ///
    /// # Errors
    /// Where the mount can't be taken out of the mount table.
    pub fn stop(self) -> Result<Ending, UnmountError> {
        self.end()
    }

    fn end(&self) -> Result<Ending, UnmountError> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Nobody receives where the start has failed.
        let _ = self.wake.send(Wake::Stop);
        self.shared.take_down()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(e) = self.end() {
            tracing::error!(error = %e, "a mount is left behind: {e}");
        }
    }
}

impl Shared {
    fn serve(
        self: &Arc<Self>,
        options: MountOptions,
        owner: Reader,
        source: &Arc<dyn Source>,
        wake: Sender<Wake>,
        wakes: &Receiver<Wake>,
    ) {
        match self.bring_up(options, owner, source) {
            Ok(mut publisher) => {
                self.status.update(|state| state.ready = true);
                (self.events)(MountEvent::Ready);
                let changed = || (self.events)(MountEvent::Changed);
                Refresh::new(wake).run(&**source, &self.status, &mut publisher, wakes, &changed);
            }
            Err(e) => {
                self.stopping.store(true, Ordering::Relaxed);
                if let Err(e) = self.take_down() {
                    tracing::error!(error = %e, "a mount is left behind: {e}");
                }
                (self.events)(MountEvent::Failed(e));
            }
        }
    }

    fn bring_up(
        self: &Arc<Self>,
        options: MountOptions,
        owner: Reader,
        source: &Arc<dyn Source>,
    ) -> Result<Publisher, MountError> {
        let probed = first_reader(&options)?;
        let mountpoint = Mountpoint::prepare(&options.mountpoint, probed, &options.helper)?;
        let path = mountpoint.path().to_owned();
        let mut publisher = Publisher::new(
            Arc::clone(&self.tree),
            Arc::clone(source),
            Arc::clone(&self.status),
            Arc::clone(&self.stopping),
            options.exposures,
            options.loading,
        );
        for _ in 0..START_ATTEMPTS {
            publisher.refresh().map_err(MountError::Source)?;
            // A secret may have been rotated between the listing and the loading of it.
            let all_good = self.status.snapshot().broken.is_empty();
            if all_good || self.stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        let unmet = publisher.unmet_needs();
        if !unmet.is_empty() {
            return Err(MountError::Required(unmet));
        }
        if options.memory == Memory::RequireLocked && unlocked_bytes() > 0 {
            return Err(MountError::Unlocked { bytes: unlocked_bytes() });
        }
        if options.loading == Loading::Lazy {
            self.loader.spawn_threads();
        }
        let (notes, announcements) = mpsc::channel();
        let (hidden, notifier) = self.attach(mountpoint, options.access, owner, &notes)?;
        let hidden_fd = hidden.as_ref().map(AsFd::as_fd);
        let mut helper = Helper::start(&options.helper, probed, hidden_fd, PROBE_PATIENCE)
            .map_err(MountError::helper)?;
        helper.look_up(&path).map_err(|e| match e {
            HelperError::Refused(e) => {
                MountError::Unreachable { path, uid: probed.uid, source: e.into() }
            }
            HelperError::Lost(e) => MountError::Helper(e),
        })?;
        let renamer = hidden
            .map(|hidden| Renamer::new(options.helper, probed, hidden, helper).map(Arc::new))
            .transpose()
            .map_err(MountError::Helper)?;
        if let Stage::Attached(live) = &mut *self.stage() {
            live.renamer.clone_from(&renamer);
        } else {
            return Err(MountError::Stopped);
        }
        let announcer = Announcer { tree: Arc::clone(&self.tree), notifier, renamer };
        spawn("vaultfs-announce", move || announcer.run(&announcements))?;
        publisher.announce_through(notes);
        Ok(publisher)
    }

    /// Mounts, and begins to answer the kernel. Returns the hidden mount.
    fn attach(
        self: &Arc<Self>,
        mountpoint: Mountpoint,
        access: Access,
        owner: Reader,
        notes: &Sender<Note>,
    ) -> Result<(Option<OwnedFd>, fuser::Notifier), MountError> {
        {
            let mut stage = self.stage();
            if matches!(*stage, Stage::Ended) || self.stopping.load(Ordering::Relaxed) {
                return Err(MountError::Stopped);
            }
            *stage = Stage::Attaching;
        }
        let attached = self.attach_and_answer(mountpoint, access, owner, notes);
        let mut stage = self.stage();
        let result = match attached {
            Ok((live, hidden, notifier)) if matches!(*stage, Stage::Attaching) => {
                *stage = Stage::Attached(live);
                Ok((hidden, notifier))
            }
            Ok((live, ..)) => {
                drop(stage);
                let _ = live.detach();
                return Err(MountError::Stopped);
            }
            Err(e) => {
                *stage = Stage::Ended;
                Err(e)
            }
        };
        self.stage_changed.notify_all();
        result
    }

    fn attach_and_answer(
        self: &Arc<Self>,
        mountpoint: Mountpoint,
        access: Access,
        owner: Reader,
        notes: &Sender<Note>,
    ) -> Result<(Live, Option<OwnedFd>, fuser::Notifier), MountError> {
        let Attached { device, hidden, entry } = attach(&mountpoint, access, owner)?;
        let answering = || {
            let adapter =
                Adapter::new(Arc::clone(&self.tree), Arc::clone(&self.loader), notes.clone());
            let mut config = Config::default();
            config.n_threads = Some(SESSION_THREADS);
            // Without privileges the device may be open to fusermount3 alone.
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            config.clone_fd = rfs::openat(CWD, "/dev/fuse", flags, Mode::empty()).is_ok();
            // The kernel has compared the caller with the reader; fuser would compare with us.
            let session = Session::from_fd(adapter, device, SessionACL::All, config)
                .map_err(MountError::Session)?;
            let notifier = session.notifier();
            let (ended, session_ended) = mpsc::channel::<()>();
            let (shared, entry) = (Arc::clone(self), entry.clone());
            let watcher = self.watch_mount_table(&entry)?;
            spawn("vaultfs-session", move || {
                let result = session.run();
                drop(ended);
                // fuser takes a connection that someone has cut (`umount -f`) for an unmount.
                let stands = |all: Vec<MountEntry>| all.iter().any(|e| e.is_same_mount(&entry));
                let is_cut = || {
                    !shared.stopping.load(Ordering::Relaxed) && MountEntry::all().is_ok_and(stands)
                };
                let result = match result {
                    Ok(()) if is_cut() => Err(io::ErrorKind::NotConnected.into()),
                    result => result,
                };
                if let Err(e) = result {
                    (shared.events)(MountEvent::Lost(e));
                }
            })?;
            Ok((notifier, session_ended, watcher))
        };
        match answering() {
            Ok((notifier, session_ended, watcher)) => {
                let notes = notes.clone();
                let live = Live {
                    mountpoint,
                    entry,
                    notes,
                    renamer: None,
                    session_ended,
                    _watcher: watcher,
                };
                Ok((live, hidden, notifier))
            }
            Err(e) => {
                let _ = detach(&entry, Some(mountpoint.as_fd()));
                Err(e)
            }
        }
    }

    /// Tells the owner when the mount vanishes. Dropping the stream ends that.
    fn watch_mount_table(self: &Arc<Self>, entry: &MountEntry) -> Result<UnixStream, MountError> {
        let (ours, theirs) = UnixStream::pair().map_err(MountError::MountTable)?;
        let watcher = Watcher::new(entry.clone(), theirs).map_err(MountError::MountTable)?;
        let shared = Arc::clone(self);
        spawn("vaultfs-table", move || match watcher.wait() {
            Ok(Seen::Gone) if !shared.stopping.load(Ordering::Relaxed) => {
                (shared.events)(MountEvent::Unmounted);
            }
            Ok(Seen::Gone | Seen::End) => {}
            Err(e) => tracing::error!(error = %e, "the mount table can't be watched: {e}"),
        })?;
        Ok(ours)
    }

    fn take_down(&self) -> Result<Ending, UnmountError> {
        let attaching = |stage: &mut Stage| matches!(stage, Stage::Attaching);
        let waited = self.stage_changed.wait_timeout_while(self.stage(), STOP_PATIENCE, attaching);
        let mut stage = waited.unwrap_or_else(PoisonError::into_inner).0;
        let Stage::Attached(live) = std::mem::replace(&mut *stage, Stage::Ended) else {
            self.tree.shut();
            return Ok(Ending::Unused);
        };
        drop(stage);
        let detached = live.detach();
        // Nobody receives where the start was still under way.
        let _ = live.notes.send(Note::End);
        if let Some(renamer) = &live.renamer {
            renamer.close();
        }
        self.loader.shut();
        let ended = live.session_ended.recv_timeout(STOP_PATIENCE);
        // Those who have files open read nothing any more, and the values are wiped.
        self.tree.shut();
        self.status.update(|state| state.ready = false);
        detached?;
        Ok(match ended {
            Err(RecvTimeoutError::Timeout) => Ending::InUse,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ending::Unused,
        })
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom the directories belong to, and in a private mount, whom the kernel lets in.
fn owner(options: &MountOptions) -> Result<Reader, MountError> {
    let first = first_reader(options)?;
    match options.access {
        Access::Shared => Ok(Reader { uid: geteuid().as_raw(), gid: getegid().as_raw() }),
        Access::Private => {
            let mut readers = options.exposures.iter().flat_map(|e| &e.readers);
            match readers.find(|reader| reader.uid != first.uid) {
                None => Ok(first),
                Some(other) => Err(MountError::SeveralReaders { uids: [first.uid, other.uid] }),
            }
        }
    }
}

fn first_reader(options: &MountOptions) -> Result<Reader, MountError> {
    if options.exposures.iter().any(|exposure| exposure.readers.is_empty()) {
        return Err(MountError::NoReader);
    }
    let mut readers = options.exposures.iter().flat_map(|exposure| &exposure.readers);
    readers.next().copied().ok_or(MountError::NoReader)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), MountError> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(MountError::Thread)
}
