//! Where log lines go: to journald with their fields when systemd started us, else to standard
//! error.

use std::env;
use std::os::fd::AsFd as _;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::output::visible;

/// The variable that says how much is logged: `error`, `warn`, `info` (the default), `debug`.
const LEVEL_VARIABLE: &str = "VAULTFS_LOG";

/// Begins to log.
pub(crate) fn start() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var(LEVEL_VARIABLE)
        .from_env_lossy();
    let registry = tracing_subscriber::registry().with(filter);
    if stderr_is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_syslog_identifier("vaultfs".to_owned());
        return registry.with(journal.with_field_prefix(Some("VAULTFS".to_owned()))).init();
    }
    // A message says it all; fields are for what searches the journal.
    let message = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", visible(&format!("{value:?}"))),
        _ => Ok(()),
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = lines.fmt_fields(message);
    registry.with(lines.without_time()).init();
}

/// As systemd.exec(5) says under `$JOURNAL_STREAM`: device and inode of the stream, so that output
/// that was redirected since isn't taken for the journal.
fn stderr_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(rustix::stdio::stderr().as_fd()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}
