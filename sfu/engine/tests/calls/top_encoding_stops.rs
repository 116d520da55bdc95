//! A publisher whose top encoding stops, as browsers do when the processor or the uplink is busy.

use crate::harness::{Access, Publish, World, seconds};

#[test]
fn when_the_top_encoding_stops_a_lower_one_flows_until_it_is_back() {
    let mut world = World::new(7);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run(seconds(8));
    let track = world.client(1).track("0");
    assert_eq!(world.client(2).receiver_of(track).video.height(), 720);

    world.client_mut(1).cameras[0].encodings[2].active = false;
    let fell = world.run_until(seconds(3), |w| w.client(2).receiver_of(track).video.height() == 360);
    assert!(fell, "the middle encoding flows, not {:?}", world.client(2).sending(track));
    world.run(seconds(5));
    let rate = world.client(2).receiver_of(track).video.decoded_since(world.now - seconds(4)).count();
    assert!(rate > 110, "{rate} pictures in 4 s");

    world.client_mut(1).cameras[0].encodings[2].active = true;
    let back = world.run_until(seconds(5), |w| w.client(2).receiver_of(track).video.height() == 720);
    assert!(back, "the top encoding is back, not {:?}", world.client(2).sending(track));
    let video = &world.client(2).receiver_of(track).video;
    video.check();
    assert_eq!((video.holes(), video.undecoded()), (0, 0));
}

#[test]
fn a_stalled_top_encoding_is_taken_again_without_a_key_frame_of_its_own() {
    let mut world = World::new(8);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run(seconds(8));
    let track = world.client(1).track("0");
    world.client_mut(1).cameras[0].encodings[2].stalled = true;
    let fell = world.run_until(seconds(3), |w| w.client(2).receiver_of(track).video.height() == 360);
    assert!(fell, "the middle encoding flows, not {:?}", world.client(2).sending(track));
    world.client_mut(1).cameras[0].encodings[2].stalled = false;
    let back = world.run_until(seconds(5), |w| w.client(2).receiver_of(track).video.height() == 720);
    assert!(back, "the top encoding is back, not {:?}", world.client(2).sending(track));
}

#[test]
fn an_encoding_whose_first_key_frame_was_lost_is_taken() {
    let mut world = World::new(9);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    let top = &mut world.client_mut(1).cameras[0].encodings[2];
    (top.flowing, top.wants_keyframe) = (true, false);
    world.run(seconds(8));
    let track = world.client(1).track("0");
    assert_eq!(world.client(2).receiver_of(track).video.height(), 720, "{:?}", world.client(2).sending(track));
}
