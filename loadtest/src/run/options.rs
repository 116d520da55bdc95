//! What a load is: command line options of `run`.

use super::assertion::Assertion;
use super::clip::Codec;
use clap::builder::ArgPredicate;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A week.
const MOST_SECONDS: f64 = 604_800.0;

/// Options of `loadtest run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A scenario (TOML with `duration_s`), which is run in real time; or TOML with options by their names, as in
    /// `subscribers = 100`: those on the command line come before them
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Server that speaks the rooms protocol
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub server: String,
    /// Publish by WHIP in place of the rooms protocol; {room} and {publisher} stand for names
    #[arg(long, value_name = "URL", requires = "whep")]
    pub whip: Option<String>,
    /// Play by WHEP; {room}, {publisher} and {subscriber} stand for names
    #[arg(long, value_name = "URL", requires = "whip")]
    pub whep: Option<String>,
    /// Token of `join`, or bearer token of WHIP and WHEP
    #[arg(long)]
    pub token: Option<String>,
    #[command(flatten)]
    pub load: Load,
    /// Threads; 0 for one on each core that this process may use
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// Process of the server, to measure CPU and memory of it and its children
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Run a scenario with so many seeds, one after the other, from --seed on
    #[arg(long, value_name = "COUNT")]
    pub seeds: Option<u64>,
    /// Draw a scenario's first seed into this folder, one SVG for each receiver
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
    /// Write the result to this file as JSON, for `compare`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report with plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Exit with status 1 where this does not hold, such as 'loss<0.1%', 'latency_p99<5ms',
    /// 'server_cpu_per_packet<0.5S'
    #[arg(long, value_name = "BOUND", num_args = 1..)]
    pub assert: Vec<Assertion>,
    /// No progress bar
    #[arg(long)]
    pub quiet: bool,
}

/// Who does what for how long. Part of the result, so that two results can be compared.
#[derive(Clone, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Load {
    /// Rooms
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,
    /// Participants of each room who only publish; none by default where there are --participants
    #[arg(long, default_value_t = 1, default_value_if("participants", ArgPredicate::IsPresent, Some("0")))]
    pub publishers: usize,
    /// Participants of each room who only watch; likewise
    #[arg(long, default_value_t = 3, default_value_if("participants", ArgPredicate::IsPresent, Some("0")))]
    pub subscribers: usize,
    /// Participants of each room who publish, and watch all others
    #[arg(long, default_value_t = 0)]
    pub participants: usize,
    /// Video codec
    #[arg(long, value_enum, default_value_t)]
    pub codec: Codec,
    /// One encoding of 1.5 Mb/s in place of three (150, 450 and 1500 kb/s)
    #[arg(long)]
    pub no_simulcast: bool,
    /// Microphones only
    #[arg(long, conflicts_with = "video_only")]
    pub audio_only: bool,
    /// Cameras only
    #[arg(long)]
    pub video_only: bool,
    /// Publishers of each room who talk, the others are quiet; without, all talk
    #[arg(long)]
    pub talkers: Option<usize>,
    /// Watchers ask for small, middle and large pictures in turn; without, all ask for the largest
    #[arg(long)]
    pub mixed_layers: bool,
    /// Joins per second
    #[arg(long, default_value_t = 50.0, value_parser = |text: &str| within(text, 0.001, 10_000.0))]
    pub join_rate: f64,
    /// Watchers who leave, and join again, per second
    #[arg(long, default_value_t = 0.0, value_parser = |text: &str| within(text, 0.0, 10_000.0))]
    pub churn: f64,
    /// Seconds from the last join to the beginning of the measurement
    #[arg(long, default_value_t = 8.0, value_parser = |text: &str| within(text, 0.0, MOST_SECONDS))]
    pub warmup: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 20.0, value_parser = |text: &str| within(text, 0.0, MOST_SECONDS))]
    pub duration: f64,
    /// Measure only until so many packets were received
    #[arg(long, value_name = "COUNT")]
    pub packets: Option<u64>,
    /// Probability that the network drops a packet of media on its way to a receiver, who asks for pictures' packets
    /// again
    #[arg(long, default_value_t = 0.0, value_name = "PROBABILITY", value_parser = |text: &str| within(text, 0.0, 1.0))]
    #[serde(default)]
    pub network_loss: f64,
    /// Receivers open one packet of so many; the others are counted by their clear headers
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub sample: u16,
    /// Milliseconds between two looks at the sockets once all have joined. With 0 this process sleeps in the kernel
    /// until a datagram comes, and is woken by the server's send calls, on the server's CPU time, as no receiver behind
    /// a network is
    #[arg(long, default_value_t = 1, value_name = "MS")]
    #[serde(default)]
    pub read_every: u32,
    /// Seed of all that is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A number that is neither below nor above these bounds.
fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number is needed".to_owned())?;
    if (least..=most).contains(&number) { Ok(number) } else { Err(format!("it is {least} to {most}")) }
}
