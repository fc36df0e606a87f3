//! The command line of vaultfs: arguments, one file per command, and the report of errors.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are their help texts")]

mod cli;
mod commands;
mod complete;
mod context;
mod hardening;
mod input;
#[cfg(target_os = "linux")]
mod logging;
mod output;
mod report;
mod terminal;
#[cfg(target_os = "linux")]
mod users;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::Cli;

/// Wipes what any library frees: age keeps plaintext in buffers of its own.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    hardening::apply();
    // Answers a shell's request for completions, and returns where there is none.
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let cli = Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => report::error(&error),
    }
}
