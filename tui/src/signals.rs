//! Signals as messages, for as long as the workbench runs. Handlers do no work themselves.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::{Handle, Signals};

/// Passes signals on until it is dropped; then they do what they do by default.
#[derive(Debug)]
pub(crate) struct SignalWatch {
    handle: Handle,
    over: Arc<AtomicBool>,
}

impl SignalWatch {
    /// Calls `on_signal` with the number of each signal, on a thread of its own.
    pub(crate) fn start(on_signal: impl Fn(i32) + Send + 'static) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let ask = [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP];
        for signal in ask {
            register_conditional_default(signal, Arc::clone(&over))?;
        }
        let mut signals = Signals::new(ask.into_iter().chain([SIGCONT, SIGWINCH]))?;
        let watch = Self { handle: signals.handle(), over };
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            signals.forever().for_each(on_signal);
        })?;
        Ok(watch)
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.handle.close();
    }
}
