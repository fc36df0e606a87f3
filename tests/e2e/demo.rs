//! The demo keeps what it promises, and leaves nothing.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::daemon::PATIENCE;
use crate::support::{Ran, Sandbox, has, not_run};
use crate::users::{NOBODY, OTHER, can_mount};

const COOKIE: &str = "0123456789abcdef0123456789ABCDEF";

/// A demo whose temporary directory is the sandbox's.
fn demo(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let temporary = sandbox.path("tmp");
    if !temporary.exists() {
        fs::create_dir(&temporary).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o711)).unwrap();
        chown(&temporary, sandbox.owner().map(|user| user.uid), None).unwrap();
    }
    let mut command = sandbox.command(&["demo"]);
    command.args(arguments).env("TMPDIR", &temporary).current_dir("/");
    command
}

/// What is left of demos in the sandbox: files, mounts, processes.
fn leftovers(sandbox: &Sandbox) -> Vec<String> {
    let temporary = sandbox.path("tmp").to_str().unwrap().to_owned();
    let files = fs::read_dir(&temporary).unwrap();
    let mut left: Vec<_> = files.map(|f| f.unwrap().path().display().to_string()).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(&temporary)).map(ToOwned::to_owned));
    for process in fs::read_dir("/proc").unwrap() {
        let command = fs::read_to_string(process.unwrap().path().join("cmdline"));
        left.extend(command.ok().filter(|command| command.contains(&temporary)));
    }
    left
}

/// A demo that runs.
struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let output = sandbox.path(format!("demo{}", sandbox.next_number()));
        let file = File::create(&output).unwrap();
        let mut command = demo(sandbox, arguments);
        // A group of its own, as a shell gives it.
        command.stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        Self { child: command.spawn().unwrap(), output }
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    #[track_caller]
    fn await_output(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.output().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{text:?}: {}", self.output());
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the demo doesn't end: {}", self.output());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(self.pid(), Signal::TERM);
        let _ = self.child.wait();
    }
}

#[track_caller]
fn shows(ran: &Ran, texts: &[&str]) {
    let mut rest = ran.stdout.as_str();
    for text in texts {
        let at = rest.find(text).unwrap_or_else(|| panic!("no {text:?} (or not here) in {ran:?}"));
        rest = &rest[at + text.len()..];
    }
}

#[test]
fn the_demo_shows_all_steps_as_root() {
    if !can_mount("the_demo_shows_all_steps_as_root") {
        return;
    }
    let sandbox = Sandbox::without_vault();
    let ran = Ran::of(demo(&sandbox, &["--once"]).output().unwrap()).expect_ok();
    shows(
        &ran,
        &[
            "A vault from a .env file",
            "$ vaultfs init ",
            "$ vaultfs migrate ",
            "prod/COOKIE_SECRET",
            "A mount for one user",
            "Read as uid 65534",
            COOKIE,
            "(32 bytes, exactly)",
            "Everyone else is refused",
            "as uid 65533\n",
            "Permission denied",
            "as root\n",
            "Permission denied",
            "Rotate, while it is served",
            "$ vaultfs rotate prod/COOKIE_SECRET",
            "prod/COOKIE_SECRET\n",
        ],
    );
    let after = ran.stdout.lines().last().unwrap();
    assert!(after.len() == 32 && after != COOKIE, "{after}");
    assert_eq!(leftovers(&sandbox), [""; 0]);
}

#[test]
fn the_demo_needs_no_privileges() {
    let test = "the_demo_needs_no_privileges";
    if !can_mount(test) {
        return;
    }
    if !has("fusermount3") {
        return not_run(test, "fusermount3 is not installed");
    }
    let sandbox = Sandbox::of(NOBODY);
    let ran = Ran::of(demo(&sandbox, &["--once"]).output().unwrap()).expect_ok();
    shows(
        &ran,
        &["Read as uid 65534", COOKIE, "only root can try as another user", "Rotate", "$ cat "],
    );
    assert_eq!(leftovers(&sandbox), [""; 0]);
    // Without fusermount3, it says what is missing, and leaves nothing either.
    let mut command = NOBODY.command("env");
    command.arg("PATH=/nonexistent").arg(sandbox.path("vaultfs")).args(["demo", "--once"]);
    let output = command.env("TMPDIR", sandbox.path("tmp")).current_dir("/").output().unwrap();
    Ran::of(output).expect_error(&["fusermount3 is not installed", "apt-get install fuse3"]);
    assert_eq!(leftovers(&sandbox), [""; 0]);
}

#[test]
fn the_demo_stays_until_a_signal() {
    if !can_mount("the_demo_stays_until_a_signal") {
        return;
    }
    let sandbox = Sandbox::without_vault();
    for signal in [Signal::INT, Signal::TERM] {
        let mut demo = Running::start(&sandbox, &[]);
        demo.await_output("Ctrl-C ends the demo");
        let mut directories = fs::read_dir(sandbox.path("tmp")).unwrap();
        let directory = directories.next().unwrap().unwrap().path();
        let secret = directory.join("run/prod/DATABASE_URL");
        let value = NOBODY.read(&secret).unwrap();
        assert!(value.starts_with(b"postgres://"), "{value:?}");
        assert_eq!(OTHER.cat(&secret).unwrap_err(), "Permission denied");
        // As Ctrl-C does: to the whole group.
        kill_process_group(demo.pid(), signal).unwrap();
        assert_eq!(demo.ended().code(), Some(0), "{}", demo.output());
        assert_eq!(leftovers(&sandbox), [""; 0]);
    }
}

#[test]
fn the_demo_leaves_nothing_when_it_is_interrupted() {
    if !can_mount("the_demo_leaves_nothing_when_it_is_interrupted") {
        return;
    }
    let sandbox = Sandbox::without_vault();
    for moment in ["A vault from", "$ vaultfs migrate", "A mount for", "Everyone else", "Rotate"] {
        for signal in [Signal::INT, Signal::TERM] {
            let mut demo = Running::start(&sandbox, &["--once"]);
            demo.await_output(moment);
            let _ = kill_process_group(demo.pid(), signal);
            demo.ended();
            assert_eq!(leftovers(&sandbox), [""; 0], "{moment} {}", demo.output());
        }
    }
}
