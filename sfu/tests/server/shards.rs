//! Several shards behind one port: the kernel spreads datagrams by their source port, the rooms by load, and still each
//! datagram finds its participant. Rooms do not hear each other.

use crate::harness::participant::{Participant, Plan, slots};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use serde_json::json;
use std::collections::BTreeSet;

/// Of 12 participants in four rooms on three shards about 8 have source ports that the kernel gives to another shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_shard_the_kernel_picks_everybody_connects_and_rooms_stay_apart() {
    let server = Server::start(&["--shards", "3"]).await;
    let mut rooms = Vec::new();
    for room in 0..4 {
        let mut members = Vec::new();
        for member in 0..3 {
            let plan = Plan { publish: &[Audio, Video], slots: (2, 2), ..Plan::TALK };
            let name = format!("{member} of room {room}");
            members.push(Participant::join(&server, &format!("room-{room}"), &name, plan).await);
        }
        rooms.push(members);
    }
    for members in &rooms {
        for receiver in members {
            let others: BTreeSet<_> =
                members.iter().map(|m| m.name.as_str()).filter(|name| *name != receiver.name).collect();
            for other in &others {
                receiver.media.receives_more(other, Audio, 5).await;
                receiver.media.receives_more(other, Video, 5).await;
            }
            let received = receiver.media.received();
            assert_eq!(received.publishers(), others, "{} hears its own room only", receiver.name);
            assert_eq!(received.strange, 0);
            let said = receiver.signaling.log().messages;
            let tracks = said.iter().filter(|m| m["type"] == "track-published").count();
            assert!(tracks <= 4, "{} is told of its own room only", receiver.name);
        }
    }
    let metrics = server.admin("/metrics").await.body;
    for shard in 0..3 {
        assert!(metrics.contains(&format!("sluice_shard_busy_ratio{{shard=\"{shard}\"}}")), "{metrics}");
    }
    assert_eq!(server.metric("sluice_shard_queue_drops_total", &[("lane", "handovers")]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_room_spans_shards_and_nobody_notices() {
    let server = Server::start(&["--shards", "3"]).await;
    let mut talker = Participant::join(&server, "room", "talker", Plan { slots: (1, 1), ..Plan::TALK }).await;
    let mut listeners = Vec::new();
    for number in 0..13 {
        let plan = Plan { publish: &[], ..Plan::TALK };
        listeners.push(Participant::join(&server, "room", &format!("listener {number}"), plan).await);
    }
    for listener in &listeners {
        listener.media.receives_more("talker", Audio, 10).await;
        listener.media.receives_more("talker", Video, 10).await;
        assert_eq!(listener.media.received().strange, 0);
    }
    // Listening costs the talker nothing: each packet came in once, and crossed once to each shard that takes it.
    let packets = async |metric: &str, labels: &[(&str, &str)]| server.metric(metric, labels).await;
    let crossed = packets("sluice_relayed_packets_total", &[("direction", "received")]).await;
    let received = packets("sluice_rtp_packets_total", &[("direction", "received"), ("kind", "audio")]).await;
    assert!(received <= talker.sent(Audio).sent() as f64);
    assert!(crossed > 0.0, "the room is on more than one shard");
    assert!(crossed <= 2.0 * (talker.sent(Audio).sent() + talker.sent(Video).sent()) as f64, "{crossed}");
    assert_eq!(packets("sluice_shard_queue_drops_total", &[("lane", "relay")]).await, 0.0);

    // Whoever is on another shard publishes to this one, mutes are seen everywhere, and so is who leaves.
    let last = Participant::join(&server, "room", "last", Plan { slots: (0, 0), ..Plan::TALK }).await;
    talker.media.receives_more("last", Video, 10).await;
    let video = talker.track(Video);
    talker.signaling.send(json!({"type": "mute", "track": video, "muted": true})).await;
    for listener in &listeners {
        listener.slot_pauses(&video, "muted").await;
    }
    talker.signaling.send(json!({"type": "leave"})).await;
    for listener in &listeners {
        listener
            .signaling
            .find("the talker's slots are free", |log| {
                slots(log).iter().all(|slot| slot["track"] != json!(video)).then_some(())
            })
            .await;
    }
    drop(last);
}
