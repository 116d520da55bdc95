//! Logs: to standard error, as text or one JSON object a line.
//!
//! Neither addresses of clients nor tokens are ever written. Our own code names participants by their ids only; other
//! crates, some of which print whole messages at DEBUG or TRACE, are heard from INFO upwards only, whatever the filter
//! says. What a client may cause again and again is written so often only ([`Sparing`]).

mod sparing;

pub(crate) use sparing::Sparing;

use crate::settings::{LogFormat, Settings};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::time::Instant;
use tokio::runtime::Handle;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Crates of this workspace, whose details may be logged.
const OWN: [&str; 5] = ["sluice", "sfu_engine", "signaling", "stats", "web_demo"];

/// Changes the filter of the running process.
#[derive(Clone)]
pub(crate) struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// What logging is made of.
pub(crate) struct Logs {
    pub(crate) filter: LogFilter,
    #[cfg(feature = "otlp")]
    spans: Option<crate::otlp::Spans>,
}

impl Logs {
    /// Writes what is still to be written, at the end of the process.
    pub(crate) fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(spans) = self.spans {
            spans.finish();
        }
    }
}

/// Starts logging. The filter has been checked with the settings. `runtime`: where spans are sent from.
#[cfg_attr(not(feature = "otlp"), expect(unused_variables, reason = "for spans"))]
pub(crate) fn start(settings: &Settings, runtime: &Handle) -> Result<Logs, String> {
    let (filter, handle) = reload::Layer::new(env_filter(settings));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(may_be_heard)));
    #[cfg(feature = "otlp")]
    let (subscriber, spans) = {
        let (tracer, spans) = crate::otlp::Spans::start(settings, runtime)?.unzip();
        let layer = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer));
        (subscriber.with(layer.with_filter(filter_fn(may_be_heard))), spans)
    };
    subscriber.init();
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logs {
        filter: LogFilter(handle),
        #[cfg(feature = "otlp")]
        spans,
    })
}

impl LogFilter {
    /// Logs by the filter of new settings from now on.
    pub(crate) fn replace(&self, settings: &Settings) {
        // An error means that logging has ended, with the process.
        let _ = self.0.reload(env_filter(settings));
    }
}

/// A panic that is caught costs one participant its connection at most, so whoever found out how to cause one may do so
/// again.
fn log_panic(panic: &PanicHookInfo<'_>) {
    static PANICS: Sparing = Sparing::new();
    if let Some(left_out) = PANICS.admit(Instant::now()) {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let why = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(at, why, left_out, "panicked: please report this");
    }
}

fn env_filter(settings: &Settings) -> EnvFilter {
    EnvFilter::new(&settings.log.filter)
}

fn may_be_heard(event: &Metadata<'_>) -> bool {
    let owner = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::INFO || OWN.contains(&owner)
}
