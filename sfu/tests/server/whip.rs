//! WHIP (RFC 9725): publishing by HTTP.

use crate::harness::media::{Media, Network};
use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use crate::harness::whip::{Http, SDP, fragment, header};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_is_a_participant_like_any_other() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let encoder = Http::publish(&server, "room", "Encoder").await;
    let joined = ada.signaling.nth("participant-joined", 0).await;
    assert_eq!(joined["participant"]["name"], "Encoder");
    for (number, kind) in [(0, "audio"), (1, "video")] {
        let published = ada.signaling.nth("track-published", number).await;
        assert_eq!(published["track"]["kind"], kind, "{published}");
        assert_eq!(published["track"]["participant"], joined["participant"]["id"]);
    }
    for kind in [Audio, Video] {
        ada.media.receives_more("Encoder", kind, 20).await;
    }
    // It sees nobody, though Ada publishes.
    assert!(encoder.media.received().publishers().is_empty());
    server.metric_reaches("sluice_http_sessions", &[], |n| n == 1.0).await;

    assert_eq!(encoder.delete(&server).await.status, 200);
    let left = ada.signaling.nth("participant-left", 0).await;
    assert_eq!((&left["participant"], &left["reason"]), (&joined["participant"]["id"], &"left".into()));
    let again = encoder.delete(&server).await;
    assert_eq!(again.status, 404);
    assert!(again.body.starts_with("no-session: "), "{}", again.body);
    server.metric_reaches("sluice_http_sessions", &[], |n| n == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_of_a_screen_is_shown_as_one_also_after_an_ice_restart() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let encoder = Http::publish(&server, "room", "Slides&source=screen").await;
    for (number, source) in [(0, "screen-audio"), (1, "screen")] {
        assert_eq!(ada.signaling.nth("track-published", number).await["track"]["source"], source);
    }
    encoder.media.restart_ice().await;
    let restart = fragment(&encoder.media.offer().await);
    assert_eq!(encoder.patch(&server, &[("If-Match", "*")], &restart).await.status, 200);
    server.metric_reaches("sluice_tracks", &[("source", "screen")], |n| n == 1.0).await;
    assert_eq!(server.metric("sluice_tracks", &[("source", "camera")]).await, 1.0, "Ada's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_is_asked_for_a_key_frame_when_somebody_comes_late() {
    let server = Server::start(&[]).await;
    let encoder = Http::publish(&server, "room", "Encoder").await;
    server
        .metric_reaches("sluice_rtp_packets_total", &[("direction", "received"), ("kind", "video")], |n| n > 100.0)
        .await;
    assert_eq!(encoder.sending[1].keyframes_asked(), 0, "nobody watches");
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    ada.media.receives_more("Encoder", Video, 1).await;
    assert!(encoder.sending[1].keyframes_asked() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_closes_its_connection_without_a_word_leaves_the_room() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let encoder = Http::publish(&server, "room", "Encoder").await;
    ada.media.receives_more("Encoder", Audio, 5).await;
    encoder.media.close().await;
    assert_eq!(ada.signaling.nth("participant-left", 0).await["reason"], "connection-lost");
    assert_eq!(encoder.delete(&server).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trickled_candidates_are_taken_and_ice_restarts_under_its_entity_tag() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let encoder = Http::publish(&server, "room", "Encoder").await;
    ada.media.receives_more("Encoder", Video, 5).await;

    let trickled = fragment(&encoder.media.description().await);
    assert_eq!(encoder.patch(&server, &[("If-Match", &encoder.etag)], &trickled).await.status, 204);
    assert_eq!(encoder.patch(&server, &[], &trickled).await.status, 428);
    assert_eq!(encoder.patch(&server, &[("If-Match", "\"other\"")], &trickled).await.status, 412);
    assert_eq!(encoder.patch(&server, &[("If-Match", "*")], "a=end-of-candidates\r\n").await.status, 400);
    let wrong = server.send("PATCH", &encoder.location, &[SDP, ("If-Match", "*")], &trickled).await;
    assert_eq!(wrong.status, 415, "{}", wrong.body);
    assert_eq!(header(&wrong, "accept-patch"), "application/trickle-ice-sdpfrag");

    encoder.media.restart_ice().await;
    let offer = encoder.media.offer().await;
    let restarted = encoder.patch(&server, &[("If-Match", "*")], &fragment(&offer)).await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    assert_eq!(header(&restarted, "content-type"), "application/trickle-ice-sdpfrag");
    assert_ne!(header(&restarted, "etag"), encoder.etag);
    // The old answer with the new credentials is the new answer.
    let mut answer = encoder.answer.clone();
    for key in ["a=ice-ufrag:", "a=ice-pwd:"] {
        let find = |text: &str| text.lines().find(|line| line.starts_with(key)).expect(key).to_owned();
        let (old, new) = (find(&encoder.answer), find(&restarted.body));
        assert_ne!(old, new);
        answer = answer.replace(&old, &new);
    }
    assert!(restarted.body.contains("a=candidate:"), "{}", restarted.body);
    encoder.media.answer(&answer).await;
    ada.media.receives_more("Encoder", Video, 30).await;
    // What was known before the restart is no longer current.
    assert_eq!(encoder.patch(&server, &[("If-Match", &encoder.etag)], &fragment(&offer)).await.status, 412);
    let current = header(&restarted, "etag");
    assert_eq!(encoder.patch(&server, &[("If-Match", &current)], &fragment(&offer)).await.status, 204);
    assert_eq!(ada.signaling.count("participant-left"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_in_plain_text_what_is_wrong() {
    let server = Server::start(&[]).await;
    let media = Media::new(Network::Udp).await;
    let _sending = media.publish("Encoder", Video).await;
    let publishes = media.offer().await;
    let json = ("Content-Type", "application/json");
    for (path, kind, body, status, code) in [
        ("/whip/room", json, &*publishes, 415, "unsupported-media-type"),
        ("/whip/room", SDP, "v=0\r\n", 400, "offer-malformed"),
        ("/whip/room%2fother", SDP, &publishes, 400, "bad-room"),
        ("/whip/room?name=%20", SDP, &publishes, 400, "bad-name"),
        ("/whep/room", SDP, &publishes, 422, "nothing-usable"),
        ("/whip/room", SDP, &publishes.replace("a=rtcp-mux\r\n", ""), 422, "no-rtcp-mux"),
    ] {
        let refused = server.send("POST", path, &[kind], body).await;
        assert_eq!(refused.status, status, "{path} {}", refused.body);
        assert!(refused.body.starts_with(&format!("{code}: ")), "{path} {}", refused.body);
        assert_eq!(refused.body.lines().count(), 2, "what is wrong, and what to do: {}", refused.body);
        assert_eq!(header(&refused, "content-type"), "text/plain; charset=utf-8");
    }
    assert_eq!(server.request("GET", "/whip/room", &[]).await.status, 405);
    assert_eq!(server.request("DELETE", "/whip/room/sessions/0", &[]).await.status, 404);
    // Nobody of these stayed.
    server.metric_reaches("sluice_participants", &[], |n| n == 0.0).await;
    assert_eq!(server.metric("sluice_http_sessions", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_an_allowed_origin_may_publish() {
    let server = Server::configured("[http]\ncors_origins = ['https://studio.example']\n", &[]).await;
    let origin = ("Origin", "https://studio.example");
    let asks = [
        origin,
        ("Access-Control-Request-Method", "PATCH"),
        ("Access-Control-Request-Headers", "authorization,if-match"),
    ];
    let preflight = server.request("OPTIONS", "/whip/room", &asks).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(header(&preflight, "access-control-allow-origin"), origin.1);
    assert!(header(&preflight, "access-control-allow-methods").contains("PATCH"));
    assert!(header(&preflight, "access-control-allow-headers").contains("if-match"));
    let media = Media::new(Network::Udp).await;
    let _sending = media.publish("Encoder", Audio).await;
    let created = server.send("POST", "/whip/room", &[SDP, origin], &media.offer().await).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let exposed = header(&created, "access-control-expose-headers");
    for name in ["location", "etag", "link"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{exposed}");
    }
    assert_eq!(header(&created, "accept-post"), "application/sdp");
}
