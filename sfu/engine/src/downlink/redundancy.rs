//! How often packets of audio are repeated (RFC 2198) for a receiver on whose path packets get lost.
//!
//! Audio cannot wait for a retransmission, so each packet is sent again inside the packets that follow it. Each
//! repetition costs as much as the audio itself, and it is useless where a full queue drops packets: so only loss that
//! no queue explains counts, and video keeps its share of the link.

use crate::rtp::red::Block;
use crate::units::{Bitrate, ExtSeq};
use crate::uplink::store::{PacketStore, StoredPacket};

/// The most older packets that a packet repeats.
const MOST: usize = 2;
/// From the first share of lost packets on, each packet repeats one older packet; from the second on, two. A repetition
/// ends when the loss falls below half of its share.
const FROM_LOSS: [f32; MOST] = [0.02, 0.08];
/// Beside video, audio with its repetitions may take this share of the estimate.
const SHARE: f64 = 0.5;
/// The most bytes of payload of a packet with its repetitions. With all headers it stays below the MTU of every path.
const MOST_BYTES: usize = 1100;
/// The largest timestamp offset (14 bits) and length (10 bits) of an older block (RFC 2198 section 3).
const BLOCK_LIMITS: (i32, usize) = (0x3FFF, 0x3FF);

/// The rate that a receiver's audio takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sound {
    /// All audio, as publishers send it.
    pub all: Bitrate,
    /// The part of it that the server can repeat.
    pub repeatable: Bitrate,
}

impl Sound {
    /// The rate with everything that can be repeated sent this many times more.
    pub(super) fn repeated(self, times: u8) -> Bitrate {
        self.all.plus(self.repeatable.scale(f64::from(times)))
    }
}

/// How many older packets each packet is to repeat, given how many it did `before`. `loss` is the share that gets lost
/// while nothing queues. Audio that is `alone` is repeated once whatever the estimate: without demand for video no
/// probe explores the link, so the estimate tells little.
pub(super) fn choose(before: u8, loss: f32, sound: Sound, alone: bool, estimate: Bitrate) -> u8 {
    if sound.repeatable == Bitrate::ZERO {
        return 0;
    }
    let helpful = |share: f32| FROM_LOSS.iter().filter(|from| loss >= **from * share).count() as u8;
    let wanted = before.clamp(helpful(1.0), helpful(0.5));
    let room = if alone { estimate.max(sound.repeated(1)) } else { estimate.scale(SHARE) };
    (1..=wanted).rev().find(|times| sound.repeated(*times) <= room).unwrap_or_default()
}

/// The packets of a store that `newest` shall repeat, oldest first: as many of those just before it as there are, fit,
/// and are of its codec.
pub(super) fn blocks_before<'a>(store: &'a PacketStore, newest: &StoredPacket, times: u8) -> [Option<Block<'a>>; MOST] {
    let (mut blocks, mut bytes) = ([None; MOST], newest.payload().len());
    for (place, back) in blocks.iter_mut().rev().zip(1..=u64::from(times)) {
        let Some(older) = newest.meta.seq.0.checked_sub(back).and_then(|seq| store.get(ExtSeq(seq))) else { continue };
        let (age, payload) = (newest.meta.timestamp.distance(older.meta.timestamp), older.payload());
        bytes += payload.len();
        let fits = age <= BLOCK_LIMITS.0 && payload.len() <= BLOCK_LIMITS.1 && bytes <= MOST_BYTES;
        if age <= 0 || !fits || payload.is_empty() || older.meta.payload_type != newest.meta.payload_type {
            break;
        }
        *place = Some(Block { payload_type: older.meta.payload_type, offset: age as u16, bytes: payload });
    }
    blocks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::media::{FrameMeta, PacketMeta};
    use crate::units::{PayloadType, RtpTime};
    use std::time::Instant;

    const OPUS: PayloadType = PayloadType(111);

    #[test]
    fn more_loss_brings_more_repetitions_and_much_less_ends_them() {
        let sound = Sound { all: Bitrate::kbps(45), repeatable: Bitrate::kbps(45) };
        let losses = [0.0, 0.019, 0.021, 0.011, 0.07, 0.09, 0.05, 0.039, 0.02, 0.009, 0.011];
        let mut times = 0;
        let chosen = losses.map(|loss| {
            times = choose(times, loss, sound, false, Bitrate::kbps(1000));
            times
        });
        assert_eq!(chosen, [0, 0, 1, 1, 1, 2, 2, 1, 1, 0, 0]);
    }

    #[test]
    fn nothing_is_repeated_where_nothing_can_be() {
        let sound = Sound { all: Bitrate::kbps(45), repeatable: Bitrate::ZERO };
        assert_eq!(choose(1, 0.2, sound, false, Bitrate::kbps(1000)), 0);
    }

    #[test]
    fn repetitions_leave_half_of_the_link_to_the_rest() {
        let sound = Sound { all: Bitrate::kbps(60), repeatable: Bitrate::kbps(40) };
        let chosen = [279, 280, 199, 200].map(|kbps| choose(0, 0.2, sound, false, Bitrate::kbps(kbps)));
        assert_eq!(chosen, [1, 2, 0, 1]);
    }

    #[test]
    fn where_nothing_else_is_wanted_sound_is_sent_once_more_in_any_case() {
        let sound = Sound { all: Bitrate::kbps(60), repeatable: Bitrate::kbps(40) };
        let chosen = [30, 139, 140].map(|kbps| choose(0, 0.2, sound, true, Bitrate::kbps(kbps)));
        assert_eq!(chosen, [1, 1, 2]);
        assert_eq!(choose(0, 0.0, sound, true, Bitrate::kbps(1000)), 0);
    }

    /// A store of packets of sound: number, timestamp, payload type, bytes.
    fn store(packets: &[(u64, u32, PayloadType, usize)]) -> PacketStore {
        let (mut store, arrival) = (PacketStore::new(PacketStore::AUDIO_SLOTS), Instant::now());
        for (number, timestamp, payload_type, bytes) in packets {
            let meta = PacketMeta {
                seq: ExtSeq(*number),
                timestamp: RtpTime(*timestamp),
                marker: false,
                payload_type: *payload_type,
                arrival,
                audio_level: None,
                redundant: 0,
                frame: FrameMeta::default(),
            };
            store.insert(meta, &[], &vec![*number as u8; *bytes]);
        }
        store
    }

    /// Offset, first byte and length of the blocks that packet 100 shall repeat.
    fn repeated(packets: &[(u64, u32, PayloadType, usize)]) -> Vec<(u16, u8, usize)> {
        let store = store(packets);
        let blocks = blocks_before(&store, store.get(ExtSeq(100)).unwrap(), 2);
        blocks.iter().flatten().map(|block| (block.offset, block.bytes[0], block.bytes.len())).collect()
    }

    #[test]
    fn the_packets_before_are_repeated_oldest_first_as_far_as_they_are_there() {
        let row = [(97, 0, OPUS, 50), (98, 960, OPUS, 60), (99, 1920, OPUS, 70), (100, 2880, OPUS, 80)];
        assert_eq!(repeated(&row), [(1920, 98, 60), (960, 99, 70)]);
        assert_eq!(repeated(&[row[1], row[3]]), [(1920, 98, 60)]);
        assert_eq!(repeated(&row[3..]), []);
    }

    #[test]
    fn what_is_too_old_too_long_or_of_another_codec_is_not_repeated() {
        let newest = (100, 20_000, OPUS, 80);
        assert_eq!(repeated(&[(99, 3_000, OPUS, 60), newest]), [], "older than an offset can tell");
        assert_eq!(repeated(&[(98, 19_040, OPUS, 60), (99, 20_000, OPUS, 60), newest]), [], "no older at all");
        assert_eq!(repeated(&[(99, 19_040, PayloadType(9), 60), newest]), []);
        assert_eq!(repeated(&[(99, 19_040, OPUS, 0), newest]), [], "nothing to hear");
        assert_eq!(repeated(&[(98, 18_080, OPUS, 600), (99, 19_040, OPUS, 500), newest]), [(960, 99, 500)]);
    }
}
