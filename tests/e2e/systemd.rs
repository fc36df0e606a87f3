//! What the documentation says of systemd, seen with a real one: Debian in a container of
//! systemd-nspawn, `vaultfs mount` as a unit, and units that read from it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::daemon::PATIENCE;
use crate::support::{Ran, VAULTFS, has, not_run};

/// The release that is booted, and what it takes to boot.
const DEBIAN: [&str; 3] = ["--variant=minbase", "--include=systemd,systemd-sysv,dbus", "bookworm"];

/// The unit of docs/services.md, for these options of `mount`; faster to notice and to restart.
fn mount_unit(options: &str) -> String {
    let page = include_str!("../../docs/services.md");
    let (_, unit) = page.split_once("```ini\n").unwrap();
    let (unit, _) = unit.split_once("```\n").unwrap();
    let quick = "WatchdogSec=5\nRestartSec=100ms\n";
    for part in [" --uid app\n", "WatchdogSec=30\n"] {
        assert!(unit.contains(part), "{part:?} is not in {unit}");
    }
    unit.replace(" --uid app\n", &format!(" {options}\n")).replace("WatchdogSec=30\n", quick)
}

/// Counts the mounts.
const MOUNTED: &str = "findmnt -n -t fuse.vaultfs | wc -l";

const READ: &str = "ExecStart=cat /run/vaultfs/prod/DATABASE_URL";

#[test]
fn a_unit_is_ready_watched_and_stopped() {
    let Some(machine) = Machine::boot("a_unit_is_ready_watched_and_stopped") else { return };
    machine.mount("--uid app");
    assert_eq!(machine.property("vaultfs", "ActiveState"), "active");
    assert_eq!(machine.property("vaultfs", "StatusText"), "2 secrets served");
    assert_eq!(machine.journal("VAULTFS_SERVED=2"), "ready: 2 secrets in /run/vaultfs\n");
    // The limit of the unit counts: all values are in locked memory.
    assert_eq!(machine.journal("_SYSTEMD_UNIT=vaultfs.service PRIORITY=4"), "");

    let told = machine.property("vaultfs", "WatchdogTimestampMonotonic");
    machine.until("the watchdog is fed", || {
        machine.property("vaultfs", "WatchdogTimestampMonotonic") != told
    });

    machine.sh("echo junk >/srv/secrets/secrets/prod/DATABASE_URL.age");
    machine.until("the state names what is broken", || {
        machine.property("vaultfs", "StatusText")
            == "2 secrets served; last good version: prod/DATABASE_URL"
    });
    machine.until("the journal knows its secret", || {
        let log = machine.journal("VAULTFS_SECRET=prod/DATABASE_URL");
        log.contains("prod/DATABASE_URL: an earlier version is served: not an age file")
    });

    machine.sh("systemctl stop vaultfs");
    assert_eq!(machine.sh(MOUNTED), "0\n");
    machine.sh("rmdir /run/vaultfs");
    assert_eq!(machine.property("vaultfs", "Result"), "success");
}

#[test]
fn a_daemon_that_dies_or_hangs_is_started_again_over_its_dead_mount() {
    let test = "a_daemon_that_dies_or_hangs_is_started_again_over_its_dead_mount";
    let Some(machine) = Machine::boot(test) else { return };
    machine.mount("--uid app");
    // It lives in a namespace of its own, and sees each new mount nevertheless.
    let reader = "[Service]\nUser=app\nProtectSystem=strict\nExecStart=sleep infinity\n";
    machine.write_unit("reader", reader);
    machine.sh("systemctl start reader");
    let reader = machine.property("reader", "MainPID");
    for (restarts, signal) in [("1", "KILL"), ("2", "STOP")] {
        machine.sh(&format!("systemctl kill --kill-whom=main --signal={signal} vaultfs"));
        machine.until("it was started again", || {
            machine.property("vaultfs", "NRestarts") == restarts
                && machine.property("vaultfs", "ActiveState") == "active"
        });
        let read = format!(
            "nsenter -t {reader} -m setpriv --reuid=app --regid=app --clear-groups \
             cat /run/vaultfs/prod/DATABASE_URL"
        );
        assert_eq!(machine.sh(&read), "s3cret");
        assert_eq!(machine.sh(MOUNTED), "1\n");
    }
}

#[test]
fn units_read_a_private_mount_as_documented() {
    let Some(machine) = Machine::boot("units_read_a_private_mount_as_documented") else { return };
    machine.mount("--uid app");
    for (name, lines) in [
        ("user", &["User=app"][..]),
        ("supplementary", &["User=app", "SupplementaryGroups=other"]),
        ("private-users", &["User=app", "PrivateUsers=yes"]),
        ("strict", &["User=app", "ProtectSystem=strict", "PrivateTmp=yes", "PrivateDevices=yes"]),
        ("dynamic-named", &["User=app", "DynamicUser=yes"]),
    ] {
        machine.unit(name, &[lines, &[READ]].concat());
        assert_eq!(machine.start(name), Ok("s3cret".to_owned()), "{name}");
    }
    for (name, lines, error) in [
        ("root", &[READ][..], "Permission denied"),
        ("another", &["User=other", READ], "Permission denied"),
        ("group", &["User=app", "Group=other", READ], "Permission denied"),
        ("dynamic", &["DynamicUser=yes", READ], "Permission denied"),
        ("environment", &[ENVIRONMENT, "ExecStart=env"], "Failed to load environment files"),
        ("credential", &[CREDENTIAL, READ], "Failed to set up credentials: Protocol error"),
        ("bound", &["BindReadOnlyPaths=/run/vaultfs:/mnt", READ], NAMESPACE),
        ("writable", &["ReadWritePaths=/run/vaultfs", READ], NAMESPACE),
    ] {
        machine.unit(name, lines);
        let said = machine.start(name).expect_err(name);
        assert!(said.contains(error), "{name}: {said}");
    }
}

const ENVIRONMENT: &str = "EnvironmentFile=/run/vaultfs/prod/app.env";
const CREDENTIAL: &str = "LoadCredential=url:/run/vaultfs/prod/DATABASE_URL";
const NAMESPACE: &str = "Failed to set up mount namespacing";

#[test]
fn systemd_itself_reads_a_shared_mount_that_names_root() {
    let test = "systemd_itself_reads_a_shared_mount_that_names_root";
    let Some(machine) = Machine::boot(test) else { return };
    let credential = ["DynamicUser=yes", CREDENTIAL, "ExecStart=cat ${CREDENTIALS_DIRECTORY}/url"];
    machine.unit("credential", &credential);
    let print = "ExecStart=sh -c 'printf %%s $PASSWORD'";
    machine.unit("environment", &["User=other", ENVIRONMENT, print]);
    let bound = ["User=app", "Group=other", "BindReadOnlyPaths=/run/vaultfs:/mnt"];
    let cat = ["ExecStart=cat /mnt/prod/DATABASE_URL"];
    machine.unit("bound", &[&bound[..], &cat].concat());

    machine.mount("--access shared --uid app");
    assert_eq!(machine.start("bound"), Ok("s3cret".to_owned()));
    assert!(machine.start("credential").is_err());
    assert!(machine.start("environment").is_err());

    machine.mount("--access shared --uid app --uid root");
    assert_eq!(machine.start("credential"), Ok("s3cret".to_owned()));
    assert_eq!(machine.start("environment"), Ok("hidden".to_owned()));
}

/// A booted Debian with the users app and other, and a vault whose identity is root's. It goes on
/// drop.
struct Machine {
    nspawn: Child,
    /// Its systemd, as the host counts.
    leader: String,
    directory: TempDir,
    /// One machine at a time: all share the same control groups.
    _turn: File,
}

impl Machine {
    /// None where this machine can't run one.
    fn boot(test: &str) -> Option<Self> {
        if !geteuid().is_root() {
            not_run(test, "needs root, for systemd-nspawn");
            return None;
        }
        if !has("systemd-nspawn") || !has("debootstrap") {
            not_run(test, "needs systemd-nspawn (systemd-container) and debootstrap");
            return None;
        }
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("systemd");
        fs::create_dir_all(&cache).unwrap();
        let turn = File::create(cache.join("lock")).unwrap();
        turn.lock().unwrap();
        let root = match debian(&cache) {
            Ok(root) => root,
            Err(reason) => {
                not_run(test, &reason);
                return None;
            }
        };
        let machine = Self::start_in(&root, turn);
        if machine.is_none() {
            not_run(test, "systemd-nspawn can't boot a system here");
        }
        machine
    }

    fn start_in(root: &Path, turn: File) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("vaultfs-systemd-").tempdir().unwrap();
        // Where there is one, the static binary: it runs whatever C library Debian has.
        let program = std::env::var_os("VAULTFS_STATIC").unwrap_or_else(|| VAULTFS.into());
        let bind = |from: &Path, to: &str| format!("--bind-ro={}:{to}", from.display());
        let console = File::create(directory.path().join("console")).unwrap();
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn.args(["--quiet", "--boot", "--register=no", "--keep-unit", "--volatile=overlay"]);
        // Without the capability, nspawn's filter of system calls forbids mlock too.
        nspawn.args(["--bind=/dev/fuse", "--capability=CAP_IPC_LOCK,CAP_SYS_RESOURCE"]);
        nspawn.arg("--machine=vaultfs-test").arg("-D").arg(root);
        nspawn.arg(bind(Path::new(&program), "/usr/local/bin/vaultfs"));
        nspawn.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
        let nspawn = nspawn.spawn().unwrap();
        let mut machine = Self { nspawn, leader: String::new(), directory, _turn: turn };
        machine.await_boot().then(|| machine.furnish())?;
        Some(machine)
    }

    fn await_boot(&mut self) -> bool {
        let pid = self.nspawn.id();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.nspawn.try_wait().unwrap().is_none() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            children.unwrap_or_default().trim().clone_into(&mut self.leader);
            if !self.leader.is_empty() {
                let state = self.run("systemctl is-system-running");
                if ["running\n", "degraded\n"].contains(&state.stdout.as_str()) {
                    return true;
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn furnish(&self) {
        self.sh("useradd --system app && useradd --system other && cd /srv && \
             recipient=$(vaultfs keygen -o /etc/vaultfs/identity.txt) && \
             vaultfs init secrets --recipient host=$recipient && cd secrets && \
             printf s3cret | vaultfs add prod/DATABASE_URL && \
             printf PASSWORD=hidden | vaultfs add prod/app.env");
    }

    /// Starts the mount's unit, anew where it runs.
    fn mount(&self, options: &str) {
        self.write_unit("vaultfs", &mount_unit(options));
        self.sh("systemctl restart vaultfs");
    }

    /// Makes a unit that needs the mount's.
    fn unit(&self, name: &str, lines: &[&str]) {
        let lines = lines.join("\n");
        let text = format!(
            "[Unit]\nRequires=vaultfs.service\nAfter=vaultfs.service\n\
             [Service]\nType=oneshot\nStandardOutput=truncate:/run/{name}.out\n{lines}\n"
        );
        self.write_unit(name, &text);
    }

    fn write_unit(&self, name: &str, text: &str) {
        let write = format!("cat >/etc/systemd/system/{name}.service <<'END'\n{text}END\n");
        self.sh(&format!("{write}systemctl daemon-reload"));
    }

    /// Starts a unit: what it printed, or what it and systemd said of its failure.
    fn start(&self, name: &str) -> Result<String, String> {
        if self.run(&format!("systemctl start {name}")).code == Some(0) {
            return Ok(self.sh(&format!("cat /run/{name}.out")));
        }
        let journal = self.journal(&format!("UNIT={name}.service"));
        Err(journal + &self.run(&format!("cat /run/{name}.out")).stdout)
    }

    fn property(&self, unit: &str, property: &str) -> String {
        self.sh(&format!("systemctl show --value --property={property} {unit}")).trim().to_owned()
    }

    /// The messages of the journal's matching entries; it's an error of journalctl to find none.
    fn journal(&self, matches: &str) -> String {
        self.run(&format!("journalctl --sync; journalctl --quiet --output=cat {matches}")).stdout
    }

    /// Waits until a condition holds.
    #[track_caller]
    fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "{what}: {}", self.sh("journalctl -n 50"));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a script as root in the machine, which must succeed, and gives what it printed.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.run(script).expect_ok().stdout
    }

    fn run(&self, script: &str) -> Ran {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.leader, "--", "sh", "-c", script]);
        command.env_clear().env("LC_ALL", "C").env("HOME", "/root");
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        Ran::of(command.output().unwrap())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            let console = fs::read_to_string(self.directory.path().join("console"));
            eprintln!("{}", console.unwrap_or_default());
        }
        // nspawn asks its systemd to power off.
        if let Some(pid) = Pid::from_raw(self.nspawn.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while self.nspawn.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.nspawn.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The root of a Debian, fetched once for all runs.
fn debian(cache: &Path) -> Result<PathBuf, String> {
    let root = cache.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    let unfinished = cache.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    let log = File::create(cache.join("debootstrap.log")).unwrap();
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(DEBIAN).arg(&unfinished).stdin(Stdio::null());
    debootstrap.stdout(log.try_clone().unwrap()).stderr(log);
    if !debootstrap.status().is_ok_and(|status| status.success()) {
        return Err("debootstrap can't fetch a Debian".to_owned());
    }
    fs::rename(&unfinished, &root).unwrap();
    Ok(root)
}
