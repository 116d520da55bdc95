//! What a client may get wrong, by mistake or on purpose.

use super::harness::{Harness, join};
use crate::config::SignalingConfig;
use futures_util::SinkExt;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test(start_paused = true)]
async fn bad_messages_are_explained_and_the_connection_stays() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    for (text, id, path) in [
        ("hello", None, None),
        ("[]", None, None),
        (r#"{"id":3}"#, Some(3), Some("type")),
        (r#"{"type":"dance","id":4}"#, Some(4), Some("type")),
        (r#"{"type":"offer","id":5}"#, Some(5), Some(".")),
        (r#"{"type":"offer","id":-5,"sdp":""}"#, None, Some("id")),
        (r#"{"type":"offer","id":6,"sdp":"","tracks":[{"mid":0,"source":"camera"}]}"#, Some(6), Some("tracks[0].mid")),
        (r#"{"type":"subscribe","tracks":[{"track":"a","maxHeight":1e9}]}"#, None, Some("tracks[0].maxHeight")),
        (r#"{"type":"subscribe","default":{"priority":"high"}}"#, None, Some("default.priority")),
        (r#"{"type":"mute","track":"p1t0","muted":"yes"}"#, None, Some("muted")),
    ] {
        client.send_text(text).await;
        let error = client.next().await;
        assert_eq!(error["code"], "bad-message", "{text}: {error}");
        assert_eq!((error["id"].as_u64(), error["path"].as_str()), (id, path), "{text}: {error}");
        assert!(!error["hint"].as_str().expect("a hint").is_empty() && error["fatal"] == false, "{text}: {error}");
    }
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_before_the_room_hears_of_them() {
    let server = Harness::new();
    let mut client = server.connect().await;
    let long = "x".repeat(65);
    for (room, name, path) in [("a b", "Ada", "room"), ("", "Ada", "room"), (&long, "Ada", "room"), ("a", " ", "name")]
    {
        client.send(json!({"type": "join", "version": 1, "room": room, "name": name})).await;
        assert_eq!(client.next().await["path"], path);
    }
    client.send(join(None)).await;
    assert_eq!(client.next().await["type"], "joined");
    assert_eq!(server.room.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn too_many_mistakes_end_the_session() {
    let server = Harness::new();
    let (mut client, first) = server.joined().await;
    server.room.calls();
    for _ in 0..20 {
        client.send_text("?").await;
        assert_eq!(client.next_error().await, "bad-message");
    }
    client.send_text("?").await;
    let error = client.next().await;
    assert_eq!((&error["code"], &error["fatal"]), (&json!("too-many-mistakes"), &json!(true)));
    assert_eq!(client.close_code().await, 4000);
    assert_eq!(server.room.calls(), ["leave p1 ConnectionLost"]);
    let (_client, second) = server.resume(&first).await;
    assert_eq!(second["resumed"], false);
}

#[tokio::test(start_paused = true)]
async fn a_mistake_now_and_then_is_forgiven() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    for _ in 0..100 {
        client.send_text("?").await;
        assert_eq!(client.next_error().await, "bad-message");
        sleep(Duration::from_secs(11)).await;
    }
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_told_then_cut_off_and_never_reaches_the_room() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    server.room.calls();
    let mute = Message::text(r#"{"type":"mute","track":"p1t0","muted":true}"#);
    for _ in 0..1000 {
        let _ = client.0.send(mute.clone()).await;
        if server.counters.signaling_errors.get("too-many-mistakes") > 0 {
            break;
        }
    }
    for _ in 0..20 {
        assert_eq!(client.next_error().await, "rate-limited");
    }
    assert_eq!(client.next_error().await, "too-many-mistakes");
    assert_eq!(client.close_code().await, 4000);
    let muted = server.room.calls().iter().filter(|call| call.starts_with("mute")).count();
    // The join took one of the burst.
    assert_eq!(muted, 99);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_a_flood() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    let mut sent = 0;
    while server.counters.signaling_errors.get("too-many-mistakes") == 0 && sent < 10_000 {
        let _ = client.0.feed(Message::Ping("x".into())).await;
        let _ = client.0.flush().await;
        tokio::task::yield_now().await;
        sent += 1;
    }
    assert!(sent < 1000, "{sent} pings");
}

#[tokio::test(start_paused = true)]
async fn the_usual_pace_is_never_limited() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    for _ in 0..500 {
        client.assert_alive().await;
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_binary_frame_is_refused() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    client.0.send(Message::binary(&b"{}"[..])).await.expect("open");
    let error = client.next().await;
    assert_eq!((&error["code"], &error["hint"]), (&json!("bad-message"), &json!("Send JSON in text frames.")));
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_size_limit_is_told_and_the_largest_allowed_is_read() {
    let server = Harness::with(SignalingConfig { message_bytes: 10_000, ..Default::default() });
    let (mut client, _) = server.joined().await;
    let frame = r#"{"type":"offer","id":1,"sdp":""}"#.len();
    let offer = |bytes: usize| json!({"type": "offer", "id": 1, "sdp": "x".repeat(bytes - frame)}).to_string();
    client.send_text(&offer(10_000)).await;
    assert_eq!(client.next().await["type"], "answer");
    client.send_text(&offer(10_001)).await;
    assert_eq!(client.next_error().await, "message-too-large");
    client.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_far_over_the_limit_closes_the_websocket_but_not_the_session() {
    let server = Harness::with(SignalingConfig { message_bytes: 10_000, ..Default::default() });
    let (mut client, first) = server.joined().await;
    // The server may close before it has taken all.
    let _ = client.0.send(Message::text("x".repeat(20_001))).await;
    assert_eq!(client.close_code().await, 4012);
    let (_client, second) = server.resume(&first).await;
    assert_eq!(second["resumed"], true);
}

#[tokio::test(start_paused = true)]
async fn before_join_nothing_else_is_served() {
    let server = Harness::new();
    let mut client = server.connect().await;
    for message in
        [json!({"type": "offer", "id": 1, "sdp": ""}), json!({"type": "leave"}), json!({"type": "ping", "id": 1})]
    {
        client.send(message).await;
        assert_eq!(client.next_error().await, "not-joined");
    }
    client.send(join(None)).await;
    assert_eq!(client.next().await["type"], "joined");
}

#[tokio::test(start_paused = true)]
async fn joining_twice_is_refused_and_harmless() {
    let server = Harness::new();
    let (mut client, _) = server.joined().await;
    client.send(join(None)).await;
    assert_eq!(client.next_error().await, "already-joined");
    client.assert_alive().await;
    assert_eq!(server.room.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_version_is_told_which_one_is_spoken() {
    let server = Harness::new();
    let mut client = server.connect().await;
    client.send(json!({"type": "join", "version": 2, "room": "daily", "name": "Ada"})).await;
    let error = client.next().await;
    assert_eq!((&error["code"], &error["fatal"]), (&json!("unsupported-version"), &json!(true)));
    assert_eq!(error["hint"], "This server speaks version 1.");
    assert_eq!(client.close_code().await, 4000);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_join_in_time_is_sent_away_however_busy() {
    let server = Harness::new();
    let opened = Instant::now();
    let mut idle = server.connect().await;
    assert_eq!(idle.next_error().await, "join-timeout");
    assert_eq!(opened.elapsed().as_secs(), 10);
    assert_eq!(idle.close_code().await, 4000);

    let mut busy = server.connect().await;
    let opened = Instant::now();
    let code = loop {
        let _ = busy.0.send(Message::Ping("x".into())).await;
        tokio::select! {
            code = busy.next_error() => break code,
            _ = sleep(Duration::from_secs(1)) => {}
        }
    };
    assert_eq!((code.as_str(), opened.elapsed().as_secs()), ("join-timeout", 10));
    assert_eq!(server.room.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_the_refusal_is_cut_off() {
    let server = Harness::new();
    let client = server.connect().await;
    sleep(Duration::from_secs(13)).await;
    assert_eq!(server.counters.websocket_sessions.get(), 0);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn one_address_has_only_so_many_connections() {
    let server = Harness::with(SignalingConfig { connections_per_address: 2, ..Default::default() });
    let (first, _) = server.joined().await;
    let (_second, _) = server.joined().await;
    let Err(Error::Http(response)) = server.try_connect().await.map(drop) else { panic!("refused over HTTP") };
    assert_eq!(response.status(), 429);
    drop(first);
    // The place is free while the session still waits to be resumed.
    sleep(Duration::from_secs(1)).await;
    server.joined().await;
}
