//! Media packets behind which nothing newer has arrived. A receiver counts what is missing when something newer comes;
//! what is lost at the very end only the sender knows of.

use crate::client::payload::RTX;
use std::collections::{BTreeMap, VecDeque};

/// What one client was sent.
#[derive(Default)]
pub(super) struct Unanswered {
    /// For each source the numbers, and the seconds at which they were sent.
    sources: BTreeMap<u32, VecDeque<(u16, f64)>>,
}

impl Unanswered {
    /// A datagram is sent at a second.
    pub(super) fn on_sent(&mut self, datagram: &[u8], second: f64) {
        if let Some((source, number)) = media_packet(datagram) {
            self.sources.entry(source).or_default().push_back((number, second));
        }
    }

    /// A datagram has arrived.
    pub(super) fn on_arrival(&mut self, datagram: &[u8]) {
        let Some((source, number)) = media_packet(datagram) else { return };
        let Some(sent) = self.sources.get_mut(&source) else { return };
        while sent.front().is_some_and(|(other, _)| number.wrapping_sub(*other) < 0x8000) {
            sent.pop_front();
        }
    }

    /// When each of those was sent that should have arrived by `second`, if `patience_s` is the longest way.
    pub(super) fn overdue(&self, second: f64, patience_s: f64) -> impl Iterator<Item = f64> + '_ {
        let sent = self.sources.values().flatten().map(|(_, at)| *at);
        sent.filter(move |at| at + patience_s < second)
    }
}

/// Source and number of an RTP packet that is no retransmission.
fn media_packet(datagram: &[u8]) -> Option<(u32, u16)> {
    let [first, kind, high, low, _, _, _, _, a, b, c, d, ..] = *datagram else { return None };
    let payload_type = kind & 0x7f;
    let is_media = first >> 6 == 2 && !(64..96).contains(&payload_type) && !RTX.contains(&payload_type);
    is_media.then_some((u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, number: u16) -> Vec<u8> {
        let [high, low] = number.to_be_bytes();
        vec![0x80, kind, high, low, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3]
    }

    #[test]
    fn what_is_followed_by_no_arrival_is_overdue_and_retransmissions_are_not_waited_for() {
        let mut unanswered = Unanswered::default();
        for (second, number) in [(0.0, 65_534), (1.0, 65_535), (2.0, 0), (3.0, 1)] {
            unanswered.on_sent(&packet(96, number), second);
            unanswered.on_sent(&packet(RTX[0], number), second);
        }
        unanswered.on_arrival(&packet(96, 65_535));
        assert_eq!(unanswered.overdue(9.0, 1.0).collect::<Vec<_>>(), [2.0, 3.0]);
        assert_eq!(unanswered.overdue(3.5, 1.0).collect::<Vec<_>>(), [2.0]);
        unanswered.on_arrival(&packet(96, 1));
        assert_eq!(unanswered.overdue(9.0, 1.0).count(), 0);
    }
}
