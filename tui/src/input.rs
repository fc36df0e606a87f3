//! Reads the terminal on a thread of its own, for as long as the workbench runs.
//!
//! Not crossterm's reader: version 0.29 spins for ever once the terminal is gone (its issue 793),
//! and a key that arrives together with a resize waits for the next key.

pub(crate) mod parser;

use std::io::{self, PipeReader, PipeWriter};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::input::parser::{Input, Parser};

/// Reads until it is dropped.
#[derive(Debug)]
pub(crate) struct InputReader {
    /// Its end tells the thread to stop.
    _stop: PipeWriter,
}

impl InputReader {
    /// Passes on what standard input says; an error is the last thing passed.
    pub(crate) fn start(on_input: impl Fn(io::Result<Input>) + Send + 'static) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let read = move || {
            let mut parser = Parser::default();
            loop {
                match read_some(&stopped) {
                    Ok(Some(bytes)) => parser.parse(&bytes).into_iter().map(Ok).for_each(&on_input),
                    Ok(None) => return,
                    Err(error) => return on_input(Err(error)),
                }
            }
        };
        thread::Builder::new().name("input".to_owned()).spawn(read)?;
        Ok(Self { _stop: stop })
    }
}

/// The next bytes; none once the reader was dropped.
fn read_some(stopped: &PipeReader) -> io::Result<Option<Vec<u8>>> {
    let stdin = rustix::stdio::stdin();
    let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    let mut bytes = [0; 4096];
    loop {
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        if !ready[1].revents().is_empty() {
            return Ok(None);
        }
        match rustix::io::read(stdin, &mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => return Ok(Some(bytes[..count].to_vec())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
