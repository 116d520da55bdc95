//! The load generator against the binary: a second kind of client, which counts and compares every packet.

use crate::harness::server::Server;
use clap::Parser;
use loadtest::run::{Options, run};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// Runs a load against a fresh server until so many packets have come. True where all bounds hold.
async fn holds(arguments: &[&str], bounds: &[&str]) -> bool {
    let server = Server::start(&["--shards", "1"]).await;
    let address = server.http.to_string();
    let fixed = ["run", "--quiet", "--server", &address, "--workers", "1", "--warmup", "0", "--duration", "60"];
    let line = [&fixed, arguments, &["--assert"], bounds].concat();
    let options = Line::parse_from(line).options;
    tokio::task::spawn_blocking(move || run(&options)).await.expect("no panic").expect("the load runs")
}

/// Nothing that a fast machine does better: no packet is missing, none is damaged, and every frame is whole.
const FAULTLESS: [&str; 7] =
    ["joins_failed=0", "loss=0%", "broken_frames=0", "unauthentic=0", "foreign=0", "frames>0", "opened>0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_packet_of_every_layer_arrives_as_it_was_sent() {
    // Read every so often, and as they come.
    for read_every in ["1", "0"] {
        let load = ["--subscribers", "3", "--mixed-layers", "--sample", "1", "--packets", "2000"];
        assert!(holds(&[&load[..], &["--read-every", read_every]].concat(), &FAULTLESS).await, "{read_every} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clips_of_every_codec_arrive_whole() {
    for codec in ["h264", "vp9", "av1"] {
        let arguments =
            ["--codec", codec, "--subscribers", "3", "--mixed-layers", "--sample", "1", "--packets", "1500"];
        assert!(holds(&arguments, &FAULTLESS).await, "{codec}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_network_drops_is_repaired() {
    let load = ["--subscribers", "3", "--video-only", "--sample", "1", "--network-loss", "0.1", "--packets", "2000"];
    let bounds = ["joins_failed=0", "network_drops>100", "repaired>50", "loss<2%", "unauthentic=0", "foreign=0"];
    assert!(holds(&load, &bounds).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_that_does_not_hold_is_told() {
    let arguments = ["--subscribers", "1", "--packets", "10"];
    assert!(!holds(&arguments, &["joins_failed=0", "packets_in=0"]).await);
}
