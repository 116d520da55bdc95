//! Worlds at the edge of what a scenario file can say: they run, and what is measured in them is true.

use loadtest::metrics::record::RunRecord;
use loadtest::metrics::{Metric, Truth};
use loadtest::report::{plot, table};
use loadtest::scenario::Scenario;
use loadtest::sim::run;
use loadtest::sweep::{sweep, sweep_all};
use std::path::Path;

/// Alice, whose lines `alice` says, receives what Bob publishes.
fn scenario(duration_s: u32, paths: &str, alice: &str, bob: &str, more: &str) -> Scenario {
    let text = format!(
        "name = \"corner\"\nduration_s = {duration_s}\n{paths}\n[[participant]]\nname = \"alice\"\n{alice}\n\
         [[participant]]\nname = \"bob\"\n{bob}\n{more}\n"
    );
    Scenario::parse(&text, Path::new("")).unwrap()
}

const CAMERA: &str = "[[participant.publish]]\nsource = \"camera\"\n";
const SCREEN: &str = "[[participant.publish]]\nsource = \"screen\"\n";
const SOUND: &str = "[[participant.publish]]\nsource = \"microphone\"\n";

fn path(lines: &str) -> String {
    format!("[[path]]\nname = \"way\"\n{lines}\n")
}

/// Alice's value of a run with seed 1.
fn value(scenario: &Scenario, metric: Metric, window: (f64, f64)) -> Option<f64> {
    let record = run(scenario, 1).unwrap();
    metric.measure(&Truth::new(scenario, &record).unwrap(), &[0], window)
}

#[test]
fn a_picture_that_stands_still_holds_no_layers_and_what_never_comes_is_lost() {
    let dead =
        scenario(20, &path("delay_ms = 20\noutage = [[10, 20]]"), "down = \"way\"", &format!("{CAMERA}{SOUND}"), "");
    let record = run(&dead, 1).unwrap();
    let truth = Truth::new(&dead, &record).unwrap();
    let value = |metric: Metric, window| metric.measure(&truth, &[0], window);
    assert!(value(Metric::UpTimeS, (4.0, 10.0)).is_some());
    assert_eq!(value(Metric::UpTimeS, (12.0, 20.0)), None);
    assert!(value(Metric::ResidualLoss, (0.0, 9.5)).unwrap() < 0.001);
    assert!(value(Metric::ResidualLoss, (0.0, 20.0)).unwrap() > 0.1);
    assert!(value(Metric::AudioGapP99Ms, (0.0, 20.0)).unwrap() > 9000.0);
}

#[test]
fn a_camera_of_two_frames_a_second_neither_switches_nor_freezes() {
    let slow = "[[participant.publish]]\nsource = \"camera\"\nencodings = [{ rate = \"100k\", fps = 2 }]\n";
    let slow = scenario(30, "", "", slow, "");
    assert_eq!(value(&slow, Metric::Switches, (5.0, 30.0)), Some(0.0));
    assert_eq!(value(&slow, Metric::Freezes, (0.0, 30.0)), Some(0.0));
}

/// What Bob sends has to get through his own way to the server.
#[test]
fn the_best_that_can_be_received_is_no_more_than_its_publishers_can_send() {
    let both = format!("up = \"way\"\n{CAMERA}{SCREEN}");
    let camera = format!("up = \"way\"\n{CAMERA}");
    let flow = |kind: &str| format!("[[flow]]\nkind = \"{kind}\"\npath = \"way\"\n");
    let policer = "loss = { model = \"policer\", rate = \"1M\", bucket = \"32KB\" }";
    let worlds = [
        (scenario(9, &path("rate = \"1M\""), "", &both, ""), 1000e3),
        (scenario(9, &path(policer), "", &camera, ""), 1000e3),
        (scenario(9, &path("rate = \"2500k\""), "", &camera, &(flow("udp") + "rate = \"2M\"")), 500e3),
        (scenario(9, &path("rate = \"1M\""), "", &camera, &flow("tcp")), 500e3),
        (scenario(9, &path("rate = \"1M\""), "down = \"way\"", &camera, ""), 500e3),
    ];
    for (index, (scenario, most)) in worlds.iter().enumerate() {
        let nothing = RunRecord::default();
        let best = Truth::new(scenario, &nothing).unwrap().best(0, 5.0);
        assert!((100e3..=*most).contains(&best.total), "world {index}: {best:?}");
    }
}

#[test]
fn a_share_is_one_of_what_a_policer_passes_and_there_is_none_of_what_has_no_limit() {
    let policed = path("delay_ms = 20\nloss = { model = \"policer\", rate = \"1M\", bucket = \"32KB\" }");
    let policed = scenario(12, &policed, "down = \"way\"", CAMERA, "");
    assert!(value(&policed, Metric::Share, (4.0, 12.0)).unwrap() > 0.3);
    let endless = scenario(4, &path("delay_ms = 20"), "down = \"way\"", CAMERA, "");
    assert_eq!(value(&endless, Metric::Share, (2.0, 4.0)), None);
}

#[test]
fn whoever_has_nothing_to_send_or_to_receive_is_there_without_an_offer() {
    run(&scenario(3, "", "", "", ""), 1).unwrap();
    run(&scenario(3, "", "subscribe = []", CAMERA, ""), 1).unwrap();
    run(&scenario(3, "", "", CAMERA, "[[participant.subscribe]]\nfrom = \"bob\"\n"), 1).unwrap();
}

#[test]
fn a_scenario_that_cannot_be_run_takes_nothing_from_the_others() {
    let all = scenario(2, "", "", CAMERA, "");
    let fails = |place: usize, _, _: &Truth<'_>| if place == 0 { Err("it fails".to_owned()) } else { Ok(()) };
    let outcomes = sweep_all(&[(&all, vec![1, 2]), (&all, vec![1, 2])], fails);
    assert_eq!(outcomes[0].as_ref().err().map(String::as_str), Some("it fails"));
    assert_eq!(outcomes[1].as_ref().unwrap().seeds, [1, 2]);
}

#[test]
fn a_star_means_those_who_are_there() {
    let expect = |from: u32, to: u32| {
        format!("[[expect]]\nwho = \"*\"\nmetric = \"height_mean\"\nfrom_s = {from}\nto_s = {to}\nbound = \">= 100\"\n")
    };
    let others = "[[participant]]\nname = \"late\"\njoin_s = 6\n[[participant]]\nname = \"early\"\nleave_s = 3\n";
    let more = format!("{others}{}{}", expect(4, 6), expect(6, 9));
    let outcome = sweep(&scenario(9, "", "leave_s = 6", CAMERA, &more), &[1], |_, _| Ok(())).unwrap();
    let counts: Vec<usize> = outcome.rows.iter().map(|row| row.values.len()).collect();
    assert!(outcome.holds() && counts == [1, 1], "{}", table(&[outcome]));
}

#[test]
fn a_value_that_is_missing_has_its_reason_in_the_table() {
    let row = |who: &str, metric: &str, from: u32| {
        format!("[[expect]]\nwho = \"{who}\"\nmetric = \"{metric}\"\nfrom_s = {from}\nbound = \">= 0\"\n")
    };
    let more = row("alice", "share", 0) + &row("*", "height_mean", 3);
    let outcome = sweep(&scenario(4, "", "leave_s = 2", CAMERA, &more), &[1], |_, _| Ok(())).unwrap();
    let table = table(&[outcome]);
    assert!(table.contains("no value in 1 of 1: its path has no limit"), "{table}");
    assert!(table.contains("nobody who is meant is there"), "{table}");
}

#[test]
fn a_tcp_connection_on_an_endless_path_comes_to_an_end() {
    for delay in ["delay_ms = 0", "delay_ms = 20"] {
        let flow = "[[flow]]\nkind = \"tcp\"\npath = \"way\"\n";
        run(&scenario(2, &path(delay), "down = \"way\"", CAMERA, flow), 1).unwrap();
    }
}

#[test]
fn a_client_comes_back_from_an_outage_that_cost_it_its_connection() {
    let outage = path("delay_ms = 20\noutage = [[5, 45]]");
    let back = scenario(80, &outage, "down = \"way\"\nup = \"way\"", &format!("{CAMERA}{SOUND}"), "");
    let record = run(&back, 1).unwrap();
    let truth = Truth::new(&back, &record).unwrap();
    assert!(Metric::HeightMean.measure(&truth, &[0], (75.0, 80.0)).unwrap() > 719.0);
    assert!(Metric::AudioGapP99Ms.measure(&truth, &[0], (75.0, 80.0)).unwrap() < 100.0);
}

#[test]
fn a_picture_of_a_participant_whose_name_is_no_file_name_is_written() {
    let odd = scenario(2, "", "", CAMERA, "[[participant]]\nname = \"a/b\"\n");
    let record = run(&odd, 1).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plots");
    plot(&odd, &Truth::new(&odd, &record).unwrap(), &folder, "odd").unwrap();
    let drawn = std::fs::read_to_string(folder.join("odd-a_b.svg")).unwrap();
    assert!(drawn.contains("capacity: no limit"));
}
