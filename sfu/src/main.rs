//! `sluice`: reads the settings, starts the shards and the control plane, prints where to go, and stops cleanly.

mod addresses;
mod cli;
mod doctor;
mod lifecycle;
mod logs;
mod memory;
#[cfg(feature = "otlp")]
mod otlp;
mod rooms;
mod server;
mod settings;
mod shard;

use clap::Parser;
use cli::{Cli, Wish};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (sources, loaded) = match Cli::parse().run() {
        Wish::Serve(sources, loaded) => (sources, *loaded),
        Wish::Done(code) => return code,
    };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build()
        {
            Ok(runtime) => runtime,
            Err(error) => return fail(&format!("cannot start the runtime: {error}")),
        };
    let logs = match logs::start(&loaded.settings, runtime.handle()) {
        Ok(logs) => logs,
        Err(error) => return fail(&format!("cannot send spans to a collector (log.otlp): {error}")),
    };
    let outcome = runtime.block_on(server::run(sources, loaded, logs.filter.clone()));
    logs.finish();
    // WebSocket tasks may still wait for their clients; nobody does for them.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("sluice: {error}");
    ExitCode::FAILURE
}
