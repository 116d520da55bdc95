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

/// Every error code in the source: what a `code()` gives out, and what a refusal or a problem is made with.
fn codes() -> BTreeSet<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let text = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_else(|e| panic!("{path}: {e}"));
    let quoted = |text: &str| text.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned);
    let mut codes = BTreeSet::new();
    for path in ["signaling/src/error.rs", "signaling/src/auth/error.rs", "sfu/engine/src/sdp/error.rs"] {
        for function in text(path).split("fn code(").skip(1) {
            let body = function.split("\n    }\n").next().expect("an end");
            codes.extend(body.split("=> ").skip(1).filter_map(quoted));
        }
    }
    for path in
        ["whip/endpoint.rs", "whip/mod.rs", "whip/session.rs", "api/endpoint.rs", "api/mod.rs", "api/problem.rs"]
    {
        for made in text(&format!("signaling/src/{path}")).split("::new(").skip(1) {
            // A refusal and a problem begin with their status.
            let code = made.trim_start().split_once(',').filter(|(status, _)| status.parse::<u16>().is_ok());
            codes.extend(code.and_then(|(_, rest)| quoted(rest)));
        }
    }
    codes
}

#[test]
fn troubleshooting_has_an_entry_for_each_error_code_and_no_other() {
    let page = read("troubleshooting.md");
    let (_, entries) = page.split_once("\n## Error codes\n").expect("the section");
    let entries = entries.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned));
    let (mut entries, codes) = (entries.collect::<BTreeSet<_>>(), codes());
    assert!(codes.len() > 50, "{codes:?}");
    // What an offer is refused with for which there is no word of its own.
    entries.remove("bad-offer");
    assert_eq!(entries, codes);
}
