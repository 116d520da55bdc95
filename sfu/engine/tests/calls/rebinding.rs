//! One slot, more tracks than slots: the slot follows the wishes without negotiation.

use crate::harness::{Access, Publish, World, millis, seconds};
use sfu_engine::{Preference, Priority};

#[test]
fn a_slot_shows_another_track_when_that_one_is_pinned_with_numbers_that_go_on() {
    let mut world = World::new(12);
    for id in [1, 2] {
        world.join(id, Access { adds_slots: false, ..Access::default() }, &[Publish::Camera], (0, 0));
    }
    world.join(3, Access { adds_slots: false, ..Access::default() }, &[], (0, 1));
    world.run(seconds(5));
    let tracks = [1, 2].map(|id| world.client(id).track("0"));
    assert!(world.client(3).sending(tracks[0]).is_some(), "the first one came first");

    for round in 0..6 {
        let (wanted, other) = (tracks[(round + 1) % 2], tracks[round % 2]);
        world.prefer(3, other, Preference::default());
        world.prefer(3, wanted, Preference { priority: Priority::Pinned, ..Preference::default() });
        let asked = world.now;
        world.run(seconds(2));
        let camera = world.client(wanted.participant.0).cameras[0].number;
        let video = &world.client(3).receiver_of(wanted).video;
        let first = video.decoded.iter().find(|d| d.at > asked && d.picture.camera == camera).expect("its pictures");
        assert!(first.at - asked < millis(600), "round {round}: after {:?}", first.at - asked);
        let rate = video.decoded_since(asked + seconds(1)).filter(|d| d.picture.camera == camera).count();
        assert!((27..=31).contains(&rate), "round {round}: {rate} pictures");
    }
    let video = &world.client(3).receiver_of(tracks[0]).video;
    video.check();
    assert_eq!((video.plis, video.holes(), video.undecoded()), (0, 0, 0));
    assert_eq!(world.client(3).sections.len(), 1);
}
