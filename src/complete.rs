//! Completions of names: of secrets, which are file names, and of recipients, which the policy
//! lists. No identity is needed.

use std::env;
use std::path::PathBuf;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use vaultfs_core::{SECRETS_DIRECTORY, SecretName, Vault};

/// Completes names of secrets of the vault at hand.
pub(crate) fn secrets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(vault) = vault() else { return Vec::new() };
        let mut names = Vec::new();
        collect(&vault.root().join(SECRETS_DIRECTORY), "", &mut names);
        names.sort();
        names.iter().map(|name| CompletionCandidate::new(name.as_str())).collect()
    })
}

/// Completes names of recipients of the vault at hand.
pub(crate) fn recipients() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(policy) = vault().and_then(|vault| vault.policy().ok()) else { return Vec::new() };
        let names = policy.recipients().iter().map(|recipient| recipient.name.as_str());
        names.map(|name| CompletionCandidate::new(name.to_owned())).collect()
    })
}

/// The vault of the command line that is being completed: its `--vault`, or the one around here.
fn vault() -> Option<Vault> {
    let words: Vec<_> = env::args_os().collect();
    let named = words.iter().enumerate().find_map(|(i, word)| {
        let word = word.to_str()?;
        match word.strip_prefix("--vault=") {
            Some(directory) => Some(PathBuf::from(directory)),
            None if word == "--vault" => words.get(i + 1).map(PathBuf::from),
            None => None,
        }
    });
    match named {
        Some(directory) => Vault::at(directory).ok(),
        None => Vault::find(&env::current_dir().ok()?).ok(),
    }
}

/// Names alone: reading 10,000 headers would make the shell wait.
fn collect(directory: &std::path::Path, prefix: &str, names: &mut Vec<SecretName>) {
    let Ok(entries) = directory.read_dir() else { return };
    for entry in entries.flatten() {
        let (Ok(kind), Some(name)) = (entry.file_type(), entry.file_name().into_string().ok())
        else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), names);
        } else if let Some(stem) = name.strip_suffix(".age") {
            names.extend(format!("{prefix}{stem}").parse::<SecretName>());
        }
    }
}
