//! Changes that write a file anew for a value that is not new: other recipients, a flag, a return.

use std::collections::BTreeSet;

use super::{Prior, VaultWriter, Written};
use crate::vault::open_failed;
use crate::{Claims, FileHash, Flag, Identities, Recipient, SecretName, Value, VaultError, open};

/// What became of a secret that was to be encrypted anew.
#[derive(Clone, Debug)]
pub enum Rewrapped {
    /// Its recipients are the policy's already.
    Unchanged,
    /// It has a new file.
    Written(Written),
}

/// Whether a secret may be left to others, so that no identity at hand opens it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOut {
    /// No: that is nearly always a mistake.
    Refuse,
    /// Yes.
    Allow,
}

impl VaultWriter<'_> {
    /// Encrypts a secret anew where its recipients differ from the policy's. The value, its age and
    /// who could read it stay. Takes `&self`, so that several threads can work on one vault.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::NoIdentity`], [`VaultError::Open`], and
    /// [`VaultError::LockedOut`] where no identity at hand could open the new file.
    pub fn rewrap(
        &self,
        name: &SecretName,
        identities: &Identities,
        lock_out: LockOut,
    ) -> Result<Rewrapped, VaultError> {
        let (prior, value) = self.open_prior(name, identities)?;
        let (_, recipients) = self.recipients(name)?;
        let wanted: BTreeSet<_> = recipients.iter().map(Recipient::fingerprint).collect();
        if prior.claims.recipients.iter().copied().collect::<BTreeSet<_>>() == wanted {
            return Ok(Rewrapped::Unchanged);
        }
        let ours = identities.recipients();
        let known_out = !ours.is_empty() && !ours.iter().any(|r| wanted.contains(&r.fingerprint()));
        if known_out && lock_out == LockOut::Refuse {
            return Err(VaultError::LockedOut(name.clone()));
        }
        let claims = self.kept(name, &prior, &prior.claims)?;
        self.write_file(name, &value, claims, Some(&prior)).map(Rewrapped::Written)
    }

    /// Marks a value as one that must be rotated, until it is.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::NoIdentity`], [`VaultError::Open`].
    pub fn flag(
        &self,
        name: &SecretName,
        flag: Flag,
        identities: &Identities,
    ) -> Result<Rewrapped, VaultError> {
        let (prior, value) = self.open_prior(name, identities)?;
        if prior.claims.flag == Some(flag) {
            return Ok(Rewrapped::Unchanged);
        }
        let claims = Claims { flag: Some(flag), ..self.kept(name, &prior, &prior.claims)? };
        self.write_file(name, &value, claims, Some(&prior)).map(Rewrapped::Written)
    }

    /// Brings back the value of an earlier file of `name`, as a new generation. The value is as old
    /// as it was, and so are those who could read it.
    ///
    /// # Errors
    /// [`VaultError::NoIdentity`] and [`VaultError::Open`], of either file; what the policy refuses
    /// today.
    pub fn restore(
        &mut self,
        name: &SecretName,
        earlier: &[u8],
        identities: &Identities,
    ) -> Result<Written, VaultError> {
        let opened = open(earlier, self.policy.vault_id(), name, identities.as_age())
            .map_err(|source| open_failed(name, source, &self.policy))?;
        self.check_value(name, &opened.value)?;
        let prior = match self.open_prior(name, identities) {
            Ok((prior, _)) => Some(prior),
            Err(VaultError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(prior) = prior else {
            self.check_new(name)?;
            return self.reseal(name, &opened.value, &opened.claims);
        };
        let claims = self.kept(name, &prior, &opened.claims)?;
        self.write_sealed(name, &opened.value, claims, Some(&prior))
    }

    fn open_prior(
        &self,
        name: &SecretName,
        identities: &Identities,
    ) -> Result<(Prior, Value), VaultError> {
        let file = self.vault.read_file(name)?;
        let opened = open(&file, self.policy.vault_id(), name, identities.as_age())
            .map_err(|source| open_failed(name, source, &self.policy))?;
        Ok((Prior { claims: opened.claims, hash: FileHash::of(&file) }, opened.value))
    }

    /// The claims of a new file whose value is the one that `of` is about.
    fn kept(&self, name: &SecretName, prior: &Prior, of: &Claims) -> Result<Claims, VaultError> {
        Ok(Claims {
            rotated_at: of.rotated_at,
            could_read: of.could_read.clone(),
            flag: of.flag,
            ..self.claims(name, Some(prior))?
        })
    }
}
