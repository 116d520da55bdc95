//! A downlink that becomes narrow gets a lower layer, and the higher one again when it is wide.

use crate::harness::{Access, Publish, World, narrowing, seconds};
use sfu_engine::event::{Limit, Sending};

#[test]
fn a_narrow_downlink_gets_a_lower_layer_until_it_is_wide_again() {
    let mut world = World::new(6);
    world.join(1, Access::default(), &[Publish::Camera, Publish::Microphone], (0, 0));
    let down = narrowing(20, [(10, 500_000), (30, 10_000_000)]);
    world.join(2, Access { down, ..Access::default() }, &[], (1, 1));

    world.run(seconds(10));
    let (track, voice) = (world.client(1).track("0"), world.client(1).track("1"));
    assert_eq!(world.client(2).receiver_of(track).video.height(), 720);

    world.run(seconds(8));
    let narrow = world.now;
    let told = world.client(2).sending(track);
    assert!(matches!(told, Some(Sending::Layer { limit: Limit::Bandwidth, .. })), "told {told:?}");
    world.run(seconds(12));
    let video = &world.client(2).receiver_of(track).video;
    let heights: Vec<u16> = video.decoded_since(narrow).map(|d| d.picture.height).collect();
    assert!(heights.len() > 60, "pictures still come: {}", heights.len());
    assert!(heights.iter().all(|height| *height <= 360), "but smaller ones");

    let widened = world.run_until(seconds(20), |w| w.client(2).receiver_of(track).video.height() == 720);
    assert!(widened, "the top encoding is back, not {:?}", world.client(2).sending(track));
    let video = &world.client(2).receiver_of(track).video;
    video.check();
    world.client(2).receiver_of(voice).audio.check();
}
