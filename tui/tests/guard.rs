//! The terminal is as it was after every way out, seen from the other side of a real pty.
#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

/// How long a condition may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// The example. Cargo builds it with all tests; before `cargo test --test guard`, build it by hand.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().parent().unwrap().join("examples/workbench");
    assert!(example.exists(), "build it: cargo build -p vaultfs-tui --example workbench");
    example
}

fn lines(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

/// Runs the example as a shell runs a job, and outlives it: what is written last before a session
/// ends can be lost.
const SHELL: &str =
    "\"$0\" \"$1\"; echo CODE $?; read line; fg >/dev/null; echo CODE $?; read line";

/// Whether the shell gives each job a process group of its own.
#[derive(Clone, Copy)]
enum Jobs {
    Controlled,
    Plain,
}

/// A terminal with a shell in it that runs the example, and everything that they wrote.
struct Screen {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    shell: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    raw: Vec<u8>,
    modes_before: String,
}

impl Screen {
    fn start(jobs: Jobs, argument: &str, environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let modes_before = format!("{:?}", pty.master.get_termios().unwrap());
        let mut shell = CommandBuilder::new("sh");
        if let Jobs::Controlled = jobs {
            shell.arg("-m");
        }
        shell.args(["-c", SHELL, example().to_str().unwrap(), argument]);
        shell.env_remove("NO_COLOR");
        shell.env_remove("RUST_BACKTRACE");
        for (name, value) in environment {
            shell.env(name, value);
        }
        let shell = pty.slave.spawn_command(shell).unwrap();
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
            shell,
            output,
            parser: vt100::Parser::new(lines(24), lines(80), 0),
            raw: Vec::new(),
            modes_before,
        };
        screen.wait_for("> ! overdue");
        assert!(screen.parser.screen().alternate_screen() && screen.parser.screen().hide_cursor());
        assert!(screen.parser.screen().bracketed_paste());
        assert_ne!(screen.modes(), screen.modes_before, "raw mode");
        screen
    }

    fn workbench(argument: &str) -> Self {
        Self::start(Jobs::Controlled, argument, &[])
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

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.contents().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => {
                    self.parser.process(&bytes);
                    self.raw.extend_from_slice(&bytes);
                }
                Err(why) => panic!("no {text:?} ({why}):\n{}", self.contents()),
            }
        }
    }

    /// Sends a signal to the job in the foreground.
    fn signal(&self, signal: Signal) {
        let job = self.master.process_group_leader().unwrap();
        kill_process(Pid::from_raw(job).unwrap(), signal).unwrap();
    }

    /// Waits until the shell has the terminal again, with this exit code of its job.
    fn wait_for_code(&mut self, code: i32) {
        self.wait_for(&format!("CODE {code}"));
        self.assert_restored();
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

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn quitting_restores_the_terminal_and_prints_nothing() {
    for key in ["q", "\x1b", "\x03"] {
        let mut screen = Screen::workbench("");
        screen.press(key);
        screen.wait_for_code(0);
        assert_eq!(screen.contents().trim(), "CODE 0");
    }
}

#[test]
fn a_panic_restores_the_terminal_before_its_message() {
    let mut screen = Screen::workbench("panic");
    screen.press("r");
    screen.wait_for_code(101);
    assert!(screen.contents().contains("the reading panicked"), "{}", screen.contents());
}

#[test]
fn signals_that_end_it_restore_the_terminal() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut screen = Screen::workbench("");
        screen.signal(signal);
        screen.wait_for_code(128 + signal.as_raw());
    }
}

#[test]
fn ctrl_z_lends_the_terminal_to_the_shell_until_fg() {
    for stop in ["key", "signal"] {
        let mut screen = Screen::workbench("");
        match stop {
            "key" => screen.press("\x1a"),
            _ => screen.signal(Signal::TSTP),
        }
        screen.wait_for_code(128 + Signal::STOP.as_raw());
        screen.press("\n");
        screen.wait_for("> ! overdue");
        assert!(screen.parser.screen().alternate_screen());
        screen.press("j");
        screen.wait_for("> ✗ unreadable");
        screen.press("q");
        screen.wait_for_code(0);
    }
}

#[test]
fn ctrl_z_without_a_shell_is_refused() {
    let mut screen = Screen::start(Jobs::Plain, "", &[]);
    screen.press("\x1a");
    screen.wait_for("no shell");
    screen.press("q");
    screen.wait_for_code(0);
}

#[test]
fn no_color_keeps_the_selection_in_reverse() {
    let screen = Screen::start(Jobs::Controlled, "", &[("NO_COLOR", "1")]);
    let cell = screen.parser.screen().cell(1, 20).unwrap();
    assert!(cell.inverse() && cell.bold());
    assert_eq!(cell.fgcolor(), vt100::Color::Default);
}

#[test]
fn a_pasted_q_does_not_quit() {
    let mut screen = Screen::workbench("fail");
    screen.press("\x1b[200~qqq\x1b[201~r");
    screen.wait_for("permission denied");
}

#[test]
fn the_list_follows_the_size_of_the_terminal() {
    let mut screen = Screen::workbench("");
    let small = PtySize { rows: 4, cols: 19, pixel_width: 0, pixel_height: 0 };
    screen.master.resize(small).unwrap();
    screen.parser.screen_mut().set_size(lines(4), lines(19));
    screen.wait_for("too small");
    screen.press("q");
    screen.wait_for_code(0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_vanishes_ends_it() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{PidfdFlags, pidfd_open};

    let mut screen = Screen::workbench("");
    let job = Pid::from_raw(screen.master.process_group_leader().unwrap()).unwrap();
    let job = pidfd_open(job, PidfdFlags::empty()).unwrap();
    // Its session's leader dies, as when a terminal window is closed.
    screen.shell.kill().unwrap();
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&job, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(ended, 1, "still there");
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = std::process::Command::new(example()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message, "the workbench needs a terminal on standard input and output\n");
    assert_eq!(output.stdout, b"");
}
