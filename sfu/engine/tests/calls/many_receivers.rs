//! More receivers than a fan-out serves at once, of tracks whose packets come together.

use crate::harness::{Access, Publish, World, millis, seconds};
use sfu_engine::Event;
use std::collections::BTreeSet;

/// Beyond 32, and no multiple of it.
const RECEIVERS: std::ops::RangeInclusive<u64> = 3..=36;

#[test]
fn every_receiver_gets_every_packet_of_every_publisher() {
    let mut world = World::new(83);
    world.join(1, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    world.run(millis(10));
    world.join(2, Access::default(), &[Publish::Camera], (0, 0));
    for id in RECEIVERS {
        world.join(id, Access::default(), &[], (1, 2));
    }
    world.run(seconds(3));
    let from = world.now;
    world.run(seconds(1));
    for id in RECEIVERS {
        for (publisher, mid) in [(1, "1"), (2, "0")] {
            let video = &world.client(id).receiver_of(world.client(publisher).track(mid)).video;
            assert_eq!(video.holes(), 0, "{id} of {publisher}");
            assert!(video.decoded_since(from).count() > 25, "{id} of {publisher}");
        }
        let audio = &world.client(id).receiver_of(world.client(1).track("0")).audio;
        assert!(audio.count() > 150, "{id} heard {}", audio.count());
    }
}

/// Whoever hears of them is woken a few times a second, not once for each.
#[test]
fn the_quality_of_connections_is_told_together() {
    let mut world = World::new(84);
    world.join(1, Access::default(), &[Publish::Microphone], (0, 0));
    for id in RECEIVERS {
        world.join(id, Access::default(), &[], (1, 0));
        world.run(millis(47));
    }
    world.run(seconds(2));
    let from = world.now - world.start;
    world.run(seconds(2));
    let told = world.events.iter().filter(|(at, event)| *at > from && matches!(event, Event::Quality { .. }));
    let (times, count) = told.fold((BTreeSet::new(), 0), |(mut times, count), (at, _)| {
        times.insert(*at);
        (times, count + 1)
    });
    assert_eq!(count, 1 + RECEIVERS.count());
    // Each of three shards has its own moments.
    assert!(times.len() <= 3 * 8, "{} moments", times.len());
}
