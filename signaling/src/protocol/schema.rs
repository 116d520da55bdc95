//! The protocol as JSON Schema (draft 2020-12), for clients in other languages. `sluice schema` prints it, and
//! `signaling/protocol.schema.json` is a copy under version control.

use super::{ClientMessage, ServerMessage, VERSION};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// The schema: any message, with `ClientMessage` and `ServerMessage` among its definitions.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut definitions = Map::new();
    // What a client may leave out, and what the server always writes, are different things for the same Rust type.
    define::<ClientMessage>("ClientMessage", settings.clone().for_deserialize(), &mut definitions);
    define::<ServerMessage>("ServerMessage", settings.for_serialize(), &mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluice rooms protocol",
        "description": format!("Version {VERSION}. JSON text frames over a WebSocket at /ws."),
        "oneOf": [{ "$ref": "#/$defs/ClientMessage" }, { "$ref": "#/$defs/ServerMessage" }],
        "$defs": definitions,
    })
}

fn define<T: JsonSchema>(name: &str, settings: SchemaSettings, definitions: &mut Map<String, Value>) {
    let mut generator = settings.into_generator();
    let schema: Schema = generator.root_schema_for::<T>();
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        if let Some(Value::Object(parts)) = object.remove("$defs") {
            definitions.extend(parts);
        }
    }
    definitions.insert(name.to_owned(), schema);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_under_version_control_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol.schema.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, format!("{:#}\n", schema())).expect("the schema can be written");
        }
        let copy = std::fs::read_to_string(path).expect("the schema is there");
        // As values: a feature of serde_json that another crate may switch on decides the order of keys.
        let copy: Value = serde_json::from_str(&copy).expect("the schema is JSON");
        assert!(copy == schema(), "run UPDATE=1 cargo test -p signaling schema");
    }

    #[test]
    fn every_reference_is_defined() {
        let schema = schema();
        let mut open = vec![&schema];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.trim_start_matches('#');
                        assert!(schema.pointer(pointer).is_some(), "{reference}");
                    }
                    open.extend(object.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }
}
