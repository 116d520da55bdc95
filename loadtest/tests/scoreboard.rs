//! The scoreboard: what is written, and what its check finds.

use loadtest::scenario::Scenario;
use loadtest::scoreboard::{Board, CHECKED_SEEDS, Entry, Findings, Targets, check, markdown, targets_file};
use loadtest::sweep::sweep;
use std::path::Path;

const CALL: &str = r#"
name = "small call"
about = "two people"
duration_s = 6
[[participant]]
name = "alice"
[[participant]]
name = "bob"
[[participant.publish]]
source = "camera"
[[expect]]
who = "alice"
metric = "height_mean"
from_s = 3
bound = ">= 700"
[[expect]]
who = "*"
metric = "first_frame_s"
bound = "<= 0.0001"
over = "p95"
[[expect]]
who = "alice"
metric = "audio_gap_p99_ms"
bound = "<= 100"
"#;

fn board(seeds: u64) -> Board {
    let scenario = Scenario::parse(CALL, Path::new("")).unwrap();
    let outcome = sweep(&scenario, &(1..=seeds).collect::<Vec<_>>(), |_, _| Ok(())).unwrap();
    Board { entries: vec![Entry { stem: "small".into(), scenario }], outcomes: vec![outcome], targets: Vec::new() }
}

#[test]
fn a_run_of_the_checks_seeds_finds_nothing_in_a_scoreboard_of_more_seeds() {
    let committed = markdown(&board(CHECKED_SEEDS as u64 + 2));
    assert_eq!(committed, markdown(&board(CHECKED_SEEDS as u64 + 2)));
    assert!(committed.contains("1 of 3 bounds hold"), "{committed}");
    assert_eq!(check(&committed, &board(CHECKED_SEEDS as u64)), Findings::default());
}

#[test]
fn a_row_that_got_worse_is_named_and_one_that_got_better_too() {
    let (committed, now) = (markdown(&board(CHECKED_SEEDS as u64)), board(CHECKED_SEEDS as u64));
    let changed = |from: &str, to: &str| {
        assert!(committed.contains(from), "{from} in\n{committed}");
        check(&committed.replace(from, to), &now)
    };
    let better_before = changed("| ok | 720 |", "| ok | 800 |");
    assert!(
        better_before.worse.len() == 1 && better_before.worse[0].contains("height_mean of alice"),
        "{better_before:?}"
    );
    let worse_before = changed("| ok | 720 |", "| ok | 500 |");
    assert!(worse_before.worse.is_empty() && worse_before.better.len() == 1, "{worse_before:?}");
    assert_eq!(changed("| ok | 720 |", "| ok | 721 |"), Findings::default(), "a little is no news");
    let came_before = changed("| **MISS** | never |", "| ok | 20 |");
    assert!(came_before.worse.len() == 1 && came_before.worse[0].contains("20 before, never now"), "{came_before:?}");
    let never_came = changed("| ok | 720 |", "| **MISS** | never |");
    assert!(never_came.worse.is_empty() && never_came.better.len() == 1, "{never_came:?}");
    let unknown = changed("small call", "another call");
    assert_eq!((unknown.worse.len(), unknown.better.len()), (3, 3));
}

#[test]
fn a_row_that_held_and_no_longer_does_is_worse_however_little() {
    let mut text = CALL.replace(">= 700", ">= 715");
    text = text.replace("from_s = 3", "from_s = 0");
    let scenario = Scenario::parse(&text, Path::new("")).unwrap();
    let outcome = sweep(&scenario, &[1], |_, _| Ok(())).unwrap();
    let value = outcome.rows[0].summary.value.unwrap();
    assert!(value < 715.0 && value > 600.0, "{value}");
    let entries = vec![Entry { stem: "small".into(), scenario }];
    let board = Board { entries, outcomes: vec![outcome], targets: Vec::new() };
    let line = markdown(&board).lines().find(|line| line.contains("height_mean")).unwrap().to_owned();
    let last = line.rsplit(" | ").next().unwrap().to_owned();
    let committed = markdown(&board).replace(&line, &line.replace(&last, "715.5 |"));
    assert_eq!(check(&committed, &board).worse.len(), 1, "{line}");
}

#[test]
fn the_targets_are_read() {
    Targets::read(&targets_file()).unwrap();
}
