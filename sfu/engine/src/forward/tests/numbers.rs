//! Under which numbers packets travel.

use super::model::FRAME_TICKS;
use super::{FIRST_SEQ, FIRST_TIME, Slot};
use crate::forward::{EncodingView, Outgoing};
use crate::units::{RtpTime, SeqNo};

fn views(slot: &Slot) -> Vec<EncodingView<'_>> {
    slot.encodings.iter().map(|e| EncodingView { store: &e.store, clock: &e.clock }).collect()
}

#[test]
fn the_first_packet_gets_the_given_numbers() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let sent = slot.frame(0, true)[0];
    assert_eq!((sent.seq, sent.timestamp), (FIRST_SEQ, FIRST_TIME));
}

#[test]
fn a_switch_steps_the_timestamp_by_the_time_between_the_captures() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0];
    slot.tick += 9;
    slot.target(1, 0);
    // The key frame is captured ten frame times later, and arrives another six later.
    let keyframe = slot.encode(1, 1, true);
    slot.tick += 5;
    let b = slot.deliver(1, &keyframe[0])[0];
    assert!(b.timestamp.distance(a.timestamp).abs_diff(10 * FRAME_TICKS as i32) <= 1);
}

#[test]
fn the_same_picture_in_another_encoding_gets_a_later_timestamp() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0];
    slot.tick -= 1;
    slot.target(1, 0);
    let b = slot.frame(1, true)[0];
    assert_eq!(b.timestamp.distance(a.timestamp), 1);
}

#[test]
fn capture_clocks_that_disagree_with_the_time_passed_are_not_believed() {
    for error in [-3_000_000_000, 2_000_000, i64::MAX / 2] {
        let mut slot = Slot::video(&[0, 0]);
        slot.encodings[1].clock.error = error;
        slot.target(0, 0);
        let a = slot.frame(0, true)[0];
        slot.tick += 9;
        slot.target(1, 0);
        let b = slot.frame(1, true)[0];
        assert!(b.timestamp.distance(a.timestamp).abs_diff(10 * FRAME_TICKS as i32) <= 1, "error {error}");
    }
}

#[test]
fn what_is_given_up_or_of_an_earlier_track_leaves_without_payload_and_is_not_sent_again() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let sent = [slot.frame(0, true)[0], slot.frame(0, false)[0]];
    let [a, b] = sent.map(|out| slot.forwarder.number_of(out.seq));
    let [empty_a, empty_b] = sent.map(|out| Some(Outgoing::empty(out.seq, out.timestamp)));
    slot.forwarder.give_up(b);
    assert_eq!((slot.forwarder.outgoing(a), slot.forwarder.outgoing(b)), (Some(sent[0]), empty_b));
    assert_eq!((slot.forwarder.lookup(a), slot.forwarder.lookup(b)), (Some(sent[0]), None));
    slot.forwarder.bind();
    assert_eq!((slot.forwarder.outgoing(a), slot.forwarder.outgoing(b)), (empty_a, empty_b));
    assert_eq!(slot.forwarder.lookup(a), None);
}

#[test]
fn another_track_continues_the_numbers_by_the_time_that_has_passed() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0];
    slot.forwarder.bind();
    assert_eq!(slot.lookup(a.seq), None, "the new track has not sent it");
    assert_eq!(slot.forwarder.rtp_time_at(0, &views(&slot)), None);
    slot.encodings = Slot::video(&[0, 0]).encodings.split_off(1);
    slot.tick += 99;
    slot.target(0, 0);
    let b = slot.frame(0, true)[0];
    assert_eq!(b.seq.distance(a.seq), 1);
    assert!(b.timestamp.distance(a.timestamp).abs_diff(100 * FRAME_TICKS as i32) <= 1);
    let (a, b) = (a.picture.unwrap(), b.picture.unwrap());
    assert_eq!((b.picture_id, b.tl0_pic_idx), (a.picture_id + 1, a.tl0_pic_idx + 1));
}

#[test]
fn no_pause_is_so_long_that_the_timestamp_seems_to_step_back() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0];
    slot.forwarder.set_target(None);
    slot.tick += 7 * 3600 * 30;
    slot.target(0, 0);
    let b = slot.frame(0, true)[0];
    assert!(b.timestamp.distance(a.timestamp) > 0);
    assert_eq!(b.seq.distance(a.seq), 1);
}

#[test]
fn sender_reports_keep_the_capture_time_across_a_switch() {
    let mut slot = Slot::video(&[0, 0]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0];
    let captured = |tick: i64| tick * 100_000 / 3;
    assert!(slot.forwarder.rtp_time_at(captured(0), &views(&slot)).unwrap().distance(a.timestamp).abs() <= 1);
    slot.tick += 29;
    slot.target(1, 0);
    let b = slot.frame(1, true)[0]; // captured at tick 30
    let at = |tick| slot.forwarder.rtp_time_at(captured(tick), &views(&slot)).unwrap();
    assert!(at(30).distance(b.timestamp).abs() <= 1);
    assert!(at(60).distance(b.timestamp.offset(30 * FRAME_TICKS as i32)).abs() <= 1);
    assert!(at(0).distance(b.timestamp.offset(-30 * FRAME_TICKS as i32)).abs() <= 1);
}

#[test]
fn vp8_numbers_that_the_encoder_resets_continue() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0].picture.unwrap();
    slot.encodings[0].reset_vp8_numbers(9000, 200);
    let b = slot.frame(0, true)[0].picture.unwrap();
    assert_eq!((b.picture_id, b.tl0_pic_idx), (a.picture_id + 1, a.tl0_pic_idx + 1));
}

#[test]
fn lost_packets_keep_their_numbers_and_dropped_ones_have_none() {
    let mut slot = Slot::video(&[1]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0];
    assert_eq!(slot.frames(0, 1), [false]);
    let lost = slot.encode(0, 2, false);
    assert_eq!(slot.frames(0, 1), [false]);
    let b = slot.frame(0, false)[0];
    assert_eq!(b.seq.distance(a.seq), 3);
    assert_eq!(b.picture.unwrap().picture_id, a.picture.unwrap().picture_id + 2);
    assert_eq!(slot.lookup(SeqNo(a.seq.0.wrapping_add(1))), None, "waits for the publisher's repair");
    let repaired = slot.deliver(0, &lost[1])[0];
    assert_eq!(repaired.seq.distance(a.seq), 2);
    assert_eq!(repaired.picture.unwrap().picture_id, a.picture.unwrap().picture_id + 1);
}

#[test]
fn a_nack_is_answered_for_the_last_512_numbers() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    // 600 packets per second.
    let mut sent = vec![];
    for frame in 0..60 {
        for packet in slot.encode(0, 20, frame == 0) {
            sent.extend(slot.deliver(0, &packet));
        }
    }
    for (index, out) in sent.iter().enumerate() {
        let expected = (index >= 1200 - 512).then_some(*out);
        assert_eq!(slot.lookup(out.seq), expected, "packet {index}");
    }
    assert_eq!(slot.lookup(SeqNo(sent[1199].seq.0.wrapping_add(1))), None, "not sent yet");
}

#[test]
fn a_gap_longer_than_the_history_keeps_all_its_numbers() {
    let mut slot = Slot::video(&[0]);
    slot.target(0, 0);
    let a = slot.frame(0, true)[0];
    let mut lost = slot.encode(0, 5000, false);
    let b = slot.frame(0, false)[0];
    assert_eq!(b.seq.0.wrapping_sub(a.seq.0), 5001);
    assert_eq!(slot.lookup(a.seq), None);
    let late = slot.deliver(0, &lost.pop().unwrap())[0];
    assert_eq!(b.seq.distance(late.seq), 1);
}

#[test]
fn audio_steps_in_its_own_clock() {
    let mut slot = Slot::audio();
    slot.target(0, 0);
    let a = slot.frame(0, false)[0];
    slot.forwarder.bind();
    slot.tick += 29;
    slot.target(0, 0);
    let b = slot.frame(0, false)[0];
    assert!(RtpTime(b.timestamp.0).distance(a.timestamp).abs_diff(48_000) <= 1);
}
