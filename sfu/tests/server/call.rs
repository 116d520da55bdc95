//! A call of two: each hears and sees the other, and both are told what happens.

use crate::harness::participant::{Participant, Plan, slots};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_participants_receive_each_others_audio_and_video() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    for (receiver, sender) in [(&ada, &grace), (&grace, &ada)] {
        for kind in [Audio, Video] {
            receiver.media.receives_more(&sender.name, kind, 20).await;
            let slot = receiver.slot_sends(&sender.track(kind)).await;
            assert_eq!(slot["kind"], if kind == Audio { "audio" } else { "video" });
            assert!(receiver.slots().await.contains(&slot["mid"].as_str().unwrap().to_owned()), "{slot}");
        }
        // Nobody gets back what it sends.
        assert_eq!(receiver.media.received().publishers().len(), 1);
        assert_eq!(receiver.media.received().strange, 0);
    }
    let seen = grace.slot_sends(&ada.track(Video)).await;
    assert_eq!((&seen["state"]["codec"], &seen["state"]["height"]), (&json!("VP8"), &json!(180)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_who_comes_late_starts_with_a_key_frame_that_the_server_asked_for() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    server
        .metric_reaches("sluice_rtp_packets_total", &[("direction", "received"), ("kind", "video")], |n| n > 100.0)
        .await;
    let asked = ada.sent(Video).keyframes_asked();
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    grace.media.receives_more("Ada", Video, 1).await;
    assert!(ada.sent(Video).keyframes_asked() > asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_told_of_tracks_mutes_and_leaving() {
    let server = Server::start(&[]).await;
    let mut ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let mut grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    assert_eq!(ada.signaling.nth("participant-joined", 0).await["participant"]["name"], "Grace");
    let joined = grace.signaling.nth("joined", 0).await;
    assert_eq!(joined["participants"][0]["name"], "Ada");
    assert_eq!(joined["participants"][0]["tracks"].as_array().map(Vec::len), Some(2));

    let video = ada.track(Video);
    grace.slot_sends(&video).await;
    ada.signaling.send(json!({"type": "mute", "track": video, "muted": true})).await;
    let told = grace.signaling.nth("track-muted", 0).await;
    assert_eq!((&told["track"], &told["muted"]), (&json!(video), &json!(true)));
    grace.slot_pauses(&video, "muted").await;
    ada.signaling.send(json!({"type": "mute", "track": video, "muted": false})).await;
    grace.slot_sends(&video).await;
    grace.media.receives_more("Ada", Video, 5).await;

    ada.signaling.send(json!({"type": "leave"})).await;
    assert_eq!(ada.signaling.closed().await, 1000);
    let left = grace.signaling.nth("participant-left", 0).await;
    assert_eq!((&left["participant"], &left["reason"]), (&json!(ada.id), &json!("left")));
    grace
        .signaling
        .find("both slots are free", |log| slots(log).iter().all(|slot| slot["track"].is_null()).then_some(()))
        .await;
    grace.signaling.round_trip().await;
    server.metric_reaches("sluice_participants", &[], |n| n == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_tile_is_paused_and_comes_back() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let mut grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    let video = ada.track(Video);
    grace.slot_sends(&video).await;
    grace.signaling.send(json!({"type": "subscribe", "tracks": [{"track": video, "priority": "hidden"}]})).await;
    grace.slot_pauses(&video, "not-visible").await;
    // Audio goes on meanwhile.
    grace.media.receives_more("Ada", Audio, 10).await;
    grace.signaling.send(json!({"type": "subscribe", "tracks": [{"track": video}]})).await;
    grace.slot_sends(&video).await;
    grace.media.receives_more("Ada", Video, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_with_too_few_slots_is_asked_for_more_and_then_sees_everybody() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan { slots: (2, 2), ..Plan::TALK }).await;
    let mut alan = Participant::join(&server, "room", "Alan", Plan::TALK).await;
    let wanted = alan.signaling.nth("slots-wanted", 0).await;
    let missing = |kind: &str| wanted[kind].as_u64().unwrap();
    assert!(missing("audio") + missing("video") > 0, "{wanted}");
    alan.media.add_slot(Audio).await;
    alan.media.add_slot(Video).await;
    alan.negotiate().await;
    for other in [&ada, &grace] {
        for kind in [Audio, Video] {
            alan.slot_sends(&other.track(kind)).await;
            alan.media.receives_more(&other.name, kind, 5).await;
        }
    }
    let mut bound: Vec<_> = slots(&alan.signaling.log()).iter().map(|s| s["mid"].to_string()).collect();
    bound.sort();
    bound.dedup();
    assert_eq!(bound.len(), 4, "four slots carry four tracks");
}
