//! The one place that owns the terminal, signals and threads. It decides nothing: it turns what
//! happens into messages and effects into deeds.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect, Size};
use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};

use crate::error::TuiError;
use crate::guard::{FrameWriter, Guard};
use crate::input::InputReader;
use crate::input::parser::Input;
use crate::model::{JobControl, Model};
use crate::palette::Palette;
use crate::row::Row;
use crate::signals::SignalWatch;
use crate::update::{Effect, Msg, update};
use crate::view::view;

/// Reads the vault: its rows in the order to show, or in one line why not. Runs on a thread of its
/// own and may block; what it panics with ends [`run`]. It must not catch a panic: the panic hook
/// has given the terminal back by then.
pub type Reload = Box<dyn FnMut() -> Result<Vec<Row>, String> + Send>;

/// What the workbench is opened with.
pub struct Options {
    /// Names the vault in the first line.
    pub title: String,
    /// Which styles to draw with.
    pub palette: Palette,
    /// Called once at the start and at each reload.
    pub reload: Reload,
}

/// Opens the workbench and returns when its operator quits, with the terminal as it was.
///
/// # Errors
///
/// Fails without a terminal, when the terminal goes away, and with [`TuiError::Signal`] when a
/// signal ended it.
///
/// # Panics
///
/// With what `reload` panicked with.
pub fn run(options: Options) -> Result<(), TuiError> {
    let (sender, events) = mpsc::channel();
    // Before the terminal is taken, so that no signal can leave it taken.
    let on_signal = sender.clone();
    let _signals = SignalWatch::start(move |signal| {
        let _ = on_signal.send(Event::Signal(signal));
    })
    .map_err(TuiError::Start)?;
    let guard = Guard::take()?;
    // Colours are the palette's business: under NO_COLOR crossterm would drop reverse and bold too.
    crossterm::style::force_color_output(true);
    let terminal =
        Terminal::new(CrosstermBackend::new(FrameWriter::default())).map_err(TuiError::Terminal)?;
    let size = terminal.size().map_err(TuiError::Terminal)?;
    let model = Model::new(&options.title, options.palette, size, job_control());
    let on_input = sender.clone();
    let _input = InputReader::start(move |input| {
        let _ = on_input.send(Event::Input(input));
    })
    .map_err(TuiError::Start)?;
    let reloads = spawn_reload(options.reload, sender).map_err(TuiError::Start)?;
    // Fields drop in order: the guard gives the terminal back before ratatui's own drop, which
    // would complain on standard error about a terminal that is gone.
    Runtime { guard, terminal, model, reloads, events }.run()
}

/// Something from outside.
enum Event {
    Input(io::Result<Input>),
    Signal(i32),
    Loaded(Result<Vec<Row>, String>),
    Panicked(Box<dyn Any + Send>),
}

struct Runtime {
    guard: Guard,
    terminal: Terminal<CrosstermBackend<FrameWriter>>,
    model: Model,
    reloads: Sender<()>,
    events: Receiver<Event>,
}

impl Runtime {
    fn run(mut self) -> Result<(), TuiError> {
        let mut effects = vec![Effect::Draw, Effect::Reload];
        loop {
            for effect in effects {
                match effect {
                    Effect::Draw => self.draw()?,
                    Effect::Repaint => {
                        // Not `clear`, which asks the terminal where its cursor is.
                        let area = Rect::from((Position::ORIGIN, self.size()?));
                        self.terminal.resize(area).map_err(TuiError::Terminal)?;
                        self.draw()?;
                    }
                    // A thread that is gone has said why through `events`.
                    Effect::Reload => drop(self.reloads.send(())),
                    Effect::Suspend => self.suspend()?,
                    Effect::Quit => return Ok(()),
                }
            }
            let event = self.events.recv().expect("the threads outlive the loop");
            let msg = self.message(event)?;
            effects = update(&mut self.model, msg);
        }
    }

    fn message(&self, event: Event) -> Result<Msg, TuiError> {
        Ok(match event {
            Event::Input(Ok(Input::Key(key))) => Msg::Key(key),
            Event::Input(Ok(Input::Pasted(text))) => Msg::Pasted(text),
            Event::Input(Err(error)) => return Err(TuiError::Input(error)),
            Event::Signal(SIGTSTP) => Msg::StopRequested,
            Event::Signal(SIGWINCH) => Msg::Resized(self.size()?),
            Event::Signal(SIGCONT) => {
                self.guard.retake()?;
                Msg::Resumed(self.size()?)
            }
            Event::Signal(signal) => return Err(TuiError::Signal(signal)),
            Event::Loaded(loaded) => Msg::Loaded(loaded),
            Event::Panicked(payload) => resume_unwind(payload),
        })
    }

    fn size(&self) -> Result<Size, TuiError> {
        self.terminal.size().map_err(TuiError::Terminal)
    }

    fn draw(&mut self) -> Result<(), TuiError> {
        let model = &self.model;
        self.terminal.draw(|frame| view(model, frame)).map_err(TuiError::Terminal)?;
        Ok(())
    }

    /// Stops the whole job, as a shell's Ctrl-Z would. SIGCONT takes the terminal again; what is
    /// drawn before that is dropped.
    fn suspend(&self) -> Result<(), TuiError> {
        self.guard.lend();
        kill_current_process_group(Signal::STOP).or_else(|_| self.guard.retake())
    }
}

/// A job whose session leader is in it has no shell above it that could continue it.
fn job_control() -> JobControl {
    if getsid(None) == Ok(getpgrp()) { JobControl::None } else { JobControl::Shell }
}

fn spawn_reload(mut reload: Reload, events: Sender<Event>) -> io::Result<Sender<()>> {
    let (reloads, requests) = mpsc::channel();
    let serve = move || {
        for () in requests {
            // The panic hook has given the terminal back; the loop unwinds with the same payload.
            let event = catch_unwind(AssertUnwindSafe(&mut reload))
                .map_or_else(Event::Panicked, Event::Loaded);
            if events.send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("reload".to_owned()).spawn(serve)?;
    Ok(reloads)
}
