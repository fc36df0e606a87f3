//! Loads values at their first open, on threads of its own: the threads that answer the kernel
//! never wait for a disk or for cryptography.

use std::collections::HashMap;
use std::mem;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use fuser::{Errno, ReplyOpen};
use vaultfs_core::Source;

use crate::adapter::answer_open;
use crate::ino::Ino;
use crate::status::{Changed, Status, reason};
use crate::tree::{Tree, Want};

/// Opens that wait for a value.
pub(crate) struct Loader {
    waiting: Mutex<HashMap<Ino, Vec<Waiter>>>,
    queue: Sender<Ino>,
    pending: Mutex<Receiver<Ino>>,
    tree: Arc<Tree>,
    source: Arc<dyn Source>,
    status: Arc<Status>,
    changed: Box<dyn Fn() + Send + Sync>,
}

struct Waiter {
    uid: u32,
    ino: Ino,
    reply: ReplyOpen,
}

impl Loader {
    /// A loader without threads, for a tree whose files are all loaded. `changed` hears of each
    /// change of the status.
    pub(crate) fn new(
        tree: Arc<Tree>,
        source: Arc<dyn Source>,
        status: Arc<Status>,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (queue, pending) = mpsc::channel();
        let (waiting, pending) = (Mutex::default(), Mutex::new(pending));
        Self { waiting, queue, pending, tree, source, status, changed: Box::new(changed) }
    }

    /// Starts one thread a core. They end when the loader's last owner is gone, or hang with the
    /// source.
    pub(crate) fn spawn_threads(self: &Arc<Self>) {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for _ in 0..cores {
            let loader = Arc::clone(self);
            thread::spawn(move || {
                while let Some(ino) = loader.next() {
                    loader.load(ino);
                }
            });
        }
    }

    /// Answers `reply`, an open of `ino` by `uid`, when the value of `unloaded` is there. One
    /// load serves all who wait for it.
    pub(crate) fn open_when_loaded(&self, unloaded: Ino, uid: u32, ino: Ino, reply: ReplyOpen) {
        let mut waiting = self.waiting();
        let waiters = waiting.entry(unloaded).or_default();
        waiters.push(Waiter { uid, ino, reply });
        if waiters.len() == 1 {
            // The loader holds the receiver itself.
            let _ = self.queue.send(unloaded);
        }
    }

    /// Refuses all who wait, and lets the threads end.
    pub(crate) fn shut(&self) {
        for waiter in mem::take(&mut *self.waiting()).into_values().flatten() {
            waiter.reply.error(Errno::ENOTCONN);
        }
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for _ in 0..cores {
            let _ = self.queue.send(Ino(0));
        }
    }

    fn next(&self) -> Option<Ino> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.recv().ok().filter(|ino| ino.0 != 0)
    }

    fn load(&self, unloaded: Ino) {
        let mut failed = false;
        if let Some((secret, version)) = self.tree.unloaded(unloaded) {
            let change = match self.source.load(&secret, &version) {
                Ok(value) => {
                    self.tree.fill(unloaded, Arc::new(value));
                    self.status.update(|state| {
                        state.broken.remove(&secret);
                    })
                }
                Err(e) => {
                    failed = true;
                    let reason = reason(&*e);
                    tracing::error!(secret = %secret, %reason, "{secret}: can't be loaded: {reason}");
                    self.status.update(|state| {
                        state.broken.insert(secret, reason);
                    })
                }
            };
            if change == Changed::Yes {
                (self.changed)();
            }
        }
        for Waiter { uid, ino, reply } in self.waiting().remove(&unloaded).unwrap_or_default() {
            if failed {
                reply.error(Errno::EIO);
            } else if let Some((unloaded, reply)) =
                answer_open(&self.tree, uid, ino, Want::Read, reply)
            {
                self.open_when_loaded(unloaded, uid, ino, reply);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Ino, Vec<Waiter>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
