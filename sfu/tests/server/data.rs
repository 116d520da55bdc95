//! Data channels with the clients of the `webrtc` crate, over real sockets, in a room that spans shards.

use crate::harness::participant::{Participant, Plan};
use crate::harness::server::Server;
use crate::harness::within;
use bytes::BytesMut;
use serde_json::json;
use std::sync::Arc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

const PLAN: Plan = Plan { publish: &[], slots: (1, 0), ..Plan::TALK };
const FIRST: u8 = 1;
const LAST: u8 = 2;

/// Somebody whose lanes are open.
struct Talker {
    participant: Participant,
    reliable: Arc<dyn DataChannel>,
    lossy: Arc<dyn DataChannel>,
}

impl Talker {
    async fn join(server: &Server, name: &str) -> Talker {
        let mut participant = Participant::enter(server, "room", name, PLAN).await;
        let reliable = participant.media.open_lane("reliable", None).await;
        let lossy = participant.media.open_lane("lossy", Some(0)).await;
        participant.negotiate().await;
        participant.connected().await;
        for lane in [&reliable, &lossy] {
            let opened = async { while !matches!(lane.poll().await.expect("a lane"), DataChannelEvent::OnOpen) {} };
            within(&format!("{name}'s lane opens"), opened).await;
        }
        Talker { participant, reliable, lossy }
    }

    async fn send(&self, lane: &Arc<dyn DataChannel>, to: &[&str], payload: &[u8]) {
        let mut head = vec![0, to.len() as u8];
        for id in to {
            head.push(id.len() as u8);
            head.extend_from_slice(id.as_bytes());
        }
        let parts: Vec<&[u8]> = payload.chunks(16_000).collect();
        for (index, part) in parts.iter().enumerate() {
            let first = index == 0;
            let last = index + 1 == parts.len();
            let mut frame = vec![u8::from(first) * FIRST + u8::from(last) * LAST];
            frame.extend_from_slice(if first { &head } else { &[] });
            frame.extend_from_slice(part);
            lane.send(BytesMut::from(&frame[..])).await.expect("sent");
        }
    }

    /// The next message of a lane: who sent it, and what.
    async fn receive(&self, lane: &Arc<dyn DataChannel>) -> (String, Vec<u8>) {
        let what = format!("{} receives", self.participant.name);
        within(&what, async {
            let mut payload = Vec::new();
            loop {
                let DataChannelEvent::OnMessage(message) = lane.poll().await.expect("a lane") else { continue };
                let frame = &message.data[..];
                let (sender, mut rest) = frame[2..].split_at(usize::from(frame[1]));
                if frame[0] & FIRST != 0 {
                    // Behind the topic.
                    rest = &rest[1 + usize::from(rest[0])..];
                }
                payload.extend_from_slice(rest);
                if frame[0] & LAST != 0 {
                    return (String::from_utf8_lossy(sender).into_owned(), payload);
                }
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_cross_shards_to_everybody_or_to_some_and_the_operator_is_heard() {
    let server = Server::start(&["--shards", "3"]).await;
    let first = Talker::join(&server, "first").await;
    let mut others = Vec::new();
    // So many that the room spills to another shard.
    for number in 0..13 {
        others.push(Talker::join(&server, &format!("other {number}")).await);
    }
    let long: Vec<u8> = (0..256 * 1024).map(|i| (i % 251) as u8).collect();
    let last = others.last().unwrap();
    first.send(&first.reliable, &[&last.participant.id], b"for the last").await;
    first.send(&first.reliable, &[], &long).await;
    let from = first.participant.id.clone();
    assert_eq!(last.receive(&last.reliable).await, (from.clone(), b"for the last".to_vec()));
    for other in &others {
        let (sender, payload) = other.receive(&other.reliable).await;
        assert!(sender == from && payload == long, "{} has {} bytes", other.participant.name, payload.len());
    }
    last.send(&last.lossy, &[&from], b"back").await;
    assert_eq!(first.receive(&first.lossy).await, (last.participant.id.clone(), b"back".to_vec()));

    let headers = [("Content-Type", "application/json")];
    let path = "/api/v1/rooms/room/data";
    let body = json!({"topic": "notice", "base64": "AQID"}).to_string();
    let response = server.manage("POST", path, &headers, &body).await;
    assert_eq!(response.status, 204, "{}", response.body);
    for talker in others.iter().chain([&first]) {
        assert_eq!(talker.receive(&talker.reliable).await, (String::new(), vec![1, 2, 3]));
    }
    for (body, status, code) in [
        (json!({"text": "x".repeat(256 * 1024 + 1)}), 413, "data-too-large"),
        (json!({"text": "x".repeat(14 * 1024 + 1), "lossy": true}), 413, "data-too-large"),
        (json!({"text": "", "topic": "x".repeat(65)}), 413, "data-too-large"),
        (json!({"topic": "neither"}), 400, "bad-body"),
        (json!({"base64": "?"}), 400, "bad-body"),
    ] {
        let response = server.manage("POST", path, &headers, &body.to_string()).await;
        assert!(response.status == status && response.body.contains(code), "{} {}", response.status, response.body);
    }
    // Three by clients, of which one for 13 others and two for one; the operator's for all 14.
    for (name, received, sent) in
        [("messages", 3, 13 + 1 + 1 + 14), ("bytes", long.len() + 12 + 4, long.len() * 13 + 12 + 4 + 3 * 14)]
    {
        let name = format!("sluice_data_{name}_total");
        server.metric_reaches(&name, &[("direction", "received")], |n| n == received as f64).await;
        server.metric_reaches(&name, &[("direction", "sent")], |n| n == sent as f64).await;
    }
    assert_eq!(server.manage("POST", "/api/v1/rooms/none/data", &headers, r#"{"text": ""}"#).await.status, 404);
}
