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
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The vault's directory [default: the one found from here upward]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) vault: Option<PathBuf>,
    /// A file with age or SSH identities, beside the usual places; may be given again
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity: Vec<PathBuf>,
}

/// The commands. Their texts stand at their own types: one here would hide all but its first line.
#[derive(Subcommand)]
pub(crate) enum Command {
    Init(commands::init::Init),
    Keygen(commands::keygen::Keygen),
    Add(commands::add::Add),
    Rotate(commands::rotate::Rotate),
    Show(commands::show::Show),
    List(commands::list::List),
    Remove(commands::remove::Remove),
    Rename(commands::rename::Rename),
    Copy(commands::copy::Copy),
    Adopt(commands::adopt::Adopt),
    Restore(commands::restore::Restore),
    Flag(commands::flag::Flag),
    Status(commands::status::Status),
    Recipients(commands::recipients::Recipients),
    Rewrap(commands::rewrap::Rewrap),
    Migrate(commands::migrate::Migrate),
    #[cfg(target_os = "linux")]
    Mount(commands::mount::Mount),
    #[cfg(target_os = "linux")]
    Unmount(commands::unmount::Unmount),
    #[cfg(target_os = "linux")]
    Demo(commands::demo::Demo),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
    #[cfg(target_os = "linux")]
    #[command(name = "__helper", hide = true)]
    Helper(commands::mount::Helper),
}
