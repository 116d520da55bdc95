//! Somebody who joins late sees a picture soon; somebody who leaves makes room.

use crate::harness::{Access, Publish, World, millis, seconds};
use sfu_engine::Event;

#[test]
fn a_late_joiner_gets_a_key_frame_and_a_leaver_frees_its_slots() {
    let mut world = World::new(9);
    for id in [1, 2] {
        world.join(id, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    }
    world.run(seconds(10));
    let joined = world.now;
    world.join(3, Access::default(), &[], (2, 2));
    world.run(seconds(3));
    for publisher in [1, 2] {
        let track = world.client(publisher).track("1");
        let video = &world.client(3).receiver_of(track).video;
        let first = video.decoded.first().expect("a picture");
        assert!(first.picture.is_keyframe() && first.at - joined < millis(900), "after {:?}", first.at - joined);
        assert!(video.decoded.len() > 50);
        video.check();
    }

    let left = world.client(1).track("1");
    world.leave(1);
    world.run(seconds(1));
    assert!(world.events.iter().any(|(_, e)| matches!(e, Event::TrackEnded { track, .. } if *track == left)));
    for id in [2, 3] {
        assert_eq!(world.client(id).sending(left), None, "the slot of {id} is free");
    }
    assert_eq!(world.total(|s| s.participants), 2);

    // The free slot serves the next one without negotiation.
    let sections = world.client(3).sections.len();
    world.join(4, Access::default(), &[Publish::Camera], (0, 0));
    world.run(seconds(3));
    let track = world.client(4).track("0");
    assert_eq!(world.client(3).sections.len(), sections);
    let video = &world.client(3).receiver_of(track).video;
    assert!(video.decoded.iter().filter(|d| d.picture.camera == world.client(4).cameras[0].number).count() > 50);
    video.check();
    assert_eq!((video.plis, video.undecoded()), (0, 0));

    for id in [2, 3, 4] {
        world.leave(id);
    }
    assert_eq!((world.total(|s| s.participants), world.total(|s| s.rooms)), (0, 0));
}
