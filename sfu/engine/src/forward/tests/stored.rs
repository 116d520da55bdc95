//! Starting from a key frame that came before anybody waited for it.

use super::Slot;
use crate::ids::EncodingIndex;
use crate::units::ExtSeq;

const ENOUGH: usize = 1 << 20;

#[test]
fn a_slot_that_begins_shows_the_last_keyframe_and_what_came_since() {
    let mut slot = Slot::video(&[0]);
    slot.frame(0, true);
    slot.frames(0, 9);
    slot.target(0, 2);
    assert_eq!(slot.forwarder.wants_keyframe(), Some(EncodingIndex(0)));
    let sent = slot.start_from_store(ENOUGH);
    let numbers: Vec<_> = sent.iter().map(|out| (out.source.unwrap(), out.seq.0)).collect();
    let expected: Vec<_> = (0..10).map(|i| (ExtSeq(0x2_0000 + i), 65_534u16.wrapping_add(i as u16))).collect();
    assert_eq!(numbers, expected);
    assert_eq!(slot.forwarder.wants_keyframe(), None);
    assert_eq!(slot.frames(0, 3), [true; 3], "and goes on");
    assert_eq!(slot.start_from_store(ENOUGH), [], "once");
}

#[test]
fn an_old_a_large_or_an_incomplete_one_is_not_started_from() {
    for (frames, lost, most, sent) in [(9, 4, ENOUGH, 0), (9, 100, 10, 0), (30, 100, ENOUGH, 0), (9, 100, ENOUGH, 10)] {
        let mut slot = Slot::video(&[0]);
        slot.frame(0, true);
        for frame in 0..frames {
            let packets = slot.encode(0, 1, false);
            if frame != lost {
                slot.deliver(0, &packets[0]);
            }
        }
        slot.target(0, 2);
        assert_eq!(slot.start_from_store(most).len(), sent, "{frames} frames, {lost} lost, {most} bytes");
    }
}

#[test]
fn nothing_is_shown_twice_after_a_pause() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 2);
    slot.frame(0, true);
    slot.frames(0, 3);
    slot.frame(1, true);
    slot.forwarder.set_target(None);
    for encoding in [0, 1] {
        slot.target(encoding, 2);
        assert_eq!(slot.start_from_store(ENOUGH), []);
    }
    slot.forwarder.bind();
    slot.target(1, 2);
    assert_eq!(slot.start_from_store(ENOUGH).len(), 1, "of another track, or bound anew");
}
