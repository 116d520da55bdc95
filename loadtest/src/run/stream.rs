//! One received source: numbering, frames, freezes. Knows packets by their clear headers only.

use super::totals::Totals;
use crate::client::nack::{Arrival, NackList};
use crate::client::reception::Reception;
use sfu_engine::media::MediaKind;
use sfu_engine::rtcp::{NtpTime, ReportBlock};
use sfu_engine::units::{ExtSeq, RtpTime, SeqNo, Ssrc};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Packets that wait for an earlier one; beyond that the earlier one is given up.
const MAX_WAITING: usize = 512;
/// Weight of a new interval in the mean interval between frames.
const INTERVAL_WEIGHT: f64 = 1.0 / 30.0;

/// A source that the server sends.
#[derive(Debug)]
pub(crate) struct Stream {
    kind: MediaKind,
    pub(crate) ssrc: Ssrc,
    nack: NackList,
    reception: Reception,
    frames: Frames,
    pace: Pace,
    /// A missing packet was given up: only a key frame helps.
    pub(crate) wants_keyframe: bool,
}

/// What a clear header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) seq: SeqNo,
    pub(crate) timestamp: RtpTime,
    pub(crate) marker: bool,
}

impl Stream {
    /// A source whose first packet has this number.
    pub(crate) fn new(kind: MediaKind, ssrc: Ssrc, first: SeqNo) -> Stream {
        Stream {
            kind,
            ssrc,
            nack: NackList::default(),
            reception: Reception::new(ssrc, kind.clock_rate(), first),
            frames: Frames::default(),
            pace: Pace::default(),
            wants_keyframe: false,
        }
    }

    /// A packet arrived, as a retransmission if `again`; false where it was known already. `since` is the time since
    /// the start of the run.
    pub(crate) fn on_packet(
        &mut self,
        now: Instant,
        since: Duration,
        header: Header,
        again: bool,
        totals: &mut Totals,
    ) -> bool {
        let (seq, arrival) = self.nack.on_packet(now, header.seq);
        match arrival {
            Arrival::New { advanced } => {
                totals.expected += advanced;
                totals.received += 1;
            }
            Arrival::Repaired => {
                totals.received += 1;
                totals.repaired += u64::from(again);
            }
            Arrival::Useless => {
                totals.useless += 1;
                return false;
            }
        }
        if !again {
            self.reception.on_packet(since, header.seq, header.timestamp);
        }
        if self.kind == MediaKind::Video {
            let complete = self.frames.on_packet(seq, header.marker, totals);
            (0..complete).for_each(|_| self.pace.on_frame(now, totals));
        }
        true
    }

    /// The packets to ask for now; audio is not repaired.
    pub(crate) fn missing(&mut self, now: Instant, rtt: Option<Duration>) -> Vec<ExtSeq> {
        let (missing, given_up) = self.nack.poll(now, rtt);
        if self.kind == MediaKind::Audio {
            return Vec::new();
        }
        self.wants_keyframe |= given_up > 0;
        missing
    }

    /// Whether something is being waited for.
    pub(crate) fn is_missing(&self) -> bool {
        !self.nack.is_empty()
    }

    /// A sender report of it arrived.
    pub(crate) fn on_sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.reception.on_sender_report(now, ntp);
    }

    /// The block of the next receiver report.
    pub(crate) fn report(&mut self, now: Instant) -> ReportBlock {
        self.reception.report(now)
    }
}

/// Puts packets in order to see which frames are whole.
#[derive(Debug, Default)]
struct Frames {
    next: Option<ExtSeq>,
    /// Packets ahead of `next`: whether they end a frame.
    waiting: BTreeMap<u64, bool>,
    /// A packet of the frame at `next` was given up. Where it was the last of its frame, that one and the next count as
    /// one.
    broken: bool,
}

impl Frames {
    /// Returns how many frames are complete now.
    fn on_packet(&mut self, seq: ExtSeq, marker: bool, totals: &mut Totals) -> usize {
        let next = *self.next.get_or_insert(seq);
        let mut complete = 0;
        if seq == next {
            complete += self.advance(marker, totals);
        } else if seq > next {
            self.waiting.insert(seq.0, marker);
        }
        if self.waiting.len() > MAX_WAITING {
            self.broken = true;
            self.next = self.waiting.first_key_value().map(|(first, _)| ExtSeq(*first));
        }
        while let Some(marker) = self.next.filter(|_| !self.waiting.is_empty()).and_then(|n| self.waiting.remove(&n.0))
        {
            complete += self.advance(marker, totals);
        }
        complete
    }

    fn advance(&mut self, marker: bool, totals: &mut Totals) -> usize {
        self.next = self.next.map(|next| ExtSeq(next.0 + 1));
        if !marker {
            return 0;
        }
        if std::mem::take(&mut self.broken) {
            totals.broken_frames += 1;
            return 0;
        }
        totals.frames += 1;
        1
    }
}

/// The rhythm of complete frames. A freeze is an interval longer than three mean ones and than a mean one plus 150 ms,
/// as `freezeCount` of W3C webrtc-stats has it.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    mean: Option<f64>,
}

impl Pace {
    fn on_frame(&mut self, now: Instant, totals: &mut Totals) {
        let Some(last) = self.last.replace(now) else { return };
        let interval = now.saturating_duration_since(last).as_secs_f64();
        let mean = self.mean.unwrap_or(interval);
        if interval > (3.0 * mean).max(mean + 0.15) {
            totals.freezes += 1;
            totals.frozen_us += (interval * 1e6) as u64;
        } else {
            self.mean = Some(mean + (interval - mean) * INTERVAL_WEIGHT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(packets: &[(u16, bool, bool)]) -> Totals {
        let (start, mut totals) = (Instant::now(), Totals::default());
        let mut stream = Stream::new(MediaKind::Video, Ssrc(1), SeqNo(packets[0].0));
        for (seq, marker, again) in packets {
            let header = Header { seq: SeqNo(*seq), timestamp: RtpTime(0), marker: *marker };
            stream.on_packet(start, Duration::ZERO, header, *again, &mut totals);
        }
        totals
    }

    #[test]
    fn a_frame_counts_once_its_last_missing_packet_has_come() {
        let late = feed(&[(65_534, false, false), (0, true, false), (1, true, false), (65_535, false, true)]);
        assert_eq!((late.frames, late.broken_frames, late.expected, late.received), (2, 0, 4, 4));
        let lost = feed(&[(65_534, false, false), (0, true, false), (1, true, false)]);
        assert_eq!((lost.frames, lost.expected, lost.received), (0, 4, 3));
        let twice = feed(&[(1, true, false), (2, true, false), (2, true, false)]);
        assert_eq!((twice.frames, twice.useless, twice.received), (2, 1, 2));
    }

    #[test]
    fn a_packet_that_never_comes_breaks_one_frame() {
        let without = |lost| (0..700).filter(move |seq| *seq != lost).map(|seq| (seq, seq % 2 == 1, false));
        let first_of_two = feed(&without(2).collect::<Vec<_>>());
        assert_eq!((first_of_two.frames, first_of_two.broken_frames), (349, 1));
        let second_of_two = feed(&without(3).collect::<Vec<_>>());
        assert_eq!((second_of_two.frames, second_of_two.broken_frames), (348, 1));
    }

    #[test]
    fn a_long_pause_between_frames_is_a_freeze() {
        let (start, mut pace, mut totals) = (Instant::now(), Pace::default(), Totals::default());
        for ms in [0, 33, 66, 250, 283, 500] {
            pace.on_frame(start + Duration::from_millis(ms), &mut totals);
        }
        assert_eq!((totals.freezes, totals.frozen_us), (2, 184_000 + 217_000));
    }
}
