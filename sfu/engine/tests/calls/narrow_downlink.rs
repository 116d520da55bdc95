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

/// A link that was too narrow for any picture loses nearly all that is on its way then; of a packet now and then it
/// takes long to learn anything.
#[test]
fn who_was_too_narrow_for_any_picture_gets_the_higher_layer_back_too() {
    for cameras in [1, 2] {
        narrow_and_back(30_000, cameras, 0);
    }
}

/// A Firefox that has forgotten sources of retransmissions: what nobody hears proves nothing about the link.
#[test]
fn who_does_not_hear_what_is_sent_again_gets_the_higher_layer_back_too() {
    for (narrow, cameras, deaf) in [(250_000, 1, 1), (30_000, 1, 1), (30_000, 2, 1), (30_000, 2, 2)] {
        narrow_and_back(narrow, cameras, deaf);
    }
}

/// A receiver of so many cameras, which does not hear what is sent again of `deaf` of them, has so many bits per second
/// for 20 seconds.
fn narrow_and_back(narrow: u64, cameras: u64, deaf: usize) {
    let mut world = World::new(7);
    for publisher in 0..cameras {
        world.join(10 + publisher, Access::default(), &[Publish::Camera], (0, 1));
    }
    let down = narrowing(20, [(10, narrow), (30, 10_000_000)]);
    world.join(2, Access { down, ..Access::default() }, &[], (0, 2));
    world.client_mut(2).receivers.deaf_to_repairs = deaf;

    world.run(seconds(10));
    let track = world.client(10).track("0");
    assert_eq!(world.client(2).receiver_of(track).video.height(), 720, "{narrow} {cameras} {deaf}");
    world.run(seconds(20));
    let paused = matches!(world.client(2).sending(track), Some(Sending::Paused(_)));
    assert_eq!(paused, narrow < 100_000, "{:?} at {narrow}", world.client(2).sending(track));

    let is_back = |sending| matches!(sending, Some(Sending::Layer { size: Some((_, 720)), limit: Limit::Source, .. }));
    let widened = world.run_until(seconds(10), |w| is_back(w.client(2).sending(track)));
    let sending = world.client(2).sending(track);
    assert!(widened, "{narrow} {cameras} {deaf}: the top encoding is back, not {sending:?}");
    let back = world.now;
    world.run(seconds(5));
    let video = &world.client(2).receiver_of(track).video;
    video.check();
    let pictures = video.decoded_since(back).count();
    assert!(pictures > 140, "{narrow} {cameras} {deaf}: {pictures} pictures");
}
