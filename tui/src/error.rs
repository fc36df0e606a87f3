//! Why the workbench could not open, or ended without being asked to.

use std::io;

/// What ended the workbench other than its operator. The terminal is restored by then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuiError {
    /// Standard input or output is a pipe, a file or nothing. Usually a script or a service ran
    /// `vaultfs` without a command.
    #[error("the workbench needs a terminal on standard input and output")]
    NoTerminal,

    /// The terminal refused a mode or could not be written. Usually it is gone.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),

    /// Keys can no longer be read. Usually the terminal is gone.
    #[error("cannot read keys from the terminal")]
    Input(#[source] io::Error),

    /// A thread or a signal handler could not be set up. Usually a limit on processes.
    #[error("cannot start the workbench")]
    Start(#[source] io::Error),

    /// SIGTERM, SIGHUP, SIGINT or SIGQUIT arrived (its number is the field); a caller exits with
    /// 128 + that number.
    #[error("ended by signal {0}")]
    Signal(i32),
}
