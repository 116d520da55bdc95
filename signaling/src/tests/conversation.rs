//! Join, requests and their answers, events, and the ways in which a session ends.

use super::harness::{Harness, join};
use crate::config::SignalingConfig;
use crate::error::ServiceError;
use crate::protocol::{ParticipantId, ServerMessage};
use futures_util::SinkExt;
use serde_json::json;
use std::time::Duration;

fn speaker(id: &str) -> ServerMessage {
    ServerMessage::Speaker { participant: Some(ParticipantId(id.to_owned())) }
}

#[tokio::test(start_paused = true)]
async fn a_client_joins_and_learns_the_whole_state_and_its_limits() {
    let server = Harness::new();
    let mut client = server.connect().await;
    client.send(json!({"type": "join", "version": 1, "room": "daily", "name": "  Ada ", "newer": 1})).await;
    let joined = client.next().await;
    assert_eq!(server.room.calls(), [r#"join daily Ada None"#]);
    let token = joined["resumeToken"].as_str().expect("a token").to_owned();
    assert!(token.len() == 32 && token.chars().all(|c| c.is_ascii_hexdigit()), "{token}");
    let expected = json!({
        "type": "joined", "version": 1, "room": "daily", "participant": "p1", "name": "Ada", "resumeToken": token,
        "resumed": false, "participants": [], "slots": [], "speaker": null,
        "iceServers": [{"urls": ["turn:turn.example"], "username": "1700000000:p1", "credential": "secret"}],
        "limits": {
            "messageBytes": 262144, "messagesPerSecond": 50, "resumeSeconds": 30,
            "participants": 50, "tracks": 8, "sections": 100,
        },
        "permissions": {
            "publish": ["camera", "microphone", "screen", "screen-audio"],
            "subscribe": true, "data": true, "hidden": false, "emulate": false,
        },
    });
    assert_eq!(joined, expected);
    assert_eq!(server.counters.joins.get("joined"), 1);
    assert_eq!(server.counters.websocket_sessions.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_offer_is_answered_under_its_id() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    let tracks = json!([{"mid": "0", "source": "camera"}, {"mid": "1", "source": "microphone", "muted": true}]);
    client.send(json!({"type": "offer", "id": 5, "sdp": "an offer", "tracks": tracks})).await;
    let answer = client.next().await;
    let tracks = json!([{"mid": "0", "track": "p1t0"}, {"mid": "1", "track": "p1t1"}]);
    assert_eq!(answer, json!({"type": "answer", "id": 5, "sdp": "an answer", "tracks": tracks}));
}

#[tokio::test(start_paused = true)]
async fn a_refused_offer_names_code_hint_and_id_and_the_session_goes_on() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    let (message, hint) = ("no ice-ufrag".to_owned(), "offer ICE credentials".to_owned());
    *server.room.failure.lock() = Some(ServiceError::BadOffer { code: "bad-offer", message, hint });
    client.send(json!({"type": "offer", "id": 6, "sdp": "v=0"})).await;
    let expected = json!({"type": "error", "id": 6, "code": "bad-offer", "message": "no ice-ufrag",
        "hint": "offer ICE credentials", "fatal": false});
    assert_eq!(client.next().await, expected);
    client.assert_alive().await;
    assert_eq!(server.counters.signaling_errors.get("bad-offer"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_frame_is_asked_for_without_a_reply() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    server.room.calls();
    client.send(json!({"type": "keyframe", "track": "p2t0"})).await;
    client.assert_alive().await;
    assert_eq!(server.room.calls(), ["keyframe p1 p2t0"]);
}

#[tokio::test(start_paused = true)]
async fn a_network_is_emulated_for_developers_only() {
    let wish = json!({"type": "emulate", "down": {"kbps": 300}});
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    server.room.calls();
    client.send(wish.clone()).await;
    assert_eq!(client.next_error().await, "forbidden");
    assert!(server.room.calls().is_empty());

    let server = Harness::with(SignalingConfig { emulation: true, ..SignalingConfig::default() });
    let (mut client, joined) = server.joined().await;
    assert_eq!(joined["permissions"]["emulate"], true);
    server.room.calls();
    client.send(wish).await;
    client.assert_alive().await;
    assert_eq!(server.room.calls(), ["emulate p1 Some(300)"]);
}

#[tokio::test(start_paused = true)]
async fn mute_and_subscribe_reach_the_service_with_their_defaults() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    server.room.calls();
    client.send(json!({"type": "mute", "track": "p1t0", "muted": true})).await;
    let tracks =
        json!([{"track": "p2t0", "maxHeight": 180, "priority": "pinned"}, {"track": "p2t1", "enabled": false}]);
    client.send(json!({"type": "subscribe", "tracks": tracks, "default": {"priority": "hidden"}})).await;
    client.assert_alive().await;
    let expected = [
        "mute p1 p1t0 true",
        "subscribe p1 [p2t0 Preference { enabled: true, max_height: Some(180), priority: Pinned }, \
         p2t1 Preference { enabled: false, max_height: None, priority: Visible }] \
         Some(Preference { enabled: true, max_height: None, priority: Hidden })",
    ];
    assert_eq!(server.room.calls(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_service_refuses_is_told() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    *server.room.failure.lock() = Some(ServiceError::NotFound { what: "track" });
    client.send(json!({"type": "mute", "track": "p9t0", "muted": true})).await;
    let error = client.next().await;
    assert_eq!((&error["code"], &error["message"]), (&json!("not-found"), &json!("there is no such track")));
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn events_come_in_the_order_in_which_they_were_sent() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    let sink = server.room.sink("p1");
    for n in 0..20 {
        sink.send(speaker(&format!("p{n}")));
    }
    for n in 0..20 {
        assert_eq!(client.next().await, json!({"type": "speaker", "participant": format!("p{n}")}));
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_during_the_join_comes_after_joined_and_is_not_lost() {
    let server = Harness::new();
    *server.room.meanwhile.lock() = Some(speaker("p9"));
    let (mut client, _) = server.joined().await;
    assert_eq!(client.next().await, json!({"type": "speaker", "participant": "p9"}));
}

#[tokio::test(start_paused = true)]
async fn leaving_ends_the_session_for_good() {
    let server = Harness::new();
    let (mut client, joined) = server.joined().await;
    server.room.calls();
    client.send(json!({"type": "leave"})).await;
    assert_eq!(client.close_code().await, 1000);
    assert_eq!(server.room.calls(), ["leave p1 Left"]);
    assert_eq!(server.sessions(), 0);
    let (_client, again) = server.resume(&joined).await;
    assert_eq!((&again["resumed"], &again["participant"]), (&json!(false), &json!("p2")));
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_before_a_leave_still_arrives() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    client.send(json!({"type": "ping", "id": 1})).await;
    client.send(json!({"type": "leave"})).await;
    assert_eq!(client.next().await, json!({"type": "pong", "id": 1}));
    assert_eq!(client.close_code().await, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_refused_join_is_fatal_and_counted() {
    let server = Harness::new();
    *server.room.failure.lock() = Some(ServiceError::RoomFull { limit: 2 });
    let mut client = server.connect().await;
    client.send(join(None)).await;
    let error = client.next().await;
    assert_eq!((&error["code"], &error["fatal"]), (&json!("room-full"), &json!(true)));
    assert_eq!(client.close_code().await, 4000);
    assert_eq!(server.counters.joins.get("room-full"), 1);
    assert_eq!(server.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_kicked_learns_why_and_cannot_resume() {
    let server = Harness::new();
    let (mut client, joined) = server.joined().await;
    server.room.calls();
    server.room.sink("p1").finish(ServerMessage::Kicked { reason: "by the host".to_owned() });
    assert_eq!(client.next().await, json!({"type": "kicked", "reason": "by the host"}));
    assert_eq!(client.close_code().await, 4002);
    server.room.sink("p1").send(speaker("p2"));
    let (_client, again) = server.resume(&joined).await;
    assert_eq!(again["resumed"], json!(false));
    let calls = server.room.calls();
    assert!(!calls.iter().any(|call| call.starts_with("leave")), "the service knows already: {calls:?}");
    assert_eq!(server.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_for_hours() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    let sink = server.room.sink("p1");
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
        sink.send(speaker("p2"));
    });
    assert_eq!(client.next().await["type"], "speaker");
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ping_by_websocket_too() {
    use tokio_tungstenite::tungstenite::Message;
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    client.0.send(Message::Ping("x".into())).await.expect("open");
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn a_bug_in_the_service_ends_one_session_and_leaves_nobody_behind() {
    let server = Harness::new();
    let (mut other, _) = server.joined().await;
    let (mut client, _) = server.joined().await;
    server.room.calls();
    client.send(json!({"type": "mute", "track": "a bug", "muted": true})).await;
    assert_eq!(client.next_error().await, "internal");
    assert_eq!(client.close_code().await, 4000);
    assert_eq!(server.room.calls(), ["leave p2 ConnectionLost"]);
    assert_eq!(server.sessions(), 1);
    other.assert_alive().await;
}
