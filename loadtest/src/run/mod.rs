//! Loads in real time: thousands of clients with real connections and real encoded media against a server, and what
//! they saw.
//!
//! [`options`] says what a load is, on the command line or in a [`mod@file`], and `plan` who joins when; `attendance`
//! lets them come and go; `rooms` and `http` are the signaling of one participant, on a tokio runtime of its own. Media
//! runs beside it: a `worker` is a thread with its `ports` (sockets) and `client`s; a client has a `publisher`, which
//! sends a `clip` (`container`, `payloads`), and a `stream` for each source that it receives. All count into `totals`.
//! `monitor` follows the run and makes `figures` of it, with `processes` and `sendto`; `outcome`, `table`, `html`,
//! `assertion` and `compare` are what comes out.
//!
//! Where the file is a scenario, `live` runs it instead.
//!
//! ICE, DTLS, SRTP and SDP are those of the simulated clients in [`crate::client`].

mod assertion;
mod attendance;
mod client;
mod clip;
mod compare;
mod container;
mod figures;
pub mod file;
mod fleet;
mod html;
mod http;
mod live;
mod markdown;
mod monitor;
pub mod options;
mod outcome;
mod payloads;
mod plan;
mod ports;
mod processes;
mod publisher;
mod rooms;
mod sendto;
mod stream;
mod table;
mod totals;
mod worker;

pub use compare::compare;
pub use markdown::markdown;
pub use options::Options;

use attendance::Protocol;
use client::Common;
use fleet::Fleet;
use http::Endpoints;
use monitor::Monitor;
use outcome::Outcome;
use processes::ProcessTree;
use rooms::Rooms;
use sfu_engine::crypto;
use sfu_engine::transport::dtls::DtlsCertificate;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long participants have to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs a load, or the scenario that the options' file is, and reports. True where all bounds hold.
pub fn run(options: &Options) -> Result<bool, String> {
    if let Some(file) = &options.file
        && let Some(scenario) = file::scenario(file)?
    {
        return live::run(options, &scenario, file);
    }
    if options.seeds.is_some() || options.plot.is_some() {
        return Err("--seeds and --plot are for scenarios; name a scenario file, or leave them out".into());
    }
    let outcome = measure(options)?;
    print!("{}", table::table(&outcome));
    if let Some(path) = &options.json {
        write(path, &outcome.json())?;
    }
    if let Some(path) = &options.html {
        write(path, &html::page(&outcome))?;
    }
    let (text, holds) = table::verdicts(&outcome.bounds, &outcome.figures);
    print!("{text}");
    Ok(holds)
}

fn measure(options: &Options) -> Result<Outcome, String> {
    let load = &options.load;
    let sendto = sendto::measure().map_err(|error| format!("measuring sendto: {error}"))?;
    let server = options.server_pid.map(ProcessTree::new).transpose()?;
    let protocol = protocol(options);
    let provider = crypto::default_provider().map_err(|error| error.to_string())?;
    let certificate = DtlsCertificate::generate(&provider).map_err(|error| error.to_string())?;
    let common = Common {
        origin: Instant::now(),
        certificate,
        provider,
        codec: load.codec,
        network_loss: load.network_loss,
        sample: load.sample,
    };
    let workers = match options.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    };
    let read_every = Duration::from_millis(load.read_every.into());
    let fleet = Fleet::start(workers, read_every, common, load.seed).map_err(|error| format!("workers: {error}"))?;
    let fleet = Arc::new(fleet);
    let signaling = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let signaling = signaling.map_err(|error| format!("signaling: {error}"))?;

    let seats = plan::seats(load);
    let joins = seats.iter().map(|seat| protocol.joins(seat)).sum();
    let last = seats.iter().map(|seat| seat.joins).max().unwrap_or_default();
    let mut monitor = Monitor::new(fleet.clone(), server, seats.len(), options.quiet);
    let (stop, stopped) = watch::channel(false);
    let attendance = signaling.spawn(attendance::attend_all(protocol, fleet.clone(), seats, load.churn, stopped));
    monitor.wait_for_joins(joins, last);
    let joined = fleet.joins();
    if joined.ok == 0 && joins > 0 {
        return Err(format!("nobody could join: {}", joined.first_failure.as_deref().unwrap_or("no answer")));
    }
    monitor.watch("warming up", Duration::from_secs_f64(load.warmup));
    let figures = monitor.measure(Duration::from_secs_f64(load.duration), load.packets, sendto)?;
    stop.send_replace(true);
    // Whoever does not get to say goodbye in time is cut off.
    let _ = signaling.block_on(async { tokio::time::timeout(GOODBYE, attendance).await });
    signaling.shutdown_background();
    fleet.stop();
    Ok(Outcome::new(options, figures, fleet.joins().first_failure, monitor.finish()))
}

/// How the server is reached.
fn protocol(options: &Options) -> Protocol {
    match options.whip.clone().zip(options.whep.clone()) {
        Some((whip, whep)) => Protocol::Http(Endpoints { whip, whep, token: options.token.clone() }),
        None => Protocol::Rooms(Rooms { authority: options.server.clone(), token: options.token.clone() }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
