//! Sections that stop and are used again.

use crate::harness::{Access, Publish, World, seconds};
use sfu_engine::media::MediaKind;

#[test]
fn a_stopped_section_is_recycled_for_another_track() {
    let mut world = World::new(10);
    world.join(1, Access::default(), &[Publish::Camera, Publish::Microphone], (0, 0));
    world.join(2, Access::default(), &[], (1, 1));
    world.run(seconds(4));
    let first = world.client(1).track("0");
    assert!(world.client(2).receiver_of(first).video.decoded.len() > 80);

    world.client_mut(1).stop("0");
    world.offer(1);
    world.run(seconds(1));
    assert_eq!(world.client(2).sending(first), None);

    let now = world.now;
    assert!(world.client_mut(1).publish_recycled(now, Publish::Screen, "9"));
    world.offer(1);
    world.run(seconds(4));
    let second = world.client(1).track("9");
    assert_ne!(first, second, "a track id is never used twice");
    let screen = world.client(1).cameras[0].number;
    let video = &world.client(2).receiver_of(second).video;
    assert!(video.decoded.iter().filter(|d| d.picture.camera == screen).count() > 80);
    video.check();
    assert_eq!(video.plis, 0);
}

#[test]
fn a_receiver_that_stops_a_slot_gets_its_track_on_the_next_one_that_it_adds() {
    let mut world = World::new(11);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run(seconds(4));
    let track = world.client(1).track("0");
    let slot = world.client(2).receiver_of(track).mid.clone();

    world.client_mut(2).stop(&slot);
    world.offer(2);
    world.run(seconds(4));
    // The server asked for a section in its place, and the client added one.
    let receiver = world.client(2).receiver_of(track);
    assert!(receiver.mid != slot && receiver.kind == MediaKind::Video);
    assert!(receiver.video.decoded.len() > 80, "{}", receiver.video.decoded.len());
    receiver.video.check();
}
