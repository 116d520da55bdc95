//! Reading a client's message so that a mistake in it can be explained: where, what, and what to do.
//!
//! Not by `ClientMessage`'s own `Deserialize`: serde reads tagged enums through a buffer and loses the place of an
//! error.

use super::client::ClientMessage;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest text of a client that an error repeats, in characters.
const MAX_DETAIL_CHARS: usize = 200;
/// Types that a client may send.
const TYPES: &str = "join, offer, mute, subscribe, keyframe, emulate, leave, ping";

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMessage {
    /// The message's `id`, where it has a usable one.
    pub id: Option<u64>,
    /// Where it is wrong, as in `tracks[0].source`; none where it is not JSON at all.
    pub path: Option<String>,
    /// What is wrong.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
}

/// What is needed to explain a mistake elsewhere in the message.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: Option<Value>,
    id: Option<Value>,
}

impl ClientMessage {
    /// Reads one message.
    pub fn parse(text: &str) -> Result<ClientMessage, BadMessage> {
        let envelope: Envelope = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        let id = envelope.id.as_ref().and_then(Value::as_u64);
        let Some(kind) = envelope.kind.as_ref().and_then(Value::as_str) else {
            return Err(bad_type(id, "`type` is missing or not a string".to_owned()));
        };
        let parsed = match kind {
            "join" => fields(text).map(ClientMessage::Join),
            "offer" => fields(text).map(ClientMessage::Offer),
            "mute" => fields(text).map(ClientMessage::Mute),
            "subscribe" => fields(text).map(ClientMessage::Subscribe),
            "keyframe" => fields(text).map(ClientMessage::Keyframe),
            "emulate" => fields(text).map(ClientMessage::Emulate),
            "leave" => fields(text).map(ClientMessage::Leave),
            "ping" => fields(text).map(ClientMessage::Ping),
            _ => return Err(bad_type(id, format!("unknown type `{}`", shorten(kind)))),
        };
        parsed.map_err(|bad| BadMessage { id, ..bad })
    }
}

fn fields<T: DeserializeOwned>(text: &str) -> Result<T, BadMessage> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| BadMessage {
        id: None,
        path: Some(error.path().to_string()),
        detail: shorten(&error.inner().to_string()),
        hint: "Compare the message with docs/protocol.md or the output of `sluice schema`.".to_owned(),
    })
}

fn not_json(error: &serde_json::Error) -> BadMessage {
    BadMessage {
        id: None,
        path: None,
        detail: shorten(&format!("not a JSON object: {error}")),
        hint: "Send one JSON object per text frame.".to_owned(),
    }
}

fn bad_type(id: Option<u64>, detail: String) -> BadMessage {
    let hint = format!("This server knows the types {TYPES}.");
    BadMessage { id, path: Some("type".to_owned()), detail, hint }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Join, Leave, Offer, Priority, PublishedSection, Source, Subscribe};

    fn bad(text: &str) -> BadMessage {
        ClientMessage::parse(text).expect_err(text)
    }

    #[test]
    fn a_mistake_is_located_explained_and_tied_to_its_request() {
        let error = bad(r#"{"type":"offer","id":7,"sdp":"v=0","tracks":[{"mid":"0","source":"cam"}]}"#);
        assert_eq!((error.id, error.path.as_deref()), (Some(7), Some("tracks[0].source")));
        assert!(error.detail.contains("unknown variant `cam`, expected one of `camera`"), "{}", error.detail);
        assert_eq!(bad(r#"{"type":"join","version":1,"room":"a b","name":"x"}"#).path.as_deref(), Some("room"));
        assert!(bad(r#"{"type":"mute","track":"p1t0"}"#).detail.contains("missing field `muted`"));
    }

    #[test]
    fn a_network_makes_sense_or_is_refused() {
        for down in [r#"{"loss":1.5}"#, r#"{"loss":-0.1}"#, r#"{"delayMs":5001}"#, r#"{"kbps":0}"#, r#"{"kbps":-5}"#] {
            let error = bad(&format!(r#"{{"type":"emulate","down":{down}}}"#));
            assert!(error.path.is_some_and(|path| path.starts_with("down")), "{down}");
        }
        let all = r#"{"type":"emulate","down":{"kbps":300,"delayMs":5000,"loss":1},"up":{}}"#;
        assert!(ClientMessage::parse(all).is_ok());
    }

    #[test]
    fn what_is_not_a_message_is_told_so() {
        for text in ["", "hello", "[1]", "null", "{", "\"join\""] {
            assert!(bad(text).detail.starts_with("not a JSON object"), "{text}");
        }
        for text in ["{}", r#"{"type":7}"#, r#"{"type":"dance"}"#] {
            assert_eq!(bad(text).path.as_deref(), Some("type"), "{text}");
        }
    }

    #[test]
    fn an_error_repeats_only_a_little_of_what_the_client_sent() {
        let long = "x".repeat(100_000);
        assert!(bad(&format!(r#"{{"type":"{long}"}}"#)).detail.len() < 1000);
        assert!(bad(&format!(r#"{{"type":"mute","track":"a","muted":"{long}"}}"#)).detail.len() < 1000);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!(r#"{{"type":"leave","x":{}}}"#, "[".repeat(100_000));
        assert!(ClientMessage::parse(&deep).is_err());
    }

    #[test]
    fn keys_of_a_newer_client_are_ignored() {
        let leave = ClientMessage::parse(r#"{"type":"leave","because":["new",{"in":2}]}"#);
        assert_eq!(leave, Ok(ClientMessage::Leave(Leave {})));
    }

    #[test]
    fn absent_keys_have_their_documented_defaults() {
        let Ok(ClientMessage::Subscribe(Subscribe { tracks, default: Some(default) })) =
            ClientMessage::parse(r#"{"type":"subscribe","tracks":[{"track":"p1t0"}],"default":{"enabled":false}}"#)
        else {
            panic!("a subscribe")
        };
        assert!(tracks[0].enabled && tracks[0].max_height.is_none());
        assert_eq!(tracks[0].priority, Priority::Visible);
        assert!(!default.enabled);
    }

    #[test]
    fn what_a_rust_client_writes_the_server_reads() {
        let join = Join {
            version: 1,
            room: "daily".to_owned().try_into().expect("valid"),
            name: "Ada".to_owned().try_into().expect("valid"),
            token: None,
            resume: None,
        };
        let section = PublishedSection { mid: "0".to_owned(), source: Source::ScreenAudio, muted: true };
        let offer = Offer { id: 3, sdp: "v=0".to_owned(), tracks: vec![section] };
        for message in [ClientMessage::Join(join), ClientMessage::Offer(offer), ClientMessage::Leave(Leave {})] {
            let text = serde_json::to_string(&message).expect("serialises");
            assert_eq!(ClientMessage::parse(&text), Ok(message), "{text}");
        }
    }
}
