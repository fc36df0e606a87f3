//! The static binary in a root that holds no C library, no shell and no `getent`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Ran, Sandbox, not_run};

#[test]
fn the_static_binary_runs_in_an_empty_root() {
    const TEST: &str = "the_static_binary_runs_in_an_empty_root";
    let Some(binary) = std::env::var_os("VAULTFS_STATIC") else {
        return not_run(TEST, "VAULTFS_STATIC doesn't name a binary; tests/run builds one");
    };
    if !rustix::process::geteuid().is_root() {
        return not_run(TEST, "needs root, for chroot");
    }
    let sandbox = Sandbox::without_vault();
    let root = sandbox.path("root");
    for directory in ["dev", "etc", "proc", "vault"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    // What every root has, and the system's random numbers with it.
    for (device, minor) in [("random", "8"), ("urandom", "9")] {
        let mut mknod = Command::new("mknod");
        mknod.arg(root.join("dev").join(device)).args(["c", "1", minor]);
        assert!(mknod.status().unwrap().success());
    }
    fs::copy(Path::new(&binary), root.join("vaultfs")).unwrap();
    fs::write(root.join("etc/passwd"), "app:x:4321:4321::/:/bin/sh\n").unwrap();
    let inside = |arguments: &[&str]| {
        let mut chroot = Command::new("chroot");
        chroot.arg(&root).arg("/vaultfs").args(arguments).env_clear();
        chroot.env("HOME", "/").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Ran::of(chroot.output().unwrap())
    };
    assert!(inside(&["--version"]).expect_ok().stdout.starts_with("vaultfs "));
    inside(&["init", "/vault"]).expect_ok();
    inside(&["add", "--vault=/vault", "A", "--generate=hex:8"]).expect_ok();
    assert_eq!(inside(&["show", "--vault=/vault", "A", "--reveal"]).expect_ok().bytes.len(), 16);
    // Users are found without the C library's plugins; the next obstacle is the missing directory.
    let mount = ["mount", "--vault=/vault", "/nowhere", "--uid", "app"];
    inside(&mount).expect_error(&["the mount point /nowhere doesn't exist"]);
    let unknown = ["mount", "--vault=/vault", "/nowhere", "--uid", "nobody-here"];
    inside(&unknown).expect_error(&["there is no user \"nobody-here\""]);
}
