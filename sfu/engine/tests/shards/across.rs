//! A room across shards: each packet crosses once, requests reach the publisher once, losses on the way are repaired,
//! the speaker is one.

use crate::harness::{Access, Publish, World, millis, seconds};
use sfu_engine::Event;
use sfu_engine::command::Preference;
use sfu_engine::event::Sending;
use sfu_engine::snapshot::RtcpKind;

/// The publisher, alone on shard 1, and six viewers, two on each shard.
fn audience(seed: u64) -> World {
    let mut world = World::new(seed);
    world.join(1, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    for id in [3, 4, 5, 6, 7, 8] {
        world.join(id, Access::default(), &[], (1, 1));
    }
    world
}

fn pictures(world: &World, id: u64, since: std::time::Duration) -> usize {
    let track = world.client(1).track("1");
    world.client(id).receiver_of(track).video.decoded_since(world.start + since).count()
}

#[test]
fn a_packet_crosses_once_however_many_take_it() {
    let mut world = audience(51);
    world.run(seconds(8));
    let (received, crossed, sent) = (
        |s: &sfu_engine::EngineSnapshot| s.counters.rtp_packets_in.iter().sum::<u64>(),
        |s: &sfu_engine::EngineSnapshot| s.counters.relayed.received,
        |s: &sfu_engine::EngineSnapshot| s.counters.rtp_packets_out.iter().sum::<u64>(),
    );
    let before = (world.total(received), world.total(crossed), world.total(sent));
    world.run(seconds(4));
    let [received, crossed, sent] =
        [world.total(received) - before.0, world.total(crossed) - before.1, world.total(sent) - before.2];
    assert!(crossed <= 2 * received, "{crossed} packets crossed to two shards, {received} came in");
    assert!(sent > 5 * crossed / 2 && crossed > received / 3, "{sent} packets sent, {crossed} crossed");
    for id in [3, 4, 5, 6, 7, 8] {
        let video = &world.client(id).receiver_of(world.client(1).track("1")).video;
        video.check();
        assert_eq!((video.holes(), video.undecoded(), video.height()), (0, 0, 720), "{id}");
        assert!(pictures(&world, id, seconds(8)) > 110, "{id}: {}", pictures(&world, id, seconds(8)));
    }
}

#[test]
fn a_key_frame_that_many_wait_for_is_asked_of_the_publisher_once() {
    let mut world = audience(52);
    world.run(seconds(8));
    let asked = world.total(|s| s.counters.rtcp(RtcpKind::Pli).sent);
    // Three viewers on three shards come at the same moment.
    for id in [9, 10, 11] {
        world.join(id, Access::default(), &[], (1, 1));
    }
    world.run(seconds(2));
    for id in [9, 10, 11] {
        assert!(pictures(&world, id, seconds(8)) > 30, "{id}: {}", pictures(&world, id, seconds(8)));
    }
    // They start at the lowest encoding and rise: one request for each encoding on the way.
    let asked = world.total(|s| s.counters.rtcp(RtcpKind::Pli).sent) - asked;
    assert!((1..=3).contains(&asked), "{asked} requests");
}

#[test]
fn a_viewer_elsewhere_gets_the_layer_that_it_asks_for() {
    let mut world = audience(53);
    world.run(seconds(6));
    let track = world.client(1).track("1");
    for (height, encoding) in [(180, 0), (360, 1), (720, 2)] {
        world.prefer(3, track, Preference { max_height: height, ..Preference::default() });
        world.run(seconds(3));
        let sending = world.client(3).sending(track);
        assert!(matches!(sending, Some(Sending::Layer { encoding: e, .. }) if e.0 == encoding), "{sending:?}");
        assert_eq!(world.client(3).receiver_of(track).video.height(), height);
    }
    world.client(3).receiver_of(track).video.check();
}

#[test]
fn encodings_that_are_taken_on_another_shard_only_go_on_and_those_that_nobody_takes_stop() {
    let mut world = World::new(54);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run(seconds(4));
    let track = world.client(1).track("0");
    world.prefer(2, track, Preference { max_height: 180, ..Preference::default() });
    world.run(seconds(12));
    let wanted = |world: &World| world.client(1).cameras[0].encodings.iter().map(|e| e.wanted).collect::<Vec<_>>();
    assert_eq!(wanted(&world), [true, false, false]);
    world.prefer(2, track, Preference::default());
    world.run(seconds(4));
    assert!(wanted(&world)[2]);
    assert_eq!(world.client(2).receiver_of(track).video.height(), 720, "{}", world.story(2));
}

#[test]
fn what_a_full_queue_between_shards_loses_is_repaired_from_home() {
    let mut world = audience(55);
    world.run(seconds(6));
    world.relay_loses = Some(20);
    world.run(seconds(6));
    let asked = world.total(|s| s.counters.nacks.sent);
    for id in [3, 5, 6, 8] {
        let video = &world.client(id).receiver_of(world.client(1).track("1")).video;
        video.check();
        assert_eq!(video.undecoded(), 0, "{id}");
        assert!(pictures(&world, id, seconds(6)) > 170, "{id}: {}", pictures(&world, id, seconds(6)));
    }
    assert_eq!(asked, 0, "the publisher is not asked for what home has");
}

#[test]
fn all_shards_agree_on_who_speaks_and_one_says_so() {
    let mut world = World::new(56);
    for id in [4, 5, 6] {
        world.join(id, Access::default(), &[Publish::Microphone], (0, 0));
        world.client_mut(id).microphones[0].level = 127;
    }
    world.run(seconds(2));
    // The shard that ranks is 0, where 6 is; then 6 leaves, and shard 1 ranks.
    for (speaker, leaves) in [(5, None), (4, None), (6, Some(6)), (4, None), (5, None)] {
        for (id, client) in &mut world.clients {
            client.microphones[0].level = if *id == speaker { 20 } else { 127 };
        }
        let before = world.events.len();
        world.run(seconds(4));
        let told: Vec<_> = world.events[before..]
            .iter()
            .filter_map(
                |(_, e)| if let Event::Speaker { participant, .. } = e { participant.map(|p| p.0) } else { None },
            )
            .collect();
        assert_eq!(told, [speaker], "said once, by one shard");
        if let Some(id) = leaves {
            world.leave(id);
            world.run(seconds(1));
        }
    }
}

#[test]
fn a_room_is_gone_everywhere_once_its_last_member_has_left_in_any_order() {
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let mut world = World::new(57);
        for id in [1, 2, 3] {
            world.join(id, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
        }
        world.run(seconds(3));
        for id in order {
            world.leave(id);
            world.run(millis(100));
        }
        assert_eq!(world.total(|s| s.rooms + s.participants + s.tracks.iter().sum::<u64>()), 0);
        // And it can be opened again.
        for id in [4, 5] {
            world.join(id, Access::default(), &[Publish::Camera], (0, 0));
        }
        world.run(seconds(4));
        let video = &world.client(5).receiver_of(world.client(4).track("0")).video;
        assert!(video.decoded.len() > 80, "{}", video.decoded.len());
    }
}
