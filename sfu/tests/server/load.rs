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

#[test]
fn where_nobody_can_join_no_bound_holds() {
    let line =
        ["run", "--quiet", "--server", "127.0.0.1:1", "--workers", "1", "--subscribers", "1", "--assert", "loss<1%"];
    let told = run(&Line::parse_from(line).options).expect_err("nobody listens there");
    assert!(told.starts_with("nobody could join: "), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_network_drops_is_repaired() {
    let load = ["--subscribers", "3", "--video-only", "--sample", "1", "--network-loss", "0.1", "--packets", "2000"];
    let bounds = ["joins_failed=0", "network_drops>100", "repaired>50", "loss<2%", "unauthentic=0", "foreign=0"];
    assert!(holds(&load, &bounds).await);
}

/// Runs a scenario in real time against a fresh server, with more arguments that may have its address in them. True
/// where all bounds hold.
async fn scenario_holds(name: &str, text: &str, arguments: impl Fn(&str) -> Vec<String>) -> bool {
    let server = Server::start(&["--shards", "1"]).await;
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scenario-{name}.toml"));
    std::fs::write(&file, text).expect("a file can be written");
    let mut line = vec!["run".to_owned(), "--quiet".to_owned(), file.to_string_lossy().into_owned()];
    line.extend(arguments(&server.http.to_string()));
    let options = Line::parse_from(line).options;
    tokio::task::spawn_blocking(move || run(&options)).await.expect("no panic").expect("the scenario runs")
}

/// Two people behind a link that takes the lower one of two pictures, and loses packets.
const NARROW: &str = r#"
name = "narrow"
duration_s = 7

[[path]]
name = "cell"
rate = "600k"
delay_ms = 10
queue = "300ms"
loss = 0.02

[[participant]]
name = "alice"
down = "cell"

[[participant]]
name = "bob"
[[participant.publish]]
source = "camera"
encodings = [ { rid = "q", height = 180, rate = "150k" }, { rid = "f", height = 720, rate = "2M" } ]
[[participant.publish]]
source = "microphone"
"#;

/// What the link leaves: the lower picture, some of the time at least, and nearly every packet.
const LEFT: [(&str, &str); 4] =
    [("height_mean", ">= 20"), ("height_mean", "<= 200"), ("residual_loss", "<= 0.2"), ("first_frame_s", "<= 7")];

fn expecting(text: &str, bounds: &[(&str, &str)]) -> String {
    let expect = |(metric, bound): &(&str, &str)| {
        format!("[[expect]]\nwho = \"alice\"\nmetric = \"{metric}\"\nbound = \"{bound}\"\n")
    };
    bounds.iter().fold(text.to_owned(), |text, bound| text + &expect(bound))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scenario_runs_in_real_time() {
    let rooms = |address: &str| vec!["--server".to_owned(), address.to_owned()];
    assert!(scenario_holds("rooms", &expecting(NARROW, &LEFT), rooms).await);
    let much = [("height_mean", ">= 600")];
    assert!(!scenario_holds("missed", &expecting(NARROW, &much), rooms).await, "the link does not carry that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scenario_of_publish_and_play_runs_by_whip_and_whep() {
    let http = |address: &str| {
        let whip = format!("http://{address}/whip/{{room}}?name={{publisher}}");
        let whep = format!("http://{address}/whep/{{room}}/{{publisher}}");
        vec!["--whip".to_owned(), whip, "--whep".to_owned(), whep]
    };
    assert!(scenario_holds("http", &expecting(NARROW, &LEFT), http).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_that_does_not_hold_is_told() {
    let arguments = ["--subscribers", "1", "--packets", "10"];
    assert!(!holds(&arguments, &["joins_failed=0", "packets_in=0"]).await);
}
