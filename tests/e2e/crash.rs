//! A writer that dies at any moment leaves each secret as its old or its new value.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use crate::support::Sandbox;

/// How often a writer is killed.
const KILLS: u32 = 200;

#[test]
fn a_killed_writer_leaves_the_old_or_the_new_value() {
    let sandbox = Sandbox::new();
    sandbox.add("A", b"0");
    let started = Instant::now();
    sandbox.rotate("A", b"0");
    // The kills are spread over a rotation's whole course and a little beyond.
    let course = started.elapsed() * 3 / 2;
    let mut last = 0;
    let mut landed = 0;
    for n in 1..=KILLS {
        let file = sandbox.write("value", n.to_string());
        let arguments = ["rotate", "A", "--file", file.to_str().unwrap()];
        let mut writer = sandbox.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(course * (n * 37 % KILLS) / KILLS);
        writer.kill().unwrap();
        writer.wait().unwrap();
        let value: u32 = String::from_utf8(sandbox.reveal("A")).unwrap().parse().unwrap();
        assert!(value == last || value == n, "{value} is neither {last} nor {n}");
        landed += u32::from(value == n);
        last = value;
    }
    assert!(landed > 0 && landed < KILLS, "{landed} of {KILLS} landed: the kills were not spread");
    // What dead writers left behind is cleared away by the next one, and is never listed.
    sandbox.rotate("A", b"end");
    let left: Vec<_> = fs::read_dir(sandbox.path("vault/secrets")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn writers_at_the_same_time_all_land() {
    let sandbox = Sandbox::new();
    let at_once = |arguments: &dyn Fn(u32) -> Vec<String>| {
        let writers =
            (0..8).map(|n| sandbox.command(&arguments(n)).stderr(Stdio::null()).spawn().unwrap());
        for mut writer in writers.collect::<Vec<_>>() {
            assert!(writer.wait().unwrap().success());
        }
    };
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    at_once(&|n| words(format!("add prod/N{n} --generate")));
    assert_eq!(sandbox.ok(&["list", "--names"]).lines().count(), 8);
    // The same secret: each rotation is a generation of its own.
    at_once(&|_| words("rotate prod/N0 --generate".to_owned()));
    let list = sandbox.ok(&["list", "prod/N0", "--json"]);
    assert!(list.contains("\"generation\": 9"), "{list}");
}
