//! Starting with a key frame when all of it has come.

use super::{FIRST_TIME, Slot};
use crate::ids::EncodingIndex;

#[test]
fn what_is_doubtful_is_waited_for_until_its_keyframe_is_whole_and_the_smaller_one_plays_on() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 2);
    slot.frame(0, true);
    slot.forwarder.require_whole_keyframe(true);
    slot.target(1, 2);
    let keyframe = slot.encode(1, 4, true);
    assert!(slot.deliver(1, &keyframe[0]).is_empty());
    assert_eq!(slot.frames(0, 2), [true; 2]);
    let behind = slot.encode(1, 1, false);
    for packet in [&keyframe[3], &behind[0], &keyframe[1]] {
        assert!(slot.deliver(1, packet).is_empty());
    }
    assert_eq!(slot.forwarder.wants_keyframe(), Some(EncodingIndex(1)));
    let sent: Vec<_> = slot.deliver(1, &keyframe[2]).iter().map(|out| out.source.unwrap()).collect();
    let expected: Vec<_> = keyframe.iter().chain(&behind).map(|packet| packet.seq).collect();
    assert_eq!(sent, expected);
    assert_eq!((slot.frames(0, 1), slot.frames(1, 1)), (vec![false], vec![true]));
}

#[test]
fn what_is_not_doubtful_or_smaller_is_started_with_at_once() {
    for (doubtful, from, to) in [(false, 0, 1), (true, 1, 0)] {
        let mut slot = Slot::video(&[0, 0]);
        slot.target(from, 2);
        slot.frame(usize::from(from), true);
        slot.forwarder.require_whole_keyframe(doubtful);
        slot.target(to, 2);
        let keyframe = slot.encode(usize::from(to), 2, true);
        assert_eq!(slot.deliver(usize::from(to), &keyframe[0]).len(), 1, "{doubtful}, {from} to {to}");
    }
}

#[test]
fn a_keyframe_that_is_coming_is_taken_when_it_is_whole() {
    for shown in [None, Some(0), Some(2)] {
        let mut slot = Slot::video(&[0, 0, 0]);
        if let Some(shown) = shown {
            slot.target(shown, 2);
            slot.frame(usize::from(shown), true);
        }
        let keyframe = slot.encode(1, 3, true);
        assert!(slot.deliver(1, &keyframe[0]).is_empty());
        slot.target(1, 2);
        assert!(slot.deliver(1, &keyframe[1]).is_empty());
        assert_eq!(slot.deliver(1, &keyframe[2]).len(), 3, "{shown:?} before");
        assert_eq!(slot.current(), Some((1, 2)));
    }
}

#[test]
fn what_was_partly_sent_before_is_not_taken_again() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(1, 2);
    let keyframe = slot.encode(1, 3, true);
    assert_eq!(slot.deliver(1, &keyframe[0]).len(), 1);
    slot.target(0, 2);
    slot.frame(0, true);
    slot.target(1, 2);
    assert!(slot.deliver(1, &keyframe[1]).is_empty() && slot.deliver(1, &keyframe[2]).is_empty());
    assert_eq!(slot.current(), Some((0, 2)));
}

#[test]
fn timestamps_that_ran_ahead_of_what_was_captured_wait_for_it_at_the_next_switch() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 2);
    slot.frame(0, true);
    slot.forwarder.require_whole_keyframe(true);
    slot.target(1, 2);
    let keyframe = slot.encode(1, 2, true);
    slot.deliver(1, &keyframe[0]);
    assert_eq!(slot.frames(0, 3), [true; 3]);
    let last = FIRST_TIME.offset(4 * 3000);
    let sent = slot.deliver(1, &keyframe[1]);
    assert!(sent.iter().all(|out| out.timestamp == last.offset(1)), "behind the last picture, though captured before");
    slot.target(0, 2);
    let back = slot.frame(0, true)[0].timestamp;
    assert!(back.distance(FIRST_TIME.offset(5 * 3000)).abs() <= 1, "{back:?}");
}
