//! What happens to a session when its WebSocket drops, is replaced, or cannot keep up.

use super::harness::{Harness, join};
use crate::config::SignalingConfig;
use crate::error::ServiceError;
use crate::protocol::{ParticipantId, ServerMessage};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode::Away;

fn speaker(id: &str) -> ServerMessage {
    ServerMessage::Speaker { participant: Some(ParticipantId(id.to_owned())) }
}

/// Lets everything happen that happens within a second of virtual time.
async fn settle() {
    sleep(Duration::from_secs(1)).await;
}

fn assert_resumed(joined: &Value, resumed: bool, participant: &str) {
    assert_eq!((&joined["resumed"], &joined["participant"]), (&json!(resumed), &json!(participant)), "{joined}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_websocket_resumes_with_the_whole_state() {
    let server = Harness::new();
    let (client, first) = server.joined().await;
    server.room.calls();
    drop(client);
    sleep(Duration::from_secs(29)).await;
    let (mut client, second) = server.resume(&first).await;
    assert_resumed(&second, true, "p1");
    assert_eq!(second["resumeToken"], first["resumeToken"]);
    server.room.sink("p1").send(speaker("p2"));
    assert_eq!(client.next().await["participant"], "p2");

    let reader = tokio::spawn(async move { client.next().await });
    sleep(Duration::from_secs(100)).await;
    server.room.sink("p1").send(speaker("p3"));
    assert_eq!(reader.await.expect("no panic")["participant"], "p3");
    assert_eq!(server.room.calls(), ["state p1"], "nobody left");
    assert_eq!(server.counters.joins.get("resumed"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_come_back_leaves_after_the_window() {
    let server = Harness::new();
    let (client, first) = server.joined().await;
    server.room.calls();
    drop(client);
    sleep(Duration::from_millis(29_900)).await;
    assert_eq!(server.room.calls(), [""; 0]);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(server.room.calls(), ["leave p1 ConnectionLost"]);
    assert_eq!((server.sessions(), server.counters.websocket_sessions.get()), (0, 0));
    let (_client, second) = server.resume(&first).await;
    assert_resumed(&second, false, "p2");
}

#[tokio::test(start_paused = true)]
async fn closing_the_websocket_without_leave_can_be_resumed() {
    let server = Harness::new();
    let (mut client, first) = server.joined().await;
    client.0.close(None).await.expect("open");
    settle().await;
    let (_client, second) = server.resume(&first).await;
    assert_resumed(&second, true, "p1");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_goes_away_may_reload_but_leaves_no_ghost() {
    let server = Harness::new();
    let (mut client, mut joined) = server.joined().await;
    server.room.calls();
    for wait in [4_000, 4_900] {
        client.0.close(Some(CloseFrame { code: Away, reason: "".into() })).await.expect("open");
        sleep(Duration::from_millis(wait)).await;
        (client, joined) = server.resume(&joined).await;
        assert_resumed(&joined, true, "p1");
    }
    client.0.close(Some(CloseFrame { code: Away, reason: "".into() })).await.expect("open");
    sleep(Duration::from_millis(5_100)).await;
    assert_eq!(server.room.calls().last().map(String::as_str), Some("leave p1 ConnectionLost"));
}

#[tokio::test(start_paused = true)]
async fn a_second_websocket_takes_the_session_over() {
    let server = Harness::new();
    let (mut old, first) = server.joined().await;
    server.room.calls();
    let (mut new, second) = server.resume(&first).await;
    assert_resumed(&second, true, "p1");
    assert_eq!(old.close_code().await, 4001);
    server.room.sink("p1").send(speaker("p2"));
    assert_eq!(new.next().await["participant"], "p2");
    drop(old);
    let reader = tokio::spawn(async move { new.next().await });
    sleep(Duration::from_secs(60)).await;
    server.room.sink("p1").send(speaker("p3"));
    assert_eq!(reader.await.expect("no panic")["participant"], "p3");
    assert_eq!(server.room.calls(), ["state p1"], "the end of the old WebSocket ends nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_session_survives_many_drops_one_after_the_other() {
    let server = Harness::new();
    let (mut client, mut joined) = server.joined().await;
    server.room.calls();
    for _ in 0..5 {
        drop(client);
        sleep(Duration::from_secs(20)).await;
        (client, joined) = server.resume(&joined).await;
        assert_resumed(&joined, true, "p1");
    }
    drop(client);
    sleep(Duration::from_secs(31)).await;
    let calls = server.room.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("leave")).count(), 1, "{calls:?}");
    assert_eq!(server.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_opens_no_other_room_and_a_wrong_one_none() {
    let server = Harness::new();
    let (_client, first) = server.joined().await;
    let mut other = server.connect().await;
    let token = &first["resumeToken"];
    other.send(json!({"type": "join", "version": 1, "room": "another", "name": "Eve", "resume": token})).await;
    assert_resumed(&other.next().await, false, "p2");
    let mut wrong = server.connect().await;
    wrong.send(join(Some("00000000000000000000000000000000"))).await;
    assert_resumed(&wrong.next().await, false, "p3");
}

#[tokio::test(start_paused = true)]
async fn events_without_a_websocket_are_dropped_since_resuming_tells_all() {
    let server = Harness::new();
    let (client, first) = server.joined().await;
    drop(client);
    settle().await;
    for _ in 0..10_000 {
        server.room.sink("p1").send(speaker("p2"));
    }
    let (mut client, second) = server.resume(&first).await;
    assert_resumed(&second, true, "p1");
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_while_the_state_is_taken_is_not_lost() {
    let server = Harness::new();
    let (client, first) = server.joined().await;
    drop(client);
    settle().await;
    *server.room.meanwhile.lock() = Some(speaker("p9"));
    let (mut client, second) = server.resume(&first).await;
    assert_resumed(&second, true, "p1");
    assert_eq!(client.next().await["participant"], "p9");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_service_lost_becomes_a_new_join() {
    let server = Harness::new();
    let (client, first) = server.joined().await;
    drop(client);
    settle().await;
    server.room.calls();
    *server.room.failure.lock() = Some(ServiceError::NotFound { what: "participant" });
    let mut client = server.connect().await;
    client.send(join(first["resumeToken"].as_str())).await;
    assert_eq!(client.next_error().await, "not-found");
    assert_eq!(client.close_code().await, 4000);
    assert_eq!(server.room.calls(), ["state p1", "leave p1 ConnectionLost", "join daily Ada None"]);
    assert_eq!(server.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_kicked_while_away_is_forgotten_at_once() {
    let server = Harness::new();
    let (client, first) = server.joined().await;
    drop(client);
    settle().await;
    server.room.calls();
    server.room.sink("p1").finish(ServerMessage::Kicked { reason: "by the host".to_owned() });
    settle().await;
    assert_eq!(server.sessions(), 0);
    assert_eq!(server.room.calls(), [""; 0]);
    let (_client, second) = server.resume(&first).await;
    assert_resumed(&second, false, "p2");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_closed_and_may_resume() {
    let server = Harness::new();
    let (mut client, first) = server.joined().await;
    server.room.calls();
    // Not read from, the client answers no ping.
    sleep(Duration::from_millis(30_100)).await;
    assert_eq!(client.close_code().await, 4011);
    let (client, second) = server.resume(&first).await;
    assert_resumed(&second, true, "p1");
    drop(client);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(server.room.calls(), ["state p1", "leave p1 ConnectionLost"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_too_slowly_is_closed_and_resumes() {
    let server = Harness::with(SignalingConfig { event_queue: 8, ..Default::default() });
    let (mut slow, first) = server.joined().await;
    let (mut quick, _) = server.joined().await;
    server.room.calls();
    // More than the pipe and the queue take; nothing of it blocks the room or is kept.
    let long = "x".repeat(1000);
    for n in 0..100 {
        server.room.sink("p1").send(speaker(&long));
        server.room.sink("p2").send(speaker(&n.to_string()));
        assert_eq!(quick.next().await["participant"], n.to_string(), "others notice nothing");
    }
    assert_eq!(slow.close_code().await, 4010);
    let (mut slow, second) = server.resume(&first).await;
    assert_resumed(&second, true, "p1");
    slow.assert_alive().await;
    assert_eq!(server.room.calls(), ["state p1"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_but_never_reads_replies_is_closed() {
    let server = Harness::with(SignalingConfig { event_queue: 8, message_burst: 5000, ..Default::default() });
    let (mut client, _) = server.joined().await;
    for id in 0..400 {
        client.send(json!({"type": "ping", "id": id})).await;
    }
    assert_eq!(client.close_code().await, 4010);
}
