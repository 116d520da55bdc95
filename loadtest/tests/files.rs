//! Scenario files: what is read, and what is refused.

use loadtest::metrics::Metric;
use loadtest::scenario::Scenario;
use loadtest::sweep::{Row, sweep};
use std::path::Path;

const SMALL: &str = "name = \"small\"\nduration_s = 2\n[[participant]]\nname = \"alice\"\n";

fn refusal(text: &str) -> String {
    Scenario::parse(text, Path::new("some.toml")).unwrap_err().to_string()
}

#[test]
fn every_shipped_file_is_a_scenario() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 20);
    for file in files {
        let scenario = Scenario::read(&file).unwrap();
        assert!(!scenario.expectations.is_empty(), "{} expects nothing", file.display());
    }
}

/// The file has every key in every form, and what it says of itself must be true: no key of the contract is missing in
/// it.
#[test]
fn a_file_with_every_key_in_every_form_is_read_and_run() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all-keys/all-keys.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for key in KEYS {
        let used = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').any(|word| word == *key);
        assert!(used, "{key} is not in the file");
    }
    for metric in METRICS {
        assert!(text.contains(&format!("metric = \"{metric}\"")), "{metric} is not in the file");
    }
    let scenario = Scenario::read(&file).unwrap();
    let outcome = sweep(&scenario, &[1], |_, _| Ok(())).unwrap();
    // What is waited for may not come in such a world; everything else is there to be measured.
    let waits = |row: &&Row| matches!(row.expectation.metric, Metric::UpTimeS | Metric::DownTimeS);
    let rows = outcome.rows.iter().filter(|row| !waits(row));
    let missing: Vec<_> = rows.filter(|row| row.values.iter().all(Option::is_none)).collect();
    assert!(missing.is_empty(), "nothing was measured of {missing:?}");
}

/// Keys and values of the format.
const KEYS: &[&str] = &[
    "name",
    "about",
    "duration_s",
    "repeat",
    "seeds",
    "rate",
    "unlimited",
    "delay_ms",
    "jitter",
    "model",
    "none",
    "normal",
    "sd_ms",
    "uniform",
    "max_ms",
    "trace",
    "file",
    "reorder",
    "queue",
    "loss",
    "gilbert-elliott",
    "mean",
    "burst",
    "policer",
    "bucket",
    "duplicate",
    "ecn",
    "ce-above-ms",
    "outage",
    "pauses",
    "every_s",
    "for_ms",
    "opportunities",
    "count",
    "join_s",
    "join_every_ms",
    "leave_s",
    "up",
    "down",
    "codec",
    "vp8",
    "h264",
    "feedback",
    "transport-cc",
    "rfc8888",
    "remb",
    "publish",
    "source",
    "camera",
    "screen",
    "microphone",
    "encodings",
    "rid",
    "height",
    "fps",
    "temporal_layers",
    "keyframe_factor",
    "variation",
    "rate_schedule",
    "mute_s",
    "drop_encoding_s",
    "from",
    "to",
    "subscribe",
    "tile",
    "priority",
    "pinned",
    "speaker",
    "visible",
    "hidden",
    "flow",
    "kind",
    "tcp",
    "web",
    "flows",
    "size",
    "gap_s",
    "udp",
    "path",
    "from_s",
    "to_s",
    "expect",
    "who",
    "publisher",
    "metric",
    "bound",
    "over",
    "worst",
    "p50",
    "p95",
];

const METRICS: &[&str] = &[
    "ladder_utilisation",
    "estimate_error",
    "down_time_s",
    "up_time_s",
    "drain_ratio",
    "queue_p95_ms",
    "queue_max_ms",
    "congestion_loss",
    "residual_loss",
    "frozen_share",
    "longest_freeze_s",
    "freezes",
    "audio_gap_p99_ms",
    "first_frame_s",
    "reversals_per_min",
    "switches",
    "keyframe_requests",
    "overhead",
    "share",
    "fairness",
    "height_mean",
    "undecodable_frames",
];

#[test]
fn unknown_keys_are_refused_with_their_position() {
    let message = refusal(&format!("{SMALL}colour = \"red\"\n"));
    assert!(message.contains("some.toml") && message.contains("line 5") && message.contains("colour"), "{message}");
    let message = refusal(&format!("{SMALL}[[path]]\nname = \"p\"\nloss = {{ model = \"policer\", rat = \"1M\" }}\n"));
    assert!(message.contains("line 7") && message.contains("rat"), "{message}");
    let message = refusal(&format!("{SMALL}[[expect]]\nwho = \"alice\"\nmetric = \"joy\"\nbound = \">= 1\"\n"));
    assert!(message.contains("line 7") && message.contains("joy"), "{message}");
}

#[test]
fn quantities_without_a_unit_are_refused() {
    assert!(refusal(&format!("{SMALL}[[path]]\nname = \"p\"\nqueue = \"150\"\n")).contains("150KB"));
    assert!(refusal(&format!("{SMALL}[[path]]\nname = \"p\"\nrate = 5\n")).contains("line 7"));
}

/// What is wrong, in the order of the file's lines after `SMALL`, at which line, and a word of the hint.
#[test]
fn parts_that_do_not_fit_together_are_refused_with_line_and_hint() {
    let path = "[[path]]\nname = \"p\"\n";
    let publish = "[[participant.publish]]\nsource = \"camera\"\n";
    let expect = "[[expect]]\nwho = \"alice\"\nmetric = \"freezes\"\nbound = \"<= 1\"\n";
    let wrong = [
        ("down = \"nowhere\"\n".into(), 3, "there is none at all"),
        (format!("down = \"nowhere\"\n{path}"), 3, "there is \"p\""),
        ("[[participant]]\nname = \"alice\"\ncount = 2\n".into(), 5, "two participants"),
        ("[[participant]]\nname = \"*\"\n".into(), 5, "take one"),
        ("[[participant]]\nname = \" \"\n".into(), 5, "take one"),
        ("join_s = 1\nleave_s = 1\n".into(), 3, "leaves before"),
        ("[[participant]]\nname = \"alice\"\n".into(), 5, "two participants"),
        ("count = 40000\n[[participant]]\nname = \"bob\"\ncount = 40000\n".into(), 1, "65535"),
        (format!("{publish}encodings = [{{ rate = \"1M\" }}, {{ rate = \"2M\" }}]\n"), 3, "rid each"),
        (format!("{publish}encodings = [{{ rate = \"unlimited\" }}]\n"), 3, "above 0"),
        (format!("{publish}temporal_layers = 4\n"), 3, "1 to 3"),
        (format!("{publish}mute_s = [[2, 1]]\n"), 3, "below"),
        (format!("{publish}rate_schedule = [[2, 1], [1, 2]]\n"), 3, "increase"),
        (format!("{publish}drop_encoding_s = [{{ rid = \"x\", from = 1, to = 2 }}]\n"), 3, "\"q\", \"h\", \"f\""),
        ("[[participant.subscribe]]\nfrom = \"zoe\"\n".into(), 3, "\"alice\""),
        (format!("{path}{path}"), 7, "same name"),
        (format!("{path}jitter = {{ model = \"normal\" }}\n"), 5, "sd_ms"),
        (format!("{path}jitter = {{ model = \"trace\", file = \"nowhere\" }}\n"), 5, "relative to"),
        (format!("{path}jitter = {{ model = \"normal\", sd_ms = 5, max_ms = 9 }}\n"), 5, "no max_ms"),
        (
            format!("{path}jitter = {{ model = \"trace\", file = \"{}\" }}\n", sample("empty", "# none\n")),
            5,
            "no delay in it",
        ),
        (format!("{path}jitter = {{ model = \"trace\", file = \"{}\" }}\n", sample("delays", "1\n-2\n")), 5, "line 2"),
        (format!("{path}opportunities = \"{}\"\n", sample("backwards", "5\n3\n")), 5, "line 2 is earlier"),
        (format!("{path}opportunities = \"{}\"\n", sample("words", "5\nsix\n")), 5, "line 2 is not a whole number"),
        (format!("{path}opportunities = \"nowhere\"\n"), 5, "relative to"),
        (format!("{path}rate = \"1M\"\nopportunities = \"x\"\n"), 5, "one of them"),
        (format!("{path}rate = [[0, \"1M\"], [1, \"0k\"]]\n"), 5, "outage"),
        (format!("{path}loss = 1.5\n"), 5, "0 to 1"),
        (format!("{path}loss = {{ model = \"policer\", rate = \"1M\" }}\n"), 5, "bucket"),
        (format!("{path}loss = {{ model = \"policer\", rate = \"1M\", bucket = \"0B\" }}\n"), 5, "16KB"),
        (format!("{path}loss = {{ model = \"gilbert-elliott\", mean = 0.1 }}\n"), 5, "burst"),
        (format!("{path}loss = {{ model = \"gilbert-elliott\", mean = 0.1, burst = inf }}\n"), 5, "1000000"),
        (
            format!("{path}loss = {{ model = \"gilbert-elliott\", mean = 0.1, burst = 2, rate = \"1M\" }}\n"),
            5,
            "no rate",
        ),
        (format!("{path}outage = [[2, 1]]\n"), 5, "below"),
        (format!("{path}pauses = {{ every_s = 1, for_ms = 1000 }}\n"), 5, "shorter"),
        ("[[flow]]\nkind = \"tcp\"\npath = \"p\"\n".into(), 5, "none at all"),
        (format!("{path}[[flow]]\nkind = \"udp\"\nrate = \"unlimited\"\npath = \"p\"\n"), 7, "500k"),
        (format!("{path}[[flow]]\nkind = \"udp\"\nrate = \"100G\"\npath = \"p\"\n"), 7, "1G"),
        (format!("{path}[[flow]]\nkind = \"web\"\npath = \"p\"\nsize = [\"50KB\", \"30KB\"]\n"), 7, "smallest"),
        (format!("{publish}encodings = [{{ rate = \"100G\" }}]\n"), 3, "1G"),
        (format!("{publish}rate_schedule = [[0, 900]]\n"), 3, "rate_schedule"),
        (format!("{publish}encodings = [{{ rate = \"1M\", height = 0 }}]\n"), 3, "height above 0"),
        ("[[expect]]\nwho = \"zoe\"\nmetric = \"freezes\"\nbound = \"<= 1\"\n".into(), 5, "\"alice\""),
        (format!("{expect}from_s = 3\n"), 5, "empty"),
    ];
    for (part, line, hint) in wrong {
        let message = refusal(&format!("{SMALL}{part}"));
        assert!(message.starts_with(&format!("some.toml:{line}: ")) && message.contains(hint), "{part}\n{message}");
    }
}

/// A file of this text, to be named in scenarios.
fn sample(name: &str, text: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Keys in their tables, what they may not be, and what the refusal says that they may be.
#[test]
fn numbers_out_of_range_are_refused_where_they_stand_with_the_range() {
    let seconds: &[&str] = &["-1", "nan", "inf", "1e300", "86401", "\"5\""];
    let millis: &[&str] = &["-1", "nan", "inf", "1e300", "\"50\""];
    let path = "[[path]]\nname = \"p\"\n";
    let publish = "[[participant.publish]]\nsource = \"camera\"\n";
    let flow = "[[path]]\nname = \"p\"\n[[flow]]\nkind = \"web\"\npath = \"p\"\n";
    let expect = "[[expect]]\nwho = \"alice\"\nmetric = \"freezes\"\nbound = \"<= 1\"\n";
    let subscribe = "[[participant.subscribe]]\n";
    let keys = [
        ("", "join_s = V", "seconds from 0 to 86400", seconds),
        ("", "leave_s = V", "seconds from 0 to 86400", seconds),
        ("", "join_every_ms = V", "milliseconds from 0 to 3600000", millis),
        ("", "count = V", "whole number from 1 to 65535", &["0", "-1", "1.5", "1000000000000", "nan"]),
        (path, "rate = [[0, \"1M\"], [V, \"2M\"]]", "seconds from 0 to 86400", seconds),
        (path, "rate = V", "a rate such as", &["1000000", "\"2000G\""]),
        (path, "rate = [V, \"1M\"]", "[second, value]", &["0"]),
        (path, "delay_ms = V", "milliseconds from 0 to 3600000", millis),
        (path, "delay_ms = [[0, V]]", "milliseconds from 0 to 3600000", millis),
        (path, "jitter = { model = \"normal\", sd_ms = V }", "milliseconds from 0 to 3600000", millis),
        (path, "jitter = { model = \"uniform\", max_ms = V }", "milliseconds from 0 to 3600000", millis),
        (path, "outage = [[0, V]]", "seconds from 0 to 86400", seconds),
        (path, "outage = [V, 2]", "[from, to]", &["1"]),
        (path, "outage = V", "[from, to]", &["1"]),
        (path, "pauses = { every_s = V, for_ms = 1 }", "seconds from 0 to 86400", seconds),
        (path, "pauses = { every_s = 1, for_ms = V }", "milliseconds from 0 to 3600000", millis),
        (path, "queue = V", "a queue such as", &["150000", "\"1e300ms\""]),
        (path, "ecn = V", "ce-above-ms 5", &["5", "\"ce-above-ms 1e300\""]),
        (publish, "mute_s = [[0, V]]", "seconds from 0 to 86400", seconds),
        (publish, "rate_schedule = [[V, 1]]", "seconds from 0 to 86400", seconds),
        (publish, "rate_schedule = [[0, V]]", "factor from 0 to 1000", &["-1", "nan", "inf"]),
        (publish, "drop_encoding_s = [{ rid = \"q\", from = V, to = 2 }]", "seconds from 0 to 86400", seconds),
        (publish, "keyframe_factor = V", "factor from 0.01 to 100", &["-1", "0", "nan", "inf", "1e9"]),
        (publish, "variation = V", "variation from 0 to 10", &["-1", "nan", "inf", "1e9"]),
        (
            publish,
            "encodings = [{ rate = \"1M\", fps = V }]",
            "frames per second from 0.01 to 1000",
            &["0", "nan", "inf", "1e6"],
        ),
        (subscribe, "tile = [[0, \"16x9\"], [V, \"32x18\"]]", "seconds from 0 to 86400", seconds),
        (subscribe, "tile = V", "a tile such as", &["360", "\"-1x3\""]),
        (flow, "from_s = V", "seconds from 0 to 86400", seconds),
        (flow, "to_s = V", "seconds from 0 to 86400", seconds),
        (flow, "gap_s = V", "seconds from 0.01 to 86400", &["0", "-1", "nan", "inf"]),
        (flow, "flows = V", "whole number from 1 to 1000", &["0", "-1", "1000000000000"]),
        (expect, "from_s = V", "seconds from 0 to 86400", seconds),
        (expect, "to_s = V", "seconds from 0 to 86400", seconds),
    ];
    for (table, key, allowed, values) in keys {
        for value in values {
            let text = format!("{SMALL}{table}{}\n", key.replace('V', value));
            let (message, line) = (refusal(&text), text.lines().count());
            assert!(message.contains(&format!("line {line}")) && message.contains(allowed), "{text}\n{message}");
        }
    }
    for seeds in ["0", "-1", "1e9"] {
        let message = refusal(&SMALL.replace("[[", &format!("repeat = {{ seeds = {seeds} }}\n[[")));
        assert!(message.contains("whole number from 1 to 100000"), "{message}");
    }
}

#[test]
fn a_bound_is_a_comparison_with_a_finite_number() {
    for bound in ["> 0.5", "== 0", "0.5", ">= nan", "<= inf"] {
        let expect = format!("[[expect]]\nwho = \"alice\"\nmetric = \"freezes\"\nbound = \"{bound}\"\n");
        let message = refusal(&format!("{SMALL}{expect}"));
        assert!(message.contains("line 8") && message.contains("\"<= 0.5\""), "{message}");
    }
}

#[test]
fn an_entry_in_single_brackets_is_told_to_take_double_ones() {
    for entry in ["[expect]\nwho = \"alice\"", "[path]\nname = \"p\"", "[participant.publish]\nsource = \"camera\""] {
        let message = refusal(&format!("{SMALL}{entry}\n"));
        assert!(message.contains("write [[ ]] around"), "{message}");
    }
}

#[test]
fn parameters_of_a_flow_stand_in_one_place_and_are_its_own() {
    let flow = |text: &str| refusal(&format!("{SMALL}[[path]]\nname = \"p\"\n[[flow]]\npath = \"p\"\n{text}\n"));
    for wrong in [
        "kind = \"tcp\"\nrate = \"1M\"",
        "kind = \"udp\"\nrate = \"1M\"\nudp = { rate = \"2M\" }",
        "kind = \"udp\"\nrate = \"1M\"\nflows = 2",
        "kind = \"web\"\nudp = { rate = \"2M\" }",
        "kind = \"udp\"",
        "kind = \"quic\"",
    ] {
        let message = flow(wrong);
        assert!(message.contains("line 7") || message.contains("line 9"), "{wrong}\n{message}");
    }
}
