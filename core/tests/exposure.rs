//! Lists the files that may touch the bytes of a value or an identity. A new one is a decision for
//! a reviewer, not an accident.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each with what it does with the bytes.
const MAY_EXPOSE: [&str; 15] = [
    "core/src/constraint.rs",      // compares them with what the policy asks
    "core/src/env_file.rs",        // tells versions of an entry apart
    "core/src/generate.rs",        // makes them
    "core/src/identity/locked.rs", // decrypts an identity file
    "core/src/identity/new_identity.rs", // writes a new identity
    "core/src/identity/parse.rs",  // reads identities
    "core/src/identity/prompter.rs", // hands a passphrase to age
    "core/src/identity/ssh.rs",    // reads SSH keys
    "core/src/open.rs",            // takes a file key from an identity
    "core/src/seal.rs",            // encrypts and authenticates
    "core/src/value.rs",           // the type itself
    "fusefs/src/adapter.rs",       // answers a read
    "fusefs/src/tree.rs",          // cuts a read out of a value
    "src/commands/show.rs",        // prints or writes one, on request
    "src/input.rs",                // looks at the final newline
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs")
            && !is_test
            && !path.ends_with("tests.rs")
        {
            found.push(path);
        }
    }
}

#[test]
fn only_listed_files_touch_the_bytes_of_values() {
    let mut files = Vec::new();
    for directory in ["src", "core/src", "fusefs/src", "tui/src"] {
        sources(&root().join(directory), &mut files);
    }
    let exposes = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        code.contains("expose_bytes(") || code.contains("expose_secret")
    };
    let exposing: BTreeSet<String> = files
        .iter()
        .filter(|path| exposes(path))
        .map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let listed: BTreeSet<String> = MAY_EXPOSE.map(str::to_owned).into();
    let new: Vec<_> = exposing.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&exposing).collect();
    assert!(new.is_empty(), "not listed here: {new:?}");
    assert!(gone.is_empty(), "listed, and exposes nothing any more: {gone:?}");
}
