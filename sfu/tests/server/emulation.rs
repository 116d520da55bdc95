//! What developers of clients ask for: a worse network, and key frames.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emulated_network_is_one_participants_and_ends_when_it_says_so() {
    let server = Server::start(&["--dev"]).await;
    let _ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let mut grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    let alan = Participant::join(&server, "room", "Alan", Plan { slots: (2, 2), ..Plan::TALK }).await;
    for (receiver, sender) in [(&grace, "Ada"), (&alan, "Ada"), (&alan, "Grace")] {
        receiver.media.receives_more(sender, Audio, 10).await;
    }
    // A slow way to Grace: the round trip that the server measures there has the delay in it, and nobody else's.
    grace.signaling.send(json!({"type": "emulate", "down": {"delayMs": 300}})).await;
    grace
        .signaling
        .find("a long round trip", |log| {
            let rtt = |message: &serde_json::Value| message["details"]["rttMs"].as_f64().unwrap_or(0.0);
            log.messages.iter().find(|m| m["type"] == "quality" && rtt(m) >= 300.0).cloned()
        })
        .await;
    // Others learn her score with the message about their own connection, which is the only kind that there is.
    let (id, own_id) = (grace.signaling.nth("joined", 0).await, alan.signaling.nth("joined", 0).await);
    let told = alan.signaling.find("Grace's score", |log| {
        let mut told = log.messages.iter().filter(|m| m["type"] == "quality");
        let others = |m: &serde_json::Value| m["others"].as_array().cloned().unwrap_or_default();
        told.find(|m| others(m).iter().any(|o| o["participant"] == id["participant"] && o["score"].is_f64())).cloned()
    });
    assert_eq!(told.await["participant"], own_id["participant"]);
    grace.media.receives_more("Ada", Audio, 10).await;
    let stats = server.admin("/api/v1/rooms/room/stats").await;
    let stats: serde_json::Value = serde_json::from_str(&stats.body).unwrap();
    let rtt_of_alan =
        stats["participants"].as_array().unwrap().iter().find(|p| p["name"] == "Alan").unwrap()["rttMs"].as_f64();
    assert!(rtt_of_alan.is_some_and(|rtt| rtt < 300.0), "{stats}");

    // Nothing comes from Grace any more, until it does again.
    grace.signaling.send(json!({"type": "emulate", "up": {"loss": 1}})).await;
    alan.slot_pauses(&grace.track(Video), "no-media").await;
    alan.media.receives_more("Ada", Audio, 10).await;
    grace.signaling.send(json!({"type": "emulate"})).await;
    alan.media.receives_more("Grace", Audio, 10).await;
    alan.slot_sends(&grace.track(Video)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_dev_there_is_no_emulation() {
    let server = Server::start(&[]).await;
    let mut ada = Participant::enter(&server, "room", "Ada", Plan::TALK).await;
    assert_eq!(ada.signaling.nth("joined", 0).await["permissions"]["emulate"], false);
    ada.signaling.send(json!({"type": "emulate", "down": {"loss": 1}})).await;
    assert_eq!(ada.signaling.nth("error", 0).await["code"], "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_is_asked_for_the_key_frame_that_a_receiver_asks_for() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let mut grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    let mut eve = Participant::enter(&server, "other", "Eve", Plan::TALK).await;
    grace.media.receives_more("Ada", Video, 10).await;
    let asked = ada.sent(Video).keyframes_asked();
    // Of what one does not receive nothing is asked, however often; the reply to the ping says that it was taken.
    for id in 0..3 {
        eve.signaling.send(json!({"type": "keyframe", "track": ada.track(Video)})).await;
        eve.signaling.send(json!({"type": "ping", "id": id})).await;
        eve.signaling.nth("pong", id).await;
    }
    grace.media.receives_more("Ada", Video, 5).await;
    assert_eq!(ada.sent(Video).keyframes_asked(), asked);
    grace.signaling.send(json!({"type": "keyframe", "track": ada.track(Video)})).await;
    for _ in 0..500 {
        if ada.sent(Video).keyframes_asked() > asked {
            return;
        }
        grace.media.receives_more("Ada", Video, 1).await;
    }
    panic!("Ada was not asked");
}
