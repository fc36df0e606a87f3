//! A place of its own for each test: a home, a vault, and the binary that works on them.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The binary under test.
pub(crate) const VAULTFS: &str = env!("CARGO_BIN_EXE_vaultfs");

/// A home with an identity and a vault in it, all removed on drop.
pub(crate) struct Sandbox {
    directory: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Standard output as bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Sandbox {
    /// A vault with one recipient, whose identity is in the usual place.
    pub(crate) fn new() -> Self {
        let sandbox = Self::without_vault();
        sandbox.ok(&["init", sandbox.path("vault").to_str().unwrap()]);
        sandbox
    }

    /// A home and nothing in it.
    pub(crate) fn without_vault() -> Self {
        let directory = tempfile::Builder::new().prefix("vaultfs-test-").tempdir().unwrap();
        // Readers with another uid pass through to mount points, and no further.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// The vault's file of a secret.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path("vault/secrets").join(format!("{name}.age"))
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.path("home/.config/vaultfs/identity.txt")
    }

    /// vaultfs in the vault, or beside it where there is none yet; nothing of the environment of
    /// whoever runs the tests reaches it.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(VAULTFS);
        let vault = self.path("vault");
        let here = if vault.is_dir() { vault } else { self.path("") };
        command.args(arguments).env_clear().current_dir(here).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path("home"));
        command.env("USER", "alice");
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs what must succeed, and gives what it printed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        self.run(arguments).expect_ok().stdout
    }

    /// Runs with standard input.
    pub(crate) fn feed<S: AsRef<OsStr>>(&self, input: &[u8], arguments: &[S]) -> Ran {
        feed(&mut self.command(arguments), input)
    }

    #[track_caller]
    pub(crate) fn add(&self, name: &str, value: &[u8]) {
        self.feed(value, &["add", name]).expect_ok();
    }

    #[track_caller]
    pub(crate) fn rotate(&self, name: &str, value: &[u8]) {
        self.feed(value, &["rotate", name]).expect_ok();
    }

    #[track_caller]
    pub(crate) fn reveal(&self, name: &str) -> Vec<u8> {
        self.run(&["show", name, "--reveal"]).expect_ok().bytes
    }

    pub(crate) fn write(&self, relative: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::write(&path, text).unwrap();
        path
    }

    /// Appends to the policy.
    pub(crate) fn append_to_policy(&self, text: &str) {
        let path = self.path("vault/vaultfs.yaml");
        let policy = fs::read_to_string(&path).unwrap();
        fs::write(&path, policy + text).unwrap();
    }

    /// Replaces a part of the policy, which must be there.
    pub(crate) fn edit_policy(&self, from: &str, to: &str) {
        let path = self.path("vault/vaultfs.yaml");
        let policy = fs::read_to_string(&path).unwrap();
        assert!(policy.contains(from), "{from:?} is not in {policy}");
        fs::write(&path, policy.replace(from, to)).unwrap();
    }
}

/// Runs a command with standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ran {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    // A command that refuses before it reads closes the pipe; that isn't this test's matter.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ran::of(child.wait_with_output().unwrap())
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    #[track_caller]
    pub(crate) fn expect_ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Fails with exit code 1 and says all of these on standard error.
    #[track_caller]
    pub(crate) fn expect_error(self, texts: &[&str]) -> Self {
        self.expect_failure(1, texts)
    }

    /// Wrong usage: exit code 2.
    #[track_caller]
    pub(crate) fn expect_usage_error(self, texts: &[&str]) -> Self {
        self.expect_failure(2, texts)
    }

    #[track_caller]
    fn expect_failure(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in {}", self.stderr);
        }
        self
    }
}

/// Says that this test can't run here, and why: `tests/run` lists and counts these.
pub(crate) fn not_run(test: &str, reason: &str) {
    eprintln!("not run: {test}: {reason}");
    if let Some(report) = std::env::var_os("VAULTFS_TEST_REPORT") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(report).unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    let search = format!("command -v {program}");
    let found = Command::new("sh").args(["-c", &search]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}
