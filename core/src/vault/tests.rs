use std::fs;

use jiff::Timestamp;

use super::*;
use crate::{NewIdentity, Value, VaultId};

const NOW: &str = "2026-11-23T14:00:00Z";

struct Fixture {
    directory: tempfile::TempDir,
    vault: Vault,
    identities: Identities,
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let identity = NewIdentity::generate(now()).unwrap();
    let file = directory.path().join("identity.txt");
    identity.write_to(&file).unwrap();
    let owners = [("alice".to_owned(), identity.recipient().clone())];
    let policy = Policy::template(VaultId::random(), &owners, &[]);
    let vault = Vault::create(&directory.path().join("vault"), &policy).unwrap();
    let places = crate::IdentityPlaces { explicit: vec![file], ..Default::default() };
    let identities = Identities::find(&places, std::sync::Arc::new(crate::NoPrompter)).unwrap();
    Fixture { directory, vault, identities }
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn value(bytes: &[u8]) -> Value {
    Value::copy_of(bytes).unwrap()
}

#[test]
fn a_rotation_keeps_who_wrote_before_and_counts_on() {
    let fixture = fixture();
    let Fixture { vault, identities, .. } = &fixture;
    let add = vault.write(now()).unwrap().add(&name("a/b"), &value(b"1")).unwrap();
    assert_eq!((add.generation.number(), add.clock_behind), (1, false));
    let first = vault.read(&name("a/b"), identities).unwrap();
    let first_hash = vault.snapshot().unwrap().files[&name("a/b")].hash;
    assert_eq!(first.claims.previous, None);
    let earlier: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let rotated = vault.write(earlier).unwrap().rotate(&name("a/b"), &value(b"2")).unwrap();
    assert!(rotated.clock_behind);
    let second = vault.read(&name("a/b"), identities).unwrap();
    assert_eq!(second.value.expose_bytes(), b"2");
    assert_eq!(second.claims.generation.number(), 2);
    assert_eq!(second.claims.previous, Some(first_hash));
    assert_eq!(second.claims.rotated_at, now());
}

#[test]
fn a_copy_remembers_who_could_read_the_value() {
    let fixture = fixture();
    let Fixture { vault, identities, .. } = &fixture;
    vault.write(now()).unwrap().add(&name("a"), &value(b"1")).unwrap();
    let later: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    vault.write(later).unwrap().copy(&name("a"), &name("b"), identities).unwrap();
    let [a, b] = ["a", "b"].map(|n| vault.read(&name(n), identities).unwrap().claims);
    assert_eq!(a.could_read, b.could_read);
    assert_eq!(b.rotated_at, now(), "the value is as old as it was");
    assert_eq!(b.written_at, later);
}

#[test]
fn a_removal_leaves_no_empty_directories() {
    let fixture = fixture();
    let Fixture { vault, directory, .. } = &fixture;
    vault.write(now()).unwrap().add(&name("a/b/c"), &value(b"1")).unwrap();
    vault.write(now()).unwrap().add(&name("a/d"), &value(b"1")).unwrap();
    let secrets = directory.path().join("vault/secrets");
    vault.write(now()).unwrap().remove(&name("a/b/c")).unwrap();
    assert!(!secrets.join("a/b").exists() && secrets.join("a").exists());
    vault.write(now()).unwrap().remove(&name("a/d")).unwrap();
    assert!(!secrets.join("a").exists() && secrets.exists());
    assert_eq!(vault.policy().unwrap().removed().len(), 2);
    // A name whose directory is gone may now be a file.
    vault.write(now()).unwrap().add(&name("a"), &value(b"1")).unwrap();
}

#[test]
fn what_a_dead_writer_left_is_cleared_and_never_counts() {
    let fixture = fixture();
    let Fixture { vault, directory, .. } = &fixture;
    let left = directory.path().join("vault/secrets/.vaultfs-tmp-a.age");
    fs::write(&left, "half").unwrap();
    assert!(vault.snapshot().unwrap().files.is_empty());
    vault.write(now()).unwrap().add(&name("a"), &value(b"1")).unwrap();
    assert!(!left.exists());
}

#[test]
fn only_one_writer_at_a_time() {
    let fixture = fixture();
    let Fixture { vault, .. } = &fixture;
    let mut first = vault.write(now()).unwrap();
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| vault.write(now()).unwrap().rotate(&name("a"), &value(b"2")));
        // The second one waits, so it can't find the secret missing.
        first.add(&name("a"), &value(b"1")).unwrap();
        drop(first);
        second.join().unwrap()
    });
    assert_eq!(second.unwrap().generation.number(), 2);
}

#[test]
fn a_vault_is_found_upward_and_an_ambiguous_one_refused() {
    let fixture = fixture();
    let Fixture { vault, directory, .. } = &fixture;
    let deep = vault.root().join("secrets/prod");
    assert_eq!(Vault::find(&deep).unwrap().root(), vault.root());
    assert!(matches!(Vault::find(directory.path()), Err(VaultError::NotFound(_))));
    let inner = vault.root().join("inner");
    assert!(matches!(Vault::create(&inner, "x"), Err(VaultError::Nested { .. })));
    assert!(!inner.exists());
    let text = "x";
    assert!(matches!(Vault::create(vault.root(), text), Err(VaultError::AlreadyAVault(_))));
}

#[test]
fn a_rename_to_its_own_name_removes_nothing() {
    let fixture = fixture();
    let Fixture { vault, identities, .. } = &fixture;
    vault.write(now()).unwrap().add(&name("a"), &value(b"1")).unwrap();
    let renamed = vault.write(now()).unwrap().rename(&name("a"), &name("a"), identities);
    assert!(matches!(renamed, Err(VaultError::Exists(_))));
    assert_eq!(vault.read(&name("a"), identities).unwrap().value.expose_bytes(), b"1");
}

#[test]
fn a_rename_that_the_policy_cant_follow_changes_nothing() {
    let fixture = fixture();
    let Fixture { vault, identities, .. } = &fixture;
    let path = vault.root().join(POLICY_FILE);
    let text = fs::read_to_string(&path).unwrap();
    let settings = "secrets:\n  a: {description: old}\n  b: {description: new}\n";
    fs::write(&path, format!("{text}{settings}")).unwrap();
    vault.write(now()).unwrap().add(&name("a"), &value(b"1")).unwrap();
    let renamed = vault.write(now()).unwrap().rename(&name("a"), &name("b"), identities);
    assert!(matches!(renamed, Err(VaultError::PolicyEdit { .. })), "{renamed:?}");
    assert_eq!(vault.snapshot().unwrap().files.len(), 1, "nothing is half-done");
}

#[test]
fn claims_that_nobody_verified_dont_steer_a_rotation_unseen() {
    let fixture = fixture();
    let Fixture { vault, identities, .. } = &fixture;
    let a = name("a");
    let path = vault.root().join("secrets/a.age");
    let forge = |change: &dyn Fn(crate::Claims) -> crate::Claims| {
        let claims = Header::read(&fs::read(&path).unwrap()).unwrap().claims;
        let recipients = identities.recipients().into_iter().cloned().collect::<Vec<_>>();
        fs::write(&path, crate::seal(&value(b"1"), change(claims), &recipients).unwrap()).unwrap();
    };
    vault.write(now()).unwrap().add(&a, &value(b"1")).unwrap();
    let later: Timestamp = "9999-01-01T00:00:00Z".parse().unwrap();
    forge(&|claims| crate::Claims { rotated_at: later, ..claims });
    assert!(vault.write(now()).unwrap().rotate(&a, &value(b"2")).unwrap().clock_behind);
    let last = crate::Generation::try_from(u64::MAX).unwrap();
    forge(&|claims| crate::Claims { generation: last, ..claims });
    let rotated = vault.write(now()).unwrap().rotate(&a, &value(b"3"));
    assert!(matches!(rotated, Err(VaultError::LastGeneration(_))), "{rotated:?}");
    vault.write(now()).unwrap().remove(&a).unwrap();
    let added = vault.write(now()).unwrap().add(&a, &value(b"3"));
    assert!(matches!(added, Err(VaultError::LastGeneration(_))), "{added:?}");
}
