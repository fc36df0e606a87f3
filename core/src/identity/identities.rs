//! All identities at hand, and how they open a file together.

use std::collections::HashSet;
use std::iter;
use std::path::Path;
use std::sync::Arc;

use age::DecryptError;
use age_core::format::{FileKey, Stanza};

use super::parse::{Parsed, parse};
use super::places::{Content, Expectation, Place};
use super::prompter::{Asking, Prompter};
use super::read::{IdentityFile, read_command};
use super::{
    Effort, Identity, IdentityError, IdentityPlaces, IdentityWarning, Origin, unwrap_first,
};
use crate::{Fingerprint, Recipient, Value};

/// The identities that were found, in the order of their places.
///
/// May be used by several threads at once; whatever a person must be asked is asked once.
pub struct Identities {
    all: Vec<Identity>,
    looked_at: Vec<LookedAt>,
    warnings: Vec<IdentityWarning>,
}

/// One place where identities were looked for.
#[derive(Clone, Debug)]
pub struct LookedAt {
    /// The place.
    pub origin: Origin,
    /// What was there.
    pub outcome: LookOutcome,
}

/// What was in a place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LookOutcome {
    /// Nothing.
    Absent,
    /// A file that was read under another name.
    ReadBefore,
    /// This many identities; some may be found elsewhere too.
    Found(usize),
    /// Something that can't be used.
    Unusable(IdentityError),
}

impl Identities {
    /// Reads all `places`. Asks nothing yet: `prompter` is asked for passphrases, and by plugins,
    /// when a file is opened and no identity opens it without a question.
    ///
    /// # Errors
    /// Where a place that an option or a variable names is missing, or something in it is no
    /// identity. What is wrong with the usual places is in [`Identities::warnings`].
    pub fn find(
        places: &IdentityPlaces,
        prompter: Arc<dyn Prompter>,
    ) -> Result<Self, IdentityError> {
        let mut finder = Finder {
            asking: Asking::new(prompter),
            places,
            seen_files: HashSet::new(),
            found: Self { all: Vec::new(), looked_at: Vec::new(), warnings: Vec::new() },
        };
        for place in places.in_order() {
            finder.look_at(place)?;
        }
        let mut found = finder.found;
        drop_doubles(&mut found.all);
        Ok(found)
    }

    /// Each identity; those in a file with a passphrase count as one.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.all.iter()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The recipients that are ours, as far as they are known without asking anything: not those
    /// of plugins, nor those in a file whose passphrase wasn't given yet.
    pub fn recipients(&self) -> Vec<&Recipient> {
        let mut recipients = Vec::new();
        self.all.iter().for_each(|identity| identity.push_recipients(&mut recipients));
        recipients
    }

    /// Every place that was looked at, in order, with what was there.
    pub fn looked_at(&self) -> &[LookedAt] {
        &self.looked_at
    }

    /// What the person whose identities these are should know, in the order it was found.
    pub fn warnings(&self) -> &[IdentityWarning] {
        &self.warnings
    }

    /// All of them in the form that opens an age file: one that tries first what needs no
    /// question, then plugins, and asks for passphrases last.
    pub fn as_age(&self) -> impl Iterator<Item = &dyn age::Identity> {
        iter::once(self as &dyn age::Identity)
    }
}

impl age::Identity for Identities {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        unwrap_first(&self.all, stanzas, &Effort::ASCENDING)
    }
}

struct Finder<'a> {
    asking: Asking,
    places: &'a IdentityPlaces,
    /// By device and inode: `VAULTFS_IDENTITY` often names the file in the usual place.
    seen_files: HashSet<(u64, u64)>,
    found: Identities,
}

impl Finder<'_> {
    fn look_at(&mut self, place: Place<'_>) -> Result<(), IdentityError> {
        let Place { origin, content, expectation } = place;
        let outcome = match content {
            Content::Text(text) => self.take(text, &origin, expectation),
            Content::Command(command) => {
                read_command(command, &origin).and_then(|t| self.take(&t, &origin, expectation))
            }
            Content::File(path) => self.look_at_file(&path, &origin, expectation),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) if expectation.is_strict() => return Err(error),
            Err(error) => {
                if deserves_warning(&error) {
                    self.found.warnings.push(IdentityWarning::LeftAside(error.clone()));
                }
                LookOutcome::Unusable(error)
            }
        };
        self.found.looked_at.push(LookedAt { origin, outcome });
        Ok(())
    }

    fn look_at_file(
        &mut self,
        path: &Path,
        origin: &Origin,
        expectation: Expectation,
    ) -> Result<LookOutcome, IdentityError> {
        let Some(file) = IdentityFile::open(path, origin, expectation)? else {
            return Ok(LookOutcome::Absent);
        };
        if !self.seen_files.insert(file.device_and_inode()) {
            return Ok(LookOutcome::ReadBefore);
        }
        self.warn_of_permissions(path, &file, origin);
        self.take(&file.read(origin)?, origin, expectation)
    }

    fn warn_of_permissions(&mut self, path: &Path, file: &IdentityFile, origin: &Origin) {
        // systemd grants access to its credentials by an ACL, whose mask shows as group bits.
        if self.places.credentials_directory.as_ref().is_some_and(|dir| path.starts_with(dir)) {
            return;
        }
        let origin = || origin.clone();
        if let Some(mode) = file.mode_for_others() {
            self.found.warnings.push(IdentityWarning::OpenToOthers { origin: origin(), mode });
        }
        if let Some(owner) = file.owner().filter(|&owner| owner != 0 && owner != self.places.uid) {
            self.found.warnings.push(IdentityWarning::ForeignOwner { origin: origin(), owner });
        }
    }

    fn take(
        &mut self,
        text: &Value,
        origin: &Origin,
        expectation: Expectation,
    ) -> Result<LookOutcome, IdentityError> {
        let Parsed { mut identities, bad_lines } = parse(text, origin, &self.asking)?;
        for error in bad_lines {
            if expectation.is_strict() {
                return Err(error);
            }
            self.found.warnings.push(IdentityWarning::LeftAside(error));
        }
        let count = identities.len();
        self.found.all.append(&mut identities);
        Ok(LookOutcome::Found(count))
    }
}

/// In the usual places, what isn't there, isn't for us or is of another kind needs no word.
fn deserves_warning(error: &IdentityError) -> bool {
    use IdentityError::{Empty, Read, UnsupportedSsh};
    !matches!(error, Read { .. } | Empty { .. } | UnsupportedSsh { .. })
}

/// Keeps the first of those that are the same. One that needs no passphrase is preferred.
fn drop_doubles(identities: &mut Vec<Identity>) {
    let unlocked: HashSet<Fingerprint> =
        identities.iter().filter(|i| !i.is_locked()).filter_map(Identity::mark).collect();
    let mut seen = HashSet::new();
    identities.retain(|identity| match identity.mark() {
        Some(mark) if identity.is_locked() && unlocked.contains(&mark) => false,
        Some(mark) => seen.insert(mark),
        None => true,
    });
}
