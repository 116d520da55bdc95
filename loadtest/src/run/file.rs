//! Options of `run` in a file. A file is turned into arguments, so that an option has the same name, default and checks
//! in both places.

use crate::scenario::Scenario;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The options that mean something to a scenario, which says all else itself.
const FOR_SCENARIOS: [&str; 9] = ["server", "whip", "whep", "token", "seed", "seeds", "plot", "json", "quiet"];
/// Keys that only scenarios have.
const OF_SCENARIOS: [&str; 2] = ["duration_s", "participant"];
/// Names less alike than this are no hint.
const ALIKE: f64 = 0.7;

/// The arguments of `program`, with those of the file that `subcommand` names put before its own. Fails where the file
/// cannot be read, or has a key that is no option.
pub fn with_file(program: &Command, subcommand: &str, arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    // Whatever else is wrong is told when all arguments are there.
    let Ok(given) = program.clone().ignore_errors(true).try_get_matches_from(&arguments) else { return Ok(arguments) };
    let (Some(given), Some(command)) = (given.subcommand_matches(subcommand), program.find_subcommand(subcommand))
    else {
        return Ok(arguments);
    };
    let Some(file) = given.get_one::<PathBuf>("file") else { return Ok(arguments) };
    let (_, table) = read(file)?;
    let told = |problem: String| format!("{}: {problem}", file.display());
    if is_scenario(&table) {
        return fits_scenario(command, given).map(|()| arguments).map_err(told);
    }
    let from_file = from_toml(command, given, &table).map_err(told)?;
    let own = arguments.iter().position(|argument| *argument == *subcommand).map_or(arguments.len(), |at| at + 1);
    let (before, after) = arguments.split_at(own);
    Ok(before.iter().cloned().chain(from_file.into_iter().map(OsString::from)).chain(after.iter().cloned()).collect())
}

/// The scenario that a file is; `None` where it has options in it.
pub(super) fn scenario(file: &Path) -> Result<Option<Scenario>, String> {
    let (text, table) = read(file)?;
    let scenario = is_scenario(&table).then(|| Scenario::parse(&text, file)).transpose();
    scenario.map_err(|error| error.to_string())
}

fn read(file: &Path) -> Result<(String, Table), String> {
    let told = |problem: String| format!("{}: {problem}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
    let table = text.parse().map_err(|error: toml::de::Error| told(error.to_string()))?;
    Ok((text, table))
}

fn is_scenario(table: &Table) -> bool {
    OF_SCENARIOS.iter().any(|key| table.contains_key(*key))
}

/// Fails where an option was given that a scenario leaves no room for.
fn fits_scenario(command: &Command, given: &ArgMatches) -> Result<(), String> {
    let given = |arg: &&Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let names = command.get_arguments().filter(given).filter_map(Arg::get_long);
    match names.filter(|name| !FOR_SCENARIOS.contains(name)).last() {
        Some(name) => {
            Err(format!("it is a scenario, which says itself who does what: leave out --{name}, which is for loads"))
        }
        None => Ok(()),
    }
}

/// The arguments that a file stands for, but for those that were `given` on the command line.
fn from_toml(command: &Command, given: &ArgMatches, table: &Table) -> Result<Vec<String>, String> {
    let mut arguments = Vec::new();
    for (key, value) in table {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(key));
        let arg = arg.ok_or_else(|| unknown(command, key))?;
        if given.value_source(arg.get_id().as_str()) != Some(ValueSource::CommandLine) {
            arguments.extend(written(arg, key, value)?);
        }
    }
    Ok(arguments)
}

/// An option as it is written on the command line.
fn written(arg: &Arg, key: &str, value: &Value) -> Result<Vec<String>, String> {
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let one = |value: &Value| match value {
        Value::String(text) => Ok(format!("--{key}={text}")),
        Value::Integer(number) => Ok(format!("--{key}={number}")),
        Value::Float(number) => Ok(format!("--{key}={number}")),
        other => Err(format!("{key} takes a number or a text, not a {}", other.type_str())),
    };
    match value {
        Value::Boolean(on) if is_flag => Ok(on.then(|| format!("--{key}")).into_iter().collect()),
        other if is_flag => Err(format!("{key} is true or false, not a {}", other.type_str())),
        Value::Array(values) => values.iter().map(one).collect(),
        value => one(value).map(|argument| vec![argument]),
    }
}

fn unknown(command: &Command, key: &str) -> String {
    let names = command.get_arguments().filter_map(Arg::get_long);
    let nearest = names.map(|name| (strsim::jaro_winkler(name, key), name)).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest.filter(|(alike, _)| *alike >= ALIKE) {
        Some((_, name)) => format!("there is no option {key:?}; there is {name:?}"),
        None => format!("there is no option {key:?}; `{} --help` has all", command.get_name()),
    }
}
