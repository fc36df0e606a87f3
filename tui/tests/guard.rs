//! The terminal is as it was after every way out, seen from the other side of a real pty.
#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

/// How long a condition may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The example, which Cargo builds beside the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().parent().unwrap().join("examples/workbench");
    assert!(example.exists(), "build it: cargo build -p vaultfs-tui --example workbench");
    example
}

fn lines(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

/// A terminal with a process in it, and everything that the process wrote.
struct Screen {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    raw: Vec<u8>,
    modes_before: String,
}

impl Screen {
    fn start(command: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let modes_before = format!("{:?}", pty.master.get_termios().unwrap());
        let mut builder = CommandBuilder::new(command[0]);
        builder.args(&command[1..]);
        builder.env_remove("NO_COLOR");
        builder.env_remove("RUST_BACKTRACE");
        for (name, value) in environment {
            builder.env(name, value);
        }
        let child = pty.slave.spawn_command(builder).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut screen = Self {
            keys: pty.master.take_writer().unwrap(),
            master: pty.master,
            child,
            output,
            parser: vt100::Parser::new(lines(24), lines(80), 0),
            raw: Vec::new(),
            modes_before,
        };
        drop(pty.slave);
        screen.wait("the list", |screen| screen.contents().contains("> ! overdue"));
        assert!(screen.parser.screen().alternate_screen() && screen.parser.screen().hide_cursor());
        assert!(screen.parser.screen().bracketed_paste());
        assert_ne!(screen.modes(), screen.modes_before, "raw mode");
        screen
    }

    fn workbench(argument: &str) -> Self {
        Self::start(&[example().to_str().unwrap(), argument], &[])
    }

    fn modes(&self) -> String {
        format!("{:?}", self.master.get_termios().unwrap())
    }

    fn contents(&self) -> String {
        self.parser.screen().contents()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn take(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
        self.raw.extend_from_slice(bytes);
    }

    fn wait(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.take(&bytes),
                Err(why) => panic!("no {what} ({why}):\n{}", self.contents()),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.process_id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for the process and all its output; returns its exit code.
    fn finish(&mut self) -> u32 {
        let code = self.child.wait().unwrap().exit_code();
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Disconnected) => return code,
                Err(RecvTimeoutError::Timeout) => panic!("the terminal is still in use"),
            }
        }
    }

    fn assert_restored(&self) {
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen(), "alternate screen");
        assert!(!screen.hide_cursor(), "cursor");
        assert!(!screen.bracketed_paste(), "bracketed paste");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert_eq!(self.modes(), self.modes_before);
        // The last word on every mode is off, the alternate screen was cleared before it was left.
        let raw = String::from_utf8_lossy(&self.raw);
        for (on, off) in [("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h")] {
            assert!(raw.rfind(on) < raw.rfind(off), "{off:?}");
        }
        for off in ["\x1b[<1u", "\x1b[?1000l", "\x1b[?1006l", "\x1b[?1004l", "\x1b[?2004l"] {
            assert!(raw.contains(off), "{off:?}");
        }
        let left = raw.rfind("\x1b[?1049l").unwrap();
        assert!(raw[..left].ends_with("\x1b[2J"), "cleared before it is left");
        assert!(!self.contents().contains("SECRET_"), "a frame after the end");
    }
}

#[test]
fn quitting_restores_the_terminal_and_prints_nothing() {
    for key in ["q", "\x1b", "\x03"] {
        let mut screen = Screen::workbench("");
        screen.press(key);
        assert_eq!(screen.finish(), 0);
        screen.assert_restored();
        assert_eq!(screen.contents().trim(), "");
    }
}

#[test]
fn a_panic_restores_the_terminal_before_its_message() {
    let mut screen = Screen::workbench("panic");
    screen.press("r");
    assert_eq!(screen.finish(), 101);
    screen.assert_restored();
    assert!(screen.contents().contains("the reading panicked"), "{}", screen.contents());
}

#[test]
fn signals_that_end_it_restore_the_terminal() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut screen = Screen::workbench("");
        screen.signal(signal);
        assert_eq!(screen.finish(), 128 + signal.as_raw().unsigned_abs());
        screen.assert_restored();
    }
}

#[test]
fn a_terminal_that_vanishes_ends_it() {
    let Screen { master, keys, mut child, output, .. } = Screen::workbench("");
    drop((master, keys));
    // The reader holds the terminal's last descriptor until its next byte, which a repaint sends.
    drop(output);
    let pid = i32::try_from(child.process_id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::CONT).unwrap();
    // SIGHUP and the failing repaint race for who ends it.
    assert_ne!(child.wait().unwrap().exit_code(), 0);
}

#[test]
fn ctrl_z_lends_the_terminal_to_the_shell_until_fg() {
    for stop in ["key", "signal"] {
        let script = "set -m; \"$0\"; echo STOPPED; read line; fg >/dev/null; echo CODE $?";
        let mut screen = Screen::start(&["sh", "-c", script, example().to_str().unwrap()], &[]);
        if stop == "key" {
            screen.press("\x1a");
        } else {
            let job = screen.master.process_group_leader().unwrap();
            kill_process(Pid::from_raw(job).unwrap(), Signal::TSTP).unwrap();
        }
        screen.wait("shell", |screen| screen.contents().contains("STOPPED"));
        screen.assert_restored();
        screen.press("\n");
        screen.wait("the list again", |screen| screen.contents().contains("> ! overdue"));
        assert!(screen.parser.screen().alternate_screen());
        screen.press("j");
        screen.wait("the next row", |screen| screen.contents().contains("> ✗ unreadable"));
        screen.press("q");
        screen.wait("exit", |screen| screen.contents().contains("CODE 0"));
        screen.finish();
        screen.assert_restored();
    }
}

#[test]
fn ctrl_z_without_a_shell_is_refused() {
    let mut screen = Screen::workbench("");
    screen.press("\x1a");
    screen.wait("reason", |screen| screen.contents().contains("no shell"));
    screen.press("q");
    assert_eq!(screen.finish(), 0);
}

#[test]
fn no_color_keeps_the_selection_in_reverse() {
    let example = example();
    let mut screen = Screen::start(&[example.to_str().unwrap()], &[("NO_COLOR", "1")]);
    let cell = screen.parser.screen().cell(1, 20).unwrap();
    assert!(cell.inverse() && cell.bold());
    assert_eq!(cell.fgcolor(), vt100::Color::Default);
    screen.press("q");
    screen.finish();
}

#[test]
fn a_pasted_q_does_not_quit() {
    let mut screen = Screen::workbench("fail");
    screen.press("\x1b[200~qqq\x1b[201~r");
    screen.wait("the failed reload", |screen| screen.contents().contains("permission denied"));
    screen.press("q");
    assert_eq!(screen.finish(), 0);
}

#[test]
fn the_list_follows_the_size_of_the_terminal() {
    let mut screen = Screen::workbench("");
    let small = PtySize { rows: 4, cols: 19, pixel_width: 0, pixel_height: 0 };
    screen.master.resize(small).unwrap();
    screen.parser.screen_mut().set_size(lines(4), lines(19));
    screen.wait("note", |screen| screen.contents().contains("too small"));
    screen.press("q");
    screen.finish();
    screen.assert_restored();
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = std::process::Command::new(example()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message, "the workbench needs a terminal on standard input and output\n");
    assert_eq!(output.stdout, b"");
}
