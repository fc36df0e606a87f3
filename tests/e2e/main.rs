//! End-to-end tests: the built binary, real mounts, real users, the real `age`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod age_cli;
mod bad_input;
mod crash;
mod daemon;
mod hung;
mod mount;
mod secrets;
mod static_binary;
mod stop;
mod support;
mod systemd;
mod users;
