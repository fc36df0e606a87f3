//! `vaultfs recipients`.

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use vaultfs_core::{
    NamedRecipient, Policy, PolicyEdit, Recipient, SecretName, Snapshot, VaultWriter,
};

use crate::complete;
use crate::context::Context;
use crate::output::{confirm, json, line, note, table};

/// Who may decrypt: list, add, remove, rename, explain.
///
/// All of them change or read vaultfs.yaml alone; `vaultfs rewrap` then brings the files in line.
#[derive(Args)]
pub(crate) struct Recipients {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the recipients, their groups and what they can read
    List(List),
    /// Add a recipient to a group
    Add(Add),
    /// Remove a recipient everywhere, now or after a grace time
    Remove(Remove),
    /// Give a recipient another name
    Rename(Rename),
    /// Say who may read a secret, and through which rule
    Explain(Explain),
}

#[derive(Args)]
struct List {
    /// One JSON document: an array of name, recipient, fingerprint, groups, until, secrets
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Add {
    /// A name for the recipient, such as bob or web1
    name: String,
    /// The line that `vaultfs keygen` printed: age1…, or ssh-ed25519 … in quotes
    recipient: String,
    /// The group to add it to
    #[arg(long, default_value = Policy::FIRST_GROUP)]
    group: String,
}

#[derive(Args)]
struct Remove {
    /// The recipient's name
    #[arg(add = complete::recipients())]
    name: String,
    /// Its last day, YYYY-MM-DD: until then it goes on reading
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Args)]
struct Rename {
    /// The recipient's name
    #[arg(add = complete::recipients())]
    old: String,
    /// Its new name
    new: String,
}

#[derive(Args)]
struct Explain {
    /// The secret; it need not exist
    #[arg(add = complete::secrets())]
    secret: SecretName,
}

#[derive(Serialize)]
struct Row {
    name: String,
    recipient: String,
    fingerprint: String,
    groups: Vec<String>,
    until: Option<String>,
    secrets: usize,
}

impl Recipients {
    pub(crate) fn run(&self, context: &Context) -> Result<()> {
        match &self.command {
            Command::List(list) => list.run(context),
            Command::Add(add) => add.run(context),
            Command::Remove(remove) => remove.run(context),
            Command::Rename(rename) => rename.run(context),
            Command::Explain(explain) => explain.run(context),
        }
    }
}

impl List {
    fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let (policy, snapshot) = (vault.policy()?, vault.snapshot()?);
        let rows: Vec<Row> = policy
            .recipients()
            .iter()
            .map(|NamedRecipient { name, recipient, .. }| Row {
                name: name.clone(),
                recipient: recipient.to_string(),
                fingerprint: recipient.fingerprint().to_string(),
                groups: groups_of(&policy, name),
                until: until(&policy, name).map(|date| date.to_string()),
                secrets: readable(&policy, &snapshot, name),
            })
            .collect();
        if self.json {
            return json(&rows);
        }
        let cells = rows.into_iter().map(|row| {
            let until = row.until.map_or_else(String::new, |date| format!("until {date}"));
            [row.name, row.groups.join(", "), row.secrets.to_string(), row.recipient, until]
        });
        table(["NAME", "GROUPS", "SECRETS", "RECIPIENT", ""], &cells.collect::<Vec<_>>());
        Ok(())
    }
}

impl Add {
    fn run(&self, context: &Context) -> Result<()> {
        // Not parsed with the arguments: that error would repeat an identity given by mistake.
        let recipient: Recipient = self.recipient.parse()?;
        let vault = context.vault()?;
        let mut writer = vault.write(Timestamp::now())?;
        let (name, group) = (self.name.clone(), self.group.clone());
        writer.edit_policy(&[
            PolicyEdit::AddRecipient { name: name.clone(), recipient },
            PolicyEdit::AddToGroup { group, member: name },
        ])?;
        let count = readable(writer.policy(), &vault.snapshot()?, &self.name);
        note(format!("added {} to {}", self.name, self.group));
        note(format!(
            "{count} secrets are to be encrypted anew before {} can read them: vaultfs rewrap",
            self.name
        ));
        Ok(())
    }
}

impl Remove {
    fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let count = readable(&vault.policy()?, &vault.snapshot()?, &self.name);
        let name = &self.name;
        let edit = if let Some(until) = self.until {
            note(format!("{name} goes on reading {count} secrets through {until}"));
            PolicyEdit::SetLeaving { recipient: name.clone(), until }
        } else {
            note(format!("{name} is not to read {count} secrets any more"));
            PolicyEdit::RemoveRecipient { name: name.clone() }
        };
        note(format!(
            "what {name} could read stays readable to them in git's history and in their copies: \
             rotate those values, `vaultfs status` names them"
        ));
        confirm(self.yes.into(), "Remove?")?;
        vault.write(Timestamp::now())?.edit_policy(&[edit])?;
        match self.until {
            Some(until) => note(format!("{name} leaves after {until}; then: vaultfs rewrap")),
            None => note("removed; next: vaultfs rewrap, then vaultfs rotate for each value"),
        }
        Ok(())
    }
}

impl Rename {
    fn run(&self, context: &Context) -> Result<()> {
        let vault = context.vault()?;
        let mut writer: VaultWriter<'_> = vault.write(Timestamp::now())?;
        let (from, to) = (self.old.clone(), self.new.clone());
        writer.edit_policy(&[PolicyEdit::RenameRecipient { from, to }])?;
        note(format!("renamed {} to {}", self.old, self.new));
        Ok(())
    }
}

impl Explain {
    fn run(&self, context: &Context) -> Result<()> {
        let policy = context.vault()?.policy()?;
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let recipients = policy.recipients_for(&self.secret, today)?;
        if let Some(rule) = policy.rule_for(&self.secret) {
            let position = rule.position.map_or_else(String::new, |at| format!(", {at}"));
            line(format!("{}: the rule for {}{position}", self.secret, rule.pattern));
        }
        for NamedRecipient { name, recipient, .. } in recipients {
            let groups = groups_of(&policy, name);
            let through = match groups.as_slice() {
                [] => String::new(),
                groups => format!("  in {}", groups.join(", ")),
            };
            let until = until(&policy, name).map_or_else(String::new, |d| format!("  until {d}"));
            line(format!("  {name}  {recipient}{through}{until}"));
        }
        Ok(())
    }
}

fn groups_of(policy: &Policy, name: &str) -> Vec<String> {
    let holds = |members: &[String]| members.iter().any(|member| member == name);
    let groups = policy.groups().iter().filter(|group| holds(&group.members));
    groups.map(|group| group.name.clone()).collect()
}

fn until(policy: &Policy, name: &str) -> Option<Date> {
    policy.leaving().iter().find(|leaving| leaving.recipient == name).map(|l| l.until)
}

/// How many secrets the policy means a recipient to read today.
fn readable(policy: &Policy, snapshot: &Snapshot, name: &str) -> usize {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let reads = |secret: &&SecretName| {
        policy.recipients_for(secret, today).is_ok_and(|all| all.iter().any(|r| r.name == name))
    };
    snapshot.files.keys().filter(reads).count()
}
