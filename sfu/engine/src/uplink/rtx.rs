//! Retransmissions of a publisher, unwrapped (RFC 4588 section 4).
//!
//! A retransmission comes on a source and payload type of its own and starts with the original sequence number; the
//! rest of it is the original payload.

use crate::units::{PayloadType, SeqNo};

/// What a packet of a retransmission source holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retransmission<'a> {
    /// A packet sent again.
    Original {
        /// Its sequence number on its own source.
        seq: SeqNo,
        /// Its payload.
        payload: &'a [u8],
    },
    /// Nothing but padding: the publisher probes for bandwidth.
    Probe,
    /// Too short for an original sequence number.
    Malformed,
}

/// Unwraps the payload of a retransmission; RTP padding must be cut off already.
pub fn unwrap(payload: &[u8]) -> Retransmission<'_> {
    match payload {
        [] => Retransmission::Probe,
        [high, low, payload @ ..] => {
            Retransmission::Original { seq: SeqNo(u16::from_be_bytes([*high, *low])), payload }
        }
        [_] => Retransmission::Malformed,
    }
}

/// Which payload type each retransmission payload type of a section stands for: the `apt` parameters of its SDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssociatedPayloads(Vec<(PayloadType, PayloadType)>);

impl AssociatedPayloads {
    /// From pairs of a retransmission payload type and its `apt`, in the order in which they are negotiated.
    pub fn new(pairs: impl IntoIterator<Item = (PayloadType, PayloadType)>) -> Self {
        AssociatedPayloads(pairs.into_iter().collect())
    }

    /// The original payload type; `None` where `payload_type` is not one of retransmissions.
    pub fn original(&self, payload_type: PayloadType) -> Option<PayloadType> {
        self.0.iter().find(|(rtx, _)| *rtx == payload_type).map(|(_, original)| *original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retransmission_starts_with_the_original_sequence_number() {
        let expected = Retransmission::Original { seq: SeqNo(0x1234), payload: &[7, 8] };
        assert_eq!(unwrap(&[0x12, 0x34, 7, 8]), expected);
        assert_eq!(unwrap(&[0x12, 0x34]), Retransmission::Original { seq: SeqNo(0x1234), payload: &[] });
    }

    #[test]
    fn a_payload_too_short_for_a_sequence_number_is_a_probe_or_malformed() {
        assert_eq!(unwrap(&[]), Retransmission::Probe);
        assert_eq!(unwrap(&[1]), Retransmission::Malformed);
    }

    #[test]
    fn the_apt_parameter_names_the_original_payload_type() {
        let payloads =
            AssociatedPayloads::new([(PayloadType(97), PayloadType(96)), (PayloadType(99), PayloadType(98))]);
        assert_eq!(payloads.original(PayloadType(99)), Some(PayloadType(98)));
        assert_eq!(payloads.original(PayloadType(98)), None);
    }
}
