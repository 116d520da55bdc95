//! Frame marking (RFC 9626): what a packet's frame is, said beside the payload.
//!
//! Read for H.264, whose payload says nothing of temporal layers; other codecs' payloads or dependency descriptors say
//! more. The browsers of today do not offer it (libwebrtc dropped it in 2020), other senders do. Not passed on:
//! TL0PICIDX would jump where encodings change.

use crate::media::FrameMeta;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMarking {
    /// First packet of a frame.
    pub starts_frame: bool,
    /// Last packet of a frame.
    pub ends_frame: bool,
    /// Decodable without earlier frames.
    pub independent: bool,
    /// It refers to the base temporal layer only.
    pub base_layer_sync: bool,
    /// Temporal layer; 0 in the short form.
    pub temporal: u8,
}

impl FrameMarking {
    /// Reads the short form (1 byte) and the long one (2 or 3: section 3.1). `None` for other lengths.
    pub fn read(data: &[u8]) -> Option<FrameMarking> {
        let first = *data.first().filter(|_| data.len() <= 3)?;
        let is_scalable = data.len() > 1;
        let bit = |place: u8| first >> place & 1 == 1;
        Some(FrameMarking {
            starts_frame: bit(7),
            ends_frame: bit(6),
            independent: bit(5),
            base_layer_sync: is_scalable && bit(3),
            temporal: if is_scalable { first & 7 } else { 0 },
        })
    }

    /// Adds it to what the payload says. What the payload shows of a start stays: marks are per frame, parameter sets
    /// may come in a packet of their own.
    pub(crate) fn describe(self, frame: &mut FrameMeta) {
        frame.keyframe |= self.starts_frame && self.independent;
        frame.starts_frame |= self.starts_frame;
        frame.ends_frame |= self.ends_frame;
        frame.temporal = self.temporal;
        frame.layer_sync = self.base_layer_sync && self.temporal > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let short = FrameMarking::read(&[0b1010_1011]);
        let expected = FrameMarking {
            starts_frame: true,
            ends_frame: false,
            independent: true,
            base_layer_sync: false,
            temporal: 0,
        };
        assert_eq!(short, Some(expected), "the low bits of the short form mean nothing");
        let long = FrameMarking::read(&[0b0101_1010, 0, 7]);
        let expected = FrameMarking {
            starts_frame: false,
            ends_frame: true,
            independent: false,
            base_layer_sync: true,
            temporal: 2,
        };
        assert_eq!(long, Some(expected));
        assert_eq!((FrameMarking::read(&[]), FrameMarking::read(&[0; 4])), (None, None));
    }

    /// A frame of which frame marking says this.
    fn marked(element: [u8; 2]) -> FrameMeta {
        let mut frame = FrameMeta::default();
        if let Some(marking) = FrameMarking::read(&element) {
            marking.describe(&mut frame);
        }
        frame
    }

    #[test]
    fn a_marked_frame_has_its_layer_and_its_limits() {
        let frame = marked([0b1110_0000, 0]);
        assert!(frame.keyframe && frame.starts_frame && frame.ends_frame && !frame.layer_sync);
        let frame = marked([0b1000_1001, 0]);
        assert!(frame.layer_sync && !frame.keyframe);
        assert_eq!(frame.temporal, 1);
    }
}
