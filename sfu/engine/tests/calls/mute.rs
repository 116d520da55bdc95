//! Muting: nothing is sent, the receiver is told why, and unmuting starts at a key frame.

use crate::harness::{Access, Publish, World, millis, seconds};
use sfu_engine::event::{PauseReason, Sending};

#[test]
fn a_muted_track_is_silent_and_said_to_be_muted_until_it_is_unmuted() {
    let mut world = World::new(8);
    world.join(1, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (1, 1));
    world.run(seconds(5));
    let (voice, camera) = (world.client(1).track("0"), world.client(1).track("1"));

    for track in [voice, camera] {
        world.set_muted(track, true);
    }
    world.run(millis(500));
    let muted = world.now;
    let heard = world.client(2).receiver_of(voice).audio.count();
    // The publisher goes on sending for a while: that must not matter.
    world.run(seconds(2));
    world.client_mut(1).cameras[0].muted = true;
    world.client_mut(1).microphones[0].muted = true;
    world.run(seconds(3));
    for track in [voice, camera] {
        assert_eq!(world.client(2).sending(track), Some(Sending::Paused(PauseReason::Muted)));
    }
    assert_eq!(world.client(2).receiver_of(voice).audio.count(), heard);
    assert_eq!(world.client(2).receiver_of(camera).video.decoded_since(muted).count(), 0);

    world.client_mut(1).cameras[0].muted = false;
    world.client_mut(1).microphones[0].muted = false;
    for track in [voice, camera] {
        world.set_muted(track, false);
    }
    let unmuted = world.now;
    world.run(seconds(3));
    let (audio, video) = (&world.client(2).receiver_of(voice).audio, &world.client(2).receiver_of(camera).video);
    assert!(audio.count() > heard + 130, "{}", audio.count() - heard);
    let first = video.decoded_since(unmuted).next().expect("pictures come again");
    assert!(first.picture.is_keyframe() && first.at - unmuted < millis(500), "after {:?}", first.at - unmuted);
    assert!(video.decoded_since(unmuted).count() > 70, "{} {}", video.decoded_since(unmuted).count(), world.story(2));
    audio.check();
    video.check();
    assert_eq!((video.plis, video.undecoded()), (0, 0));
}
