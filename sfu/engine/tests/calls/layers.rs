//! A receiver chooses how tall a picture it wants.

use crate::harness::{Access, Publish, World, seconds};
use sfu_engine::Preference;
use sfu_engine::event::{Limit, Sending};

#[test]
fn a_smaller_tile_gets_a_lower_encoding_and_a_larger_one_a_higher_without_a_break() {
    let mut world = World::new(5);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run(seconds(8));
    let track = world.client(1).track("0");
    assert_eq!(world.client(2).receiver_of(track).video.height(), 720);

    for height in [180, 360, 720, 180, 720, 360] {
        world.prefer(2, track, Preference { max_height: height, ..Preference::default() });
        let there = world.run_until(seconds(3), |w| w.client(2).receiver_of(track).video.height() == height);
        assert!(there, "{height} within 3 s, not {:?}", world.client(2).sending(track));
        world.run(seconds(2));
        let video = &world.client(2).receiver_of(track).video;
        assert_eq!(video.height(), height, "it stays");
        let told = world.client(2).sending(track);
        let expected = if height == 720 { Limit::Source } else { Limit::Size };
        let agrees = |told: &Sending| {
            matches!(told, Sending::Layer { size: Some((_, h)), encoding, target, limit, .. }
                if *h == height && target.0 == *encoding && *limit == expected)
        };
        assert!(told.as_ref().is_some_and(agrees), "told {told:?}");
    }

    let video = &world.client(2).receiver_of(track).video;
    video.check();
    assert_eq!((video.plis, video.holes(), video.undecoded()), (0, 0, 0));
    // Never a gap longer than the request of a keyframe takes, with the base layer alone meanwhile.
    let gaps = video.decoded.windows(2).map(|pair| pair[1].at - pair[0].at);
    let longest = gaps.max().unwrap();
    assert!(longest.as_millis() < 200, "a gap of {longest:?}");
}

#[test]
fn an_operators_cap_holds_whatever_the_receiver_prefers_until_it_is_lifted() {
    let mut world = World::new(6);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (0, 1));
    world.run(seconds(8));
    let track = world.client(1).track("0");
    let height = |w: &mut World| w.client(2).receiver_of(track).video.height();
    assert_eq!(height(&mut world), 720);
    world.cap(2, 180);
    assert!(world.run_until(seconds(3), |w| w.client(2).receiver_of(track).video.height() == 180));
    world.prefer(2, track, Preference { max_height: 720, ..Preference::default() });
    world.run(seconds(5));
    assert_eq!(height(&mut world), 180);
    world.cap(2, u16::MAX);
    assert!(world.run_until(seconds(5), |w| w.client(2).receiver_of(track).video.height() == 720));
}
