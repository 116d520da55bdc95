//! Logs: one JSON object a line where that is asked for, with room and participant, and nothing in them that is
//! nobody's business.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::Video;
use crate::harness::server::{Server, SettingsFile};
use crate::harness::signaling::Signaling;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_finest_level_neither_tokens_nor_addresses_are_logged() {
    let server = Server::start(&["--log", "trace"]).await;
    let mut ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK_TCP).await;
    grace.media.receives_more("Ada", Video, 5).await;
    let mut eve = Signaling::open(&server).await;
    eve.join_with("room", "Eve", "eyJhbGciOiJub25lIn0.a-token-that-nobody-shall-read.").await;
    ada.signaling.refused(json!({"type": "mute", "track": "p99t0", "muted": true})).await;
    ada.signaling.send(json!({"type": "leave"})).await;
    ada.signaling.closed().await;
    server.logs("left").await;

    let log = server.log();
    let sdp = ada.media.description().await;
    let secret = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let address = sdp.lines().find_map(|line| line.strip_prefix("a=candidate:")).unwrap();
    let address: Vec<&str> = address.split(' ').collect();
    for (what, text) in [
        ("a token", "a-token-that-nobody".to_owned()),
        ("a resume token", ada.resume_token.clone()),
        ("an ICE password", secret("a=ice-pwd:")),
        ("an address with its port", format!("{}:{}", address[4], address[5])),
        ("a message", "ice-ufrag".to_owned()),
    ] {
        assert!(!log.contains(&text), "{what} ({text}) in {log}");
    }
    assert!(!log.contains("127.0.0.1"), "{log}");
    let lines = log.lines().count();
    assert!(lines < 400, "nothing is logged for each packet: {lines} lines");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_lines_name_room_and_participant() {
    let file = SettingsFile::new("[log]\nformat = 'json'\nfilter = 'info'\n");
    let server = Server::start(&["--config", file.path()]).await;
    let mut ada = Signaling::open(&server).await;
    let joined = ada.join("daily", "Ada", None).await;
    ada.send(json!({"type": "leave"})).await;
    ada.closed().await;
    server.logs("\"left\"").await;
    let lines: Vec<Value> =
        server.log().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    for message in ["joined", "left"] {
        let line =
            lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {lines:?}"));
        let of = |name: &str| if line[name].is_null() { line["span"][name].clone() } else { line[name].clone() };
        assert_eq!((of("room"), of("participant")), (json!("daily"), joined["participant"].clone()), "{line}");
        assert_eq!(line["level"], "INFO");
    }

    // The filter is changed by a reload.
    file.replace("[log]\nformat = 'json'\nfilter = 'debug'\n");
    server.signal("HUP");
    server.logs("settings read again").await;
    let mut grace = Signaling::open(&server).await;
    grace.join("daily", "Grace", None).await;
    grace.send(json!({"type": "leave"})).await;
    grace.closed().await;
    server.logs("DEBUG").await;
}
