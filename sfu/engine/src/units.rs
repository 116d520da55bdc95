//! Units and wire identifiers as newtypes, so that a bit rate is never mistaken for a byte count.
//!
//! Used by every module of the engine. Sequence arithmetic follows RFC 1982; RTP fields follow RFC 3550.

use std::fmt;
use std::time::Duration;

/// Synchronisation source of an RTP stream (RFC 3550 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

/// RTP payload type, 0 to 127 (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadType(pub u8);

/// RTP sequence number as it stands on the wire: 16 bits, wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqNo(pub u16);

impl SeqNo {
    /// Signed distance `self - other` modulo 2^16 (RFC 1982).
    pub fn distance(self, other: SeqNo) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }
}

/// Sequence number unwrapped to 64 bits. Starts at 2^16 or above, so that an earlier packet is never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtSeq(pub u64);

impl ExtSeq {
    /// The 16 bits that stand on the wire.
    pub fn wire(self) -> SeqNo {
        SeqNo(self.0 as u16)
    }

    /// Where an unwrapped count starts for a first wire number.
    pub fn first(wire: SeqNo) -> ExtSeq {
        ExtSeq(0x1_0000 + u64::from(wire.0))
    }

    /// Unwraps `wire` to the value closest to `self`.
    pub fn unwrap_near(self, wire: SeqNo) -> ExtSeq {
        ExtSeq(self.0.saturating_add_signed(i64::from(wire.distance(self.wire()))))
    }
}

/// RTP timestamp in units of the codec's clock (RFC 3550 section 5.1): 32 bits, wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RtpTime(pub u32);

impl RtpTime {
    /// Signed distance `self - other` modulo 2^32, in clock ticks.
    pub fn distance(self, other: RtpTime) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// This timestamp moved by `ticks`, which may be negative.
    pub fn offset(self, ticks: i32) -> RtpTime {
        RtpTime(self.0.wrapping_add_signed(ticks))
    }
}

/// A rate in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bitrate(u64);

impl Bitrate {
    /// No bits at all.
    pub const ZERO: Bitrate = Bitrate(0);

    /// From bits per second.
    pub const fn bps(bits_per_second: u64) -> Bitrate {
        Bitrate(bits_per_second)
    }

    /// From thousands of bits per second.
    pub const fn kbps(kilobits_per_second: u64) -> Bitrate {
        Bitrate(kilobits_per_second * 1000)
    }

    /// Rate of `bytes` spread over `time`; zero for an empty time.
    pub fn of(bytes: u64, time: Duration) -> Bitrate {
        let us = time.as_micros() as u64;
        Bitrate(bytes.saturating_mul(8_000_000).checked_div(us).unwrap_or(0))
    }

    /// Bits per second.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// Whole bytes that fit into `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        (u128::from(self.0) * time.as_micros() / 8_000_000) as u64
    }

    /// How long `bytes` take at this rate; an hour at rate zero, so that callers need no special case.
    pub fn time_for(self, bytes: u64) -> Duration {
        (bytes.saturating_mul(8_000_000)).checked_div(self.0).map_or(Duration::from_secs(3600), Duration::from_micros)
    }

    /// This rate times `factor`, saturating at zero.
    pub fn scale(self, factor: f64) -> Bitrate {
        Bitrate((self.0 as f64 * factor).max(0.0) as u64)
    }

    /// Sum, saturating.
    pub fn plus(self, other: Bitrate) -> Bitrate {
        Bitrate(self.0.saturating_add(other.0))
    }

    /// Difference, zero where `other` is larger.
    pub fn minus(self, other: Bitrate) -> Bitrate {
        Bitrate(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b if b >= 1_000_000 => write!(f, "{:.2} Mb/s", b as f64 / 1e6),
            b => write!(f, "{:.1} kb/s", b as f64 / 1e3),
        }
    }
}

/// A short SDP token kept inline: a `mid` (RFC 9143), a `rid` (RFC 8851), at most 16 bytes as the one-byte RTP header
/// extension form carries (RFC 8285 section 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    bytes: [u8; 16],
    len: u8,
}

impl Token {
    /// `None` where `text` is empty, longer than 16 bytes or not visible ASCII.
    pub fn new(text: &str) -> Option<Token> {
        Token::from_bytes(text.as_bytes())
    }

    /// As [`Token::new`], from the bytes of a header extension.
    pub fn from_bytes(text: &[u8]) -> Option<Token> {
        let mut bytes = [0; 16];
        if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Token { bytes, len: text.len() as u8 })
    }

    /// The bytes, without padding.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Media identification of an m= section (RFC 9143).
pub type Mid = Token;
/// Restriction identifier of an encoding (RFC 8851).
pub type Rid = Token;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_unwrap_across_the_wrap_both_ways() {
        let a = ExtSeq::first(SeqNo(65_535));
        let b = a.unwrap_near(SeqNo(0));
        assert_eq!(b.0, a.0 + 1);
        assert_eq!(b.unwrap_near(SeqNo(65_534)).0, a.0 - 1);
    }

    #[test]
    fn rates_and_times_agree() {
        let rate = Bitrate::kbps(800);
        assert_eq!(rate.bytes_in(Duration::from_millis(100)), 10_000);
        assert_eq!(rate.time_for(10_000), Duration::from_millis(100));
        assert_eq!(Bitrate::of(10_000, Duration::from_millis(100)), rate);
        assert_eq!(Bitrate::of(10_000, Duration::ZERO), Bitrate::ZERO);
    }

    #[test]
    fn tokens_refuse_what_a_header_extension_cannot_carry() {
        assert_eq!(Token::new("0").map(|t| t.to_string()), Some("0".into()));
        assert_eq!(Token::new(""), None);
        assert_eq!(Token::new("seventeen-letters"), None);
        assert_eq!(Token::new("a b"), None);
    }
}
