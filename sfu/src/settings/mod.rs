//! Settings: built-in defaults, then a TOML file, then `SLUICE_*` environment variables, then flags; later ones win.
//!
//! [`keys`] has the list of them. [`Sources::load`] merges, remembers where each value came from, and reports
//! everything that is wrong at once.

mod check;
mod keys;
mod problem;
mod show;
mod values;

pub(crate) use keys::{KEYS, Key, LimitSettings, Settings};
pub(crate) use problem::{Problem, Problems};
pub(crate) use show::table;
pub(crate) use values::{Advertised, LogFormat};

use config::{Config, FileFormat, Map, Source, Value, ValueKind};
use keys::{REMOVED_KEYS, SECRET_KEYS};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a settings file is looked for when none is named.
const USUAL_FILES: [&str; 2] = ["sluice.toml", "/etc/sluice/sluice.toml"];

/// Where settings come from. Kept, so that they can be read again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The file that the command line names.
    pub(crate) file: Option<PathBuf>,
    /// The environment, as name and value.
    pub(crate) environment: Vec<(String, String)>,
    /// The command line.
    pub(crate) flags: Vec<Given>,
}

/// A value from the environment or the command line.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// `--media-port`, `SLUICE_MEDIA__PORT`.
    pub(crate) origin: String,
    /// `media.port`.
    pub(crate) key: String,
    /// As written; the values of a list each for itself, or one text with commas.
    pub(crate) values: Vec<String>,
}

/// Settings, and where they came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// By key; keys with their default are not in it.
    pub(crate) origins: BTreeMap<String, String>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
}

impl Sources {
    /// The process's environment, and no flags.
    pub(crate) fn of_process(file: Option<PathBuf>, flags: Vec<Given>) -> Sources {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Sources { file, environment, flags }
    }

    /// Merges defaults, file, environment and flags, and checks the outcome.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        let (mut reader, settings, file) = self.read();
        reader.check(&settings);
        let Reader { values, problems, file: file_name } = reader;
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let origins = values.into_iter().filter_map(|(key, (_, origin))| Some((key, origin.or(file_name.clone())?)));
        Ok(Loaded { settings, origins: origins.collect(), file })
    }

    /// What can be read of the settings, whether a server could run with them or not: for who asks one that runs,
    /// perhaps with flags that are not known here.
    pub(crate) fn unchecked(&self) -> Settings {
        self.read().1
    }

    fn read(&self) -> (Reader, Settings, Option<PathBuf>) {
        let mut problems = Vec::new();
        let file = self.file.clone().or_else(usual_file);
        let mut merged = Config::builder();
        if let Some(path) = &file {
            match read_file(path) {
                Ok(layer) => merged = merged.add_source(layer),
                Err(problem) => problems.push(problem),
            }
        }
        let merged = merged.add_source(Layer(self.environment_values())).add_source(Layer(self.flags.clone()));
        let values = merged.build().and_then(|config| config.collect()).unwrap_or_default();

        let file_name = file.as_ref().map(|path| path.display().to_string());
        let mut reader = Reader { file: file_name, values: BTreeMap::new(), problems };
        let mut settings = Settings::default();
        reader.read("", values, &mut settings);
        (reader, settings, file)
    }

    /// All settings are in a section, so `__` tells them from what an orchestrator sets for a service that is named
    /// sluice, such as SLUICE_SERVICE_HOST.
    fn environment_values(&self) -> Vec<Given> {
        let named = self.environment.iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix("SLUICE_").filter(|rest| rest.contains("__"))?;
            let key = rest.to_lowercase().replace("__", ".");
            Some(Given { origin: format!("the environment, {name}"), key, values: vec![value.clone()] })
        });
        named.collect()
    }
}

fn usual_file() -> Option<PathBuf> {
    USUAL_FILES.iter().map(PathBuf::from).find(|path| path.is_file())
}

fn read_file(path: &Path) -> Result<impl Source + Send + Sync + 'static, Problem> {
    let problem = |why: String, hint: &str| Problem {
        key: None,
        value: None,
        origin: Some(path.display().to_string()),
        why,
        hint: hint.to_owned(),
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| problem(format!("cannot read it: {error}"), "Name another file by --config."))?;
    let file = config::File::from_str(&text, FileFormat::Toml);
    match file.collect() {
        Ok(_) => Ok(file),
        Err(error) => Err(problem(error.to_string(), "It must be TOML (toml.io); docs/configure.md has an example.")),
    }
}

/// Values from the environment or the command line as a source of `config`.
#[derive(Clone, Debug)]
struct Layer(Vec<Given>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.iter().map(|given| (given.key.clone(), given.value())).collect())
    }
}

impl Given {
    fn value(&self) -> Value {
        let origin = Some(&self.origin);
        let text = |text: &str| Value::new(origin, ValueKind::String(text.to_owned()));
        let defaults = Settings::default();
        let is_list = KEYS.iter().any(|key| key.name == self.key && (key.show)(&defaults).is_array());
        match self.values.as_slice() {
            [one] if !is_list => text(one),
            many => {
                let items =
                    many.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty());
                Value::new(origin, ValueKind::Array(items.map(text).collect()))
            }
        }
    }
}

/// Reads merged values into settings.
struct Reader {
    /// The file, which is the origin of values that name none.
    file: Option<String>,
    /// What was read, by key: the value for people, and its origin.
    values: BTreeMap<String, (String, Option<String>)>,
    problems: Vec<Problem>,
}

impl Reader {
    fn read(&mut self, prefix: &str, values: Map<String, Value>, settings: &mut Settings) {
        let sorted: BTreeMap<String, Value> = values.into_iter().collect();
        for (name, value) in sorted {
            let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let key = KEYS.iter().find(|key| key.name == path);
            let is_section = KEYS.iter().any(|key| key.name.starts_with(&format!("{path}.")));
            match (key, value.kind.clone()) {
                (Some(key), _) => self.set(key, value, settings),
                (None, ValueKind::Table(inner)) if is_section => self.read(&path, inner, settings),
                (None, _) => {
                    let why = if is_section { "this is a section, not a key" } else { "there is no such key" };
                    let hint =
                        if is_section { format!("Write [{path}] and keys below it.") } else { suggestion(&path) };
                    self.note(&path, &value);
                    self.complain(Problem::of(&path, why, hint));
                }
            }
        }
    }

    fn set(&mut self, key: &Key, value: Value, settings: &mut Settings) {
        self.note(key.name, &value);
        if let Err(error) = (key.set)(settings, value) {
            self.complain(Problem::of(key.name, explain(&error), key.about.trim()));
        }
    }

    fn note(&mut self, key: &str, value: &Value) {
        let secret = SECRET_KEYS.iter().any(|secret| key.starts_with(secret))
            || REMOVED_KEYS.iter().any(|(gone, _)| *gone == key);
        let shown = if secret { "***".to_owned() } else { text(value) };
        self.values.insert(key.to_owned(), (shown, origin(value)));
    }

    /// Checks values that could be read, unless what could not be read may be the reason for what is found: a file, or
    /// who has access.
    fn check(&mut self, settings: &Settings) {
        let unread: Vec<Option<String>> = self.problems.iter().map(|problem| problem.key.clone()).collect();
        if unread.contains(&None) {
            return;
        }
        let access_unread = unread.iter().flatten().any(|key| key.starts_with("access."));
        for problem in settings.problems() {
            let is_about_access = matches!(problem.key.as_deref(), Some("http.listen" | "admin.listen"));
            let follows = unread.contains(&problem.key) || (is_about_access && access_unread);
            if !follows {
                self.complain(problem);
            }
        }
    }

    /// Adds value and origin to a problem, and the problem to the list.
    fn complain(&mut self, mut problem: Problem) {
        if let Some((value, origin)) = problem.key.as_ref().and_then(|key| self.values.get(key)) {
            problem.value = Some(value.clone());
            problem.origin = origin.clone().or(self.file.clone());
        }
        self.problems.push(problem);
    }
}

/// Where a value came from. A list's items know it, the list itself may not.
fn origin(value: &Value) -> Option<String> {
    let first = match &value.kind {
        ValueKind::Array(items) => items.first().and_then(|item| item.origin()),
        ValueKind::Table(items) => items.values().next().and_then(|item| item.origin()),
        _ => None,
    };
    value.origin().or(first).map(str::to_owned)
}

/// A value as it could stand in the file.
fn text(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        ValueKind::Table(_) => "{ ... }".to_owned(),
        other => other.to_string(),
    }
}

/// A reader's error without the key and the origin, which are said beside it.
fn explain(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Type { unexpected, expected, .. } => {
            format!("it is {unexpected}, and should be {expected}")
        }
        config::ConfigError::At { error, .. } => explain(error),
        other => other.to_string(),
    }
}

/// What to do about a key that is not there.
fn suggestion(path: &str) -> String {
    if let Some((_, instead)) = REMOVED_KEYS.iter().find(|(gone, _)| *gone == path) {
        return (*instead).to_owned();
    }
    let names = KEYS.iter().flat_map(|key| [Some(key.name), key.name.split('.').next()]).flatten();
    let nearest = names.map(|name| (strsim::damerau_levenshtein(name, path), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 3 => format!("Do you mean {name}?"),
        _ => "`sluice config` lists all keys.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
