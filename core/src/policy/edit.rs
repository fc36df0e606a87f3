//! The tool's own edits of a policy: as small as a careful person would make them, so that
//! comments, order and style stay and a diff shows nothing else.

mod editor;
mod intention;

use std::fmt;

use jiff::civil::Date;

use self::editor::{Editor, OtherShape};
use super::document::Step::{Field, Item};
use super::{Policy, PolicyError};
use crate::{Generation, Recipient, SecretName};

/// One change to a policy's text.
///
/// Everything else in the text stays as it is, byte for byte, with one exception: what is removed
/// takes the comments with it that stand inside it or behind it on its last line. Comments on
/// lines of their own before and after it stay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyEdit {
    /// A new recipient, at the end of `recipients`. It is in no group and no rule yet.
    AddRecipient {
        /// Its name, which neither a recipient nor a group has.
        name: String,
        /// The recipient.
        recipient: Recipient,
    },
    /// Takes a recipient out of `recipients`, `leaving`, and all groups and rules.
    RemoveRecipient {
        /// Its name.
        name: String,
    },
    /// Gives a recipient another name wherever it stands.
    RenameRecipient {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// A new group, at the end of `groups`.
    AddGroup {
        /// Its name, which neither a recipient nor a group has.
        name: String,
        /// Its members: recipients and groups.
        members: Vec<String>,
    },
    /// A new member at the end of a group.
    AddToGroup {
        /// The group.
        group: String,
        /// A recipient or group.
        member: String,
    },
    /// Takes a member out of a group, which may become empty.
    RemoveFromGroup {
        /// The group.
        group: String,
        /// Its member.
        member: String,
    },
    /// Records the last generation of a removed secret.
    SetRemoved {
        /// The secret.
        name: SecretName,
        /// Its last generation.
        generation: Generation,
    },
    /// Forgets that a secret was removed. Does nothing where that isn't recorded.
    ClearRemoved {
        /// The secret.
        name: SecretName,
    },
    /// Moves the settings of a secret to its new name. Does nothing where it has none of its own.
    RenameSecret {
        /// Its name.
        from: SecretName,
        /// Its new name.
        to: SecretName,
    },
    /// Removes the settings of a secret. Does nothing where it has none of its own.
    RemoveSecret {
        /// The secret.
        name: SecretName,
    },
    /// Sets the last day of a recipient's access.
    SetLeaving {
        /// The recipient's name.
        recipient: String,
        /// The last day.
        until: Date,
    },
    /// A recipient stays after all. Does nothing where it isn't leaving.
    ClearLeaving {
        /// The recipient's name.
        recipient: String,
    },
}

/// Why an edit wasn't made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyEditError {
    /// The text isn't a policy to begin with.
    #[error("the policy can't be read")]
    Unreadable(#[source] PolicyError),
    /// What is to be added, or its new name, exists already.
    #[error("the policy has {0:?} already")]
    Exists(String),
    /// What is to be changed doesn't exist.
    #[error("the policy has no {0:?}")]
    Unknown(String),
    /// The new name isn't one for a recipient or group.
    #[error("{0:?} can't name a recipient or group (letters, digits, _ - . @ +, at most 64)")]
    MemberName(String),
    /// The policy would not be valid any more: a rule would reach nobody, say.
    /// The position in the cause is that in the edited text.
    #[error("after this edit the policy would not be valid: {edit}")]
    Invalid {
        /// The edit, as a person would be told to make it.
        edit: String,
        /// What would be wrong.
        #[source]
        source: PolicyError,
    },
    /// The text is written in a way that the edit can't be sure of. A person can.
    #[error("this policy is written in a way that only a person can edit; by hand: {edit}")]
    ByHand {
        /// The edit, as a person would be told to make it.
        edit: String,
    },
}

impl PolicyEdit {
    /// Makes the edit in `text` and gives the new text.
    ///
    /// # Errors
    /// Where it can't be made; also where the result, read again, isn't exactly the old policy
    /// with this edit.
    pub fn apply(&self, text: &str) -> Result<String, PolicyEditError> {
        let before = Policy::parse(text).map_err(PolicyEditError::Unreadable)?;
        let intended = self.intend(before.clone())?;
        let by_hand = || PolicyEditError::ByHand { edit: self.to_string() };
        let mut editor = Editor::new(text).map_err(PolicyEditError::Unreadable)?;
        self.rewrite(&before, &mut editor).map_err(|OtherShape| by_hand())?;
        let edited = editor.finish();
        match Policy::parse(&edited) {
            Ok(policy) if policy == intended => Ok(edited),
            Ok(_) => Err(by_hand()),
            Err(source) => Err(PolicyEditError::Invalid { edit: self.to_string(), source }),
        }
    }

    /// The same in the text. `before` is what the text means now.
    fn rewrite(&self, before: &Policy, editor: &mut Editor) -> Result<(), OtherShape> {
        match self {
            Self::AddRecipient { name, recipient } => {
                editor.add_entry("recipients", name, recipient.as_str())
            }
            Self::RemoveRecipient { name } => {
                if let Some(index) = before.leaving_index(name) {
                    editor.remove_item(&[Field("leaving")], index)?;
                }
                for (path, index) in before.places_of(name) {
                    editor.remove_item(&path, index)?;
                }
                editor.remove_entry("recipients", name)
            }
            Self::RenameRecipient { from, to } => {
                if let Some(index) = before.leaving_index(from) {
                    let path = [Field("leaving"), Item(index), Field("recipient")];
                    editor.set_text(&path, to)?;
                }
                for (path, index) in before.places_of(from) {
                    let path: Vec<_> = path.into_iter().chain([Item(index)]).collect();
                    editor.set_text(&path, to)?;
                }
                editor.rename_entry("recipients", from, to)
            }
            Self::AddGroup { name, members } => {
                let members: Vec<_> = members.iter().map(|member| editor::plain(member)).collect();
                editor.add_entry("groups", name, &format!("[{}]", members.join(", ")))
            }
            Self::AddToGroup { group, member } => {
                editor.add_item(&[Field("groups"), Field(group)], &editor::plain(member))
            }
            Self::RemoveFromGroup { group, member } => {
                let members = before.groups.iter().find(|g| g.name == *group);
                let index = members.and_then(|g| g.members.iter().position(|m| m == member));
                let index = index.ok_or(OtherShape)?;
                editor.remove_item(&[Field("groups"), Field(group)], index)
            }
            Self::SetRemoved { name, generation } => {
                let generation = generation.to_string();
                if before.removed.contains_key(name) {
                    let path = [Field("removed"), Field(name.as_str())];
                    return editor.set_value(&path, &generation);
                }
                editor.add_entry("removed", name.as_str(), &generation)
            }
            Self::ClearRemoved { name } if before.removed.contains_key(name) => {
                editor.remove_entry("removed", name.as_str())
            }
            Self::RenameSecret { from, to } if before.has_settings(from) => {
                editor.rename_entry("secrets", from.as_str(), to.as_str())
            }
            Self::RemoveSecret { name } if before.has_settings(name) => {
                editor.remove_entry("secrets", name.as_str())
            }
            Self::SetLeaving { recipient, until } => {
                if let Some(index) = before.leaving_index(recipient) {
                    let path = [Field("leaving"), Item(index), Field("until")];
                    return editor.set_value(&path, &until.to_string());
                }
                let recipient = editor::plain(recipient);
                let item = format!("{{recipient: {recipient}, until: {until}}}");
                editor.add_item(&[Field("leaving")], &item)
            }
            Self::ClearLeaving { recipient } => match before.leaving_index(recipient) {
                Some(index) => editor.remove_item(&[Field("leaving")], index),
                None => Ok(()),
            },
            Self::ClearRemoved { .. } | Self::RenameSecret { .. } | Self::RemoveSecret { .. } => {
                Ok(())
            }
        }
    }
}

impl fmt::Display for PolicyEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddRecipient { name, recipient } => {
                write!(f, "add `{name}: {recipient}` to `recipients`")
            }
            Self::RemoveRecipient { name } => {
                write!(f, "remove {name} from `recipients`, `leaving`, all groups and all rules")
            }
            Self::RenameRecipient { from, to } => {
                write!(f, "replace {from} by {to} in `recipients`, `leaving`, groups and rules")
            }
            Self::AddGroup { name, members } => {
                write!(f, "add `{name}: [{}]` to `groups`", members.join(", "))
            }
            Self::AddToGroup { group, member } => write!(f, "add {member} to the group {group}"),
            Self::RemoveFromGroup { group, member } => {
                write!(f, "remove {member} from the group {group}")
            }
            Self::SetRemoved { name, generation } => {
                write!(f, "set `{name}: {generation}` in `removed`")
            }
            Self::ClearRemoved { name } => write!(f, "take {name} out of `removed`"),
            Self::RenameSecret { from, to } => write!(f, "rename {from} to {to} in `secrets`"),
            Self::RemoveSecret { name } => write!(f, "take {name} out of `secrets`"),
            Self::SetLeaving { recipient, until } => {
                write!(f, "set `{{recipient: {recipient}, until: {until}}}` in `leaving`")
            }
            Self::ClearLeaving { recipient } => write!(f, "take {recipient} out of `leaving`"),
        }
    }
}

#[cfg(test)]
mod tests;
