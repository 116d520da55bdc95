//! Starting with a keyframe when all of it has come.

use super::Slot;

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
