//! Asking a person: the trait that callers implement, and its form for age.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use age::secrecy::SecretString;

use crate::Value;

/// Asks a person what identities need: passphrases, and what plugins want to know.
///
/// Each method returns nothing where nobody can be asked, as without a terminal. Only one question
/// is asked at a time, whichever threads need answers.
pub trait Prompter: Send + Sync {
    /// Asks for a passphrase without echoing it. `what` says of what, such as a file's path or a
    /// plugin's own words; it may hold control characters.
    fn ask_passphrase(&self, what: &str) -> Option<Value>;

    /// Asks for something that isn't secret, in a plugin's words.
    fn ask_public(&self, what: &str) -> Option<String>;

    /// Asks to choose `yes`, or `no` (where none is given, the caller's own word for it).
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool>;

    /// Shows a message, such as a plugin's request to touch a token.
    fn show(&self, message: &str);
}

/// Asks nobody: for where there is no terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPrompter;

impl Prompter for NoPrompter {
    fn ask_passphrase(&self, _: &str) -> Option<Value> {
        None
    }

    fn ask_public(&self, _: &str) -> Option<String> {
        None
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn show(&self, _: &str) {}
}

/// The prompter as all identities share it.
#[derive(Clone)]
pub(super) struct Asking {
    prompter: Arc<dyn Prompter>,
    turn: Arc<Mutex<()>>,
}

impl Asking {
    pub(super) fn new(prompter: Arc<dyn Prompter>) -> Self {
        Self { prompter, turn: Arc::default() }
    }

    /// Waits until no other thread asks anything. Held while a plugin runs, since it may ask.
    pub(super) fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None also for what can't be a passphrase, since it isn't UTF-8.
    pub(super) fn ask_passphrase(&self, what: &str) -> Option<SecretString> {
        passphrase_for_age(&self.prompter.ask_passphrase(what)?)
    }

    pub(super) fn show(&self, message: &str) {
        self.prompter.show(message);
    }
}

/// A copy in the type that age wants; wiped on drop, but not in locked memory.
pub(super) fn passphrase_for_age(passphrase: &Value) -> Option<SecretString> {
    std::str::from_utf8(passphrase.expose_bytes()).ok().map(SecretString::from)
}

/// For plugins; who calls one holds the turn already.
impl age::Callbacks for Asking {
    fn display_message(&self, message: &str) {
        self.prompter.show(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.prompter.confirm(message, yes, no)
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.prompter.ask_public(description)
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.ask_passphrase(description)
    }
}
