//! The report of an error: what failed, why, and what to do next. The one place that gives hints
//! and exit codes.

use std::error::Error as StdError;
use std::process::ExitCode;

use anyhow::Error;
use vaultfs_core::{
    DotenvError, HeaderError, IdentityError, NameError, OpenError, POLICY_FILE, PolicyGap,
    RecipientError, SealError, StoreError, ValueError, VaultError,
};

use vaultfs_tui::TuiError;

use crate::output::{NotConfirmed, visible};

/// Prints the error with its causes and a hint, and gives the exit code.
pub(crate) fn error(error: &Error) -> ExitCode {
    if let Some(TuiError::Signal(signal)) = error.downcast_ref() {
        // As a shell says of a program that a signal ended.
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX));
    }
    eprintln!("error: {}", visible(&error.to_string()));
    let mut before = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // A transparent error says the same as its cause.
        if text != before {
            eprintln!("  because: {}", visible(&text));
        }
        before = text;
    }
    if let Some(hint) = error.chain().find_map(hint) {
        eprintln!("  next: {hint}");
    }
    if error.is::<UsageError>() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
}

/// The exit code that clap uses too.
const WRONG_USAGE: u8 = 2;

/// Options that contradict each other, or one that is missing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) &'static str);

/// What to do about one error of the chain.
fn hint(error: &(dyn StdError + 'static)) -> Option<String> {
    let text = |hint: &str| Some(hint.to_owned());
    if let Some(error) = error.downcast_ref::<VaultError>() {
        return vault_hint(error);
    }
    if let Some(error) = error.downcast_ref::<OpenError>() {
        return open_hint(error);
    }
    if let Some(error) = error.downcast_ref::<PolicyGap>() {
        return Some(gap_hint(error));
    }
    if error.is::<NameError>() {
        return text(
            "a name is made of segments of A-Z a-z 0-9 _ - . with / between them, such as prod/DATABASE_URL",
        );
    }
    if let Some(error) = error.downcast_ref::<RecipientError>() {
        return match error {
            RecipientError::PrivateIdentity => text(
                "give the public half (age-keygen -y prints it); if the private one was shown to anyone or committed, it must be replaced",
            ),
            _ => text("`vaultfs keygen` makes an identity and prints its recipient"),
        };
    }
    if let Some(error) = error.downcast_ref::<SealError>() {
        return match error {
            SealError::PluginMissing { plugin, .. } => {
                Some(format!("install age-plugin-{plugin}, so that it is found in PATH"))
            }
            SealError::Incompatible(_) => {
                text("give each kind of recipient a rule of its own in vaultfs.yaml")
            }
            _ => None,
        };
    }
    if let Some(ValueError::TooLarge) = error.downcast_ref() {
        return text("keep large files elsewhere, encrypted with `age`, and their passphrase here");
    }
    if let Some(error) = error.downcast_ref::<IdentityError>() {
        return identity_hint(error);
    }
    if error.is::<DotenvError>() {
        return text(
            "change that line so that every tool reads it alike: single quotes take everything as it is",
        );
    }
    if error.is::<StoreError>() {
        return text("check that the vault's directory is there and readable");
    }
    if let Some(TuiError::NoTerminal) = error.downcast_ref() {
        return text("`vaultfs list` and `vaultfs status` print what it shows");
    }
    if let Some(NotConfirmed::NoTerminal) = error.downcast_ref() {
        return text("look at the plan above, and pass --yes");
    }
    #[cfg(target_os = "linux")]
    if let Some(hint) = crate::commands::mount::hint(error) {
        return Some(hint);
    }
    None
}

fn vault_hint(error: &VaultError) -> Option<String> {
    Some(match error {
        VaultError::NotFound(_) | VaultError::NotAVault(_) => {
            "`vaultfs init DIR` makes a vault; --vault DIR names one elsewhere".to_owned()
        }
        VaultError::Nested { inner, outer } => format!(
            "say which one with --vault {} or --vault {}",
            inner.display(),
            outer.display()
        ),
        VaultError::AlreadyAVault(_) => "`vaultfs add NAME` adds a secret to it".to_owned(),
        VaultError::Missing { nearest: Some(nearest), .. } => format!("did you mean {nearest}?"),
        VaultError::Missing { nearest: None, .. } => "`vaultfs list` shows what there is".to_owned(),
        VaultError::Exists(name) => format!("`vaultfs rotate {name}` gives it a new value"),
        VaultError::Collision { .. } => "choose another name".to_owned(),
        VaultError::Gap(gap) => gap_hint(gap),
        VaultError::Busy(_) => "try again when the other one is done".to_owned(),
        VaultError::EmptyValue(_) => {
            "an empty secret is nearly always a mistake upstream; check what feeds it".to_owned()
        }
        VaultError::Violation { name, .. } => format!(
            "give a value that fits, or change what `secrets:` asks of {name} in {POLICY_FILE}"
        ),
        VaultError::NoIdentity { .. } => {
            "name your identity with --identity FILE; where you have none, run `vaultfs keygen` and \
             send the line it prints to one of those who can open it, for `vaultfs recipients add`"
                .to_owned()
        }
        VaultError::LockedOut(_) => {
            "add yourself to the rule's recipients, or pass --allow-lock-out".to_owned()
        }
        VaultError::LastGeneration(_) => format!(
            "nobody counted that far: bring back a version of the file, and of `removed:` in \
             {POLICY_FILE}, that you trust"
        ),
        VaultError::PolicyEdit { .. } => "`vaultfs recipients list` shows who there is".to_owned(),
        VaultError::File { source, .. } if source.is_read_only() => {
            "the disk is read-only; nothing was changed".to_owned()
        }
        VaultError::File { source, .. } if source.is_full() => {
            "the disk is full; nothing was changed".to_owned()
        }
        _ => return None,
    })
}

fn gap_hint(gap: &PolicyGap) -> String {
    match gap {
        PolicyGap::NoRule(name) => format!("add a rule for {name} to `rules:` in {POLICY_FILE}"),
        PolicyGap::EveryoneLeft { .. } => {
            format!("name someone who hasn't left in that rule of {POLICY_FILE}")
        }
        _ => format!("set `env:` for it under `secrets:` in {POLICY_FILE}"),
    }
}

fn open_hint(error: &OpenError) -> Option<String> {
    Some(match error {
        OpenError::Header(HeaderError::Unbound) => {
            "`vaultfs adopt NAME` binds a file that another tool made".to_owned()
        }
        OpenError::Header(HeaderError::Stanza(_)) => {
            "a newer vaultfs may have written it; otherwise bring the file back from git".to_owned()
        }
        OpenError::OtherName { belongs_to } => format!(
            "someone moved the file without vaultfs; put it back to secrets/{belongs_to}.age, then use \
             `vaultfs rename` or `vaultfs copy`"
        ),
        OpenError::OtherVault { .. } => {
            "copy values between vaults with `vaultfs show NAME --reveal | vaultfs add NAME`".to_owned()
        }
        OpenError::Header(_)
        | OpenError::HeaderChanged
        | OpenError::BindingBroken
        | OpenError::PayloadChanged => {
            "the file is damaged or forged: look at its history, `git log -- FILE`, and bring back a \
             version that you trust"
                .to_owned()
        }
        OpenError::Identity(error) => return identity_hint(error),
        _ => return None,
    })
}

fn identity_hint(error: &IdentityError) -> Option<String> {
    match error {
        IdentityError::Missing { .. } => {
            Some("`vaultfs keygen -o FILE` makes an identity".to_owned())
        }
        _ => None,
    }
}
