//! The terminal's modes, taken and given back. Nothing else may change a mode of the terminal or
//! write to it while the workbench is open.
//!
//! Given back on return, on an error and on a panic (of any thread, before its message is
//! printed); the runtime turns signals into returns. SIGKILL can't be helped: `reset` does.

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste,
    PopKeyboardEnhancementFlags,
};
use crossterm::queue;
use crossterm::style::{Attribute, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use crate::error::TuiError;

/// Whether the workbench has the terminal. A process has one terminal, and the panic hook must
/// reach it.
static HELD: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Holds the terminal; dropping it gives the terminal back.
#[derive(Debug)]
pub(crate) struct Guard(());

impl Guard {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// Fails without a terminal on standard input and output, or when it refuses a mode.
    pub(crate) fn take() -> Result<Self, TuiError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(TuiError::NoTerminal);
        }
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                previous(info);
            }));
        });
        let guard = Self(());
        guard.retake()?;
        Ok(guard)
    }

    /// Gives the terminal back until [`Guard::retake`].
    #[expect(clippy::unused_self, reason = "only a holder of the guard may")]
    pub(crate) fn lend(&self) {
        give_back();
    }

    /// Sets every mode anew, also where a shell changed them behind our back (SIGSTOP).
    ///
    /// # Errors
    ///
    /// Fails when the terminal refuses a mode.
    #[expect(clippy::unused_self, reason = "only a holder of the guard may")]
    pub(crate) fn retake(&self) -> Result<(), TuiError> {
        // Raw mode first: in the background this stops us before anything is written.
        disable_raw_mode().and_then(|()| enable_raw_mode()).map_err(TuiError::Terminal)?;
        HELD.store(true, Ordering::SeqCst);
        let mut modes = Vec::new();
        queue!(modes, EnterAlternateScreen, EnableBracketedPaste, Clear(ClearType::All), Hide)
            .and_then(|()| write_now(&modes))
            .map_err(TuiError::Terminal)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Collects a frame and writes it at once, or drops it when the terminal isn't held: whatever a
/// late drop still wants to write must not reach the shell's screen.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter(Vec<u8>);

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = if HELD.load(Ordering::SeqCst) { write_now(&self.0) } else { Ok(()) };
        self.0.clear();
        written
    }
}

fn give_back() {
    if !HELD.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut modes = Vec::new();
    // Flags of the kitty protocol and the cleared cells belong to the alternate screen, so they
    // go before it does. Errors are of no use: the terminal may be gone.
    let _ = queue!(
        modes,
        PopKeyboardEnhancementFlags,
        DisableMouseCapture,
        DisableFocusChange,
        DisableBracketedPaste,
        SetAttribute(Attribute::Reset),
        Clear(ClearType::All),
        LeaveAlternateScreen,
        Show
    )
    .and_then(|()| write_now(&modes));
    let _ = disable_raw_mode();
}

fn write_now(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
