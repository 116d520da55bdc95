//! H.264 whose publisher sends its parameter sets once: whoever starts at a key frame without them gets them first.

use super::Slot;
use super::model::{Encoder, Packet};
use crate::forward::Outgoing;
use crate::media::MediaKind;
use crate::units::{ExtSeq, PayloadType, SeqNo};

const SETS: [u8; 3] = [0x78, 0, 0];

/// Two encodings, of which each has its own parameter sets.
fn slot() -> Slot {
    let mut slot = Slot::new(MediaKind::Video, [Encoder::H264, Encoder::H264].into_iter());
    for encoding in &mut slot.encodings {
        encoding.store.set_parameters(slot.began, PayloadType(96), SETS.to_vec());
    }
    for encoding in [0, 1] {
        // What came before anybody wanted it.
        slot.frame(encoding, true);
    }
    slot
}

/// A key picture of two packets, its slice in fragments, without parameter sets.
fn bare_keyframe(slot: &mut Slot, encoding: usize) -> Vec<Packet> {
    let mut packets = slot.encode(encoding, 2, true);
    packets[0].payload.splice(..2, [0x7C, 0x85, 0x88]);
    packets[1].payload.splice(..3, [0x7C, 0x45, 0x80]);
    packets
}

fn deliver_all(slot: &mut Slot, encoding: usize, packets: &[Packet]) -> Vec<Outgoing> {
    packets.iter().flat_map(|packet| slot.deliver(encoding, packet)).collect()
}

/// What was sent is the parameter sets of the encoding and then `packets`, under the numbers from `first` on, as one
/// picture.
fn check(slot: &Slot, encoding: usize, sent: &[Outgoing], first: u16, packets: &[Packet]) {
    let store = &slot.encodings[encoding].store;
    let sets = store.parameters().unwrap().meta.seq;
    let sources: Vec<ExtSeq> = std::iter::once(sets).chain(packets.iter().map(|packet| packet.seq)).collect();
    assert_eq!(sent.iter().map(|out| out.source.unwrap()).collect::<Vec<_>>(), sources);
    for (place, out) in (0..).zip(sent) {
        assert_eq!(out.seq, SeqNo(first.wrapping_add(place)), "the numbers have no hole");
        assert_eq!(out.timestamp, sent[0].timestamp, "one picture");
        assert_eq!(slot.lookup(out.seq), Some(*out), "can be sent again");
    }
    assert!(!sent[0].marker);
    assert_eq!(store.get(sent[0].source.unwrap()).unwrap().payload(), SETS);
}

#[test]
fn a_late_joiner_and_every_switch_get_them_before_the_key_frame() {
    let mut slot = slot();
    slot.target(0, 0);
    let key = bare_keyframe(&mut slot, 0);
    let sent = deliver_all(&mut slot, 0, &key);
    check(&slot, 0, &sent, 65_534, &key);
    assert_eq!(slot.frames(0, 2), [true, true]);
    slot.target(1, 0);
    let key = bare_keyframe(&mut slot, 1);
    let sent = deliver_all(&mut slot, 1, &key);
    check(&slot, 1, &sent, 65_534u16.wrapping_add(5), &key);
    // Whoever has the encoding already has its sets.
    let key = bare_keyframe(&mut slot, 1);
    assert_eq!(deliver_all(&mut slot, 1, &key).len(), 2);
    slot.target(0, 0);
    let key = bare_keyframe(&mut slot, 0);
    let sent = deliver_all(&mut slot, 0, &key);
    check(&slot, 0, &sent, 65_534u16.wrapping_add(10), &key);
}

#[test]
fn a_start_from_the_store_has_them_too() {
    let mut slot = slot();
    let key = bare_keyframe(&mut slot, 0);
    assert!(deliver_all(&mut slot, 0, &key).is_empty());
    slot.target(0, 0);
    let sent = slot.start_from_store(1 << 20);
    check(&slot, 0, &sent, 65_534, &key);
}

#[test]
fn a_key_frame_that_brings_its_own_gets_no_others() {
    let mut slot = slot();
    slot.target(0, 0);
    let key = slot.encode(0, 3, true);
    let sent = deliver_all(&mut slot, 0, &key);
    assert_eq!(
        sent.iter().map(|out| out.source.unwrap()).collect::<Vec<_>>(),
        key.iter().map(|p| p.seq).collect::<Vec<_>>()
    );
}

#[test]
fn after_a_change_the_old_ones_are_still_sent_again_as_they_were() {
    let mut slot = slot();
    slot.target(0, 0);
    let key = bare_keyframe(&mut slot, 0);
    let sent = deliver_all(&mut slot, 0, &key);
    let now = slot.began;
    let store = &mut slot.encodings[0].store;
    store.set_parameters(now, PayloadType(96), SETS.to_vec());
    let source = |out: &Outgoing| out.source.unwrap();
    assert_eq!(store.parameters().unwrap().meta.seq, source(&sent[0]), "the same once more changes nothing");
    store.set_parameters(now, PayloadType(96), vec![0x78, 0, 1, 0x67]);
    assert_eq!(store.parameters().unwrap().payload(), [0x78, 0, 1, 0x67]);
    let again = slot.lookup(sent[0].seq).unwrap();
    assert_eq!(slot.encodings[0].store.get(source(&again)).unwrap().payload(), SETS);
    for change in 0..10 {
        slot.encodings[0].store.set_parameters(now, PayloadType(96), vec![0x78, 0, 1, change]);
    }
    assert!(slot.encodings[0].store.get(source(&again)).is_none(), "not for ever");
}
