//! Encodings that nobody takes are switched off at the publisher, and on again.

use crate::harness::{Access, Publish, World, seconds};
use sfu_engine::{Event, Preference};
use std::time::Duration;

/// The newest word on which encodings are wanted, with its time.
fn wanted(world: &World) -> Option<(Duration, Vec<bool>)> {
    world.events.iter().rev().find_map(|(at, e)| match e {
        Event::EncodingsWanted { encodings, .. } => {
            Some((*at, encodings.iter().map(|(_, _, wanted)| *wanted).collect()))
        }
        _ => None,
    })
}

#[test]
fn encodings_that_nobody_takes_are_paused_after_a_while_and_wanted_again_at_once() {
    let mut world = World::new(20);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.run(seconds(3));
    assert_eq!(wanted(&world), None, "not before some time has passed");
    world.run(seconds(4));
    let (at, which) = wanted(&world).expect("nobody is there");
    assert_eq!(which, [false, false, false]);
    assert!((seconds(5)..seconds(7)).contains(&at), "{at:?}");
    let received = world.total(|s| s.counters.rtp_packets_in[1]);
    world.run(seconds(2));
    assert!(world.total(|s| s.counters.rtp_packets_in[1]) < received + 20, "the publisher stopped");

    // Somebody comes who wants a small picture.
    world.join(2, Access::default(), &[], (0, 1));
    let track = world.client(1).track("0");
    world.prefer(2, track, Preference { max_height: 180, ..Preference::default() });
    let there = world.run_until(seconds(2), |w| {
        w.client(2).slots.len() == 1
            && !w.client(2).receivers.by_mid.is_empty()
            && w.client(2).receiver_of(track).video.decoded.len() > 10
    });
    assert!(there, "{}", world.story(2));
    world.run(seconds(8));
    assert_eq!(wanted(&world).unwrap().1, [true, false, false]);
    assert_eq!(world.client(2).receiver_of(track).video.height(), 180);

    // And then a large one.
    world.prefer(2, track, Preference::default());
    let there = world.run_until(seconds(4), |w| w.client(2).receiver_of(track).video.height() == 720);
    assert!(there, "{}", world.story(2));
    let video = &world.client(2).receiver_of(track).video;
    video.check();
    assert_eq!((video.plis, video.holes(), video.undecoded()), (0, 0, 0));
}
