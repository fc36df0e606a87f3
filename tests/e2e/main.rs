//! End-to-end tests: the built binary, real mounts, real users, the real `age`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod age_cli;
mod bad_input;
mod crash;
mod daemon;
mod demo;
mod env_file;
mod hung;
mod leaks;
mod lifecycle;
mod mount;
mod prompts;
mod recipients;
mod rotation;
mod secrets;
mod static_binary;
mod stop;
mod support;
mod systemd;
mod tamper;
mod users;
