use std::os::unix::fs::symlink;
use std::sync::mpsc;

use super::*;
use crate::HeaderError;

fn vault() -> (tempfile::TempDir, DirectoryStore) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(POLICY_FILE), "version: 1\n").unwrap();
    std::fs::create_dir(directory.path().join(SECRETS_DIRECTORY)).unwrap();
    let store = DirectoryStore::new(directory.path());
    (directory, store)
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.keys().map(SecretName::as_str).collect()
}

#[test]
fn secrets_are_found_at_every_depth() {
    let (directory, store) = vault();
    let secrets = directory.path().join(SECRETS_DIRECTORY);
    std::fs::create_dir_all(secrets.join("prod/web")).unwrap();
    for path in ["A.age", "prod/B.age", "prod/web/C.age", ".hidden.age"] {
        std::fs::write(secrets.join(path), path).unwrap();
    }
    let snapshot = store.snapshot().unwrap();
    assert_eq!(names(&snapshot), ["A", "prod/B", "prod/web/C"]);
    assert_eq!(snapshot.policy, "version: 1\n");
    let (name, file) = snapshot.files.last_key_value().unwrap();
    assert_eq!(store.fetch(name, file.hash).unwrap(), b"prod/web/C.age");
    assert_eq!(file.header, Err(HeaderError::NotAge));
    assert!(snapshot.strays.is_empty());
}

#[test]
fn what_a_hostile_tree_holds_is_named_and_never_followed() {
    let (directory, store) = vault();
    let secrets = directory.path().join(SECRETS_DIRECTORY);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("OUT.age"), "outside").unwrap();
    symlink(outside.path().join("OUT.age"), secrets.join("LINK.age")).unwrap();
    symlink(outside.path(), secrets.join("linked")).unwrap();
    std::fs::create_dir(secrets.join("DIRECTORY.age")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(secrets.join("FIFO.age")).status();
    assert!(fifo.unwrap().success());
    let large = std::fs::File::create(secrets.join("LARGE.age")).unwrap();
    large.set_len(MAX_FILE_BYTES as u64 + 1).unwrap();
    std::fs::write(secrets.join("notes.txt"), "x").unwrap();
    std::fs::write(secrets.join("sp ace.age"), "x").unwrap();
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.files.is_empty(), "{:?}", snapshot.files);
    let mut strays: Vec<_> = snapshot.strays.iter().map(|s| s.path.to_str().unwrap()).collect();
    strays.sort_unstable();
    let expected =
        ["DIRECTORY.age", "FIFO.age", "LARGE.age", "LINK.age", "linked", "notes.txt", "sp ace.age"];
    assert_eq!(strays, expected.map(|name| format!("secrets/{name}")));
    let reason =
        |name: &str| &snapshot.strays.iter().find(|s| s.path.ends_with(name)).unwrap().reason;
    assert!(reason("LINK.age").contains("symlink"));
    assert!(reason("FIFO.age").contains("not a regular file"));
    assert!(reason("LARGE.age").contains("larger"));
    let (link, hash) = ("linked/OUT".parse().unwrap(), FileHash::of(b"outside"));
    assert!(store.fetch(&link, hash).is_err());
}

#[test]
fn a_symlinked_secrets_directory_is_refused() {
    let (directory, store) = vault();
    let secrets = directory.path().join(SECRETS_DIRECTORY);
    std::fs::remove_dir(&secrets).unwrap();
    symlink("/", &secrets).unwrap();
    let error = store.snapshot().unwrap_err();
    assert!(error.source().unwrap().to_string().contains("symlink"));
}

#[test]
fn each_replacement_is_seen_also_within_one_tick_of_the_clock() {
    let (directory, store) = vault();
    let path = directory.path().join(SECRETS_DIRECTORY).join("A.age");
    for n in 0..200_u32 {
        std::fs::write(&path, n.to_string()).unwrap();
        let versions = store.versions().unwrap();
        assert_eq!(versions.values().next().unwrap().hash, FileHash::of(n.to_string().as_bytes()));
    }
}

#[test]
fn a_file_that_was_replaced_is_not_fetched_under_its_old_hash() {
    let (directory, store) = vault();
    let path = directory.path().join(SECRETS_DIRECTORY).join("A.age");
    std::fs::write(&path, "old").unwrap();
    let old = store.snapshot().unwrap().files.values().next().unwrap().hash;
    std::fs::write(&path, "new").unwrap();
    assert!(store.fetch(&"A".parse().unwrap(), old).unwrap_err().to_string().contains("replaced"));
}

#[test]
fn changes_are_told_to_who_watches() {
    let (directory, store) = vault();
    let (sender, changes) = mpsc::channel();
    let watch = store.watch(Box::new(move || sender.send(()).unwrap_or_default())).unwrap();
    let deeper = directory.path().join(SECRETS_DIRECTORY).join("prod");
    std::fs::create_dir(&deeper).unwrap();
    changes.recv_timeout(Duration::from_secs(10)).unwrap();
    while changes.recv_timeout(Duration::from_millis(100)).is_ok() {}
    std::fs::write(deeper.join("A.age"), "x").unwrap();
    changes.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(watch);
}

#[test]
fn an_emptied_directory_is_an_error_and_not_a_vault_without_secrets() {
    let (directory, store) = vault();
    assert!(store.versions().unwrap().is_empty());
    std::fs::remove_dir(directory.path().join(SECRETS_DIRECTORY)).unwrap();
    std::fs::remove_file(directory.path().join(POLICY_FILE)).unwrap();
    assert!(store.versions().unwrap_err().to_string().contains(POLICY_FILE));
}

#[test]
fn a_missing_vault_is_named() {
    let error = DirectoryStore::new("/nonexistent/vault").snapshot().unwrap_err();
    assert!(error.to_string().contains("/nonexistent/vault"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_watch_never_follows_a_symlink_out_of_the_vault() {
    use std::os::unix::fs::MetadataExt as _;
    let (directory, store) = vault();
    let secrets = directory.path().join(SECRETS_DIRECTORY);
    let (inside, outside) = (secrets.join("prod"), tempfile::tempdir().unwrap());
    std::fs::create_dir(&inside).unwrap();
    symlink(outside.path(), secrets.join("linked")).unwrap();
    let watch = store.watch(Box::new(|| {})).unwrap();
    assert!(is_watched(inside.metadata().unwrap().ino()));
    assert!(!is_watched(outside.path().metadata().unwrap().ino()));
    drop(watch);
    std::fs::remove_dir_all(&secrets).unwrap();
    symlink(outside.path(), &secrets).unwrap();
    let _watch = store.watch(Box::new(|| {})).unwrap();
    assert!(!is_watched(outside.path().metadata().unwrap().ino()));
}

/// Whether an inotify instance of this process watches the inode: `proc_pid_fdinfo(5)`.
#[cfg(target_os = "linux")]
fn is_watched(inode: u64) -> bool {
    let word = format!("ino:{inode:x} ");
    let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    infos
        .filter_map(|info| std::fs::read_to_string(info.path()).ok())
        .any(|info| info.lines().any(|line| line.starts_with("inotify ") && line.contains(&word)))
}
