//! Runs: the same seed gives the same bytes, and every metric moves when what it measures gets worse.

use loadtest::metrics::record::RunRecord;
use loadtest::metrics::{Metric, Truth};
use loadtest::report::{json, table};
use loadtest::scenario::Scenario;
use loadtest::sim::run;
use loadtest::sweep::{fingerprint, sweep};
use std::path::Path;

const RECEIVER: usize = 0;
const PUBLISHER: usize = 1;

/// Alice receives two cameras and Bob's voice over the path `down`, and answers over `up`.
fn scenario(down: &str, up: &str, more: &str) -> Scenario {
    let text = format!(
        r#"
name = "test"
duration_s = 20
[[path]]
name = "down"
{down}
[[path]]
name = "up"
{up}
[[participant]]
name = "alice"
down = "down"
up = "up"
[[participant]]
name = "bob"
[[participant.publish]]
source = "camera"
[[participant.publish]]
source = "microphone"
[[participant]]
name = "carol"
[[participant.publish]]
source = "camera"
{more}
"#
    );
    Scenario::parse(&text, Path::new("")).unwrap()
}

const WELL: &str = "rate = \"5M\"\ndelay_ms = 20\nqueue = \"150KB\"";
const DROP: &str = "rate = [[0, \"5M\"], [8, \"400k\"], [14, \"5M\"]]\ndelay_ms = 20\nqueue = \"150KB\"";
const NEAR: &str = "delay_ms = 20";

fn value(scenario: &Scenario, record: &RunRecord, metric: Metric, places: &[usize], window: (f64, f64)) -> Option<f64> {
    metric.measure(&Truth::new(scenario, record).unwrap(), places, window)
}

/// Runs both and compares one receiver's metrics: each must be worse by a margin in the second.
fn gets_worse(well: &Scenario, ill: &Scenario, metrics: &[(Metric, f64)], window: (f64, f64)) {
    let (a, b) = (run(well, 1).unwrap(), run(ill, 1).unwrap());
    for (metric, margin) in metrics {
        let place = if *metric == Metric::KeyframeRequests { PUBLISHER } else { RECEIVER };
        let before = value(well, &a, *metric, &[place], window);
        let after = value(ill, &b, *metric, &[place], window);
        // What never comes is worst.
        let moved = match (before, after) {
            (Some(before), Some(after)) => (after - before) * margin.signum() >= margin.abs(),
            (Some(_), None) => true,
            _ => false,
        };
        assert!(moved, "{metric}: {before:?} before, {after:?} after");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let scenario = scenario(&format!("{DROP}\nloss = 0.02"), NEAR, "");
    let first = fingerprint(&run(&scenario, 7).unwrap());
    assert!(first == fingerprint(&run(&scenario, 7).unwrap()));
    assert!(first != fingerprint(&run(&scenario, 8).unwrap()));
}

#[test]
fn the_same_seeds_give_the_same_reports() {
    let more = "[[expect]]\nwho = \"alice\"\nmetric = \"height_mean\"\nbound = \">= 9999\"\n";
    let scenario = scenario(WELL, NEAR, more);
    let once = || sweep(&scenario, &[1, 2], |_, _| Ok(())).unwrap();
    let (a, b) = (once(), once());
    assert!(!a.holds());
    let (a, b) = ([a], [b]);
    assert_eq!(json(&a), json(&b));
    assert_eq!(table(&a), table(&b));
}

#[test]
fn loss_is_seen_by_what_measures_loss() {
    let lossy = format!("{WELL}\nloss = 0.3");
    let metrics = [
        (Metric::LadderUtilisation, -0.1),
        (Metric::ResidualLoss, 0.01),
        (Metric::FrozenShare, 0.01),
        (Metric::Freezes, 1.0),
        (Metric::UndecodableFrames, 0.001),
        (Metric::Overhead, 0.02),
        (Metric::AudioGapP99Ms, 20.0),
    ];
    gets_worse(&scenario(WELL, NEAR, ""), &scenario(&lossy, "delay_ms = 200", ""), &metrics, (5.0, 20.0));
}

#[test]
fn an_outage_is_seen_by_what_measures_pictures_and_sound() {
    let outage = format!("{WELL}\noutage = [[8, 10]]");
    let metrics = [
        (Metric::LongestFreezeS, 1.5),
        (Metric::FrozenShare, 0.1),
        (Metric::Freezes, 1.0),
        (Metric::AudioGapP99Ms, 1000.0),
    ];
    gets_worse(&scenario(WELL, NEAR, ""), &scenario(&outage, NEAR, ""), &metrics, (5.0, 20.0));
}

#[test]
fn a_handshake_that_found_no_way_is_begun_anew() {
    let deaf = format!("{WELL}\noutage = [[0.1, 15.5]]");
    let deaf = scenario(&deaf, NEAR, "");
    let shown = value(&deaf, &run(&deaf, 1).unwrap(), Metric::FrozenShare, &[RECEIVER], (17.0, 20.0));
    assert_eq!(shown, Some(0.0));
}

#[test]
fn a_narrow_link_is_seen_by_what_measures_queues_and_quality() {
    let narrow = "rate = \"400k\"\ndelay_ms = 20\nqueue = \"3KB\"";
    let metrics = [
        (Metric::QueueP95Ms, 5.0),
        (Metric::QueueMaxMs, 40.0),
        (Metric::CongestionLoss, 0.0005),
        (Metric::HeightMean, -100.0),
    ];
    gets_worse(&scenario("rate = \"50M\"", NEAR, ""), &scenario(narrow, NEAR, ""), &metrics, (0.0, 20.0));
}

#[test]
fn late_feedback_is_seen_by_what_measures_reactions() {
    let deaf = "delay_ms = 20\noutage = [[7.5, 12], [13.5, 17]]";
    let (well, ill) = (scenario(DROP, NEAR, ""), scenario(DROP, deaf, ""));
    gets_worse(&well, &ill, &[(Metric::DownTimeS, 0.2)], (8.0, 14.0));
    gets_worse(&scenario(WELL, NEAR, ""), &ill, &[(Metric::UpTimeS, 0.5)], (14.0, 20.0));
    gets_worse(&well, &ill, &[(Metric::DrainRatio, 0.05)], (8.0, 14.0));
}

#[test]
fn a_capacity_that_comes_and_goes_is_seen_as_switches() {
    let restless = "rate = [[0, \"5M\"], [6, \"500k\"], [9, \"5M\"], [13, \"500k\"], [16, \"5M\"]]\nqueue = \"150KB\"\ndelay_ms = 20";
    let metrics = [(Metric::Switches, 2.0), (Metric::ReversalsPerMin, 1.0), (Metric::KeyframeRequests, 0.01)];
    gets_worse(&scenario(WELL, NEAR, ""), &scenario(restless, NEAR, ""), &metrics, (5.0, 20.0));
}

#[test]
fn a_long_way_is_seen_by_the_first_frame() {
    let far = "rate = \"5M\"\ndelay_ms = 300";
    gets_worse(&scenario(WELL, NEAR, ""), &scenario(far, NEAR, ""), &[(Metric::FirstFrameS, 0.5)], (0.0, 20.0));
}

/// Nothing flows that would bring feedback, so the server has to begin by itself to explore the link.
#[test]
fn the_only_encoding_is_shown_within_a_second_though_it_is_beyond_the_first_guess_and_there_is_no_sound() {
    let text = r#"
name = "one encoding"
duration_s = 4
[[path]]
name = "way"
delay_ms = 25
[[participant]]
name = "alice"
join_s = 2
up = "way"
down = "way"
[[participant]]
name = "bob"
[[participant.publish]]
source = "camera"
encodings = [{ rid = "f", height = 720, fps = 30, rate = "1700k" }]
temporal_layers = 1
"#;
    let scenario = Scenario::parse(text, Path::new("")).unwrap();
    for seed in 1..=3 {
        let record = run(&scenario, seed).unwrap();
        let first = value(&scenario, &record, Metric::FirstFrameS, &[RECEIVER], (0.0, 4.0)).unwrap();
        assert!(first < 1.0, "{first} s with seed {seed}");
    }
}

#[test]
fn a_feedback_that_is_lost_is_seen_by_the_estimate() {
    let tight = "rate = \"2500k\"\ndelay_ms = 20\nqueue = \"150KB\"";
    let deaf = "delay_ms = 20\nloss = 0.9";
    gets_worse(&scenario(tight, NEAR, ""), &scenario(tight, deaf, ""), &[(Metric::EstimateError, 0.05)], (8.0, 20.0));
}

#[test]
fn a_competing_flow_takes_its_share() {
    let flow = "[[flow]]\nkind = \"udp\"\nrate = \"4M\"\npath = \"down\"\n";
    gets_worse(&scenario(WELL, NEAR, ""), &scenario(WELL, NEAR, flow), &[(Metric::Share, -0.05)], (5.0, 20.0));
}

#[test]
fn fairness_is_one_for_equals_and_less_for_others() {
    let other = |down: &str| {
        let path = format!("[[path]]\nname = \"other\"\n{down}\n");
        scenario(WELL, NEAR, &format!("[[participant]]\nname = \"dave\"\ndown = \"other\"\n{path}"))
    };
    let fairness = |scenario: &Scenario| {
        let record = run(scenario, 1).unwrap();
        value(scenario, &record, Metric::Fairness, &[0, 3], (8.0, 20.0)).unwrap()
    };
    assert!(fairness(&other(WELL)) > 0.99);
    assert!(fairness(&other("rate = \"300k\"\ndelay_ms = 20\nqueue = \"150KB\"")) < 0.8);
}

#[test]
fn every_moment_is_sampled() {
    let record = run(&scenario(WELL, NEAR, ""), 1).unwrap();
    assert!(record.participants[RECEIVER].estimate.values(1.0, 20.0).all(|estimate| estimate > 0.0));
}

#[test]
fn clients_of_every_kind_see_the_pictures() {
    let kinds = [("vp8", "transport-cc"), ("h264", "transport-cc"), ("vp8", "rfc8888"), ("vp8", "remb")];
    two_on_a_narrow_link_see_each_other(&kinds);
}

fn two_on_a_narrow_link_see_each_other(kinds: &[(&str, &str)]) {
    for (codec, feedback) in kinds {
        let text = format!(
            r#"
name = "kinds"
duration_s = 12
[[path]]
name = "narrow"
rate = "1500k"
queue = "150KB"
delay_ms = 20
[[participant]]
name = "alice"
down = "narrow"
codec = "{codec}"
feedback = "{feedback}"
count = 2
[[participant.publish]]
source = "camera"
[[participant.publish]]
source = "microphone"
"#
        );
        let scenario = Scenario::parse(&text, Path::new("")).unwrap();
        let record = run(&scenario, 3).unwrap();
        for place in [0, 1] {
            let height = value(&scenario, &record, Metric::HeightMean, &[place], (6.0, 12.0)).unwrap();
            assert!(height > 150.0, "{codec} with {feedback}: {height}");
        }
    }
}

#[test]
fn a_tile_that_is_hidden_gets_nothing_and_comes_back() {
    let wish = "[[participant]]\nname = \"dave\"\n[[participant.subscribe]]\nfrom = \"bob\"\nsource = \"camera\"\n\
                priority = [[0, \"visible\"], [8, \"hidden\"], [14, \"visible\"]]\n";
    let scenario = scenario(WELL, NEAR, wish);
    let record = run(&scenario, 1).unwrap();
    let height = |window| value(&scenario, &record, Metric::HeightMean, &[3], window).unwrap();
    assert_eq!(record.participants[3].screens.len(), 1);
    assert!(height((4.0, 8.0)) > 300.0 && height((9.0, 14.0)) < 10.0 && height((16.0, 20.0)) > 300.0);
    assert_eq!(value(&scenario, &record, Metric::Freezes, &[3], (4.0, 20.0)), Some(0.0));
}

/// Alice receives Bob's camera over `down` and reports by `feedback`.
fn reported(down: &str, feedback: &str) -> Scenario {
    let text = format!(
        r#"
name = "reported"
duration_s = 20
[[path]]
name = "down"
{down}
[[participant]]
name = "alice"
down = "down"
feedback = "{feedback}"
[[participant]]
name = "bob"
[[participant.publish]]
source = "camera"
"#
    );
    Scenario::parse(&text, Path::new("")).unwrap()
}

#[test]
fn reports_by_rfc_8888_steer_the_estimate_as_transport_wide_ones_do() {
    for feedback in ["transport-cc", "rfc8888"] {
        let scenario = reported(DROP, feedback);
        let record = run(&scenario, 1).unwrap();
        let down = value(&scenario, &record, Metric::DownTimeS, &[RECEIVER], (8.0, 14.0));
        // Receiver reports once a second, which decide where nothing better is there, take longer.
        assert!(down.is_some_and(|down| down < 0.9), "{feedback}: {down:?}");
    }
}

#[test]
fn marks_of_the_link_are_reported_by_rfc_8888_alone() {
    let marking = "rate = \"600k\"\ndelay_ms = 20\nqueue = \"150KB\"\necn = \"ce-above-ms 5\"";
    let marks = |feedback| run(&reported(marking, feedback), 1).unwrap().ce_marks;
    assert_eq!(marks("transport-cc"), 0);
    assert!(marks("rfc8888") > 20, "{}", marks("rfc8888"));
    assert_eq!(run(&reported(WELL, "rfc8888"), 1).unwrap().ce_marks, 0);
}
