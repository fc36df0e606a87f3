//! `vaultfs mount`.

use std::env;
use std::error::Error as StdError;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use clap::{Args, ValueEnum, ValueHint};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use vaultfs_core::{
    DirectoryStore, EnvFileSource, Pattern, SecretName, Source, VaultSource, unlocked_bytes,
};
use vaultfs_fusefs::{
    Access, Ending, Exposure, Loading, Memory, Mount as FuseMount, MountEvent, MountOptions,
    MountState, Need, Place, Reader, Selector,
};

use crate::context::Context;
use crate::logging;
use crate::report::UsageError;
use crate::users::User;

mod hints;

pub(crate) use hints::hint;

/// Serve the secrets as read-only files, until a signal.
///
/// Runs in the foreground until SIGTERM or Ctrl-C, as systemd wants it. Every secret becomes a file
/// below MOUNTPOINT that the reader, and nobody else, may open: not even root. Values stay in
/// memory. A rotated secret is there within a quarter of a second; what is open stays as it was.
#[derive(Args)]
pub(crate) struct Mount {
    /// An empty directory
    #[arg(value_hint = ValueHint::DirPath)]
    mountpoint: PathBuf,
    /// Who may read: a user's name or uid. As root one must be named; otherwise it is yourself.
    /// With --access shared it may be given again; the first one owns the files
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username)]
    uid: Vec<String>,
    /// The reader's group, by number [default: the user's own]
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,
    /// Only secrets that match, such as 'prod/web/*'; may be given again
    #[arg(long, value_name = "PATTERN")]
    only: Vec<Pattern>,
    /// Who gets past the kernel
    #[arg(long, value_enum, default_value_t = Gate::Private)]
    access: Gate,
    /// Decrypt each secret at its first open, not before the mount is ready
    #[arg(long)]
    lazy: bool,
    /// Don't start where the memory for values can't be locked, and so might be swapped
    #[arg(long)]
    require_mlock: bool,
    /// Serve the entries of this plaintext .env file, for those who have no vault yet
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Gate {
    /// The reader alone: all others, root included, can't even look
    Private,
    /// Everyone may look at names and sizes; readers may open. For several readers and containers
    Shared,
}

/// What `mount` runs of itself.
#[derive(Args)]
pub(crate) struct Helper {}

impl Helper {
    pub(crate) fn run() -> Result<()> {
        Ok(vaultfs_fusefs::run_helper()?)
    }
}

/// What the main thread waits for. Everything that could hang happens on other threads, so that a
/// signal is always obeyed.
enum Happening {
    Signal(i32),
    Source(Result<Opened>),
    Mount(MountEvent),
}

/// A source, and what keeps its inode numbers apart from those of others.
struct Opened {
    source: Arc<dyn Source>,
    namespace: Vec<u8>,
}

impl Mount {
    pub(crate) fn run(self, context: Context) -> Result<()> {
        let readers = self.readers()?;
        logging::start();
        let (sender, happenings) = mpsc::channel();
        forward_signals(&sender)?;
        let mountpoint = std::path::absolute(&self.mountpoint)?;
        let env_file = self.env_file.clone();
        let opened = sender.clone();
        thread::Builder::new().name("vaultfs-open".to_owned()).spawn(move || {
            // Nobody listens any more where a signal came first.
            let _ = opened.send(Happening::Source(open_source(&context, env_file.as_deref())));
        })?;
        let mut running = Running { mount: None, sender, mountpoint };
        let ended = running.serve(&happenings, |opened| self.options(&readers, opened));
        notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        running.stop()?;
        ended
    }

    fn readers(&self) -> Result<Vec<Reader>> {
        let own_uid = rustix::process::geteuid().as_raw();
        if self.uid.is_empty() {
            if own_uid == 0 {
                bail!(UsageError(
                    "as root, say who may read: --uid USER (root itself only if you name it)"
                ));
            }
            let gid = self.gid.unwrap_or_else(|| rustix::process::getegid().as_raw());
            return Ok(vec![Reader { uid: own_uid, gid }]);
        }
        if self.gid.is_some() && self.uid.len() > 1 {
            bail!(UsageError("--gid goes with one --uid"));
        }
        self.uid.iter().map(|name| self.reader(name)).collect()
    }

    fn reader(&self, name: &str) -> Result<Reader> {
        let user = User::find(name)?;
        match self.gid.or(user.gid) {
            Some(gid) => Ok(Reader { uid: user.uid, gid }),
            None => bail!(UsageError("a uid that no user has needs its group: --gid GID")),
        }
    }

    fn options(&self, readers: &[Reader], opened: &Opened) -> Result<MountOptions> {
        let exposure = |secrets| Exposure {
            secrets,
            readers: readers.to_vec(),
            place: Place::SameAsName,
            need: Need::Optional,
        };
        let matching = |pattern: &Pattern| Selector::Matching {
            pattern: pattern.to_string(),
            matches: Box::new({
                let pattern = pattern.clone();
                move |name| pattern.matches(name)
            }),
        };
        let mut selectors: Vec<Selector> = self.only.iter().map(matching).collect();
        if selectors.is_empty() {
            let everything = Box::new(|_: &SecretName| true);
            selectors.push(Selector::Matching { pattern: "**".to_owned(), matches: everything });
        }
        let program = env::current_exe().context("the path of vaultfs itself can't be found")?;
        Ok(MountOptions {
            mountpoint: std::path::absolute(&self.mountpoint)?,
            access: match self.access {
                Gate::Private => Access::Private,
                Gate::Shared => Access::Shared,
            },
            exposures: selectors.into_iter().map(exposure).collect(),
            namespace: opened.namespace.clone(),
            loading: if self.lazy { Loading::Lazy } else { Loading::Eager },
            memory: if self.require_mlock { Memory::RequireLocked } else { Memory::PreferLocked },
            helper: vec![program.into_os_string(), OsString::from("__helper")],
        })
    }
}

fn forward_signals(sender: &Sender<Happening>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let sender = sender.clone();
    thread::Builder::new().name("vaultfs-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(Happening::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

fn open_source(context: &Context, env_file: Option<&Path>) -> Result<Opened> {
    if let Some(path) = env_file {
        tracing::warn!(
            file = %path.display(),
            "{} holds its values in plaintext; `vaultfs migrate` moves them into a vault",
            path.display()
        );
        let namespace = path.as_os_str().as_bytes().to_vec();
        return Ok(Opened { source: Arc::new(EnvFileSource::open(path)?), namespace });
    }
    let vault = context.vault()?;
    // Absolute, because the store opens it again and again.
    let store = Arc::new(DirectoryStore::new(std::path::absolute(vault.root())?));
    let source = VaultSource::new(store, context.identities()?).map_err(Error::from_boxed)?;
    let namespace = source.vault_id().as_bytes().to_vec();
    Ok(Opened { source: Arc::new(source), namespace })
}

struct Running {
    mount: Option<FuseMount>,
    sender: Sender<Happening>,
    mountpoint: PathBuf,
}

impl Running {
    /// Serves until a signal, or until it can't.
    fn serve(
        &mut self,
        happenings: &Receiver<Happening>,
        options: impl FnOnce(&Opened) -> Result<MountOptions>,
    ) -> Result<()> {
        let mut options = Some(options);
        // Twice as often as systemd wants to hear of us, as sd_watchdog_enabled(3) recommends.
        let interval = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        loop {
            match next(happenings, interval)? {
                None => notify(&[NotifyState::Watchdog]),
                Some(Happening::Signal(signal)) => {
                    tracing::info!(signal, "stopping on signal {signal}");
                    return Ok(());
                }
                Some(Happening::Source(opened)) => {
                    let opened = opened?;
                    if let Some(options) = options.take() {
                        let sender = self.sender.clone();
                        let tell = move |event| {
                            // Nobody listens any more where a signal came first.
                            let _ = sender.send(Happening::Mount(event));
                        };
                        self.mount =
                            Some(FuseMount::start(options(&opened)?, opened.source, tell)?);
                    }
                }
                Some(Happening::Mount(MountEvent::Ready)) => self.ready(),
                Some(Happening::Mount(MountEvent::Failed(error))) => return Err(error.into()),
                Some(Happening::Mount(MountEvent::Lost(error))) => {
                    return Err(Error::new(error).context("the connection to the kernel broke"));
                }
                Some(Happening::Mount(MountEvent::Unmounted)) => {
                    bail!("{} was unmounted by someone else", self.mountpoint.display());
                }
                Some(Happening::Mount(_)) => self.tell_status(&[]),
            }
        }
    }

    fn ready(&self) {
        let unlocked = unlocked_bytes();
        if unlocked > 0 {
            tracing::warn!(
                bytes = unlocked,
                "{unlocked} bytes for values could not be locked and may be swapped; raise RLIMIT_MEMLOCK \
                 (LimitMEMLOCK= in systemd), or see --require-mlock"
            );
        }
        self.tell_status(&[NotifyState::Ready]);
        let state = self.state();
        let (mountpoint, served) = (self.mountpoint.display(), state.served);
        tracing::info!(%mountpoint, served, "ready: {served} secrets in {mountpoint}");
    }

    fn state(&self) -> MountState {
        self.mount.as_ref().map(FuseMount::state).unwrap_or_default()
    }

    /// Tells systemd how the mount is doing.
    fn tell_status(&self, first: &[NotifyState<'_>]) {
        let summary = summary(&self.state());
        let mut states = first.to_vec();
        states.push(NotifyState::Status(&summary));
        notify(&states);
    }

    fn stop(&mut self) -> Result<()> {
        let Some(mount) = self.mount.take() else { return Ok(()) };
        if mount.stop()? == Ending::InUse {
            tracing::warn!("unmounted; files that are still open can't be read any more");
        }
        Ok(())
    }
}

/// The next happening; none where the interval passed without one.
fn next(
    happenings: &Receiver<Happening>,
    interval: Option<Duration>,
) -> Result<Option<Happening>, mpsc::RecvError> {
    match interval {
        None => happenings.recv().map(Some),
        Some(interval) => match happenings.recv_timeout(interval) {
            Ok(happening) => Ok(Some(happening)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(mpsc::RecvError),
        },
    }
}

/// One line on what is served and what isn't, for `systemctl status`.
fn summary(state: &MountState) -> String {
    let mut parts = vec![format!("{} secrets served", state.served)];
    let list = |names: Vec<String>| names.join(", ");
    if !state.broken.is_empty() {
        let names = state.broken.keys().map(ToString::to_string).collect();
        parts.push(format!("broken: {}", list(names)));
    }
    if !state.last_good.is_empty() {
        let names = state.last_good.keys().map(ToString::to_string).collect();
        parts.push(format!("last good version: {}", list(names)));
    }
    if !state.displaced.is_empty() {
        let names = state.displaced.keys().map(ToString::to_string).collect();
        parts.push(format!("no place: {}", list(names)));
    }
    parts.extend(state.source_problem.iter().map(|problem| format!("source: {problem}")));
    parts.join("; ")
}

/// Does nothing where systemd didn't start us.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd can't be told: {error}");
    }
}

/// Whether an error is of the mount itself.
fn is<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    error.downcast_ref()
}
