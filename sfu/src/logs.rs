//! Logs: to standard error, as text or one JSON object a line.
//!
//! Neither addresses of clients nor tokens are ever written. Our own code names participants by their ids only; other crates, some of which
//! print whole messages at DEBUG or TRACE, are heard from INFO upwards only, whatever the filter says.

use crate::settings::{LogFormat, Settings};
use std::io::IsTerminal;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Crates of this workspace, whose details may be logged.
const OWN: [&str; 5] = ["sluice", "sfu_engine", "signaling", "stats", "web_demo"];

/// Changes the filter of the running process.
pub(crate) struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// Starts logging. The filter has been checked with the settings.
pub(crate) fn start(settings: &Settings) -> LogFilter {
    let (filter, handle) = reload::Layer::new(env_filter(settings));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(may_be_heard))).init();
    LogFilter(handle)
}

impl LogFilter {
    /// Logs by the filter of new settings from now on.
    pub(crate) fn replace(&self, settings: &Settings) {
        // An error means that logging has ended, with the process.
        let _ = self.0.reload(env_filter(settings));
    }
}

fn env_filter(settings: &Settings) -> EnvFilter {
    EnvFilter::new(&settings.log.filter)
}

fn may_be_heard(event: &Metadata<'_>) -> bool {
    let owner = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::INFO || OWN.contains(&owner)
}
