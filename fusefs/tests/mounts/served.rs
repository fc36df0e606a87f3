//! A mount in a process of its own: to be killed, or to run without privileges.

use std::error::Error;
use std::io::stdin;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{getegid, geteuid};
use vaultfs_fusefs::{Access, MountEvent, Reader};

use crate::source::FakeSource;
use crate::support::{PATIENCE, READER, Talking, options, program_for_everyone, start};

/// What the process is told through: the gate, and where to mount.
pub(crate) const VARIABLE: &str = "VAULTFS_TEST_SERVE";

/// What lines for the test begin with, among those of the test harness.
pub(crate) const MARK: &str = "> ";

/// What makes the process rotate as fast as it can.
pub(crate) const SPIN: &str = "spin";

/// The whole of the process: serves `a`, gives it the value of each line on standard input, and
/// stops after an empty one. As root it serves the usual reader, otherwise itself.
pub(crate) fn serve(task: &str) {
    let (access, path) = task.split_once(' ').unwrap();
    let access = if access == "private" { Access::Private } else { Access::Shared };
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let reader = if uid == 0 { READER } else { Reader { uid, gid } };
    let source = FakeSource::with(&[("a", "served")]);
    let say = |line: &str| println!("\n{MARK}{line}");
    let (mount, events) = match start(&source, options(path.as_ref(), access, &[reader])) {
        Ok(started) => started,
        Err(e) => return say(&chain(&e)),
    };
    match events.recv_timeout(PATIENCE).unwrap() {
        MountEvent::Ready => say("ready"),
        MountEvent::Failed(e) => return say(&chain(&e)),
        other => return say(&format!("{other:?}")),
    }
    loop {
        let mut line = String::new();
        stdin().read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            SPIN => spin(&source),
            value => source.set("a", value),
        }
    }
    match mount.stop() {
        Ok(ending) => say(&format!("{ending:?}")),
        Err(e) => say(&chain(&e)),
    }
}

fn spin(source: &Arc<FakeSource>) {
    let source = Arc::clone(source);
    thread::spawn(move || {
        for value in 0.. {
            source.set("a", format!("{value}"));
            thread::sleep(Duration::from_millis(3));
        }
    });
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Starts the process; `before` are the words of a command that runs it.
pub(crate) fn process(before: &[&str], access: Access, path: &Path) -> Talking {
    let access = if access == Access::Private { "private" } else { "shared" };
    let mut words: Vec<String> = before.iter().map(|&word| word.to_owned()).collect();
    words.push("/usr/bin/env".to_owned());
    words.push(format!("{VARIABLE}={access} {}", path.display()));
    words.push(program_for_everyone().display().to_string());
    words.extend(["--exact", "serving_process", "--nocapture"].map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    Talking::new(command)
}

/// The next line that is for the test; empty at the end.
pub(crate) fn line(process: &mut Talking) -> String {
    for _ in 0..100 {
        if let Some(line) = process.line().strip_prefix(MARK) {
            return line.to_owned();
        }
    }
    String::new()
}
