//! `vaultfs completions`.

use std::io;

use anyhow::Result;
use clap::{Args, ValueEnum};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

/// Print a shell's completions.
///
/// They complete names of secrets too, and need no identity.
///
/// For bash, in ~/.bashrc: source <(vaultfs completions bash)
///
/// For zsh, in ~/.zshrc after compinit: source <(vaultfs completions zsh)
///
/// For fish, in ~/.config/fish/config.fish: vaultfs completions fish | source
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<()> {
        let completer: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Elvish => &Elvish,
            Shell::Fish => &Fish,
            Shell::Powershell => &Powershell,
            Shell::Zsh => &Zsh,
        };
        let (name, program) = ("vaultfs", "vaultfs");
        completer.write_registration("COMPLETE", name, program, program, &mut io::stdout())?;
        Ok(())
    }
}
