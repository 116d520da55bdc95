//! What a client sends: clips in a loop on the clock of a camera and a microphone, from the beginning again when a key
//! frame is asked for, and single packets again when they are missed.

use super::clip::{AUDIO_PACKET, Clip, Codec, RIDS, VIDEO_FPS};
use super::payloads;
use super::totals::Totals;
use crate::client::payload as types;
use crate::client::sdp::{Sending, extension};
use rand::{Rng, RngCore};
use rand_chacha::ChaCha12Rng;
use sfu_engine::media::MediaKind;
use sfu_engine::rtcp::write::SenderInfo;
use sfu_engine::rtcp::{Nack, NtpTime};
use sfu_engine::rtp::extension::{AbsSendTime, AudioLevel};
use sfu_engine::rtp::packet::{RtpHeader, write_header};
use sfu_engine::units::{PayloadType, RtpTime, SeqNo, Ssrc};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Shortest time between two key frames that were asked for, as in libwebrtc.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);
/// Packets kept for retransmission, per encoding; a power of two.
const HISTORY: usize = 512;

/// When each packet of a published clip was last sent, in nanoseconds since 1970. Shared with whoever receives it.
#[derive(Debug)]
pub(crate) struct Departures(Vec<Vec<AtomicU64>>);

impl Departures {
    fn new(clip: &Clip) -> Departures {
        let encodings = 0..clip.encodings.len();
        Departures(
            encodings.map(|e| std::iter::repeat_with(AtomicU64::default).take(clip.packets(e)).collect()).collect(),
        )
    }

    /// The last time that a packet was sent; `None` before the first.
    pub(crate) fn of(&self, encoding: u8, packet: u32) -> Option<u64> {
        let at = self.0.get(usize::from(encoding))?.get(packet as usize)?.load(Ordering::Relaxed);
        (at != 0).then_some(at)
    }
}

/// What a client publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// A microphone; `talking`, or quiet.
    Audio { talking: bool },
    /// A camera: all three encodings, or only the highest.
    Video { codec: Codec, simulcast: bool },
}

impl Media {
    pub(crate) fn kind(self) -> MediaKind {
        if matches!(self, Media::Audio { .. }) { MediaKind::Audio } else { MediaKind::Video }
    }

    pub(crate) fn clip(self) -> &'static Clip {
        match self {
            Media::Audio { .. } => Clip::audio(),
            Media::Video { codec, .. } => Clip::video(codec),
        }
    }
}

/// All tracks of one client.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Where RTP and send times begin.
    origin: Instant,
    rng: ChaCha12Rng,
    tracks: Vec<Track>,
    ready: VecDeque<Ready>,
    transport_seq: u16,
}

#[derive(Debug)]
struct Track {
    media: Media,
    /// Its section.
    mid: String,
    clip: &'static Clip,
    encodings: Vec<Encoding>,
    departures: Arc<Departures>,
    /// Next frame of the clip.
    frame: usize,
    /// Frames sent, which numbers them.
    number: u32,
    next_frame: Option<Instant>,
    wants_keyframe: bool,
    last_keyframe: Option<Instant>,
}

#[derive(Debug)]
struct Encoding {
    /// Which of the clip.
    place: usize,
    rid: Option<&'static str>,
    ssrc: Ssrc,
    rtx_ssrc: Ssrc,
    wanted: bool,
    seq: u16,
    rtx_seq: u16,
    ts_offset: u32,
    packets: u32,
    octets: u32,
    sent: Vec<Option<Sent>>,
}

/// A packet as it was sent, or is about to be.
#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: u16,
    timestamp: RtpTime,
    frame: usize,
    payload: usize,
    /// Of the frame.
    number: u32,
}

/// A packet to send now.
#[derive(Debug)]
struct Ready {
    track: usize,
    encoding: usize,
    sent: Sent,
    again: bool,
}

impl Publisher {
    /// Sends `media` on the sections 0, 1 and so on.
    pub(crate) fn new(media: &[Media], origin: Instant, mut rng: ChaCha12Rng) -> Publisher {
        let tracks = media.iter().enumerate().map(|(mid, media)| Track::new(mid, *media, &mut rng)).collect();
        let transport_seq = rng.next_u32() as u16;
        Publisher { origin, rng, tracks, ready: VecDeque::new(), transport_seq }
    }

    /// What the sections say, in order.
    pub(crate) fn sending(&self) -> impl Iterator<Item = (MediaKind, Sending)> {
        self.tracks.iter().map(|track| {
            let first = &track.encodings[0];
            let rtx = (track.media.kind() == MediaKind::Video).then_some(first.rtx_ssrc);
            let rids = track.encodings.iter().filter_map(|encoding| encoding.rid.map(str::to_owned)).collect();
            (track.media.kind(), Sending { rids, ssrcs: (first.ssrc, rtx) })
        })
    }

    /// When the packets of a section were sent.
    pub(crate) fn departures(&self, section: usize) -> Option<&Arc<Departures>> {
        self.tracks.get(section).map(|track| &track.departures)
    }

    /// Media can flow. Cameras are not in step with each other.
    pub(crate) fn begin(&mut self, now: Instant) {
        let phase = Duration::from_micros(self.rng.random_range(0..33_000));
        self.tracks.iter_mut().for_each(|track| track.next_frame = Some(now + phase));
    }

    /// The server wants these encodings of a section from now on. One that was off begins with a key frame.
    pub(crate) fn set_wanted(&mut self, section: usize, wanted: impl Fn(&str) -> Option<bool>) {
        let Some(track) = self.tracks.get_mut(section) else { return };
        for encoding in &mut track.encodings {
            let wanted = encoding.rid.and_then(&wanted).unwrap_or(true);
            track.wants_keyframe |= wanted && !encoding.wanted;
            encoding.wanted = wanted;
        }
    }

    /// The server asks for a key frame of a source.
    pub(crate) fn request_keyframe(&mut self, ssrc: Ssrc) {
        let mut tracks = self.tracks.iter_mut();
        if let Some(track) = tracks.find(|track| track.encodings.iter().any(|encoding| encoding.ssrc == ssrc)) {
            track.wants_keyframe |= track.media.kind() == MediaKind::Video;
        }
    }

    /// The server misses packets: queues them again, in front of all others.
    pub(crate) fn handle_nack(&mut self, nack: &Nack<'_>, totals: &mut Totals) {
        for (track, of) in self.tracks.iter().enumerate() {
            let Some(encoding) = of.encodings.iter().position(|encoding| encoding.ssrc == nack.media) else { continue };
            for seq in nack.seqs() {
                totals.nacks_in += 1;
                if let Some(sent) = of.encodings[encoding].sent[usize::from(seq.0) % HISTORY].filter(|s| s.seq == seq.0)
                {
                    self.ready.push_front(Ready { track, encoding, sent, again: true });
                }
            }
        }
    }

    /// When [`Publisher::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(|track| track.next_frame).min()
    }

    /// Makes the packets of the frames that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for (index, track) in self.tracks.iter_mut().enumerate() {
            while track.next_frame.is_some_and(|at| at <= now) {
                track.capture(now, self.origin, index, &mut self.ready);
            }
        }
    }

    /// The next packet to seal and send at once: it counts as sent with the call.
    pub(crate) fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        let Ready { track, encoding, sent, again } = self.ready.pop_front()?;
        let track = &mut self.tracks[track];
        let encoding = &mut track.encodings[encoding];
        let frame = &track.clip.encodings[encoding.place][sent.frame];
        let payload = &frame.payloads[sent.payload];
        let last = sent.payload + 1 == frame.payloads.len();
        let (format, codec, level) = match track.media {
            Media::Audio { talking } => (
                (types::OPUS, types::OPUS),
                None,
                Some(AudioLevel { level: if talking { 25 } else { 75 }, voice: talking }),
            ),
            Media::Video { codec, .. } => (codec.format().payload, Some(codec), None),
        };
        let (payload_type, seq, ssrc, rid_extension) = if again {
            encoding.rtx_seq = encoding.rtx_seq.wrapping_add(1);
            (format.1, encoding.rtx_seq, encoding.rtx_ssrc, extension::REPAIRED_RID)
        } else {
            (format.0, sent.seq, encoding.ssrc, extension::RID)
        };
        let header = RtpHeader {
            marker: codec.is_some() && last,
            payload_type: PayloadType(payload_type),
            seq: SeqNo(seq),
            timestamp: sent.timestamp,
            ssrc,
        };
        let transport_seq = self.transport_seq.to_be_bytes();
        self.transport_seq = self.transport_seq.wrapping_add(1);
        let send_time = AbsSendTime::at(now.saturating_duration_since(self.origin).as_micros() as i64).write();
        let level = level.map(AudioLevel::write);
        let elements = [
            (extension::TRANSPORT_CC, &transport_seq[..]),
            (extension::ABS_SEND_TIME, &send_time[..]),
            (extension::MID, track.mid.as_bytes()),
        ];
        let rid = encoding.rid.map(|rid| (rid_extension, rid.as_bytes()));
        let level = level.as_ref().map(|level| (extension::AUDIO_LEVEL, &level[..]));
        let mut out = Vec::with_capacity(payload.len() + 80);
        write_header(&mut out, &header, elements.into_iter().chain(rid).chain(level), true);
        if again {
            out.extend_from_slice(&sent.seq.to_be_bytes());
        }
        let body = out.len();
        out.extend_from_slice(payload);
        if let Some(codec) = codec {
            payloads::set_number(codec, &mut out[body..], sent.number);
        }
        encoding.packets = encoding.packets.wrapping_add(1);
        encoding.octets = encoding.octets.wrapping_add(payload.len() as u32);
        // A repaired packet's latency is still that since it was first sent.
        if !again {
            let departure = &track.departures.0[encoding.place][frame.first as usize + sent.payload];
            departure
                .store(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64), Ordering::Relaxed);
        }
        Some(out)
    }

    /// What sender reports say of each source that flows.
    pub(crate) fn sender_infos(&self, now: Instant, ntp: NtpTime) -> Vec<SenderInfo> {
        let since = now.saturating_duration_since(self.origin);
        let sources = self.tracks.iter().flat_map(|track| track.encodings.iter().map(move |e| (track.media.kind(), e)));
        let flowing = sources.filter(|(_, encoding)| encoding.packets > 0);
        let info = |(kind, encoding): (MediaKind, &Encoding)| SenderInfo {
            ssrc: encoding.ssrc,
            ntp,
            rtp_time: encoding.timestamp(kind, since),
            packets: encoding.packets,
            octets: encoding.octets,
        };
        flowing.map(info).collect()
    }
}

impl Track {
    fn new(mid: usize, media: Media, rng: &mut ChaCha12Rng) -> Track {
        let clip = media.clip();
        let places = match media {
            Media::Video { simulcast: false, .. } => clip.encodings.len() - 1..clip.encodings.len(),
            _ => 0..clip.encodings.len(),
        };
        let simulcast = places.len() > 1;
        let encodings = places.map(|place| Encoding {
            place,
            rid: simulcast.then_some(RIDS[place]),
            ssrc: Ssrc(rng.next_u32() | 1),
            rtx_ssrc: Ssrc(rng.next_u32() | 1),
            wanted: true,
            // Far from the wrap: who misses the first packets must not guess the rollover counter wrong (RFC 3711
            // section 3.3.1).
            seq: (rng.next_u32() & 0x7fff) as u16,
            rtx_seq: (rng.next_u32() & 0x7fff) as u16,
            ts_offset: rng.next_u32(),
            packets: 0,
            octets: 0,
            sent: vec![None; HISTORY],
        });
        Track {
            media,
            mid: mid.to_string(),
            clip,
            encodings: encodings.collect(),
            departures: Arc::new(Departures::new(clip)),
            frame: 0,
            number: 0,
            next_frame: None,
            wants_keyframe: false,
            last_keyframe: None,
        }
    }

    /// Takes the next frame of the clip in all encodings that are wanted.
    fn capture(&mut self, now: Instant, origin: Instant, index: usize, ready: &mut VecDeque<Ready>) {
        let may = self.last_keyframe.is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_INTERVAL);
        if self.wants_keyframe && may {
            self.frame = 0;
        }
        if self.frame == 0 {
            (self.wants_keyframe, self.last_keyframe) = (false, Some(now));
        }
        let (frame, number, kind) = (self.frame, self.number, self.media.kind());
        let since = now.saturating_duration_since(origin);
        for (place, encoding) in self.encodings.iter_mut().enumerate().filter(|(_, encoding)| encoding.wanted) {
            let timestamp = encoding.timestamp(kind, since);
            for payload in 0..self.clip.encodings[encoding.place][frame].payloads.len() {
                let sent = Sent { seq: encoding.seq, timestamp, frame, payload, number };
                encoding.sent[usize::from(encoding.seq) % HISTORY] = Some(sent);
                encoding.seq = encoding.seq.wrapping_add(1);
                ready.push_back(Ready { track: index, encoding: place, sent, again: false });
            }
        }
        self.frame = (frame + 1) % self.clip.frames();
        self.number = number.wrapping_add(1);
        let interval = match kind {
            MediaKind::Audio => AUDIO_PACKET,
            MediaKind::Video => Duration::from_secs(1) / VIDEO_FPS,
        };
        self.next_frame = self.next_frame.map(|at| at + interval);
    }
}

impl Encoding {
    fn timestamp(&self, kind: MediaKind, since: Duration) -> RtpTime {
        let ticks = since.as_micros() as u64 * u64::from(kind.clock_rate()) / 1_000_000;
        RtpTime(self.ts_offset.wrapping_add(ticks as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use sfu_engine::rtp::packet::RtpPacket;

    fn publisher(simulcast: bool) -> (Publisher, Instant) {
        let start = Instant::now();
        let media = [Media::Audio { talking: true }, Media::Video { codec: Codec::Vp8, simulcast }];
        let mut publisher = Publisher::new(&media, start, ChaCha12Rng::seed_from_u64(1));
        publisher.begin(start);
        (publisher, start)
    }

    /// Everything until `end` as (ssrc, keyframe's first packet).
    fn packets(publisher: &mut Publisher, end: Instant) -> Vec<(u32, bool)> {
        let mut packets = Vec::new();
        while let Some(now) = publisher.poll_timeout().filter(|at| *at <= end) {
            publisher.handle_timeout(now);
            while let Some(bytes) = publisher.poll_packet(now) {
                let packet = RtpPacket::parse(&bytes).unwrap();
                let video = packet.payload_type().0 == types::VP8.0;
                let key = video && sfu_engine::rtp::codec::vp8::parse(packet.payload()).unwrap().keyframe;
                packets.push((packet.ssrc().0, key));
            }
        }
        packets
    }

    #[test]
    fn a_request_is_answered_by_a_key_frame_of_every_encoding_but_not_too_often() {
        let (mut publisher, start) = publisher(true);
        let keys = |packets: &[(u32, bool)]| packets.iter().filter(|(_, key)| *key).count();
        assert_eq!(keys(&packets(&mut publisher, start + Duration::from_millis(200))), 3);
        let ssrc = publisher.tracks[1].encodings[2].ssrc;
        publisher.request_keyframe(ssrc);
        assert_eq!(keys(&packets(&mut publisher, start + Duration::from_millis(290))), 0);
        assert_eq!(keys(&packets(&mut publisher, start + Duration::from_millis(400))), 3);
    }

    #[test]
    fn what_is_not_wanted_is_not_sent_and_begins_with_a_key_frame() {
        let (mut publisher, start) = publisher(true);
        let top = publisher.tracks[1].encodings[2].ssrc.0;
        publisher.set_wanted(1, |rid| Some(rid != "f"));
        assert!(packets(&mut publisher, start + Duration::from_secs(1)).iter().all(|(ssrc, _)| *ssrc != top));
        publisher.set_wanted(1, |_| Some(true));
        let sent = packets(&mut publisher, start + Duration::from_secs(2));
        assert!(sent.iter().find(|(ssrc, _)| *ssrc == top).unwrap().1);
    }

    #[test]
    fn a_missed_packet_is_sent_again_on_its_own_source() {
        let (mut publisher, start) = publisher(false);
        packets(&mut publisher, start + Duration::from_millis(100));
        let encoding = &publisher.tracks[1].encodings[0];
        let (ssrc, rtx, seq) = (encoding.ssrc, encoding.rtx_ssrc, encoding.seq.wrapping_sub(1));
        let mut nack = Vec::new();
        sfu_engine::rtcp::write::nack(&mut nack, Ssrc(1), ssrc, &[sfu_engine::units::ExtSeq(u64::from(seq))]);
        let mut totals = Totals::default();
        sfu_engine::rtcp::parse(&nack, |part| {
            let sfu_engine::rtcp::Rtcp::Nack(nack) = part else { panic!() };
            publisher.handle_nack(&nack, &mut totals);
        });
        let again = publisher.poll_packet(start).unwrap();
        let packet = RtpPacket::parse(&again).unwrap();
        assert_eq!((packet.ssrc(), packet.payload_type().0), (rtx, types::VP8.1));
        assert_eq!(packet.payload()[..2], seq.to_be_bytes());
        assert!(publisher.poll_packet(start).is_none());
    }
}
