//! Where values come from: standard input, a file, a generator, or a prompt without echo. Never
//! from an argument or the environment, which other processes can read.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueHint};
use vaultfs_core::{Policy, Recipe, RecipeError, SecretName, Value, ValueBuffer};

use crate::output::{note, warn};
use crate::report::UsageError;
use crate::terminal::ask_hidden;

/// Where the value comes from. Without an option: a prompt at a terminal, else standard input.
#[derive(Args)]
pub(crate) struct ValueInput {
    /// Read the value from FILE, exactly as it is
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "generate")]
    file: Option<PathBuf>,
    /// Generate the value: by the policy's recipe for this secret (base64url:32 where it has none),
    /// or by bytes:N, hex:N, base64:N, base64url:N or alphabet:CHARACTERS:N
    #[arg(long, value_name = "RECIPE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "policy")]
    generate: Option<Generate>,
    /// What a newcomer may take for the place of the value
    #[arg(hide = true)]
    argument: Option<OsString>,
    /// Drop one newline from the end of what is read
    #[arg(long, conflicts_with = "generate")]
    trim_newline: bool,
}

/// How a value is generated.
#[derive(Clone)]
enum Generate {
    ByPolicy,
    By(Recipe),
}

impl FromStr for Generate {
    type Err = RecipeError;

    fn from_str(text: &str) -> std::result::Result<Self, RecipeError> {
        if text == "policy" { Ok(Self::ByPolicy) } else { text.parse().map(Self::By) }
    }
}

impl ValueInput {
    /// Refuses a value among the arguments, without repeating it.
    pub(crate) fn check(&self) -> Result<()> {
        if self.argument.is_some() {
            bail!(UsageError(
                "a value is never an argument, which other users and the shell's history would see: \
                 pipe it in, name a file with --file, or leave it out to be asked"
            ));
        }
        Ok(())
    }

    /// Gets the value for `name`.
    pub(crate) fn value(&self, name: &SecretName, policy: &Policy) -> Result<Value> {
        if let Some(generate) = &self.generate {
            let recipe = match generate {
                Generate::ByPolicy => policy.settings_for(name).generate.unwrap_or_default(),
                Generate::By(recipe) => recipe.clone(),
            };
            note(format!("generated {recipe}, {:.1} bits of entropy", recipe.entropy_bits()));
            return Ok(recipe.generate()?);
        }
        if let Some(path) = &self.file {
            let mut file =
                File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
            let read = self.read(&mut file);
            return read.with_context(|| format!("{} can't be taken as a value", path.display()));
        }
        if io::stdin().is_terminal() { prompt(name) } else { self.read(&mut io::stdin().lock()) }
    }

    fn read(&self, reader: &mut impl io::Read) -> Result<Value> {
        let mut buffer = ValueBuffer::new()?;
        buffer.read_from(reader)?;
        if self.trim_newline {
            buffer.trim_final_newline();
        } else if buffer.expose_bytes().ends_with(b"\n") {
            let len = buffer.expose_bytes().len();
            warn(format!(
                "the value ends with a newline, which is kept ({len} bytes); --trim-newline drops it"
            ));
        }
        Ok(buffer.finish())
    }
}

fn prompt(name: &SecretName) -> Result<Value> {
    let gave_up = || anyhow::anyhow!("no value was given; nothing was changed");
    let first = ask_hidden(&format!("Value of {name} (not shown): "))?.ok_or_else(gave_up)?;
    let second = ask_hidden("Once more: ")?.ok_or_else(gave_up)?;
    if !first.same_as(&second) {
        bail!("the two values differ; nothing was changed");
    }
    Ok(first)
}
