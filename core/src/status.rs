//! What state each secret is in, from the stanzas alone: nothing is opened, no identity is needed.
//! Until a file is opened these are claims, which anyone who can write the file can make up.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::{
    Claims, Fingerprint, Generation, HeaderError, Policy, SecretName, Snapshot, StoredFile,
};

/// The state of one secret.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: SecretName,
    /// The first of these that holds.
    pub state: State,
    /// What its file says of itself. None where there is no file, or none that can be read.
    pub claims: Option<Claims>,
    /// When the value has to be rotated next. None where the policy sets no limit.
    pub due_at: Option<Timestamp>,
    /// True where that is in the past.
    pub overdue: bool,
    /// Why the value has to be rotated, other than its age.
    pub needs_rotation: Vec<NeedsRotation>,
    /// How the file's recipients differ from the policy's. None where they don't.
    pub drift: Option<Drift>,
    /// Whom the file is encrypted to: names from the policy, or fingerprints of strangers.
    pub recipients: Vec<String>,
}

/// What a secret's file is, in order of weight.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The policy lists it, and there is no file.
    Missing,
    /// The file isn't an age file, or its header is damaged.
    Damaged(HeaderError),
    /// An age file that is bound to nothing.
    Unbound,
    /// The file belongs to another name.
    OtherName(SecretName),
    /// The file belongs to another vault.
    OtherVault,
    /// Its name and another's can't both exist.
    Collides(SecretName),
    /// No rule matches it, so it can't be written again.
    NoRule,
    /// Someone who isn't a recipient any more could read the value, or it was flagged.
    NeedsRotation,
    /// It should have been rotated by now.
    Overdue,
    /// Its recipients differ from the policy's.
    Drifted,
    /// All is well.
    Present,
}

/// Why a value has to be rotated, other than its age.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NeedsRotation {
    /// Someone set this flag.
    Flagged(&'static str),
    /// This recipient could read it and is one no more: a name from the policy or a fingerprint.
    WasReadableBy(String),
}

/// How a file's recipients differ from the policy's, by name or fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// The policy names them, and they can't open the file.
    pub missing: Vec<String>,
    /// They can open the file, and the policy doesn't name them.
    pub extra: Vec<String>,
}

impl State {
    /// The word for it, as `status --json` shows it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged(_) => "damaged",
            Self::Unbound => "unbound",
            Self::OtherName(_) => "other-name",
            Self::OtherVault => "other-vault",
            Self::Collides(_) => "collides",
            Self::NoRule => "no-rule",
            Self::NeedsRotation => "needs-rotation",
            Self::Overdue => "overdue",
            Self::Drifted => "drifted",
            Self::Present => "present",
        }
    }
}

/// The state of every secret that is there or that the policy expects, in order of their names.
pub fn status(policy: &Policy, snapshot: &Snapshot, now: Timestamp) -> Vec<Status> {
    let absent = policy
        .expected()
        .filter(|(name, required)| *required && !snapshot.files.contains_key(name))
        .map(|(name, _)| (name, None));
    let present = snapshot.files.iter().map(|(name, file)| (name.clone(), Some(file)));
    let all: BTreeMap<SecretName, Option<&StoredFile>> = present.chain(absent).collect();
    all.into_iter()
        .map(|(name, file)| match file {
            None => Status::without_claims(name, State::Missing),
            Some(file) => of_file(policy, snapshot, now, name, file),
        })
        .collect()
}

impl Status {
    fn without_claims(name: SecretName, state: State) -> Self {
        Self {
            name,
            state,
            claims: None,
            due_at: None,
            overdue: false,
            needs_rotation: Vec::new(),
            drift: None,
            recipients: Vec::new(),
        }
    }

    /// The generation that the file claims.
    pub fn generation(&self) -> Option<Generation> {
        self.claims.as_ref().map(|claims| claims.generation)
    }
}

fn of_file(
    policy: &Policy,
    snapshot: &Snapshot,
    now: Timestamp,
    name: SecretName,
    file: &StoredFile,
) -> Status {
    let claims = match &file.header {
        Ok(header) => header.claims.clone(),
        Err(HeaderError::Unbound) => return Status::without_claims(name, State::Unbound),
        Err(error) => return Status::without_claims(name, State::Damaged(error.clone())),
    };
    let named = |fingerprint: &Fingerprint| {
        policy.name_of(fingerprint).map_or_else(|| fingerprint.to_string(), str::to_owned)
    };
    let rotate_every = policy.settings_for(&name).rotate_every;
    let due_at = rotate_every.and_then(|limit| claims.rotated_at.checked_add(limit).ok());
    let overdue = due_at.is_some_and(|due| due < now);
    let today = TimeZone::UTC.to_datetime(now).date();
    let wanted: Option<BTreeSet<Fingerprint>> = policy
        .recipients_for(&name, today)
        .ok()
        .map(|recipients| recipients.into_iter().map(|r| r.recipient.fingerprint()).collect());
    let actual: BTreeSet<Fingerprint> = claims.recipients.iter().copied().collect();
    let drift = wanted.as_ref().filter(|wanted| **wanted != actual).map(|wanted| Drift {
        missing: wanted.difference(&actual).map(named).collect(),
        extra: actual.difference(wanted).map(named).collect(),
    });
    let flagged = claims.flag.map(|flag| NeedsRotation::Flagged(flag.as_str()));
    let entitled = wanted.clone().unwrap_or_default();
    let past_readers = claims.could_read.difference(&entitled).map(named);
    let needs_rotation: Vec<_> =
        flagged.into_iter().chain(past_readers.map(NeedsRotation::WasReadableBy)).collect();
    let state = if claims.vault != policy.vault_id() {
        State::OtherVault
    } else if claims.name != name {
        State::OtherName(claims.name.clone())
    } else if let Some(other) = collision(snapshot, &name) {
        State::Collides(other)
    } else if wanted.is_none() {
        State::NoRule
    } else if !needs_rotation.is_empty() {
        State::NeedsRotation
    } else if overdue {
        State::Overdue
    } else if drift.is_some() {
        State::Drifted
    } else {
        State::Present
    };
    let recipients = claims.recipients.iter().map(named).collect();
    Status { name, state, claims: Some(claims), due_at, overdue, needs_rotation, drift, recipients }
}

/// A secret whose name is a directory on this one's path, or the other way round.
fn collision(snapshot: &Snapshot, name: &SecretName) -> Option<SecretName> {
    let above =
        name.as_str().match_indices('/').filter_map(|(at, _)| name.as_str()[..at].parse().ok());
    let mut above = above.filter(|other: &SecretName| snapshot.files.contains_key(other));
    // What lies beneath `a` begins with `a/`, and `a/` sorts behind `a` with few others between.
    let mut beneath = snapshot
        .files
        .range(name.clone()..)
        .skip(1)
        .map(|(other, _)| other)
        .take_while(|other| other.as_str().starts_with(name.as_str()))
        .filter(|other| name.conflicts_with(other));
    above.next().or_else(|| beneath.next().cloned())
}
