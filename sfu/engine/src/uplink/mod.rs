//! What the server receives from a participant.
//!
//! [`Uplink`] is one participant's: it finds the track of each packet and writes the feedback that concerns all of
//! them. What concerns one encoding (repair, key frames, rates, clock) hangs on its [`track::Track`].

pub mod activity;
pub mod clock;
pub mod encoding;
pub mod feedback;
pub mod keyframe;
pub mod nack;
pub mod rates;
pub mod reception;
pub mod rtx;
pub mod shortfall;
pub mod store;
pub mod streams;
pub mod track;

#[cfg(test)]
mod tests;

use crate::engine::keys::TrackKey;
use crate::rtcp::{ReportBlock, RtcpBatch, SenderReport, write};
use crate::rtp::extension::ReceivedExtensions;
use crate::rtp::packet::RtpPacket;
use crate::sdp::{CNAME, ExtensionMap, Section, SectionRole};
use crate::units::{Bitrate, SeqNo, Ssrc};
use clock::PublisherClock;
use feedback::FeedbackRecorder;
use rand::RngCore;
use rates::RateMeter;
use slotmap::SlotMap;
use std::time::{Duration, Instant};
use streams::{Announcement, EncodingStreams, SectionStreams, StreamRef, StreamTable};
use track::Track;

/// Receiver and sender reports go this often (RFC 3550 section 6.2 asks for less; browsers expect about this).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Report blocks in one packet, of 24 bytes each; the format allows 31.
const REPORT_BLOCKS: usize = 10;

/// One participant's uplink.
pub struct Uplink {
    /// The SSRC under which our own reports and requests go.
    pub ssrc: Ssrc,
    /// Ids of the header extensions on the sections that the client sends on; BUNDLE makes them one space (RFC 9143
    /// section 9.1).
    pub extensions: ExtensionMap,
    /// The publisher's clock against ours.
    pub clock: PublisherClock,
    /// The tracks with their section index.
    tracks: Vec<(u32, TrackKey)>,
    streams: StreamTable,
    feedback: FeedbackRecorder,
    rate: RateMeter,
    next_track_index: u32,
    report_at: Option<Instant>,
    /// Received and lost packets when the quality was told last.
    counted: (u64, u64),
    rtt: Option<Duration>,
}

impl Uplink {
    /// An uplink on which nothing is published. `origin` is the zero of the engine's time line.
    pub fn new(origin: Instant, rng: &mut impl RngCore) -> Self {
        Uplink {
            ssrc: Ssrc(rng.next_u32()),
            extensions: ExtensionMap::default(),
            clock: PublisherClock::new(origin),
            tracks: Vec::new(),
            streams: StreamTable::default(),
            feedback: FeedbackRecorder::default(),
            rate: RateMeter::default(),
            next_track_index: 0,
            report_at: None,
            counted: (0, 0),
            rtt: None,
        }
    }

    /// The client made a new peer connection. Its tracks must have ended.
    pub fn start_over(&mut self, origin: Instant) {
        self.clock = PublisherClock::new(origin);
        self.tracks.clear();
        self.streams = StreamTable::default();
        self.feedback = FeedbackRecorder::default();
        self.report_at = None;
    }

    // ----- negotiation -----

    /// The number of the next track. No number is given twice.
    pub fn next_track_index(&mut self) -> u32 {
        let index = self.next_track_index;
        self.next_track_index += 1;
        index
    }

    /// A track began on a section.
    pub fn add_track(&mut self, section: usize, track: TrackKey) {
        self.tracks.push((section as u32, track));
    }

    /// A track ended.
    pub fn remove_track(&mut self, track: TrackKey) {
        self.tracks.retain(|(_, known)| *known != track);
    }

    /// The published tracks.
    pub fn tracks(&self) -> impl Iterator<Item = TrackKey> + '_ {
        self.tracks.iter().map(|(_, track)| *track)
    }

    /// Takes the sections of a new negotiation, which tell to which of them a packet belongs.
    pub fn configure(&mut self, sections: &[Section]) {
        self.extensions = ExtensionMap::default();
        for section in sections.iter().filter(|s| matches!(s.role, SectionRole::Publish(_))) {
            self.extensions.merge(&section.extensions);
        }
        self.streams.configure(sections.iter().filter_map(|section| streams_of(section, sections)).collect());
    }

    // ----- packets -----

    /// Counts a packet and notes its transport-wide number.
    pub fn note_packet(&mut self, now: Instant, bytes: usize, transport_seq: Option<u16>) {
        self.rate.on_packet(now, bytes);
        self.report_at.get_or_insert(now + REPORT_INTERVAL);
        if let Some(seq) = transport_seq {
            self.feedback.on_packet(now, SeqNo(seq), bytes);
        }
    }

    /// Which encoding a packet belongs to.
    pub fn stream_of(
        &mut self,
        now: Instant,
        packet: &RtpPacket<'_>,
        extensions: &ReceivedExtensions,
    ) -> Option<StreamRef> {
        if let Some(known) = self.streams.lookup(packet.ssrc()) {
            return Some(known);
        }
        let announcement = Announcement {
            mid: extensions.mid,
            rid: extensions.rid,
            repaired_rid: extensions.repaired_rid,
            payload_type: packet.payload_type(),
        };
        self.streams.learn(now, packet.ssrc(), &announcement)
    }

    /// The track that a section publishes.
    pub fn track_of(&self, stream: StreamRef) -> Option<TrackKey> {
        self.tracks.iter().find(|(section, _)| *section == stream.section).map(|(_, track)| *track)
    }

    /// Rate received over the last second.
    pub fn rate(&self, now: Instant) -> Bitrate {
        self.rate.rate(now)
    }

    /// A retransmission showed the round trip to the publisher.
    pub fn note_round_trip(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
    }

    /// The round trip to the publisher, once a retransmission has shown it.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Passes a sender report to the track that it is about.
    pub fn on_sender_report(&mut self, now: Instant, report: &SenderReport<'_>, tracks: &mut SlotMap<TrackKey, Track>) {
        for (_, key) in &self.tracks {
            if tracks.get_mut(*key).is_some_and(|track| track.on_sender_report(now, report, &mut self.clock)) {
                return;
            }
        }
    }

    /// Share of packets lost since the last call, 0 to 1, given the sums over all sources.
    pub fn loss_since_last(&mut self, received: u64, lost: u64) -> f32 {
        let (old_received, old_lost) = std::mem::replace(&mut self.counted, (received, lost));
        let (received, lost) = (received.saturating_sub(old_received), lost.saturating_sub(old_lost));
        if received + lost == 0 { 0.0 } else { lost as f32 / (received + lost) as f32 }
    }

    // ----- feedback -----

    /// Appends transport-wide feedback where it is due.
    pub fn write_feedback(&mut self, now: Instant, rtcp: &mut RtcpBatch) {
        while self.feedback.poll_timeout().is_some_and(|at| at <= now) {
            // The media source names the transport as a whole; any source of it will do.
            let media = self.streams.sources().next().map_or(Ssrc(0), |(ssrc, _)| ssrc);
            if !self.feedback.poll_feedback(now, self.ssrc, media, rtcp.empty_packet()) {
                break;
            }
        }
    }

    /// Whether reports are due; notes when the next ones are.
    pub fn report_is_due(&mut self, now: Instant) -> bool {
        let due = self.report_at.is_some_and(|at| at <= now);
        if due {
            self.report_at = Some(now + REPORT_INTERVAL);
        }
        due
    }

    /// Something is being sent to the client, so reports are due from now on.
    pub fn start_reports(&mut self, now: Instant) {
        self.report_at.get_or_insert(now + REPORT_INTERVAL);
    }

    /// Appends a receiver report about everything that the client sends.
    pub fn write_report(&mut self, now: Instant, tracks: &mut SlotMap<TrackKey, Track>, rtcp: &mut RtcpBatch) {
        let mut blocks: Vec<ReportBlock> = Vec::new();
        for (_, key) in &self.tracks {
            if let Some(track) = tracks.get_mut(*key) {
                blocks.extend(track.report_blocks(now));
            }
        }
        for blocks in blocks.chunks(REPORT_BLOCKS) {
            write::receiver_report(rtcp.packet(), self.ssrc, blocks);
        }
        write::description(rtcp.packet(), self.ssrc, CNAME);
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.feedback.poll_timeout(), self.report_at].into_iter().flatten().min()
    }
}

/// How a section's packets are recognised; `None` for a section on which the client does not send.
fn streams_of(section: &Section, all: &[Section]) -> Option<SectionStreams> {
    let SectionRole::Publish(role) = &section.role else { return None };
    let others =
        || all.iter().filter(|other| other.index != section.index && matches!(other.role, SectionRole::Publish(_)));
    let is_unique = |payload| {
        !others().any(|o| {
            o.red == Some(payload) || o.codecs.iter().any(|p| p.payload_type == payload || p.rtx == Some(payload))
        })
    };
    let all_types = section.codecs.iter().flat_map(|p| [Some(p.payload_type), p.rtx]).flatten().chain(section.red);
    Some(SectionStreams {
        section: section.index as u32,
        mid: section.mid,
        encodings: role
            .encodings
            .iter()
            .map(|e| EncodingStreams { rid: e.rid, ssrc: e.ssrc, rtx_ssrc: e.rtx_ssrc })
            .collect(),
        unique_payloads: all_types.filter(|payload| is_unique(*payload)).collect(),
        rtx_payloads: section.codecs.iter().filter_map(|p| p.rtx).collect(),
    })
}
