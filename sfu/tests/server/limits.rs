//! Every limit is a setting, and going over it is a typed error that leaves everything else as it was.

use crate::harness::participant::{Participant, Plan};
use crate::harness::server::Server;
use crate::harness::signaling::Signaling;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_and_participants_per_room() {
    let server = Server::configured("[limits]\nrooms = 1\nparticipants_per_room = 2", &[]).await;
    let mut first = Signaling::open(&server).await;
    assert_eq!(first.join("one", "Ada", None).await["limits"]["participants"], 2);
    assert_error(&refused_join(&server, "two").await, "rooms-limit", true);
    let mut second = Signaling::open(&server).await;
    assert_eq!(second.join("one", "Grace", None).await["type"], "joined");
    assert_error(&refused_join(&server, "one").await, "room-full", true);

    // Both are limits of the moment: the room goes with its last member.
    for client in [&mut first, &mut second] {
        client.send(json!({"type": "leave"})).await;
        client.closed().await;
    }
    server.metric_reaches("sluice_rooms", &[], |n| n == 0.0).await;
    assert_eq!(Signaling::open(&server).await.join("two", "Ada", None).await["type"], "joined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sections_in_an_offer() {
    let server = Server::configured("[limits]\nsections_per_offer = 3", &[]).await;
    let mut ada = Participant::enter(&server, "room", "Ada", Plan { slots: (1, 1), ..Plan::TALK }).await;
    let error = offer(&mut ada).await;
    assert_error(&error, "too-many-sections", false);
    assert!(error["message"].as_str().unwrap().contains('3'), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tracks_of_a_participant() {
    let server = Server::configured("[limits]\ntracks_per_participant = 1", &[]).await;
    let mut ada = Participant::enter(&server, "room", "Ada", Plan::TALK).await;
    let reply = offer(&mut ada).await;
    // The section above the limit is rejected (RFC 3264 section 6), the others are answered.
    assert_eq!(reply["type"], "answer", "{reply}");
    assert_eq!(reply["tracks"].as_array().unwrap().len(), 1);
    let ports: Vec<_> = reply["sdp"].as_str().unwrap().lines().filter_map(|l| l.strip_prefix("m=")).collect();
    assert_eq!(ports.iter().filter(|line| line.split(' ').nth(1) == Some("0")).count(), 1, "{ports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preferences_of_a_participant() {
    let server = Server::configured("[limits]\nsubscriptions = 1", &[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let mut grace = Signaling::open(&server).await;
    let joined = grace.join("room", "Grace", None).await;
    let tracks = joined["participants"][0]["tracks"].as_array().unwrap();
    let both: Vec<Value> = tracks.iter().map(|t| json!({"track": t["id"], "maxHeight": 180})).collect();
    assert_eq!(both.len(), 2);
    let error = grace.refused(json!({"type": "subscribe", "tracks": both})).await;
    assert_error(&error, "too-many-subscriptions", false);
    // One is allowed, and what is not there does not count.
    grace.send(json!({"type": "subscribe", "tracks": [both[0], {"track": "p99t9"}]})).await;
    grace.round_trip().await;
    assert_eq!(grace.count("error"), 1);
    drop(ada);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn size_and_rate_of_messages() {
    let server = Server::configured("[limits]\nmessage_bytes = 1000\nmessages_per_second = 1", &[]).await;
    let mut ada = Signaling::open(&server).await;
    let joined = ada.join("room", "Ada", None).await;
    assert_eq!((&joined["limits"]["messageBytes"], &joined["limits"]["messagesPerSecond"]), (&json!(1000), &json!(1)));
    let error = ada.refused(json!({"type": "mute", "track": "x".repeat(1000), "muted": true})).await;
    assert_error(&error, "message-too-large", false);
    // A burst of twice the rate has passed with these two messages, or will with the next.
    ada.send(json!({"type": "ping", "id": 1})).await;
    let error = ada.refused(json!({"type": "ping", "id": 2})).await;
    assert_error(&error, "rate-limited", false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_from_one_address() {
    let server = Server::configured("[limits]\nconnections_per_address = 1", &[]).await;
    let _first = Signaling::open(&server).await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/ws", server.http)).await;
    let Err(Error::Http(response)) = refused else { panic!("a second connection was let in") };
    assert_eq!(response.status(), 429);
    let error: Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
    assert_eq!(error["code"], "too-many-connections");
}

async fn refused_join(server: &Server, room: &str) -> Value {
    let mut client = Signaling::open(server).await;
    let error = client.join(room, "Alan", None).await;
    assert_eq!(client.closed().await, 4000);
    error
}

/// Offers and returns the answer or error.
async fn offer(participant: &mut Participant) -> Value {
    let sdp = participant.media.offer().await;
    participant.signaling.send(json!({"type": "offer", "id": 7, "sdp": sdp, "tracks": []})).await;
    let reply = participant
        .signaling
        .find("a reply to the offer", |log| log.messages.iter().find(|message| message["id"] == 7).cloned());
    reply.await
}

/// An error with this code, and with words for the developer.
pub fn assert_error(error: &Value, code: &str, fatal: bool) {
    assert_eq!(
        (&error["type"], &error["code"], &error["fatal"]),
        (&json!("error"), &json!(code), &json!(fatal)),
        "{error}"
    );
    for words in ["message", "hint"] {
        assert!(error[words].as_str().is_some_and(|text| !text.is_empty()), "{words} of {error}");
    }
}
