//! A publisher whose network does not carry what it sends.

use crate::harness::{Access, Publish, World, lossy, narrowing, seconds};
use sfu_engine::{Event, Preference};

/// Which encodings the publisher was last told to send.
fn wanted(world: &World) -> Option<Vec<bool>> {
    world.events.iter().rev().find_map(|(_, event)| match event {
        Event::EncodingsWanted { encodings, .. } => Some(encodings.iter().map(|(.., wanted)| *wanted).collect()),
        _ => None,
    })
}

/// The client here has no congestion control: it sends what is wanted, whatever arrives.
#[test]
fn where_the_large_encoding_does_not_arrive_the_small_one_is_sent_instead_until_there_is_room_again() {
    let mut world = World::new(21);
    let up = narrowing(20, [(12, 400_000), (20, 10_000_000)]);
    world.join(1, Access { up, ..Access::default() }, &[Publish::Camera], (0, 0));
    for receiver in [2, 3] {
        world.join(receiver, Access::default(), &[], (0, 1));
    }
    world.run(seconds(12));
    let track = world.client(1).track("0");
    assert_eq!(wanted(&world).as_deref(), Some(&[false, false, true][..]), "all take the large one");

    let counted = |world: &World| (world.total(|s| s.held_back), world.total(|s| s.counters.shortfalls[0]));
    assert_eq!(counted(&world), (0, 0));

    let told = world.run_until(seconds(1), |world| wanted(world).as_deref() == Some(&[true, false, false]));
    assert!(told, "the large one is off at once, and the small one on, not {:?}", wanted(&world));
    assert_eq!(counted(&world), (1, 1));
    let shown =
        world.run_until(seconds(1), |w| [2, 3].iter().all(|id| w.client(*id).receiver_of(track).video.height() == 180));
    assert!(shown, "{}", world.story(2));
    let small = world.now;
    world.run(seconds(3));
    for receiver in [2, 3] {
        let pictures = world.client(receiver).receiver_of(track).video.decoded_since(small).count();
        assert!(pictures > 80, "{pictures} pictures in 3 s");
    }

    // It was tried once meanwhile, so there is a pause of ten seconds now.
    world.run(seconds(5));
    let back = world.run_until(seconds(12), |w| w.client(2).receiver_of(track).video.height() == 720);
    assert!(back, "the large one is back, not {:?}", world.client(2).sending(track));
    let before = world.now;
    world.run(seconds(5));
    let video = &world.client(2).receiver_of(track).video;
    assert!(video.decoded_since(before).all(|decoded| decoded.picture.height == 720), "and stays");
    video.check();
    assert_eq!(counted(&world), (0, 1));
}

/// Whatever the publisher was told from the event with this number on.
fn told_since(world: &World, event: usize) -> Vec<Vec<bool>> {
    let told = world.events[event..].iter().filter_map(|(_, event)| match event {
        Event::EncodingsWanted { encodings, .. } => Some(encodings.iter().map(|(.., wanted)| *wanted).collect()),
        _ => None,
    });
    told.collect()
}

#[test]
fn the_next_encoding_is_tried_and_where_it_is_not_carried_nobody_sees_that() {
    let mut world = World::new(23);
    let up = narrowing(20, [(12, 400_000), (60, 10_000_000)]);
    world.join(1, Access { up, ..Access::default() }, &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run(seconds(12));
    let track = world.client(1).track("0");
    let shown = world.run_until(seconds(2), |w| w.client(2).receiver_of(track).video.height() == 180);
    assert!(shown, "{}", world.story(2));
    let (small, events) = (world.now, world.events.len());
    world.run(seconds(12));
    let told = told_since(&world, events);
    assert_eq!(told[0], [true, true, false], "the next one is tried, not the largest");
    assert_eq!(told[1], [true, false, false], "it is not carried");
    assert!(told.iter().all(|wanted| !wanted[2]), "{told:?}");
    let [lost, tried, no_room] = [0, 1, 2].map(|cause| world.total(|s| s.counters.shortfalls[cause]));
    assert!(lost == 1 && tried >= 1 && no_room == 0, "{lost}, {tried}, {no_room}");
    let video = &world.client(2).receiver_of(track).video;
    assert!(video.decoded_since(small).all(|decoded| decoded.picture.height == 180), "it was never shown");
    video.check();
}

#[test]
fn what_nobody_takes_is_not_repaired() {
    let mut world = World::new(22);
    world.join(1, Access { up: lossy(20, 0.05), ..Access::default() }, &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run_until(seconds(1), |world| !world.client(2).slots.is_empty());
    let track = world.client(1).track("0");
    world.prefer(2, track, Preference { max_height: 180, ..Preference::default() });
    world.run(seconds(1));
    let repairs =
        |world: &World| world.client(1).cameras[0].encodings.iter().map(|e| e.retransmitted).collect::<Vec<_>>();
    let before = repairs(&world);
    world.run(seconds(3));
    let sent: Vec<bool> = world.client(1).cameras[0].encodings.iter().map(|e| e.flowing).collect();
    assert_eq!(sent, [true, true, true], "it was not switched off yet");
    let during: Vec<_> = repairs(&world).iter().zip(before).map(|(after, before)| after - before).collect();
    assert!(during[0] > 0 && during[1..] == [0, 0], "{during:?}");
}
