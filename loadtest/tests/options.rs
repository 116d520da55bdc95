//! Options of `run` in a file: the same names, defaults and checks as on the command line, which comes before the file.

use clap::{CommandFactory, Parser, Subcommand};
use loadtest::run::{Options, file};
use std::ffi::OsString;
use std::path::Path;

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<Options>),
}

/// What `loadtest run FILE ARGUMENTS` means; `name` is the test's, for its file.
fn parse(name: &str, text: &str, arguments: &[&str]) -> Result<Options, String> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("options-{name}.toml"));
    std::fs::write(&path, text).unwrap();
    let program = ["loadtest", "run"].map(OsString::from).into_iter().chain([path.into_os_string()]);
    let given = program.chain(arguments.iter().map(OsString::from)).collect();
    let all = file::with_file(&Program::command(), "run", given)?;
    let Command::Run(options) = Program::try_parse_from(all).map_err(|error| error.to_string())?.command;
    Ok(*options)
}

#[test]
fn a_file_says_what_the_command_line_can_say() {
    let text = "
        rooms = 10
        participants = 9
        no-simulcast = true
        video-only = false
        join-rate = 12.5
        codec = 'av1'
        assert = ['loss<0.1%', 'latency_p99<5ms']
    ";
    let options = parse("all", text, &[]).unwrap();
    let load = &options.load;
    assert_eq!((load.rooms, load.participants, load.publishers, load.subscribers), (10, 9, 0, 0));
    assert!(load.no_simulcast && !load.video_only && load.join_rate == 12.5);
    assert_eq!(options.assert.len(), 2);
}

#[test]
fn the_command_line_comes_before_the_file() {
    let options =
        parse("before", "subscribers = 7\nassert = ['loss<1%']", &["--subscribers", "8", "--assert", "freezes=0"]);
    let options = options.unwrap();
    assert_eq!(options.load.subscribers, 8);
    assert_eq!(options.assert.iter().map(ToString::to_string).collect::<Vec<_>>(), ["freezes=0"]);
}

#[test]
fn what_a_file_cannot_say_is_refused_with_a_hint() {
    let refused = |name: &str, text: &str| parse(name, text, &[]).map(|_| ()).unwrap_err();
    let unknown = refused("unknown", "subscriber = 7");
    assert!(unknown.contains("options-unknown.toml") && unknown.contains("there is \"subscribers\""), "{unknown}");
    assert!(refused("far", "zzz = 7").contains("--help"));
    assert!(refused("flag", "no-simulcast = 'yes'").contains("true or false"));
    assert!(refused("type", "rooms = 'many'").contains("--rooms"));
    assert!(refused("table", "[load]\nrooms = 1").contains("\"load\""));
    assert!(refused("both", "audio-only = true\nvideo-only = true").contains("cannot be used with"));
    assert!(refused("toml", "rooms = ").contains("options-toml.toml"));
}

#[test]
fn a_scenario_takes_only_options_that_say_how_it_is_run() {
    let text = "name = 'x'\nduration_s = 5\n[[participant]]\nname = 'alice'";
    let options = parse("scenario", text, &["--seed", "3", "--seeds", "2"]).unwrap();
    assert_eq!((options.load.seed, options.seeds), (3, Some(2)));
    let refused = parse("scenario", text, &["--subscribers", "3"]).map(|_| ()).unwrap_err();
    assert!(refused.contains("options-scenario.toml") && refused.contains("leave out --subscribers"), "{refused}");
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    for (name, value) in
        [("warmup", "-1"), ("duration", "nan"), ("duration", "1e300"), ("join-rate", "0"), ("churn", "-1")]
    {
        let refused = parse("numbers", &format!("{name} = {value}"), &[]).map(|_| ()).unwrap_err();
        assert!(refused.contains(&format!("--{name}")), "{refused}");
    }
    let load = parse("numbers", "warmup = 0\nduration = 0.5\nchurn = 2", &[]).unwrap().load;
    assert_eq!((load.warmup, load.duration, load.churn), (0.0, 0.5, 2.0));
}
