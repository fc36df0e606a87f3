//! The workbench over made-up secrets. With the argument `panic` the second reading panics, with
//! `fail` it fails.

use std::env;
use std::process::ExitCode;

use vaultfs_tui::{Options, Palette, Row, RowState, Severity, TuiError, run};

fn main() -> ExitCode {
    let argument = env::args().nth(1).unwrap_or_default();
    let mut readings = 0;
    let reload = move || {
        readings += 1;
        match argument.as_str() {
            "panic" if readings > 1 => panic!("the reading panicked"),
            "fail" if readings > 1 => Err("cannot read secrets: permission denied".to_owned()),
            _ => Ok((0..30).map(row).collect()),
        }
    };
    let palette = Palette::from_no_color(env::var_os("NO_COLOR").as_deref());
    match run(Options { title: "example".to_owned(), palette, reload: Box::new(reload) }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(TuiError::Signal(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn row(number: u32) -> Row {
    let (word, severity) = match number % 5 {
        0 => ("overdue", Severity::Warning),
        1 => ("unreadable", Severity::Problem),
        2 => ("missing", Severity::Note),
        _ => ("present", Severity::Good),
    };
    Row {
        name: format!("prod/SECRET_{number}"),
        state: RowState { word: word.to_owned(), severity },
        detail: vec![("generation".to_owned(), number.to_string())],
    }
}
