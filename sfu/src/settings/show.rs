//! Settings for people: the effective values with their origins, and the table of all keys for the documentation.

use super::{KEYS, Key, Loaded, Settings};
use serde_json::Value as Json;
use std::fmt::Write;

impl Loaded {
    /// The effective settings as a TOML file, each with what it is for and where it came from. Secrets are not in it.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in KEYS {
            let (this, name) = key.name.split_once('.').unwrap_or(("", key.name));
            if this != section {
                let _ = writeln!(text, "{}[{this}]", if section.is_empty() { "" } else { "\n" });
                section = this;
            }
            let _ = writeln!(text, "#{}", key.about);
            let origin = self.origins.get(key.name).map_or("default", String::as_str);
            let _ = match toml((key.show)(&self.settings)) {
                Some(value) => writeln!(text, "{name} = {value}  # {origin}"),
                None => writeln!(text, "# {name} is not set"),
            };
        }
        text
    }
}

/// Every key with its default, as a table in Markdown.
pub(crate) fn table() -> String {
    let defaults = Settings::default();
    let mut text = "| key | default | reload | |\n|---|---|---|---|\n".to_owned();
    for Key { name, about, live, show, .. } in KEYS {
        let default = toml(show(&defaults)).map_or("none".to_owned(), |value| format!("`{value}`"));
        let reload = if *live { "yes" } else { "" };
        let _ = writeln!(text, "| `{name}` | {default} | {reload} |{about} |");
    }
    text
}

/// A value in TOML; none where there is none. Strings and arrays are written as in JSON.
fn toml(value: Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::Object(members) => {
            let members: Vec<_> =
                members.into_iter().filter_map(|(k, v)| Some(format!("{k} = {}", toml(v)?))).collect();
            Some(if members.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", members.join(", ")) })
        }
        Json::Array(items) => Some(format!("[{}]", items.into_iter().filter_map(toml).collect::<Vec<_>>().join(", "))),
        other => Some(other.to_string()),
    }
}
