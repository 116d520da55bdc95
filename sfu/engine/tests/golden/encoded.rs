//! Streams that no browser here sends: FFmpeg encodes, `rtc-rtp` makes packets. H.265, which neither browser offers on
//! a machine without hardware for it, and encoders that send their parameter sets once, as programs do that publish by
//! WHIP.

use crate::capture::Capture;
use rtc_rtp::codec::h264::H264Payloader;
use rtc_rtp::codec::h265::HevcPayloader;
use rtc_rtp::packetizer::Payloader;
use sfu_engine::rtp::packet::{RtpHeader, RtpPacket, write_header};
use sfu_engine::units::{PayloadType, RtpTime, SeqNo, Ssrc};
use std::process::Command;
use std::time::Duration;

const SSRC: Ssrc = Ssrc(0x265);
const FRAME: Duration = Duration::from_micros(33_333);
/// Ticks of 90 kHz.
const FRAME_TICKS: u32 = 3000;

/// What an encoder is called and how its NAL units tell what they are.
struct Encoder {
    name: &'static str,
    ffmpeg: [&'static str; 6],
    rtpmap: &'static str,
    fmtp: &'static str,
    /// Whether a unit is a slice, and its picture's first, by its bytes behind the start code.
    slice: fn(&[u8]) -> Option<bool>,
    /// Whether a payload is of parameter sets.
    is_sets: fn(&[u8]) -> bool,
}

/// A key frame a second and two temporal layers.
const X265: Encoder = Encoder {
    name: "x265-h265-L1T2",
    ffmpeg: [
        "-c:v",
        "libx265",
        "-x265-params",
        "keyint=30:min-keyint=30:scenecut=0:temporal-layers=1:bframes=3:b-adapt=0:repeat-headers=1:open-gop=0:log-level=none",
        "-f",
        "hevc",
    ],
    rtpmap: "H265/90000",
    fmtp: "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
    slice: |unit| (unit[0] >> 1 < 32).then(|| unit[2] & 0x80 != 0),
    is_sets: |payload| (32..=34).contains(&(payload[0] >> 1)) || payload[0] >> 1 == 48,
};

/// A key frame a second.
const X264: Encoder = Encoder {
    name: "x264-h264",
    ffmpeg: [
        "-c:v",
        "libx264",
        "-x264-params",
        "keyint=30:min-keyint=30:scenecut=0:bframes=0:sliced-threads=0:annexb=1",
        "-f",
        "h264",
    ],
    rtpmap: "H264/90000",
    fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
    slice: |unit| [1, 5].contains(&(unit[0] & 0x1F)).then(|| unit[1] & 0x80 != 0),
    is_sets: |payload| [7, 8, 24].contains(&(payload[0] & 0x1F)),
};

/// H.265 as if a browser had sent it.
pub fn h265() -> Capture {
    X265.capture(&HevcPayloader)
}

/// H.264 and H.265 whose parameter sets come once, in packets of their own with a timestamp of their own.
pub fn with_sets_once() -> [Capture; 2] {
    let (h264, h265) = (X264.capture(&H264Payloader::default()), X265.capture(&HevcPayloader));
    [sets_once(h264, X264.is_sets), sets_once(h265, X265.is_sets)]
}

/// Leaves out all parameter sets but those at the start, which get a timestamp of their own.
fn sets_once(capture: Capture, is_sets: fn(&[u8]) -> bool) -> Capture {
    let (mut packets, mut left_out) = (Vec::new(), 0u16);
    for (at, mut bytes) in capture.packets {
        let packet = RtpPacket::parse(&bytes).unwrap();
        let (seq, timestamp, is_sets) = (packet.seq().0, packet.timestamp().0, is_sets(packet.payload()));
        if is_sets && at > Duration::ZERO {
            left_out += 1;
            continue;
        }
        if is_sets {
            // A picture of their own, to who knows no better.
            bytes[1] |= 0x80;
            bytes[4..8].copy_from_slice(&timestamp.wrapping_sub(FRAME_TICKS).to_be_bytes());
        }
        bytes[2..4].copy_from_slice(&seq.wrapping_sub(left_out).to_be_bytes());
        packets.push((at, bytes));
    }
    assert!(left_out > 0, "{}: has no parameter sets", capture.name);
    Capture { name: format!("{} with parameter sets once", capture.name), packets, ..capture }
}

impl Encoder {
    /// Three seconds of 320 x 180.
    fn capture(&self, payloader: &(impl Payloader + Clone)) -> Capture {
        let source =
            ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=3", "-pix_fmt", "yuv420p"];
        let encoded = Command::new("ffmpeg").args(source).args(self.ffmpeg).args(["-y", "pipe:1"]).output();
        let encoded = encoded.expect("ffmpeg, of Debian's package of that name");
        assert!(encoded.status.success(), "{}", String::from_utf8_lossy(&encoded.stderr));
        let (mut packets, mut payloader) = (Vec::new(), payloader.clone());
        let mut seq = 65_000u16;
        for (number, picture) in (0u32..).zip(self.pictures(&encoded.stdout)) {
            let payloads = payloader.payload(1100, &picture.into()).unwrap();
            for (place, payload) in payloads.iter().enumerate() {
                let marker = place + 1 == payloads.len();
                let timestamp = RtpTime(number * FRAME_TICKS);
                let header =
                    RtpHeader { marker, payload_type: PayloadType(100), seq: SeqNo(seq), timestamp, ssrc: SSRC };
                let mut packet = Vec::new();
                write_header(&mut packet, &header, std::iter::empty(), false);
                packet.extend_from_slice(payload);
                packets.push((FRAME * number, packet));
                seq = seq.wrapping_add(1);
            }
        }
        Capture { name: self.name.into(), offer: self.offer(), packets }
    }

    /// Splits a byte stream into pictures, with start codes: one begins with what stands before its first slice.
    fn pictures(&self, stream: &[u8]) -> Vec<Vec<u8>> {
        let starts: Vec<usize> = (0..stream.len() - 3).filter(|at| stream[*at..*at + 3] == [0, 0, 1]).collect();
        let mut pictures: Vec<Vec<u8>> = Vec::new();
        let mut sliced = true;
        for (place, start) in starts.iter().enumerate() {
            let end = starts.get(place + 1).copied().unwrap_or(stream.len());
            // The fourth byte of a start code is no part of the unit before it.
            let unit = &stream[*start..end];
            let unit = if unit.ends_with(&[0]) { &unit[..unit.len() - 1] } else { unit };
            let slice = (self.slice)(&unit[3..]);
            if sliced && slice != Some(false) {
                pictures.push(Vec::new());
                sliced = false;
            }
            sliced |= slice.is_some();
            pictures.last_mut().unwrap().extend_from_slice(unit);
        }
        pictures
    }

    fn offer(&self) -> String {
        let digits = ["AB"; 32].join(":");
        [
            "v=0",
            "o=- 1 1 IN IP4 0.0.0.0",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            "a=ice-ufrag:abcd",
            "a=ice-pwd:0123456789012345678901",
            "a=setup:actpass",
            &format!("a=fingerprint:sha-256 {digits}"),
            "m=video 9 UDP/TLS/RTP/SAVPF 100",
            "c=IN IP4 0.0.0.0",
            "a=mid:0",
            "a=sendonly",
            "a=rtcp-mux",
            &format!("a=rtpmap:100 {}", self.rtpmap),
            &format!("a=fmtp:100 {}", self.fmtp),
            "a=rtcp-fb:100 nack pli",
            &format!("a=ssrc:{} cname:encoder", SSRC.0),
            "",
        ]
        .join("\r\n")
    }
}
