//! The changes that operators make to a vault, each one durable and whole.

mod reseal;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::{self, AtFlags, FlockOperation};

use super::{Vault, VaultError, bound_header, files, open_failed, path_of};
use crate::stanza::whole_seconds;
use crate::{
    Claims, FileHash, Generation, Identities, OpenError, POLICY_FILE, Policy, PolicyEdit,
    Recipient, SecretName, Value, open_unbound, seal,
};

pub use reseal::{LockOut, Rewrapped};

/// How long to wait for another process that writes.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// The right to change a vault: while it exists, no other process of ours changes it.
///
/// A change that replaces one file leaves the old or the new one after a crash. A change of two
/// (`rename`, `remove`) is done in an order in which a crash between them loses nothing and doing
/// it again finishes it.
pub struct VaultWriter<'a> {
    vault: &'a Vault,
    policy: Policy,
    policy_text: String,
    now: Timestamp,
    /// Locked until it is closed.
    root: OwnedFd,
}

/// What a change wrote.
#[derive(Clone, Debug)]
pub struct Written {
    /// The secret.
    pub name: SecretName,
    /// Its new generation.
    pub generation: Generation,
    /// Whom it is encrypted to, by their names in the policy.
    pub recipients: Vec<String>,
    /// The file before was written or rotated later than the clock says it is now: the clock went
    /// backwards, here or there, or the file is forged. The file keeps the later time, so that ages
    /// never become negative.
    pub clock_behind: bool,
}

/// A secret's file that a new one follows.
struct Prior {
    claims: Claims,
    hash: FileHash,
}

impl Vault {
    /// Waits for the right to change this vault, and reads its policy.
    ///
    /// # Errors
    /// [`VaultError::Busy`] after ten seconds.
    pub fn write(&self, now: Timestamp) -> Result<VaultWriter<'_>, VaultError> {
        let root = self.open_root()?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        // The directory itself is locked: a lock file of its own would show up in git.
        while let Err(errno) = fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(self.file_error("", "locked", errno.into()));
            }
            if Instant::now() > deadline {
                return Err(VaultError::Busy(self.root.clone()));
            }
            thread::sleep(LOCK_INTERVAL);
        }
        let policy_text = self.policy_text()?;
        let policy = self.parse_policy(&policy_text)?;
        Ok(VaultWriter { vault: self, policy, policy_text, now: whole_seconds(now), root })
    }
}

impl VaultWriter<'_> {
    /// The policy, as it was when the vault was locked.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Checks that `name` could be added, before anyone is asked for a value.
    ///
    /// # Errors
    /// As [`VaultWriter::add`].
    pub fn check_new(&self, name: &SecretName) -> Result<(), VaultError> {
        self.recipients(name)?;
        if self.vault.try_read_file(name)?.is_some() {
            return Err(VaultError::Exists(name.clone()));
        }
        self.check_collisions(name)
    }

    /// Checks that `name` could be added with this value.
    ///
    /// # Errors
    /// As [`VaultWriter::add`].
    pub fn check_new_value(&self, name: &SecretName, value: &Value) -> Result<(), VaultError> {
        self.check_new(name)?;
        self.check_value(name, value)
    }

    fn check_value(&self, name: &SecretName, value: &Value) -> Result<(), VaultError> {
        if value.is_empty() {
            return Err(VaultError::EmptyValue(name.clone()));
        }
        let constraints = &self.policy.settings_for(name).constraints;
        constraints
            .check(value)
            .map_err(|source| VaultError::Violation { name: name.clone(), source })
    }

    /// Checks that there is a secret `name`, before anyone is asked for a value.
    ///
    /// # Errors
    /// [`VaultError::Missing`].
    pub fn check_present(&self, name: &SecretName) -> Result<(), VaultError> {
        self.vault.read_file(name).map(drop)
    }

    /// Writes the first value of `name`.
    ///
    /// # Errors
    /// [`VaultError::Exists`], [`VaultError::Collision`], [`VaultError::Gap`],
    /// [`VaultError::Violation`], [`VaultError::EmptyValue`].
    pub fn add(&mut self, name: &SecretName, value: &Value) -> Result<Written, VaultError> {
        self.check_new(name)?;
        self.write_value(name, value, None)
    }

    /// Writes a new value of `name`. Needs no identity: the value before isn't opened.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::LastGeneration`], and as [`VaultWriter::add`].
    pub fn rotate(&mut self, name: &SecretName, value: &Value) -> Result<Written, VaultError> {
        let file = self.vault.read_file(name)?;
        let header = bound_header(&file, self.policy.vault_id(), name)
            .map_err(|source| VaultError::Open { name: name.clone(), source })?;
        let prior = Prior { claims: header.claims, hash: FileHash::of(&file) };
        self.write_value(name, value, Some(&prior))
    }

    /// Copies a secret to a new name, encrypted to whom the policy of the new name says.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::Open`], and as [`VaultWriter::add`].
    pub fn copy(
        &mut self,
        from: &SecretName,
        to: &SecretName,
        identities: &Identities,
    ) -> Result<Written, VaultError> {
        self.check_new(to)?;
        let opened = self.vault.read(from, identities)?;
        self.check_value(to, &opened.value)?;
        self.reseal(to, &opened.value, &opened.claims)
    }

    /// Moves a secret to a new name, as `copy` and `remove` do.
    ///
    /// # Errors
    /// As [`VaultWriter::copy`]; [`VaultError::Exists`] also where both names are one.
    pub fn rename(
        &mut self,
        from: &SecretName,
        to: &SecretName,
        identities: &Identities,
    ) -> Result<Written, VaultError> {
        // What looked like an interrupted rename would lose the only file.
        if from == to {
            return Err(VaultError::Exists(to.clone()));
        }
        let settings = PolicyEdit::RenameSecret { from: from.clone(), to: to.clone() };
        // Seen to be possible before anything is written. That it is removed is written last, and
        // with another number.
        let removal = PolicyEdit::SetRemoved { name: from.clone(), generation: Generation::FIRST };
        self.edited_policy(&[settings.clone(), removal])?;
        let written = match self.copy(from, to, identities) {
            Err(VaultError::Exists(_)) => self.interrupted_rename(from, to, identities)?,
            other => other?,
        };
        self.edit_policy(&[settings])?;
        self.remove(from)?;
        Ok(written)
    }

    /// Finds that `to` is what an earlier `rename`, cut off half way, made of `from`.
    fn interrupted_rename(
        &self,
        from: &SecretName,
        to: &SecretName,
        identities: &Identities,
    ) -> Result<Written, VaultError> {
        let (old, new) = (self.vault.read(from, identities)?, self.vault.read(to, identities)?);
        let (old_claims, new_claims) = (&old.claims, &new.claims);
        let same_value =
            old.value.same_as(&new.value) && old_claims.rotated_at == new_claims.rotated_at;
        if !same_value || old_claims.written_at > new_claims.written_at {
            return Err(VaultError::Exists(to.clone()));
        }
        let (recipients, _) = self.recipients(to)?;
        let generation = new_claims.generation;
        Ok(Written { name: to.clone(), generation, recipients, clock_behind: false })
    }

    /// Removes a secret, and writes its generation into the policy so that its counter never
    /// restarts. The value stays in git's history and in backups.
    ///
    /// # Errors
    /// [`VaultError::Missing`].
    pub fn remove(&mut self, name: &SecretName) -> Result<(), VaultError> {
        let file = self.vault.read_file(name)?;
        // A damaged or unbound file has no counter that could restart.
        if let Ok(header) = bound_header(&file, self.policy.vault_id(), name) {
            let generation = header.claims.generation;
            self.edit_policy(&[PolicyEdit::SetRemoved { name: name.clone(), generation }])?;
        }
        let (directory, file_name) = path_of(name);
        files::open_beneath(self.root.as_fd(), &directory)
            .and_then(|parent| files::remove_file(parent.as_fd(), file_name.as_ref()))
            .map_err(|e| self.vault.file_error(directory.join(&file_name), "removed", e))?;
        self.prune(&directory);
        Ok(())
    }

    /// Makes all of these edits of the policy, or none.
    ///
    /// # Errors
    /// [`VaultError::PolicyEdit`].
    pub fn edit_policy(&mut self, edits: &[PolicyEdit]) -> Result<(), VaultError> {
        let text = self.edited_policy(edits)?;
        self.policy = self.vault.parse_policy(&text)?;
        files::replace_file(self.root.as_fd(), OsStr::new(POLICY_FILE), text.as_bytes())
            .map_err(|e| self.vault.file_error(POLICY_FILE, "written", e))?;
        self.policy_text = text;
        Ok(())
    }

    fn edited_policy(&self, edits: &[PolicyEdit]) -> Result<String, VaultError> {
        let path = || self.vault.root.join(POLICY_FILE);
        edits
            .iter()
            .try_fold(self.policy_text.clone(), |text, edit| edit.apply(&text))
            .map_err(|source| VaultError::PolicyEdit { path: path(), source })
    }

    /// Binds an age file that stands at `name`'s place and was made by another tool.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::Open`] where it is bound already or no identity
    /// opens it, and as [`VaultWriter::add`].
    pub fn adopt(
        &mut self,
        name: &SecretName,
        identities: &Identities,
    ) -> Result<Written, VaultError> {
        let file = self.vault.read_file(name)?;
        let value = open_unbound(&file, identities.as_age()).map_err(|source| match source {
            OpenError::OtherName { belongs_to } if belongs_to == *name => {
                VaultError::Exists(name.clone())
            }
            source => open_failed(name, source, &self.policy),
        })?;
        self.write_value(name, &value, None)
    }

    fn write_value(
        &mut self,
        name: &SecretName,
        value: &Value,
        prior: Option<&Prior>,
    ) -> Result<Written, VaultError> {
        self.check_value(name, value)?;
        let claims = Claims {
            rotated_at: self.not_before(prior.map(|p| p.claims.rotated_at)),
            ..self.claims(name, prior)?
        };
        self.write_sealed(name, value, claims, prior)
    }

    /// Writes a value under a name where it is new, though the value itself is not.
    fn reseal(
        &mut self,
        name: &SecretName,
        value: &Value,
        from: &Claims,
    ) -> Result<Written, VaultError> {
        let claims = Claims {
            rotated_at: from.rotated_at,
            could_read: from.could_read.clone(),
            flag: from.flag,
            ..self.claims(name, None)?
        };
        self.write_sealed(name, value, claims, None)
    }

    fn claims(&self, name: &SecretName, prior: Option<&Prior>) -> Result<Claims, VaultError> {
        let removed = self.policy.removed().get(name).copied();
        let last = prior.map(|p| p.claims.generation).max(removed);
        let generation = last.map_or(Some(Generation::FIRST), Generation::next);
        Ok(Claims {
            vault: self.policy.vault_id(),
            name: name.clone(),
            generation: generation.ok_or_else(|| VaultError::LastGeneration(name.clone()))?,
            rotated_at: self.now,
            written_at: self.not_before(prior.map(|p| p.claims.written_at)),
            recipients: Vec::new(),
            could_read: [].into(),
            flag: None,
            previous: prior.map(|p| p.hash),
        })
    }

    fn not_before(&self, earlier: Option<Timestamp>) -> Timestamp {
        earlier.map_or(self.now, |earlier| earlier.max(self.now))
    }

    fn write_sealed(
        &mut self,
        name: &SecretName,
        value: &Value,
        claims: Claims,
        prior: Option<&Prior>,
    ) -> Result<Written, VaultError> {
        let returns = self.policy.removed().contains_key(name);
        let edits = returns.then(|| PolicyEdit::ClearRemoved { name: name.clone() });
        // Seen to be possible before the file is written.
        self.edited_policy(edits.as_slice())?;
        let written = self.write_file(name, value, claims, prior)?;
        if returns {
            self.edit_policy(edits.as_slice())?;
        }
        Ok(written)
    }

    fn write_file(
        &self,
        name: &SecretName,
        value: &Value,
        mut claims: Claims,
        prior: Option<&Prior>,
    ) -> Result<Written, VaultError> {
        let (names, recipients) = self.recipients(name)?;
        claims.could_read.extend(recipients.iter().map(Recipient::fingerprint));
        let generation = claims.generation;
        let file = seal(value, claims, &recipients)
            .map_err(|source| VaultError::Seal { name: name.clone(), source })?;
        let (directory, file_name) = path_of(name);
        files::make_beneath(self.root.as_fd(), &directory)
            .and_then(|parent| files::replace_file(parent.as_fd(), file_name.as_ref(), &file))
            .map_err(|e| self.vault.file_error(directory.join(&file_name), "written", e))?;
        let clock_behind =
            prior.is_some_and(|p| p.claims.written_at.max(p.claims.rotated_at) > self.now);
        Ok(Written { name: name.clone(), generation, recipients: names, clock_behind })
    }

    /// Whom the policy of `name` says to encrypt to: their names, and themselves.
    ///
    /// # Errors
    /// [`VaultError::Gap`].
    pub fn recipients(
        &self,
        name: &SecretName,
    ) -> Result<(Vec<String>, Vec<Recipient>), VaultError> {
        let today = TimeZone::UTC.to_datetime(self.now).date();
        let named = self.policy.recipients_for(name, today)?;
        Ok(named.into_iter().map(|named| (named.name.clone(), named.recipient.clone())).unzip())
    }

    /// `a` and `a/b` can't both exist: neither may be a file where the other is a directory.
    fn check_collisions(&self, name: &SecretName) -> Result<(), VaultError> {
        let collision = |other: String| VaultError::Collision { name: name.clone(), other };
        let segments: Vec<&str> = name.segments().collect();
        for len in 1..segments.len() {
            let above = segments[..len].join("/");
            if let Ok(other) = above.parse()
                && self.vault.try_read_file(&other)?.is_some()
            {
                return Err(collision(above));
            }
        }
        let (directory, _) = path_of(name);
        let beneath = directory.join(name.last_segment());
        if files::open_beneath(self.root.as_fd(), &beneath).is_ok_and(|fd| !is_empty(&fd)) {
            return Err(collision(format!("{name}/…")));
        }
        Ok(())
    }

    /// Removes the directories that a removal left empty, as git does.
    fn prune(&self, directory: &Path) {
        for empty in directory.ancestors() {
            let (Some(parent), Some(segment)) = (empty.parent(), empty.file_name()) else { return };
            let is_secrets = parent == Path::new("");
            let removed = !is_secrets
                && files::open_beneath(self.root.as_fd(), parent)
                    .is_ok_and(|fd| fs::unlinkat(&fd, segment, AtFlags::REMOVEDIR).is_ok());
            if !removed {
                return;
            }
        }
    }
}

fn is_empty(directory: &OwnedFd) -> bool {
    fs::Dir::read_from(directory).is_ok_and(|entries| {
        entries.filter_map(Result::ok).all(|entry| entry.file_name().to_bytes().starts_with(b"."))
    })
}
