//! Offers that cannot be answered, and messages at the wrong time: the client is told what and why, and goes on.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::Audio;
use crate::harness::server::Server;
use crate::harness::signaling::Signaling;
use crate::limits::assert_error;
use serde_json::json;

/// What is done to a good offer, and the code of the error.
type Spoil = (&'static str, fn(&str) -> String);

const SPOILT: [Spoil; 15] = [
    ("offer-malformed", |_| "not SDP at all".into()),
    ("offer-malformed", |_| String::new()),
    ("offer-too-large", |sdp| sdp.to_owned() + &"a=x-padding:0123456789\r\n".repeat(20_000)),
    ("nothing-offered", |sdp| sdp.split("m=").next().unwrap_or_default().to_owned()),
    ("too-many-sections", |sdp| {
        let section = sdp.split("m=").nth(1).unwrap();
        let more = (0..200).map(|n| format!("m={}", section.replace("a=mid:0", &format!("a=mid:more{n}"))));
        sdp.to_owned() + &more.collect::<String>()
    }),
    ("mid-invalid", |sdp| without(sdp, "a=mid:")),
    ("duplicate-mid", |sdp| sdp.replace("a=mid:1", "a=mid:0")),
    ("not-bundled", |sdp| without(sdp, "a=group:BUNDLE")),
    ("no-rtcp-mux", |sdp| without(sdp, "a=rtcp-mux")),
    ("insecure-profile", |sdp| sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/AVPF")),
    ("missing-fingerprint", |sdp| without(sdp, "a=fingerprint:")),
    ("unsupported-fingerprint", |sdp| sdp.replace("a=fingerprint:sha-256", "a=fingerprint:md5")),
    ("missing-ice-credentials", |sdp| without(sdp, "a=ice-pwd:")),
    ("unsupported-setup", |sdp| sdp.replace("a=setup:actpass", "a=setup:holdconn")),
    ("payload-type-conflict", |sdp| sdp.replace("96 VP8/90000", "111 VP8/90000").replace("SAVPF 96", "SAVPF 111")),
];

fn without(sdp: &str, prefix: &str) -> String {
    sdp.split_inclusive('\n').filter(|line| !line.starts_with(prefix)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_offer_is_explained_and_a_good_one_is_answered_after_all_of_them() {
    let server = Server::configured("[limits]\nmessage_bytes = 1000000", &[]).await;
    let mut ada = Participant::enter(&server, "room", "Ada", Plan::TALK).await;
    let good = ada.media.offer().await;
    for (id, (code, spoil)) in SPOILT.into_iter().enumerate() {
        let sdp = spoil(&good);
        let error = ada.signaling.refused(json!({"type": "offer", "id": 100 + id, "sdp": sdp, "tracks": []})).await;
        assert_error(&error, code, false);
        assert_eq!(error["id"], 100 + id);
    }
    ada.negotiate().await;
    ada.connected().await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    grace.media.receives_more("Ada", Audio, 5).await;

    // During a call a bad offer changes nothing either.
    let before = ada.sent(Audio).sent();
    let fewer = ada.media.offer().await;
    let fewer = fewer.rsplit_once("m=").unwrap().0.to_owned();
    let error = ada.signaling.refused(json!({"type": "offer", "id": 999, "sdp": fewer, "tracks": []})).await;
    assert_error(&error, "sections-removed", false);
    grace.media.receives_more("Ada", Audio, 5).await;
    assert!(ada.sent(Audio).sent() > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_before_join_is_refused_and_join_is_still_possible() {
    let server = Server::start(&[]).await;
    let mut ada = Signaling::open(&server).await;
    for message in [
        json!({"type": "offer", "id": 1, "sdp": "v=0", "tracks": []}),
        json!({"type": "mute", "track": "p1t0", "muted": true}),
        json!({"type": "subscribe", "tracks": []}),
        json!({"type": "leave"}),
    ] {
        assert_error(&ada.refused(message).await, "not-joined", false);
    }
    assert_eq!(ada.join("room", "Ada", None).await["type"], "joined");
    assert_error(&ada.join("room", "Ada", None).await, "already-joined", false);
    ada.round_trip().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_messages_are_explained() {
    let server = Server::start(&[]).await;
    let mut ada = Signaling::open(&server).await;
    assert_eq!(ada.join("room", "Ada", None).await["type"], "joined");
    for (number, text) in ["", "{", "[]", "{\"type\": \"dance\"}", "{\"type\": \"offer\"}"].into_iter().enumerate() {
        ada.send_text(text.to_owned()).await;
        assert_error(&ada.nth("error", number).await, "bad-message", false);
    }
    ada.send_binary(vec![0, 1, 2]).await;
    assert_error(&ada.nth("error", 5).await, "bad-message", false);
    let error = ada.refused(json!({"type": "mute", "track": "p1t77", "muted": true})).await;
    assert_error(&error, "not-found", false);
    let error =
        ada.refused(json!({"type": "offer", "id": 3, "sdp": "v=0", "tracks": [{"mid": "0", "source": "cam"}]})).await;
    assert_eq!((&error["code"], &error["path"]), (&json!("bad-message"), &json!("tracks[0].source")));
    ada.round_trip().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_cannot_be_are_fatal_with_a_reason() {
    let server = Server::start(&[]).await;
    let mut old = Signaling::open(&server).await;
    let error = old.refused(json!({"type": "join", "version": 99, "room": "room", "name": "Ada"})).await;
    assert_error(&error, "unsupported-version", true);
    assert_eq!(old.closed().await, 4000);
    for (room, name) in [("no/slash", "Ada"), ("", "Ada"), ("room", ""), ("room", "\u{7}bell")] {
        let mut client = Signaling::open(&server).await;
        assert_error(&client.join(room, name, None).await, "bad-message", false);
        assert_eq!(client.join("room", "Ada", None).await["type"], "joined");
    }
}
