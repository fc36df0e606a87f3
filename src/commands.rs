//! The commands, one file each.

pub(crate) mod add;
pub(crate) mod adopt;
pub(crate) mod completions;
pub(crate) mod copy;
#[cfg(target_os = "linux")]
pub(crate) mod demo;
pub(crate) mod flag;
pub(crate) mod init;
pub(crate) mod keygen;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod migrate;
#[cfg(target_os = "linux")]
pub(crate) mod mount;
pub(crate) mod recipients;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod restore;
pub(crate) mod rewrap;
pub(crate) mod rotate;
pub(crate) mod show;
pub(crate) mod status;
#[cfg(target_os = "linux")]
pub(crate) mod unmount;
mod workbench;

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use vaultfs_core::Written;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::output::{note, warn};

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    let context = Context::new(cli.global);
    let Some(command) = cli.command else {
        workbench::open(&context)?;
        return Ok(ExitCode::SUCCESS);
    };
    match command {
        Command::Init(init) => init.run(&context),
        Command::Keygen(keygen) => keygen.run(),
        Command::Add(add) => add.run(&context),
        Command::Rotate(rotate) => rotate.run(&context),
        Command::Show(show) => show.run(&context),
        Command::List(list) => list.run(&context),
        Command::Remove(remove) => return remove.run(&context),
        Command::Rename(rename) => rename.run(&context),
        Command::Copy(copy) => copy.run(&context),
        Command::Adopt(adopt) => adopt.run(&context),
        Command::Status(status) => return status.run(&context),
        Command::Restore(restore) => restore.run(&context),
        Command::Flag(flag) => return flag.run(&context),
        Command::Recipients(recipients) => recipients.run(&context),
        Command::Rewrap(rewrap) => return rewrap.run(&context),
        Command::Migrate(migrate) => return migrate.run(&context),
        #[cfg(target_os = "linux")]
        Command::Mount(mount) => mount.run(context),
        #[cfg(target_os = "linux")]
        Command::Unmount(unmount) => unmount.run(),
        #[cfg(target_os = "linux")]
        Command::Demo(demo) => demo.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        #[cfg(target_os = "linux")]
        Command::Helper(_) => mount::Helper::run(),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Done in part: the messages list what was not.
const DONE_IN_PART: u8 = 3;

/// Says what was written and who can read it.
fn report_written(verb: &str, written: &Written) {
    let Written { name, generation, recipients, .. } = written;
    note(format!(
        "{verb} {name} (generation {generation}), encrypted to {}",
        recipients.join(", ")
    ));
    if written.clock_behind {
        warn(format!(
            "the file before was written later than now, {}: check the clock",
            Timestamp::now().strftime("%F %T UTC")
        ));
    }
}
