//! Sealing and opening a value, against the bare age crate with the same recipients and bytes.
//!
//! Criterion sets the pace and reports on vaultfs itself. Each of its iterations also does the same
//! with bare age, right beside it, and the ratios come from those pairs: a machine that slows down
//! slows both. Both run with the wiping allocator of the vaultfs binary; a third arm, bare age with
//! the system's allocator, says what the wiping costs.

mod allocator;
#[path = "../shared/report.rs"]
mod report;
#[path = "../shared/samples.rs"]
mod samples;

use std::env;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::iter;
use std::time::{Duration, Instant};

use age::x25519;
use age::{Decryptor, Encryptor};
use anyhow::{Context as _, Result};
use criterion::{BenchmarkId, Criterion};
use vaultfs_core::{Claims, Generation, Recipient, SecretName, Value, VaultId, open, seal};

use allocator::{Freeing, Switched};
use report::Figure;
use samples::{Samples, micros};

#[global_allocator]
static ALLOCATOR: Switched = Switched::new();

/// How much longer than bare age it may take.
const AT_MOST_TIMES: f64 = 1.15;

fn main() -> Result<()> {
    // Without `cargo bench` (`cargo test --benches`) criterion only tries each once.
    let measures = env::args().any(|argument| argument == "--bench");
    let mut criterion = Criterion::default().configure_from_args();
    for recipients in [1, 4] {
        for (size, bytes) in [("64 B", 64), ("4 KiB", 4 << 10), ("1 MiB", 1 << 20)] {
            let case = Case::new(recipients, bytes)?;
            let label = format!("{size}, {recipients} recipient{}", plural(recipients));
            let sealed = run(&mut criterion, "seal", &label, &case.seal_arms());
            let opened = run(&mut criterion, "open", &label, &case.open_arms());
            if measures {
                report(&format!("seal {label}"), sealed)?;
                report(&format!("open {label}"), opened)?;
            }
        }
    }
    criterion.final_summary();
    Ok(())
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The same value for the same recipients, in both forms.
struct Case {
    value: Value,
    identity: x25519::Identity,
    recipients: Vec<Recipient>,
    age_recipients: Vec<x25519::Recipient>,
    claims: Claims,
    sealed: Vec<u8>,
    encrypted: Vec<u8>,
}

/// Something to measure, with the allocator that it is measured with.
struct Arm<'a> {
    freeing: Freeing,
    once: Box<dyn Fn() + 'a>,
}

/// The arms' samples, in the order of [`Case::seal_arms`].
type Measured = [Samples; 3];

impl Case {
    fn new(recipients: usize, bytes: usize) -> Result<Self> {
        let value = Value::copy_of(&vec![0x5A; bytes])?;
        let identities: Vec<_> =
            iter::repeat_with(x25519::Identity::generate).take(recipients).collect();
        let age_recipients: Vec<_> = identities.iter().map(x25519::Identity::to_public).collect();
        let recipients = age_recipients
            .iter()
            .map(|recipient| recipient.to_string().parse::<Recipient>())
            .collect::<Result<Vec<_>, _>>()?;
        let claims = Claims {
            vault: VaultId::random(),
            name: "prod/app/DATABASE_URL".parse()?,
            generation: Generation::FIRST,
            rotated_at: "2026-01-01T00:00:00Z".parse()?,
            written_at: "2026-01-01T00:00:00Z".parse()?,
            recipients: Vec::new(),
            could_read: recipients.iter().map(Recipient::fingerprint).collect(),
            flag: None,
            previous: None,
        };
        let sealed = seal(&value, claims.clone(), &recipients)?;
        let encrypted = encrypt(&value, &age_recipients);
        let identity = identities.into_iter().next().context("there is a recipient")?;
        Ok(Self { value, identity, recipients, age_recipients, claims, sealed, encrypted })
    }

    fn seal_arms(&self) -> [Arm<'_>; 3] {
        arms(
            || {
                let sealed = seal(&self.value, self.claims.clone(), &self.recipients);
                drop(black_box(sealed.expect("native recipients always work")));
            },
            || drop(black_box(encrypt(&self.value, &self.age_recipients))),
        )
    }

    fn open_arms(&self) -> [Arm<'_>; 3] {
        let (vault, name): (VaultId, &SecretName) = (self.claims.vault, &self.claims.name);
        arms(
            move || {
                let opened = open(&self.sealed, vault, name, iter::once(&self.identity as _));
                drop(black_box(opened.expect("it was sealed to this identity")));
            },
            || drop(black_box(decrypt(&self.encrypted, &self.identity, self.value.len()))),
        )
    }
}

fn arms<'a>(vaultfs: impl Fn() + 'a, age: impl Fn() + Copy + 'a) -> [Arm<'a>; 3] {
    [
        Arm { freeing: Freeing::Wipes, once: Box::new(vaultfs) },
        Arm { freeing: Freeing::Wipes, once: Box::new(age) },
        Arm { freeing: Freeing::LeavesAsIs, once: Box::new(age) },
    ]
}

fn encrypt(value: &Value, recipients: &[x25519::Recipient]) -> Vec<u8> {
    let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let mut file = Vec::with_capacity(value.len() + 2048);
    let encryptor = Encryptor::with_recipients(recipients).expect("native recipients always work");
    let mut writer = encryptor.wrap_output(&mut file).expect("a Vec takes all that is written");
    writer.write_all(value.expose_bytes()).expect("a Vec takes all that is written");
    writer.finish().expect("a Vec takes all that is written");
    file
}

fn decrypt(file: &[u8], identity: &x25519::Identity, size: usize) -> Vec<u8> {
    let decryptor = Decryptor::new_buffered(file).expect("age wrote it");
    let mut reader = decryptor.decrypt(iter::once(identity as _)).expect("it is a recipient");
    let mut plaintext = Vec::with_capacity(size);
    reader.read_to_end(&mut plaintext).expect("age wrote it");
    plaintext
}

fn run(criterion: &mut Criterion, group: &str, label: &str, arms: &[Arm<'_>; 3]) -> Measured {
    let mut measured = Measured::default();
    let mut turn = 0;
    let mut group = criterion.benchmark_group(group);
    group.bench_function(BenchmarkId::from_parameter(label), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut vaultfs = Duration::ZERO;
            for _ in 0..iterations {
                // Each arm comes first as often as the others.
                for place in 0..arms.len() {
                    let arm = (turn + place) % arms.len();
                    ALLOCATOR.set(arms[arm].freeing);
                    let start = Instant::now();
                    (arms[arm].once)();
                    let took = start.elapsed();
                    measured[arm].add(took);
                    if arm == 0 {
                        vaultfs += took;
                    }
                }
                turn += 1;
            }
            ALLOCATOR.set(Freeing::Wipes);
            vaultfs
        });
    });
    group.finish();
    measured
}

fn report(what: &str, [vaultfs, age, age_unwiped]: Measured) -> Result<()> {
    let [vaultfs, age, age_unwiped] =
        [vaultfs, age, age_unwiped].map(|mut samples| micros(samples.median()));
    // A filter on the command line left it out.
    if vaultfs == 0.0 {
        return Ok(());
    }
    let figure = |what: String, vaultfs, other: (&str, f64), at_most_times| Figure {
        what,
        vaultfs,
        other: Some((other.0.to_owned(), other.1)),
        unit: "µs",
        at_most_times,
        at_most: None,
    };
    figure(what.to_owned(), vaultfs, ("age", age), Some(AT_MOST_TIMES)).report()?;
    let wiping = format!("{what}: age with the wiping allocator");
    figure(wiping, age, ("age without", age_unwiped), None).report()
}
