//! `vaultfs demo`: the whole of vaultfs in a throw-away vault, with the real commands.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::output::line;

/// Show the whole of vaultfs in a throw-away vault.
///
/// Makes a vault from a .env file, mounts it, reads it as the chosen user, shows everyone else being
/// refused, rotates a value under the reader's eyes, and leaves the mount up until Ctrl-C. Nothing
/// of it stays.
#[derive(Args)]
pub(crate) struct Demo {
    /// Don't wait for Ctrl-C at the end
    #[arg(long)]
    once: bool,
}

/// What a service's .env looks like. All of it is made up.
const ENV_FILE: &str = r#"# A service's settings, as they are before vaultfs.
DATABASE_URL=postgres://app:correct-horse@db.internal:5432/shop?sslmode=require
export COOKIE_SECRET='0123456789abcdef0123456789ABCDEF'
SMTP_PASSWORD="it's \"quoted\", has an = sign\nand a second line"
TLS_KEY="-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"
"#;

/// How long a step of the demo may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Readers of the demo where it runs as root: users that own nothing.
const READER: User = User { uid: 65_534, gid: 65_534 };
const STRANGER: User = User { uid: 65_533, gid: 65_533 };

#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Demo {
    pub(crate) fn run(&self) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let stage = Stage::set()?;
        let mut stage = stage.play().context("the demo stopped; nothing of it is left")?;
        if self.once {
            return stage.strike();
        }
        stage.say_what_to_try();
        signals.forever().next();
        line("");
        stage.strike()
    }
}

/// The directory that holds all of the demo, and the mount that runs. Dropping it removes both.
struct Stage {
    directory: PathBuf,
    vaultfs: PathBuf,
    reader: User,
    is_root: bool,
    mount: Option<Child>,
    /// Where the mount says how it is doing; it would complain if nobody listened.
    notify: Option<UnixDatagram>,
}

impl Stage {
    fn set() -> Result<Self> {
        let name = format!("vaultfs-demo-{}", std::process::id());
        let directory = env::temp_dir().join(name);
        // The reader has to pass through it to the mount, and no further.
        DirBuilder::new().mode(0o711).create(&directory).context("the demo needs a directory")?;
        let uid = rustix::process::getuid().as_raw();
        let is_root = uid == 0;
        let gid = rustix::process::getgid().as_raw();
        let reader = if is_root { READER } else { User { uid, gid } };
        let vaultfs = env::current_exe().context("the demo needs the path of vaultfs itself")?;
        let stage = Self { directory, vaultfs, reader, is_root, mount: None, notify: None };
        fs::set_permissions(&stage.directory, Permissions::from_mode(0o711))?;
        DirBuilder::new().mode(0o755).create(stage.mountpoint())?;
        Ok(stage)
    }

    fn mountpoint(&self) -> PathBuf {
        self.directory.join("run")
    }

    fn vault(&self) -> PathBuf {
        self.directory.join("vault")
    }

    fn play(mut self) -> Result<Self> {
        self.fill_the_vault()?;
        self.serve()?;
        self.read_and_be_refused()?;
        self.rotate()?;
        Ok(self)
    }

    fn fill_the_vault(&self) -> Result<()> {
        let env_file = self.directory.join(".env");
        fs::write(&env_file, ENV_FILE)?;
        fs::set_permissions(&env_file, Permissions::from_mode(0o600))?;
        title("A vault from a .env file");
        self.run(&["keygen", "-o", &self.path("identity.txt")])?;
        self.run(&["init", &self.path("vault")])?;
        self.run(&["migrate", &self.path(".env"), "--prefix", "prod", "--delete-source", "--yes"])?;
        self.run(&["list"])
    }

    fn serve(&mut self) -> Result<()> {
        title("A mount for one user");
        let mountpoint = self.path("run");
        let (uid, gid) = (self.reader.uid.to_string(), self.reader.gid.to_string());
        let mut arguments = vec!["mount", &mountpoint];
        // Everyone but root mounts for themselves.
        if self.is_root {
            arguments.extend(["--uid", &uid, "--gid", &gid]);
        }
        show_command(&arguments);
        let socket = self.directory.join("notify");
        let notify = UnixDatagram::bind(&socket)?;
        let mut command = self.command(&arguments);
        // A Ctrl-C at the terminal is the demo's to handle: it has more to put away.
        command.env("NOTIFY_SOCKET", &socket).process_group(0);
        self.mount = Some(command.spawn()?);
        self.wait_until_ready(&notify)?;
        self.notify = Some(notify);
        Ok(())
    }

    fn wait_until_ready(&mut self, notify: &UnixDatagram) -> Result<()> {
        notify.set_read_timeout(Some(Duration::from_millis(50)))?;
        let deadline = Instant::now() + PATIENCE;
        let mut message = [0; 4096];
        while Instant::now() < deadline {
            if let Ok(len) = notify.recv(&mut message)
                && String::from_utf8_lossy(&message[..len]).lines().any(|line| line == "READY=1")
            {
                return Ok(());
            }
            if let Some(child) = &mut self.mount
                && child.try_wait()?.is_some()
            {
                self.mount = None;
                bail!("the mount did not come up; see the error above");
            }
        }
        bail!("the mount was not ready in time")
    }

    fn read_and_be_refused(&self) -> Result<()> {
        let cookie = self.mountpoint().join("prod/COOKIE_SECRET");
        title(&format!("Read as uid {}", self.reader.uid));
        let value = self.read_as(Some(self.reader), &cookie)?;
        let bytes = value.context("the reader was refused")?;
        line(format!("$ cat {}\n{}", cookie.display(), String::from_utf8_lossy(&bytes)));
        line(format!("({} bytes, exactly)", bytes.len()));
        title("Everyone else is refused");
        if !self.is_root {
            line("(not shown: only root can try as another user. Run the demo as root to see it.)");
            return Ok(());
        }
        for (who, user) in [("uid 65533", Some(STRANGER)), ("root", None)] {
            match self.read_as(user, &cookie)? {
                Err(error) => line(format!("$ cat {}    as {who}\ncat: {error}", cookie.display())),
                Ok(_) => bail!("{who} could read the secret"),
            }
        }
        Ok(())
    }

    fn rotate(&self) -> Result<()> {
        title("Rotate, while it is served");
        let cookie = self.mountpoint().join("prod/COOKIE_SECRET");
        let before = self.read_as(Some(self.reader), &cookie)?.context("the reader was refused")?;
        self.run(&["rotate", "prod/COOKIE_SECRET", "--generate=hex:16"])?;
        let rotated = Instant::now();
        while rotated.elapsed() < PATIENCE {
            let now =
                self.read_as(Some(self.reader), &cookie)?.context("the reader was refused")?;
            if now != before {
                line(format!("$ cat {}\n{}", cookie.display(), String::from_utf8_lossy(&now)));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("the reader did not see the new value")
    }

    /// Reads a file in a process of that user, or of our own.
    fn read_as(&self, user: Option<User>, path: &Path) -> Result<io::Result<Vec<u8>>> {
        let mut command = Command::new("cat");
        command.arg(path).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command.stdin(Stdio::null());
        if let (true, Some(user)) = (self.is_root, user) {
            command.uid(user.uid).gid(user.gid);
        }
        let output = command.output().context("the demo needs `cat`")?;
        if output.status.success() {
            return Ok(Ok(output.stdout));
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint = complaint.trim().strip_prefix("cat: ").unwrap_or_default().to_owned();
        Ok(Err(io::Error::other(complaint)))
    }

    fn say_what_to_try(&self) {
        title("What to try next");
        let su = if self.is_root {
            format!(
                "setpriv --reuid {} --regid {} --clear-groups ",
                self.reader.uid, self.reader.gid
            )
        } else {
            String::new()
        };
        line(format!("{su}ls -l {}/prod", self.path("run")));
        line(format!("{su}cat {}/prod/TLS_KEY", self.path("run")));
        line(format!(
            "age -d -i {0}/identity.txt {0}/vault/secrets/prod/DATABASE_URL.age",
            self.directory.display()
        ));
        line(format!("cat {}/vaultfs.yaml", self.path("vault")));
        line("vaultfs init secrets    (a vault of your own)");
        line("\nCtrl-C ends the demo and removes all of it.");
        // The line must be there before we wait.
        let _ = io::stdout().flush();
    }

    /// Ends the demo, and says if something of it could not be put away.
    fn strike(&mut self) -> Result<()> {
        self.stop_mount()?;
        fs::remove_dir_all(&self.directory)
            .with_context(|| format!("{} can't be removed", self.directory.display()))
    }

    fn stop_mount(&mut self) -> Result<()> {
        let Some(mut child) = self.mount.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let status = child.wait()?;
        if status.success() { Ok(()) } else { bail!("the mount ended with {status}") }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// vaultfs itself, with the identity and the vault of the demo and none of the user's.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.vaultfs);
        command.args(arguments).env_clear();
        for kept in ["PATH", "LANG", "TERM", "NO_COLOR"] {
            if let Some(value) = env::var_os(kept) {
                command.env(kept, value);
            }
        }
        let vault = self.vault();
        let here = if vault.is_dir() { vault } else { self.directory.clone() };
        command.env("USER", "you").env("VAULTFS_IDENTITY", self.path("identity.txt"));
        command.current_dir(here).stdin(Stdio::null());
        if arguments.first() == Some(&"keygen") {
            command.env_remove("VAULTFS_IDENTITY");
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        show_command(arguments);
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("vaultfs can't be run")?;
        let mut output = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut output)?;
        }
        let status = child.wait()?;
        if !output.is_empty() {
            line(output.trim_end());
        }
        if status.success() {
            Ok(())
        } else {
            bail!("vaultfs {} ended with {status}", arguments[0])
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After `strike` there is nothing left to do.
        let _ = self.stop_mount();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn show_command(arguments: &[&str]) {
    line(format!("$ vaultfs {}", arguments.join(" ")));
}

fn title(text: &str) {
    line(format!("\n── {text}"));
}
