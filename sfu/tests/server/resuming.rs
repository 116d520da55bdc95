//! A WebSocket that breaks does not end the call.

use crate::harness::participant::{Participant, Plan, slots, text};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use crate::harness::signaling::Signaling;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_flows_on_while_the_websocket_is_gone_and_the_session_is_resumed() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    grace.slot_sends(&ada.track(Video)).await;
    let before = slots(&grace.signaling.log());

    let Participant { id, resume_token, signaling, media, .. } = grace;
    signaling.cut();
    server.metric_reaches("sluice_websocket_sessions", &[], |n| n == 1.0).await;
    media.receives_more("Ada", Audio, 20).await;
    media.receives_more("Ada", Video, 20).await;

    let mut signaling = Signaling::open(&server).await;
    let joined = signaling.join("room", "Grace", Some(&resume_token)).await;
    assert_eq!((&joined["resumed"], &joined["participant"]), (&json!(true), &json!(id)));
    let now = joined["slots"].as_array().unwrap();
    assert_eq!(now.len(), before.len());
    for slot in before {
        assert!(now.iter().any(|s| s["mid"] == slot["mid"] && s["track"] == slot["track"]), "{slot} in {now:?}");
    }
    // What is said after that arrives again.
    signaling.send(json!({"type": "subscribe", "tracks": [{"track": ada.track(Video), "priority": "hidden"}]})).await;
    signaling
        .find("a pause", |log| slots(log).iter().any(|s| s["state"]["reason"] == "not-visible").then_some(()))
        .await;
    assert_eq!(ada.signaling.count("participant-left"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_websocket_takes_over_and_the_first_is_closed() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    let mut second = Signaling::open(&server).await;
    let joined = second.join("room", "Grace", Some(&grace.resume_token)).await;
    assert_eq!(joined["resumed"], true);
    assert_eq!(grace.signaling.closed().await, 4001);
    second.round_trip().await;
    grace.media.receives_more("Ada", Audio, 10).await;
    assert_eq!(ada.signaling.count("participant-left"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_too_late_is_somebody_new() {
    let server = Server::configured("[limits]\nresume_seconds = 1", &[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    grace.signaling.cut();
    let left = ada.signaling.nth("participant-left", 0).await;
    assert_eq!((text(&left["participant"]), &left["reason"]), (grace.id.clone(), &json!("connection-lost")));
    let mut late = Signaling::open(&server).await;
    let joined = late.join("room", "Grace", Some(&grace.resume_token)).await;
    assert_eq!(joined["resumed"], false);
    assert_ne!(joined["participant"], grace.id);
    assert_eq!(joined["limits"]["resumeSeconds"], 1);
    assert_eq!(joined["slots"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_never_given_resumes_nothing() {
    let server = Server::start(&[]).await;
    let mut guest = Signaling::open(&server).await;
    assert_eq!(guest.join("room", "Mallory", Some("0f4c2a9be1d04c55a8e3f1720b6d9e11")).await["resumed"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_peer_connection_in_the_same_session_starts_media_over() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let mut grace = Participant::join(&server, "room", "Grace", Plan { slots: (3, 3), ..Plan::TALK }).await;
    let old = grace.track(Video);
    grace.renew(Plan::TALK).await;
    let ended = ada.signaling.find("the old track ends", |log| {
        log.messages.iter().find(|m| m["type"] == "track-ended" && m["track"] == old).cloned()
    });
    ended.await;
    assert_ne!(grace.track(Video), old);
    grace.media.receives_more("Ada", Video, 10).await;
    ada.media.receives_more("Grace", Video, 10).await;

    // A resume shows the slots of the new peer connection and no others.
    let mut second = Signaling::open(&server).await;
    let joined = second.join("room", "Grace", Some(&grace.resume_token)).await;
    let mids: Vec<_> = joined["slots"].as_array().unwrap().iter().map(|slot| text(&slot["mid"])).collect();
    assert_eq!(mids, grace.slots().await);
}
