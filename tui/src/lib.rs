//! The workbench of vaultfs: a vault in the terminal.
//!
//! This version lists secrets and what their headers claim; everything that changes a vault is a
//! command. It never sees a value, and knows no vault: its caller hands it [`Row`]s.
//!
//! [`update`] and [`view`] are pure; [`runtime`] alone owns the terminal, signals and threads.
#![forbid(unsafe_code)]

mod action;
mod error;
mod guard;
mod input;
mod key;
mod layout;
mod model;
mod palette;
mod row;
mod runtime;
mod signals;
mod update;
mod view;
mod visible;

pub use error::TuiError;
pub use palette::Palette;
pub use row::{Row, RowState, Severity};
pub use runtime::{Options, Reload, run};
pub use visible::visible;
