//! Which packets a slot gets.

use super::Slot;
use crate::ids::EncodingIndex;

#[test]
fn nothing_flows_before_a_keyframe_of_the_wanted_encoding() {
    let mut slot = Slot::video(&[0, 0]);
    slot.frame(1, true);
    slot.target(1, 0);
    assert_eq!(slot.forwarder.wants_keyframe(), Some(EncodingIndex(1)));
    assert!(slot.frame(1, false).is_empty());
    assert!(slot.frame(0, true).is_empty());
    assert_eq!(slot.current(), None);
    assert_eq!(slot.frame(1, true).len(), 1);
    assert_eq!(slot.current(), Some((1, 0)));
    assert_eq!(slot.forwarder.wants_keyframe(), None);
}

#[test]
fn the_old_encoding_plays_on_until_the_new_ones_keyframe() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 0);
    assert_eq!(slot.frame(0, true).len(), 1);
    slot.frame(1, true);
    slot.target(1, 0);
    assert_eq!(slot.frame(0, false).len(), 1);
    assert_eq!(slot.frame(1, false).len(), 0);
    assert_eq!(slot.frame(1, true).len(), 1);
    assert_eq!(slot.frame(0, false).len(), 0);
    assert_eq!(slot.frame(1, false).len(), 1);
}

#[test]
fn a_switch_works_after_the_old_encoding_has_stopped() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(1, 0);
    slot.frame(1, true);
    slot.target(0, 0);
    slot.tick += 300;
    assert_eq!(slot.frame(0, true).len(), 1);
    assert_eq!(slot.current(), Some((0, 0)));
}

#[test]
fn a_temporal_layer_is_left_at_the_next_frame_and_entered_at_a_sync_frame() {
    let mut slot = Slot::video(&[2]);
    slot.target(0, 2);
    slot.frame(0, true);
    assert_eq!(slot.frames(0, 3), [true, true, true]); // layers 2 1 2
    slot.target(0, 0);
    assert_eq!(slot.frames(0, 4), [true, false, false, false]); // 0 2 1 2
    slot.target(0, 2);
    // 0, 2 sync, 1 sync, 2, 0, 2, 1, 2: layer 1 opens at once, layer 2 at its next sync frame, in the cycle after.
    assert_eq!(slot.frames(0, 8), [true, false, true, false, true, false, true, false]);
    assert_eq!(slot.current(), Some((0, 1)));
    assert_eq!(slot.frames(0, 4), [true, true, true, true]);
    assert_eq!(slot.current(), Some((0, 2)));
}

#[test]
fn a_keyframe_opens_all_temporal_layers() {
    let mut slot = Slot::video(&[2]);
    slot.target(0, 0);
    slot.frame(0, true);
    slot.frames(0, 4);
    slot.target(0, 2);
    slot.frame(0, true);
    assert_eq!(slot.current(), Some((0, 2)));
    assert_eq!(slot.frames(0, 3), [true, true, true]);
}

#[test]
fn a_frame_is_not_cut_by_a_change_of_the_temporal_layer() {
    let mut slot = Slot::video(&[1]);
    slot.target(0, 1);
    slot.frame(0, true);
    let packets = slot.encode(0, 2, false);
    assert_eq!(slot.deliver(0, &packets[0]).len(), 1);
    slot.target(0, 0);
    assert_eq!(slot.deliver(0, &packets[1]).len(), 1);
    assert_eq!(slot.current(), Some((0, 1)));
}

#[test]
fn while_a_lower_encoding_is_waited_for_the_present_one_is_thinned_to_its_base_layer() {
    let mut slot = Slot::video(&[0, 1]);
    slot.frame(0, true);
    slot.target(1, 1);
    slot.frame(1, true);
    slot.target(0, 0);
    assert_eq!(slot.frames(1, 4), [false, true, false, true]);
    assert_eq!(slot.frame(0, true).len(), 1);
}

#[test]
fn a_late_packet_gets_the_decision_of_its_position() {
    let mut slot = Slot::video(&[1]);
    slot.target(0, 1);
    slot.frame(0, true);
    let wanted = slot.encode(0, 1, false); // layer 1
    slot.target(0, 0);
    slot.frame(0, false);
    let unwanted = slot.encode(0, 1, false); // layer 1
    slot.frame(0, false);
    slot.target(0, 1);
    let late = slot.deliver(0, &wanted[0]);
    assert_eq!(late[0].source, Some(wanted[0].seq), "sent, though the layer was left later");
    let late = slot.deliver(0, &unwanted[0]);
    assert_eq!(late[0].source, None, "its number is filled, so that the receiver stops asking");
    assert_eq!(slot.lookup(late[0].seq), Some(late[0]));
}

#[test]
fn a_late_packet_of_the_old_encoding_is_still_sent_after_a_switch() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 0);
    let first = slot.frame(0, true)[0].seq;
    let missing = slot.encode(0, 1, false);
    slot.frame(0, false);
    slot.target(1, 0);
    slot.frame(1, true);
    let late = slot.deliver(0, &missing[0]);
    assert_eq!((late[0].source, late[0].seq.distance(first)), (Some(missing[0].seq), 1));
}

#[test]
fn a_late_packet_of_a_picture_that_was_given_up_only_fills_its_number() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 0);
    slot.frame(0, true);
    let before = slot.encode(0, 1, false);
    let queued = slot.frame(0, false)[0];
    let missing = slot.encode(0, 1, false);
    slot.frame(0, false);
    slot.target(1, 0);
    slot.frame(1, true);
    slot.forwarder.give_up(slot.forwarder.number_of(queued.seq));
    let late = slot.deliver(0, &missing[0]);
    assert_eq!((late[0].source, late[0].seq.distance(queued.seq)), (None, 1));
    assert_eq!(slot.deliver(0, &before[0])[0].source, Some(before[0].seq), "sent before what was given up");
    slot.target(0, 0);
    slot.frame(0, true);
    let again = slot.encode(0, 1, false);
    slot.frame(0, false);
    assert_eq!(slot.deliver(0, &again[0])[0].source, Some(again[0].seq), "a later picture");
}

#[test]
fn a_keyframe_whose_first_packet_comes_late_brings_its_followers() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let packets = slot.encode(0, 3, true);
    assert!(slot.deliver(0, &packets[1]).is_empty());
    assert!(slot.deliver(0, &packets[2]).is_empty());
    assert!(slot.frame(0, false).is_empty());
    let sent: Vec<_> = slot.deliver(0, &packets[0]).iter().map(|out| out.seq.distance(super::FIRST_SEQ)).collect();
    assert_eq!(sent, [0, 1, 2, 3]);
}

#[test]
fn a_keyframe_that_is_far_behind_is_not_started_from() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let keyframe = slot.encode(0, 1, true);
    for packet in slot.encode(0, 257, false) {
        slot.deliver(0, &packet);
    }
    assert!(slot.deliver(0, &keyframe[0]).is_empty());
    assert_eq!(slot.forwarder.wants_keyframe(), Some(EncodingIndex(0)));
}

#[test]
fn padding_of_the_publisher_is_not_forwarded_and_leaves_no_hole() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let before = slot.frame(0, true)[0].seq;
    let padding = slot.encodings[0].pad(slot.tick);
    assert!(slot.deliver(0, &padding).is_empty());
    assert_eq!(slot.frame(0, false)[0].seq.distance(before), 1);
}

#[test]
fn padding_takes_numbers_between_pictures_and_while_nothing_flows() {
    let mut slot = Slot::video(&[0]);
    let first = slot.pad().unwrap();
    assert_eq!((first.seq, first.timestamp, first.source), (super::FIRST_SEQ, super::FIRST_TIME, None));
    slot.target(0, 0);
    let packets = slot.encode(0, 3, true);
    let mut numbers = vec![first.seq];
    for (index, packet) in packets.iter().enumerate() {
        numbers.extend(slot.deliver(0, packet).iter().map(|out| out.seq));
        assert_eq!(slot.forwarder.may_pad(), index == 2, "in the midst of a picture");
        let Some(padding) = slot.pad() else { continue };
        numbers.push(padding.seq);
        assert_eq!(slot.lookup(padding.seq), None, "nobody needs it again");
        numbers.push(slot.pad().unwrap().seq);
    }
    numbers.extend(slot.frame(0, false).iter().map(|out| out.seq));
    let after: Vec<_> = numbers.iter().map(|seq| seq.distance(first.seq)).collect();
    assert_eq!(after, [0, 1, 2, 3, 4, 5, 6]);

    let packets = slot.encode(0, 2, false);
    slot.deliver(0, &packets[0]);
    assert!(slot.pad().is_none());
    slot.forwarder.set_target(None);
    assert!(slot.pad().is_some(), "nobody waits for the rest of a picture that was given up");
}

#[test]
fn an_encoder_that_starts_over_is_waited_for_like_a_new_one() {
    for jump in [20_000u64, 1] {
        let mut slot = Slot::video(&[0, 0]);
        slot.target(0, 0);
        let before = slot.frame(0, true)[0];
        let mut packets = slot.encode(0, 1, false);
        packets[0].seq.0 += jump;
        packets[0].timestamp.0 = packets[0].timestamp.0.wrapping_add(0x4000_0000);
        assert!(slot.deliver(0, &packets[0]).is_empty(), "jump {jump}");
        assert_eq!(slot.forwarder.wants_keyframe(), Some(EncodingIndex(0)));
        assert_eq!(slot.lookup(before.seq), None, "its numbers mean other packets now");
    }
}

#[test]
fn numbers_that_fall_back_mean_a_new_source_and_leave_another_encoding_alone() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 0);
    slot.frame(0, true);
    slot.target(1, 0);
    let before = slot.frame(1, true)[0];
    let mut packets = slot.encode(0, 1, true);
    packets[0].seq.0 -= 5000;
    slot.encodings[0].store.clear();
    assert!(slot.deliver(0, &packets[0]).is_empty());
    assert_eq!(slot.current(), Some((1, 0)));
    assert_eq!(slot.lookup(before.seq), Some(before));
    slot.target(0, 0);
    let mut packets = slot.encode(0, 1, true);
    packets[0].seq.0 -= 5000;
    assert_eq!(slot.deliver(0, &packets[0]).len(), 1);
}

#[test]
fn audio_flows_from_its_first_packet_and_late_packets_are_sent_too() {
    let mut slot = Slot::audio();
    slot.target(0, 0);
    assert_eq!(slot.forwarder.wants_keyframe(), None);
    let first = slot.frame(0, false)[0];
    assert!(first.marker, "sound begins");
    let missing = slot.encode(0, 1, false);
    let third = slot.frame(0, false)[0];
    assert!(!third.marker);
    let late = slot.deliver(0, &missing[0])[0];
    assert_eq!((late.seq.distance(first.seq), third.seq.distance(first.seq)), (1, 2));
    slot.forwarder.set_target(None);
    assert!(slot.frame(0, false).is_empty());
    slot.target(0, 0);
    let again = slot.frame(0, false)[0];
    assert!(again.marker && again.seq.distance(third.seq) == 1);
    assert_eq!(slot.lookup(again.seq), Some(again), "sent again as it was");
}
