//! Media that says whose it is: every packet carries its publisher's name, its kind and a number, behind what the codec
//! demands.

use bytes::Bytes;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Audio,
    Video,
}

/// What a packet says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub publisher: String,
    pub kind: Kind,
    pub number: u64,
}

const MARK: &[u8] = b"sluice-test ";

impl Label {
    /// An RTP payload: for video a whole VP8 frame in one packet, which is a key frame if `key`.
    pub fn payload(&self, key: bool) -> Bytes {
        let text = format!("{:?} {} {}", self.kind, self.number, self.publisher);
        let head = match self.kind {
            // A TOC byte of Opus: 20 ms, mono, one frame.
            Kind::Audio => vec![0x78],
            Kind::Video => vp8_head(self.number, key),
        };
        [&head, MARK, text.as_bytes()].concat().into()
    }

    /// Reads what [`Label::payload`] wrote, whatever became of the codec's head.
    pub fn read(payload: &[u8]) -> Option<Label> {
        let start = payload.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
        let text = std::str::from_utf8(&payload[start..]).ok()?;
        let mut words = text.splitn(3, ' ');
        let kind = match words.next()? {
            "Audio" => Kind::Audio,
            _ => Kind::Video,
        };
        Some(Label { kind, number: words.next()?.parse().ok()?, publisher: words.next()?.to_owned() })
    }
}

/// A VP8 descriptor (RFC 7741 section 4.2) with a 15-bit PictureID, TL0PICIDX and one temporal layer, and the frame's
/// own head.
fn vp8_head(number: u64, key: bool) -> Vec<u8> {
    let picture = (number & 0x7fff) as u16;
    let mut head = vec![0x90, 0xe0, 0x80 | (picture >> 8) as u8, picture as u8, number as u8, 0x20];
    if key {
        // Frame tag, start code, 320 x 180 (RFC 6386 section 9.1).
        head.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00]);
    } else {
        head.extend([0x11, 0x02, 0x00]);
    }
    head
}
