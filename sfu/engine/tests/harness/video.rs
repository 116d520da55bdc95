//! What arrives on a video slot: packets to pictures, what is missing, what decodes, and whether the numbering is that
//! of one source.

use super::picture::{self, Descriptor, Picture};
use super::rtp;
use super::sdp::{H264, VP8, VP9};
use rtc::rtp::Packet;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A missing packet is asked for this long after it was noticed, and again at these distances.
const NACK_DELAY: Duration = Duration::from_millis(5);
const NACK_REPEAT: Duration = Duration::from_millis(100);
const MAX_NACKS: u32 = 10;
/// Packets come, but nothing decodes: a key frame is asked for after this time.
const STUCK: Duration = Duration::from_millis(400);

/// The receiver of one slot.
#[derive(Default)]
pub struct VideoReceiver {
    /// Every picture that decoded, in the order in which it did.
    pub decoded: Vec<Decoded>,
    pub plis: u32,
    pub nacks: u32,
    pub repaired: u32,
    packets: BTreeMap<u64, Arrived>,
    /// Packets of H.264 parameter sets, and whose they are.
    pub parameter_sets: BTreeMap<u64, u8>,
    /// Packets of padding only: they hold a number.
    fills: BTreeSet<u64>,
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    /// Numbers given up.
    pub lost: BTreeSet<u64>,
    decoded_ids: BTreeSet<(u32, u8, u32)>,
    /// First sequence numbers of pictures that are not decoded yet, and when they began to arrive.
    waiting: BTreeMap<u64, Instant>,
    /// Pictures that had begun to arrive when a later keyframe was decoded.
    skipped: usize,
    last_progress: Option<Instant>,
    last_packet: Option<Instant>,
    /// The header extensions that came last, by id.
    pub extensions: BTreeMap<u8, Vec<u8>>,
}

/// A picture that decoded.
#[derive(Clone, Copy, Debug)]
pub struct Decoded {
    pub at: Instant,
    pub timestamp: u32,
    pub picture: Picture,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrived {
    timestamp: u32,
    marker: bool,
    codec: u8,
    descriptor: Descriptor,
    picture: Picture,
}

#[derive(Clone, Copy)]
struct Missing {
    since: Instant,
    asked: Option<Instant>,
    times: u32,
}

impl VideoReceiver {
    /// A packet of the slot's own source.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) -> u64 {
        let seq = rtp::unwrap(self.highest, packet.header.sequence_number);
        let element = |id: u8| Some((id, packet.header.get_extension(id)?.to_vec()));
        self.extensions = packet.header.get_extension_ids().into_iter().filter_map(element).collect();
        let head = &packet.header;
        self.take(now, seq, head.timestamp, head.marker, head.payload_type, &packet.payload);
        seq
    }

    /// A packet of the slot's retransmission source.
    pub fn handle_rtx(&mut self, now: Instant, packet: &Packet) {
        let [high, low, payload @ ..] = &packet.payload[..] else { return };
        let seq = rtp::unwrap(self.highest, u16::from_be_bytes([*high, *low]));
        self.repaired += u32::from(!self.packets.contains_key(&seq));
        let head = &packet.header;
        self.take(now, seq, head.timestamp, head.marker, head.payload_type - 1, payload);
    }

    fn take(&mut self, now: Instant, seq: u64, timestamp: u32, marker: bool, codec: u8, payload: &[u8]) {
        assert!([VP8, VP9, H264].contains(&codec), "payload type {codec}");
        let start = self.highest.map_or(seq, |highest| highest + 1);
        for missing in start..seq {
            self.missing.insert(missing, Missing { since: now, asked: None, times: 0 });
        }
        self.highest = self.highest.max(Some(seq));
        self.missing.remove(&seq);
        self.lost.remove(&seq);
        self.last_packet = Some(now);
        if payload.is_empty() {
            // What came late and was asked for goes out twice, and the second time may have been given up: a duplicate
            // to the receiver.
            if !self.packets.contains_key(&seq) {
                self.fills.insert(seq);
            }
            return self.decode(now);
        }
        assert!(!self.fills.contains(&seq), "padding's number was used for a picture");
        if let Some(encoding) = picture::sets_of(codec, payload) {
            self.parameter_sets.insert(seq, encoding);
            return self.decode(now);
        }
        let (descriptor, picture) = picture::read(picture::unwrapped(codec, payload));
        let arrived = Arrived { timestamp, marker, codec, descriptor, picture };
        if let Some(before) = self.packets.insert(seq, arrived) {
            assert_eq!(before, arrived, "two packets under one number");
            return;
        }
        if descriptor.starts {
            self.waiting.insert(seq, now);
        }
        self.decode(now);
    }

    /// Decodes every picture that is whole and whose reference is decoded.
    fn decode(&mut self, now: Instant) {
        let mut again = true;
        while again {
            again = false;
            for first in self.waiting.keys().copied().collect::<Vec<_>>() {
                let picture = self.packets[&first].picture;
                let whole = (first..first + u64::from(picture.count)).zip(0u8..).all(|(seq, index)| {
                    self.packets.get(&seq).is_some_and(|p| p.picture == Picture { index, ..picture })
                });
                let reference = (picture.camera, picture.encoding, picture.needs);
                let sets = self.parameter_sets.range(..first).next_back();
                let is_set_up =
                    self.packets[&first].codec != H264 || sets.is_some_and(|(_, of)| *of == picture.encoding);
                if whole && is_set_up && (picture.is_keyframe() || self.decoded_ids.contains(&reference)) {
                    self.waiting.remove(&first);
                    if picture.is_keyframe() {
                        // A decoder does not go back behind a keyframe.
                        let later = self.waiting.split_off(&first);
                        self.skipped += std::mem::replace(&mut self.waiting, later).len();
                    }
                    self.decoded_ids.insert(picture.id());
                    let timestamp = self.packets[&first].timestamp;
                    self.decoded.push(Decoded { at: now, timestamp, picture });
                    self.last_progress = Some(now);
                    again = true;
                }
            }
        }
    }

    /// The newest number.
    pub fn newest(&self) -> Option<u16> {
        self.highest.map(|seq| seq as u16)
    }

    /// The numbers to ask for now.
    pub fn poll_nacks(&mut self, now: Instant) -> Vec<u16> {
        let mut ask = Vec::new();
        let mut given_up = Vec::new();
        for (seq, missing) in &mut self.missing {
            let due = match missing.asked {
                None => now >= missing.since + NACK_DELAY,
                Some(at) => now >= at + NACK_REPEAT,
            };
            if due && missing.times >= MAX_NACKS {
                given_up.push(*seq);
            } else if due {
                missing.asked = Some(now);
                missing.times += 1;
                ask.push(*seq as u16);
            }
        }
        for seq in given_up {
            self.missing.remove(&seq);
            self.lost.insert(seq);
        }
        self.nacks += ask.len() as u32;
        ask
    }

    /// Whether a key frame must be asked for: packets come, but nothing decodes.
    pub fn poll_pli(&mut self, now: Instant) -> bool {
        let Some(packet) = self.last_packet else { return false };
        let progress = *self.last_progress.get_or_insert(packet);
        let stuck = now.saturating_duration_since(progress) > STUCK
            && now.saturating_duration_since(packet) < Duration::from_millis(100)
            && packet > progress;
        if stuck {
            self.last_progress = Some(now);
            self.plis += 1;
        }
        stuck
    }

    /// The slot carries nothing any more, or something else: silence is no sign of trouble.
    pub fn reset_progress(&mut self) {
        self.last_progress = None;
        self.last_packet = None;
    }

    /// Pictures decoded since a moment.
    pub fn decoded_since(&self, since: Instant) -> impl Iterator<Item = &Decoded> {
        self.decoded.iter().filter(move |d| d.at >= since)
    }

    /// How many packets came in a codec, and whether any in another came behind the first of those.
    pub fn packets_in(&self, codec: u8) -> (usize, bool) {
        let mut behind = self.packets.values().skip_while(|packet| packet.codec != codec);
        (behind.clone().filter(|packet| packet.codec == codec).count(), behind.any(|packet| packet.codec != codec))
    }

    /// Height of the newest picture.
    pub fn height(&self) -> u16 {
        self.decoded.last().map_or(0, |d| d.picture.height)
    }

    /// Pictures that began to arrive and did not decode within half a second.
    pub fn undecoded(&self) -> usize {
        let late = |since: &&Instant| self.last_packet.is_some_and(|last| last > **since + Duration::from_millis(500));
        self.skipped + self.waiting.values().filter(late).count()
    }

    /// Numbers that never arrived.
    pub fn holes(&self) -> usize {
        self.missing.len() + self.lost.len()
    }

    /// Panics unless what arrived is numbered as by one encoder: no step back, no unexplained step, no reference across
    /// a switch.
    pub fn check(&self) {
        let mut keyframe: Option<Picture> = None;
        let mut before: Option<(u64, Arrived)> = None;
        let mut base_tl0: Option<u8> = None;
        for (&seq, packet) in &self.packets {
            let (picture, descriptor) = (packet.picture, packet.descriptor);
            if descriptor.starts && picture.is_keyframe() {
                keyframe = Some(picture);
            }
            if let Some(key) = keyframe {
                let same_run = (key.camera, key.encoding) == (picture.camera, picture.encoding);
                let hole = before.is_some_and(|(last, _)| (last + 1..seq).any(|s| !self.fills.contains(&s)));
                assert!(
                    hole || (same_run && picture.needs >= key.number),
                    "{seq}: {picture:?} leans on what came before the key frame {key:?}"
                );
                if hole && !same_run {
                    keyframe = None;
                }
            }
            if let Some((last_seq, last)) = before {
                let hole = (last_seq + 1..seq).any(|s| !self.fills.contains(&s));
                let step = packet.timestamp.wrapping_sub(last.timestamp) as i32;
                let same = last.picture.id() == picture.id();
                assert_eq!(same, step == 0, "{seq}: one timestamp for each picture: {last:?} {packet:?}");
                assert!(step >= 0, "{seq}: timestamps run forward: {last:?} {packet:?}");
                let id_step = descriptor.picture_id.wrapping_sub(last.descriptor.picture_id) & 0x7FFF;
                if hole {
                    assert!(id_step < 0x4000, "{seq}: picture ids run forward: {last:?} {packet:?}");
                    base_tl0 = None;
                } else {
                    // A picture that came too late to be dropped without a trace has left a filled number and a picture
                    // id.
                    let filled = (seq - last_seq - 1) as u16;
                    let steps = u16::from(!same)..=u16::from(!same) + filled;
                    assert!(steps.contains(&id_step), "{seq}: picture ids in a row: {last:?} {packet:?}");
                    // What follows a switch to another encoding does not wait for stragglers of the old one; where
                    // nothing of that other one has left until the next switch, its numbers are filled.
                    let switched = last.picture.encoding != picture.encoding || filled > 0;
                    let cut_off = picture.is_keyframe() && switched;
                    let marked = last.marker != same || cut_off && !last.marker;
                    assert!(marked, "{seq}: the last packet of a picture is marked: {last:?} {packet:?}");
                }
                if let Some(tl0) = base_tl0 {
                    let step = u8::from(!same && descriptor.temporal == 0);
                    // A switch to another encoding leaves the pictures out that were still queued, and fills their
                    // numbers.
                    let given_up = if picture.is_keyframe() { (seq - last_seq - 1) as u8 } else { 0 };
                    let steps = step..=step + given_up;
                    let taken = descriptor.tl0.wrapping_sub(tl0);
                    assert!(steps.contains(&taken), "{seq}: TL0PICIDX in a row: {last:?} {packet:?}");
                }
            }
            base_tl0 = Some(descriptor.tl0);
            before = Some((seq, *packet));
        }
    }
}
