//! Asking at the terminal, without echo and without copies of what is typed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use vaultfs_core::{Prompter, Value, ValueBuffer};

use crate::output::visible;

/// Asks at the process's terminal, `/dev/tty`, whatever standard input is.
pub(crate) struct TerminalPrompter;

impl Prompter for TerminalPrompter {
    fn ask_passphrase(&self, what: &str) -> Option<Value> {
        ask_hidden(&format!("Passphrase for {}: ", visible(what))).ok().flatten()
    }

    fn ask_public(&self, what: &str) -> Option<String> {
        ask_line(&format!("{}: ", visible(what))).ok()
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let choices = format!("{}/{}", visible(yes), visible(no.unwrap_or("no")));
        let answer = ask_line(&format!("{} [{choices}] ", visible(message))).ok()?;
        Some(
            answer == yes || answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"),
        )
    }

    fn show(&self, message: &str) {
        eprintln!("{}", visible(message));
    }
}

fn open_terminal() -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
    opened.map_err(|e| io::Error::new(e.kind(), format!("there is no terminal to ask at: {e}")))
}

fn ask_line(prompt: &str) -> io::Result<String> {
    let mut tty = open_terminal()?;
    tty.write_all(prompt.as_bytes())?;
    let mut line = String::new();
    BufReader::new(tty).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for one line without echoing it. None where the user gave up (Ctrl-C, Ctrl-D, Escape).
///
/// # Errors
/// Where there is no terminal.
pub(crate) fn ask_hidden(prompt: &str) -> io::Result<Option<Value>> {
    let tty = open_terminal()?;
    (&tty).write_all(prompt.as_bytes())?;
    let silence = Silence::begin(&tty)?;
    let answer = read_hidden(&tty);
    drop(silence);
    (&tty).write_all(b"\n")?;
    answer
}

fn read_hidden(mut tty: &File) -> io::Result<Option<Value>> {
    const BACKSPACE: u8 = 0x7f;
    const CTRL_U: u8 = 0x15;
    let mut typed = ValueBuffer::new().map_err(io::Error::other)?;
    loop {
        let mut byte = [0; 1];
        if tty.read(&mut byte)? == 0 {
            return Ok(None);
        }
        match byte[0] {
            b'\r' | b'\n' => return Ok(Some(typed.finish())),
            // Ctrl-C, Ctrl-D, Escape.
            0x03 | 0x04 | 0x1b => return Ok(None),
            BACKSPACE | 0x08 => typed.remove_last_character(),
            CTRL_U => typed = ValueBuffer::new().map_err(io::Error::other)?,
            _ => typed.push(&byte).map_err(io::Error::other)?,
        }
    }
}

/// The terminal without echo; as it was before on drop.
struct Silence<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn begin(tty: &'a File) -> io::Result<Silence<'a>> {
        let before = termios::tcgetattr(tty)?;
        let mut silent = before.clone();
        // Without ISIG, Ctrl-C comes as a byte, so that no signal leaves the terminal mute.
        silent.local_modes -=
            LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        termios::tcsetattr(tty, OptionalActions::Flush, &silent)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // Flushing drops what was typed ahead, which would otherwise reach the shell.
        let _ = termios::tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}
