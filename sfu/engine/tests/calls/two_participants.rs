//! Two participants exchange audio and video.

use crate::harness::{Access, Publish, World, seconds};
use sfu_engine::Event;

#[test]
fn two_participants_hear_and_see_each_other() {
    let mut world = World::new(1);
    for id in [1, 2] {
        world.join(id, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    }
    world.run(seconds(10));

    for (id, other) in [(1, 2), (2, 1)] {
        let connected =
            world.events.iter().any(|(_, e)| matches!(e, Event::Connected { participant } if participant.0 == id));
        assert!(connected, "{id} is connected");
        let (client, publisher) = (world.client(id), world.client(other));
        let audio = &client.receiver_of(publisher.track("0")).audio;
        assert!(audio.heard(publisher.microphones[0].number) > 450, "{id} heard {}", audio.count());
        audio.check();
        let video = &client.receiver_of(publisher.track("1")).video;
        assert!(video.decoded.len() > 270, "{id} saw {} pictures", video.decoded.len());
        assert_eq!(video.height(), 720, "with room enough the top encoding flows");
        assert_eq!((video.holes(), video.undecoded(), video.plis), (0, 0, 0));
        video.check();
    }
    assert_eq!(world.total(|s| s.rooms), u64::from(crate::SHARDS.min(2)), "once on each shard");
}
