//! The command line: all commands and the options they share.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::commands;

/// Secrets as age files, edited in a terminal and handed to services as read-only files in memory.
#[derive(Parser)]
#[command(name = "vaultfs", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const FIRST_STEPS: &str = "\
First steps:
  vaultfs demo                    see it work in a throw-away vault
  vaultfs init secrets            make a vault, and an identity where you have none
  vaultfs add prod/DATABASE_URL   add a secret; you are asked for its value
  sudo vaultfs mount /run/vaultfs --uid app
                                  hand the secrets to the user app

Exit codes: 0 done, 1 failed and nothing half-done, 2 wrong usage, 3 done in part.";

/// Options of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// The vault's directory [default: the one found from here upward]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) vault: Option<PathBuf>,
    /// A file with age or SSH identities, beside the usual places; may be given again
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity: Vec<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a vault, and an identity where none is found
    Init(commands::init::Init),
    /// Make an identity and print its recipient
    Keygen(commands::keygen::Keygen),
    /// Add a secret
    Add(commands::add::Add),
    /// Give a secret a new value
    Rotate(commands::rotate::Rotate),
    /// Print a secret's value or write it to a file
    Show(commands::show::Show),
    /// List the secrets
    List(commands::list::List),
    /// Remove secrets
    Remove(commands::remove::Remove),
    /// Give a secret a new name
    Rename(commands::rename::Rename),
    /// Copy a secret to a new name
    Copy(commands::copy::Copy),
    /// Bind an age file that another tool put into the vault
    Adopt(commands::adopt::Adopt),
    /// Show what is present, missing, overdue or broken
    Status(commands::status::Status),
    /// Say who may decrypt what, and change it
    Recipients(commands::recipients::Recipients),
    /// Bring files in line with the policy
    Rewrap(commands::rewrap::Rewrap),
    /// Move the entries of .env files into the vault
    Migrate(commands::migrate::Migrate),
    #[cfg(target_os = "linux")]
    /// Serve the secrets as read-only files, until a signal
    Mount(commands::mount::Mount),
    #[cfg(target_os = "linux")]
    /// Unmount what `vaultfs mount` serves
    Unmount(commands::unmount::Unmount),
    #[cfg(target_os = "linux")]
    /// Show the whole of vaultfs in a throw-away vault
    Demo(commands::demo::Demo),
    /// Print a shell's completions
    Completions(commands::completions::Completions),
    /// Print the manual page, or write all of them into a directory
    Man(commands::man::Man),
    #[cfg(target_os = "linux")]
    /// What `mount` runs of itself
    #[command(name = "__helper", hide = true)]
    Helper(commands::mount::Helper),
}
