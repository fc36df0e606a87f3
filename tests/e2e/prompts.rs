//! What is asked at a real terminal, and what of it can be seen.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{PATIENCE, is_mounted};
use crate::support::{Sandbox, has, not_run};
use crate::users::{FOR_READER, READER, can_mount};

/// A shell in a terminal, in the sandbox's vault, where vaultfs is in the path.
struct Terminal<'a> {
    sandbox: &'a Sandbox,
}

impl<'a> Terminal<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let terminal = Self { sandbox };
        let here = sandbox.path(if sandbox.path("vault").is_dir() { "vault" } else { "" });
        let mut tmux = terminal.tmux(&["-f", "/dev/null", "new-session", "-d"]);
        tmux.args(["-x", "120", "-y", "40", "env", "PS1=READY> ", "sh"]).current_dir(here);
        assert!(tmux.status().unwrap().success());
        terminal.await_text("READY> ");
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.sandbox.path("tmux")).args(arguments).stdin(Stdio::null());
        let binaries = std::path::Path::new(crate::support::VAULTFS).parent().unwrap();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        tmux.env_clear().env("PATH", path).env("HOME", self.sandbox.path("home"));
        tmux.env("TERM", "screen").env("LC_ALL", "C.UTF-8").env("USER", "alice");
        tmux
    }

    /// Types text, and presses Enter.
    fn enter(&self, text: &str) {
        assert!(self.tmux(&["send-keys", "-l", text]).status().unwrap().success());
        self.press("Enter");
    }

    fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status().unwrap().success());
    }

    /// All that was ever shown.
    fn shown(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the text is shown this often.
    #[track_caller]
    fn await_times(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.shown().matches(text).count() < times {
            assert!(Instant::now() < deadline, "no {times} × {text:?} in {}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn await_text(&self, text: &str) {
        self.await_times(text, 1);
    }

    /// The exit code of the last command, and whether the terminal echoes.
    #[track_caller]
    fn ends(&self, mark: &str) -> String {
        self.enter(&format!("echo {mark}=$? $(stty -a | grep -ow -- '-*echo')"));
        let mark = format!("{mark}=");
        let result = |shown: &str| {
            let after = shown.split(&mark).skip(1).filter_map(|after| after.lines().next());
            after.map(str::trim_end).find(|after| !after.starts_with('$')).map(ToOwned::to_owned)
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(result) = result(&self.shown()) {
                return result;
            }
            assert!(Instant::now() < deadline, "{mark}: {}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).status();
    }
}

fn has_tmux(test: &str) -> bool {
    if !has("tmux") {
        not_run(test, "tmux is not installed");
    }
    has("tmux")
}

#[test]
fn a_value_is_asked_for_twice_and_never_shown() {
    if !has_tmux("a_value_is_asked_for_twice_and_never_shown") {
        return;
    }
    let sandbox = Sandbox::new();
    let terminal = Terminal::new(&sandbox);
    terminal.enter("vaultfs add prod/A");
    terminal.await_text("Value of prod/A (not shown):");
    terminal.enter("CANARY typed");
    terminal.await_text("Once more:");
    terminal.enter("CANARY typed");
    terminal.await_text("added prod/A");
    assert_eq!(terminal.ends("ADDED"), "0 echo");
    assert_eq!(sandbox.reveal("prod/A"), b"CANARY typed", "no newline added");

    // Corrections: the erase key, and Ctrl-U.
    terminal.enter("vaultfs rotate prod/A");
    terminal.await_times("Value of prod/A (not shown):", 2);
    terminal.tmux(&["send-keys", "-l", "CANARY wrong"]).status().unwrap();
    terminal.press("C-u");
    terminal.tmux(&["send-keys", "-l", "CANARYé"]).status().unwrap();
    terminal.press("BSpace");
    terminal.enter("Y");
    terminal.await_times("Once more:", 2);
    terminal.enter("CANARYY");
    terminal.await_text("rotated prod/A (generation 2)");
    assert_eq!(sandbox.reveal("prod/A"), b"CANARYY");
    assert!(!terminal.shown().contains("CANARY"), "{}", terminal.shown());
}

#[test]
fn values_that_differ_change_nothing() {
    if !has_tmux("values_that_differ_change_nothing") {
        return;
    }
    let sandbox = Sandbox::new();
    let terminal = Terminal::new(&sandbox);
    terminal.enter("vaultfs add A");
    terminal.await_text("Value of A (not shown):");
    terminal.enter("CANARY one");
    terminal.await_text("Once more:");
    terminal.enter("CANARY two");
    terminal.await_text("error: the two values differ; nothing was changed");
    assert_eq!(terminal.ends("DIFFER"), "1 echo");
    terminal.enter("vaultfs add A");
    terminal.await_times("Value of A (not shown):", 2);
    terminal.enter("");
    terminal.await_times("Once more:", 2);
    terminal.enter("");
    terminal.await_text("error: the value of A is empty");
    assert_eq!(terminal.ends("EMPTY"), "1 echo");
    assert!(!sandbox.file("A").exists());
    assert!(!terminal.shown().contains("CANARY"), "{}", terminal.shown());
}

#[test]
fn giving_up_at_a_prompt_leaves_the_terminal_as_it_was() {
    if !has_tmux("giving_up_at_a_prompt_leaves_the_terminal_as_it_was") {
        return;
    }
    let sandbox = Sandbox::new();
    let terminal = Terminal::new(&sandbox);
    for (times, key) in [(1, "C-c"), (2, "C-d"), (3, "Escape")] {
        terminal.enter("vaultfs add A");
        terminal.await_times("Value of A (not shown):", times);
        terminal.tmux(&["send-keys", "-l", "CANARY half"]).status().unwrap();
        terminal.press(key);
        terminal.await_times("error: no value was given; nothing was changed", times);
        assert_eq!(terminal.ends(&format!("KEY{times}")), "1 echo", "{key}");
    }
    assert!(!sandbox.file("A").exists());
    assert!(!terminal.shown().contains("CANARY"), "{}", terminal.shown());
}

#[test]
fn an_identity_with_a_passphrase_is_asked_for_once() {
    let test = "an_identity_with_a_passphrase_is_asked_for_once";
    if !has_tmux(test) {
        return;
    }
    let sandbox = Sandbox::without_vault();
    let terminal = Terminal::new(&sandbox);
    terminal.enter("vaultfs keygen --passphrase");
    terminal.await_text("Passphrase:");
    terminal.enter("CANARY horse");
    terminal.await_text("Once more:");
    terminal.enter("CANARY house");
    terminal.await_text("error: the two passphrases differ");
    assert!(!sandbox.identity().exists());
    terminal.enter("vaultfs keygen --passphrase");
    terminal.await_times("Passphrase:", 2);
    terminal.enter("CANARY horse");
    terminal.await_times("Once more:", 2);
    terminal.enter("CANARY horse");
    terminal.await_text("age1");
    assert_eq!(terminal.ends("KEYGEN"), "0 echo");
    let file = fs::read_to_string(sandbox.identity()).unwrap();
    assert!(!file.contains("AGE-SECRET-KEY-1"), "{file}");

    let shown = terminal.shown();
    let recipient = shown.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    sandbox.ok(&["init", sandbox.path("vault").to_str().unwrap(), "--recipient", recipient]);
    sandbox.add("A", b"value of A");
    sandbox.add("B", b"value of B");
    terminal.enter("cd vault");
    terminal.enter("vaultfs show A --reveal");
    terminal.await_text("Passphrase for ");
    terminal.enter("CANARY horse");
    terminal.await_text("value of A");
    terminal.enter("vaultfs show A --reveal");
    terminal.await_times("Passphrase for ", 2);
    terminal.enter("CANARY house");
    terminal.await_text("wrong passphrase for ");
    terminal.await_times("Passphrase for ", 3);
    terminal.press("C-c");
    terminal.await_times("error: ", 2);
    assert_eq!(terminal.ends("GAVE_UP"), "1 echo");
    if can_mount(test) {
        // Two secrets, on two threads.
        let mountpoint = sandbox.mountpoint();
        terminal.enter(&format!("vaultfs mount {} {}", mountpoint.display(), FOR_READER.join(" ")));
        terminal.await_times("Passphrase for ", 4);
        terminal.enter("CANARY horse");
        terminal.await_text("INFO ready");
        assert_eq!(READER.cat(&mountpoint.join("A")).unwrap(), b"value of A");
        assert_eq!(READER.cat(&mountpoint.join("B")).unwrap(), b"value of B");
        terminal.press("C-c");
        assert_eq!(terminal.ends("MOUNT"), "0 echo");
        assert!(!is_mounted(&mountpoint));
        assert_eq!(terminal.shown().matches("Passphrase for ").count(), 4);
    }
    assert!(!terminal.shown().contains("CANARY"), "{}", terminal.shown());
}
