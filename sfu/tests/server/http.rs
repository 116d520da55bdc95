//! What is served beside the rooms protocol: the page, the SDK, the metrics.

use crate::harness::eventually;
use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use crate::harness::signaling::Signaling;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_and_sdk_are_served_once_and_then_known() {
    let server = Server::start(&[]).await;
    for (path, mime) in [("/", "text/html"), ("/r/some-room", "text/html"), ("/sdk/index.js", "text/javascript")] {
        let first = server.get(path).await;
        assert_eq!(first.status, 200, "{path}");
        assert!(first.header("content-type").is_some_and(|kind| kind.starts_with(mime)), "{path}");
        assert!(first.header("content-security-policy").is_some(), "{path}");
        let etag = first.header("etag").expect("an ETag").to_owned();
        for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let again = server.request("GET", path, &[("If-None-Match", &known)]).await;
            assert_eq!(
                (again.status, again.body.len(), again.header("etag")),
                (304, 0, Some(&*etag)),
                "{path} {known}"
            );
        }
        assert_eq!(server.request("GET", path, &[("If-None-Match", "\"other\"")]).await.status, 200, "{path}");
        assert_eq!(server.request("HEAD", path, &[]).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_404_and_what_is_not_meant_405() {
    let server = Server::start(&[]).await;
    for path in ["/nothing", "/sdk/", "/../Cargo.toml", "/r/a/b", "/%2e%2e/%2e%2e/etc/passwd"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    assert_eq!(server.request("POST", "/", &[("Content-Length", "0")]).await.status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_said_waits_for_an_acknowledgement_of_what_was_said_before() {
    for arguments in [&[][..], &["--self-signed"]] {
        let server = Server::start(arguments).await;
        for address in [server.http, server.admin] {
            let _client = tokio::net::TcpStream::connect(address).await.unwrap();
            let socket = server.accepted(address.port()).await;
            eventually("TCP_NODELAY", async || socket.nodelay().unwrap().then_some(())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_the_catalogue_and_move_with_a_call() {
    // With a key, a token is looked at; open, nobody needs one.
    let key = ("SLUICE_ACCESS__KEYS__MAIN", "a secret of this test, long enough");
    let server = Server::start_with(&["--shards", "2", "--open"], &[key]).await;
    assert_eq!(server.metric("sluice_ready", &[]).await, 1.0);
    let bad = [("Authorization", "Bearer nonsense"), ("Content-Type", "application/sdp")];
    assert_eq!(server.send("POST", "/whip/room", &bad, "v=0").await.status, 401);
    {
        let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
        let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
        ada.media.receives_more("Grace", Audio, 10).await;
        grace.media.receives_more("Ada", Video, 10).await;
        let mut mistaken = Signaling::open(&server).await;
        mistaken.refused(serde_json::json!({"type": "leave"})).await;
        server
            .metric_reaches("sluice_rtp_packets_total", &[("direction", "received"), ("kind", "video")], |n| n > 200.0)
            .await;
        let late = Participant::join(&server, "room", "Late", Plan::TALK).await;
        late.media.receives_more("Ada", Video, 1).await;
        for (name, labels, least) in [
            ("sluice_rooms", &[][..], 1.0),
            ("sluice_participants", &[("role", "member")], 2.0),
            ("sluice_allocation_duration_seconds_count", &[], 2.0),
            ("sluice_websocket_sessions", &[], 2.0),
            ("sluice_joins_total", &[("outcome", "joined")], 2.0),
            ("sluice_signaling_errors_total", &[("code", "not-joined")], 1.0),
            ("sluice_tracks", &[("kind", "video"), ("source", "camera")], 2.0),
            ("sluice_tracks", &[("kind", "audio"), ("source", "microphone")], 2.0),
            ("sluice_subscriptions", &[("state", "active")], 4.0),
            ("sluice_rtp_packets_total", &[("direction", "received"), ("kind", "audio")], 10.0),
            ("sluice_rtp_packets_total", &[("direction", "sent"), ("kind", "video")], 10.0),
            ("sluice_rtp_bytes_total", &[("direction", "sent"), ("kind", "audio")], 100.0),
            ("sluice_rtcp_packets_total", &[("direction", "sent")], 1.0),
            ("sluice_keyframe_requests_total", &[("direction", "sent")], 1.0),
            ("sluice_dtls_handshakes_total", &[("outcome", "completed")], 2.0),
            ("sluice_auth_failures_total", &[("reason", "token-malformed")], 1.0),
            ("sluice_http_request_duration_seconds_count", &[("route", "/whip/{room}"), ("status", "401")], 1.0),
            ("sluice_peers", &[("state", "connected")], 2.0),
            ("sluice_subscription_encodings", &[], 2.0),
            ("sluice_ice_results_total", &[("protocol", "udp"), ("family", "ipv4")], 2.0),
            ("sluice_rtcp_packets_total", &[("direction", "received"), ("type", "transport_feedback")], 1.0),
            ("sluice_join_duration_seconds_count", &[("phase", "signaling")], 2.0),
            ("sluice_join_duration_seconds_count", &[("phase", "ice")], 2.0),
            ("sluice_join_duration_seconds_count", &[("phase", "dtls")], 2.0),
            ("sluice_join_duration_seconds_count", &[("phase", "first_media")], 2.0),
            ("sluice_forward_latency_seconds_count", &[], 20.0),
            ("sluice_pacer_delay_seconds_count", &[("kind", "video")], 10.0),
            ("sluice_keyframe_wait_seconds_count", &[], 1.0),
            ("sluice_rtt_seconds_count", &[], 1.0),
            ("sluice_loss_ratio_count", &[("direction", "sent")], 1.0),
            ("sluice_downlink_estimate_bytes_per_second_count", &[], 1.0),
            ("sluice_quality_score_count", &[], 2.0),
            ("sluice_shard_tick_duration_seconds_count", &[("shard", "1")], 1.0),
        ] {
            server.metric_reaches(name, labels, |value| value >= least).await;
        }
    }
    assert_eq!(server.get("/metrics").await.status, 404, "for operators only");
    let response = server.admin("/metrics").await;
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let documented = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
    let names: Vec<_> = documented.split('`').filter(|word| word.starts_with("sluice_")).collect();
    assert!(names.len() > 20);
    for name in names {
        assert!(response.body.contains(&format!("# TYPE {name} ")), "{name} is documented and not served");
    }
}
