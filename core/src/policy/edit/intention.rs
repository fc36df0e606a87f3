//! What a policy should be after an edit, without regard to its text.

use super::{PolicyEdit, PolicyEditError};
use crate::policy::document::Step::{self, Field, Item};
use crate::policy::read::is_member_name;
use crate::policy::{Group, Leaving, NamedRecipient, Policy, settings};
use crate::{Pattern, SecretName};

impl PolicyEdit {
    /// `policy` as it should be afterwards. Whether that is valid is for the parser to say.
    pub(super) fn intend(&self, mut policy: Policy) -> Result<Policy, PolicyEditError> {
        let unknown = |name: &String| PolicyEditError::Unknown(name.clone());
        match self {
            Self::AddRecipient { name, recipient } => {
                policy.must_be_new(name)?;
                let (name, recipient) = (name.clone(), recipient.clone());
                policy.recipients.push(NamedRecipient { name, recipient });
            }
            Self::RemoveRecipient { name } => {
                policy.recipient(name).ok_or_else(|| unknown(name))?;
                policy.recipients.retain(|r| r.name != *name);
                policy.lists_mut().for_each(|list| list.retain(|member| member != name));
                policy.leaving.retain(|l| l.recipient != *name);
            }
            Self::RenameRecipient { from, to } => {
                policy.recipient(from).ok_or_else(|| unknown(from))?;
                policy.must_be_new(to)?;
                let recipients = policy.recipients.iter_mut().map(|r| &mut r.name);
                let leaving = policy.leaving.iter_mut().map(|l| &mut l.recipient);
                let members = policy.groups.iter_mut().flat_map(|g| &mut g.members);
                let to_lists = policy.rules.iter_mut().flat_map(|r| &mut r.to);
                let names = recipients.chain(leaving).chain(members).chain(to_lists);
                names.filter(|name| *name == from).for_each(|name| name.clone_from(to));
            }
            Self::AddGroup { name, members } => {
                policy.must_be_new(name)?;
                policy.groups.push(Group { name: name.clone(), members: members.clone() });
            }
            Self::AddToGroup { group, member } => {
                let members = policy.group_mut(group)?;
                if members.contains(member) {
                    return Err(PolicyEditError::Exists(format!("{member} in {group}")));
                }
                members.push(member.clone());
            }
            Self::RemoveFromGroup { group, member } => {
                let members = policy.group_mut(group)?;
                let count = members.len();
                members.retain(|other| other != member);
                if members.len() == count {
                    return Err(PolicyEditError::Unknown(format!("{member} in {group}")));
                }
            }
            Self::SetRemoved { name, generation } => {
                policy.removed.insert(name.clone(), *generation);
            }
            Self::ClearRemoved { name } => {
                policy.removed.remove(name);
            }
            Self::RenameSecret { from, to } => {
                if policy.has_settings(from) && policy.has_settings(to) {
                    return Err(PolicyEditError::Exists(to.to_string()));
                }
                let mut entries = policy.secrets.as_slice().to_vec();
                for (pattern, _) in &mut entries {
                    if pattern.as_str() == from.as_str() {
                        *pattern = Pattern::from(to);
                    }
                }
                policy.secrets = settings::Entries::new(entries);
            }
            Self::RemoveSecret { name } => {
                let mut entries = policy.secrets.as_slice().to_vec();
                entries.retain(|(pattern, _)| pattern.as_str() != name.as_str());
                policy.secrets = settings::Entries::new(entries);
            }
            Self::SetLeaving { recipient, until } => {
                policy.recipient(recipient).ok_or_else(|| unknown(recipient))?;
                if let Some(index) = policy.leaving_index(recipient) {
                    policy.leaving[index].until = *until;
                } else {
                    let (recipient, until) = (recipient.clone(), *until);
                    policy.leaving.push(Leaving { recipient, until });
                }
            }
            Self::ClearLeaving { recipient } => {
                policy.leaving.retain(|l| l.recipient != *recipient);
            }
        }
        Ok(policy)
    }
}

impl Policy {
    fn must_be_new(&self, name: &str) -> Result<(), PolicyEditError> {
        if self.recipient(name).is_some() || self.groups.iter().any(|g| g.name == name) {
            return Err(PolicyEditError::Exists(name.to_owned()));
        }
        if !is_member_name(name) {
            return Err(PolicyEditError::MemberName(name.to_owned()));
        }
        Ok(())
    }

    fn group_mut(&mut self, name: &str) -> Result<&mut Vec<String>, PolicyEditError> {
        let group = self.groups.iter_mut().find(|g| g.name == name);
        group.map(|g| &mut g.members).ok_or_else(|| PolicyEditError::Unknown(name.to_owned()))
    }

    /// All lists of recipients and groups.
    fn lists_mut(&mut self) -> impl Iterator<Item = &mut Vec<String>> {
        let groups = self.groups.iter_mut().map(|group| &mut group.members);
        groups.chain(self.rules.iter_mut().map(|rule| &mut rule.to))
    }

    pub(super) fn leaving_index(&self, recipient: &str) -> Option<usize> {
        self.leaving.iter().position(|l| l.recipient == recipient)
    }

    pub(super) fn has_settings(&self, name: &SecretName) -> bool {
        self.secrets.as_slice().iter().any(|(pattern, _)| pattern.as_str() == name.as_str())
    }

    /// The lists that name a recipient, and where in each.
    pub(super) fn places_of(&self, name: &str) -> Vec<(Vec<Step<'_>>, usize)> {
        let groups = self
            .groups
            .iter()
            .map(|group| (vec![Field("groups"), Field(&group.name)], &group.members));
        let rules = self
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| (vec![Field("rules"), Item(index), Field("to")], &rule.to));
        let lists = groups.chain(rules);
        lists
            .filter_map(|(path, list)| Some((path, list.iter().position(|m| m == name)?)))
            .collect()
    }
}
