//! `docs/protocol.md` is part of the protocol: its examples are read by the code, its tables are complete.

use crate::auth::TokenError as T;
use crate::error::{Refusal, ServiceError as E};
use crate::protocol::{BadMessage, ClientMessage, CloseCode, ServerMessage, schema};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

fn page() -> String {
    read("protocol.md")
}

fn read(page: &str) -> String {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/");
    std::fs::read_to_string(format!("{docs}{page}")).expect("the page is there")
}

/// The values that `type` can have in a definition of the schema.
fn types(schema: &Value, definition: &str) -> BTreeSet<String> {
    let variants = schema["$defs"][definition]["oneOf"].as_array().expect("variants");
    variants.iter().map(|v| v["properties"]["type"]["const"].as_str().expect("a type").to_owned()).collect()
}

#[test]
fn every_message_has_an_example_and_every_example_is_a_message() {
    let schema = schema();
    let client = types(&schema, "ClientMessage");
    let mut missing: BTreeSet<String> = client.union(&types(&schema, "ServerMessage")).cloned().collect();
    for example in page().split("```json\n").skip(1) {
        let text = example.split("```").next().expect("an end");
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let kind = value["type"].as_str().expect("a type");
        if client.contains(kind) {
            ClientMessage::parse(text).unwrap_or_else(|e| panic!("{e:?}: {text}"));
        } else {
            let message: ServerMessage = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert_eq!(
                serde_json::to_value(message).expect("serialises"),
                value,
                "the example has what the server sends"
            );
        }
        missing.remove(kind);
    }
    assert!(missing.is_empty(), "without an example: {missing:?}");
}

#[test]
fn every_error_and_close_code_is_explained() {
    let (page, troubleshooting) = (page(), read("troubleshooting.md"));
    let text = String::new;
    let bad = BadMessage { id: None, path: None, detail: text(), hint: text() };
    let service = [
        E::RoomFull { limit: 0 },
        E::RoomsLimit { limit: 0 },
        E::NotFound { what: "" },
        E::Forbidden { what: "" },
        E::TooManyTracks { limit: 0 },
        E::TooManySubscriptions { limit: 0 },
        E::BadOffer { code: "bad-offer", message: text(), hint: text() },
        E::Overloaded,
        E::Draining,
        E::Internal,
    ];
    let tokens = [
        T::Missing,
        T::Malformed { why: text() },
        T::UnsupportedAlgorithm { algorithm: text() },
        T::UnknownKey { key: text() },
        T::BadSignature { key: None },
        T::Expired { ago: Duration::ZERO },
        T::NotYetValid { wait: Duration::ZERO },
        T::NoExpiry,
        T::WrongAudience { expected: None, found: Vec::new() },
        T::BadGrants { why: text() },
        T::WrongRoom { granted: text(), asked: text() },
    ];
    let service = service.into_iter().chain(tokens.map(E::from));
    let own = [
        Refusal::BadMessage(bad),
        Refusal::BinaryFrame,
        Refusal::MessageTooLarge { bytes: 0, limit: 0 },
        Refusal::RateLimited { limit: 0 },
        Refusal::TooManyMistakes,
        Refusal::NotJoined,
        Refusal::AlreadyJoined,
        Refusal::UnsupportedVersion { version: 0 },
        Refusal::JoinTimeout,
        Refusal::TooManyConnections,
    ];
    for refusal in own.into_iter().chain(service.map(Refusal::from)) {
        assert!(page.contains(&format!("\n| `{}` |", refusal.code())), "{refusal:?}");
        assert!(troubleshooting.contains(&format!("\n| `{}` |", refusal.code())), "{refusal:?}");
    }
    for code in [
        CloseCode::Left,
        CloseCode::Refused,
        CloseCode::TakenOver,
        CloseCode::Removed,
        CloseCode::TooSlow,
        CloseCode::Silent,
        CloseCode::Broken,
    ] {
        let row = page.lines().find(|line| line.starts_with(&format!("| {} |", code as u16)));
        assert_eq!(row.expect("a row").ends_with("| resume |"), code.can_resume(), "{code:?}");
    }
}
