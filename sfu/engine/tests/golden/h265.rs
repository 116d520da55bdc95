//! H.265, which neither browser offers on a machine without hardware for it: FFmpeg's x265 encodes, `rtc-rtp` makes packets.

use crate::capture::Capture;
use rtc_rtp::codec::h265::HevcPayloader;
use rtc_rtp::packetizer::Payloader;
use sfu_engine::rtp::packet::{RtpHeader, write_header};
use sfu_engine::units::{PayloadType, RtpTime, SeqNo, Ssrc};
use std::process::Command;
use std::time::Duration;

/// Three seconds of 320 x 180 with a key frame a second and two temporal layers.
const ENCODE: [&str; 14] = [
    "-v",
    "error",
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=320x180:rate=30:duration=3",
    "-c:v",
    "libx265",
    "-x265-params",
    "keyint=30:min-keyint=30:scenecut=0:temporal-layers=1:bframes=3:b-adapt=0:repeat-headers=1:open-gop=0:log-level=none",
    "-f",
    "hevc",
    "-y",
    "pipe:1",
];
const SSRC: Ssrc = Ssrc(0x265);
const FRAME: Duration = Duration::from_micros(33_333);

/// A recording as if a browser had sent it.
pub fn capture() -> Capture {
    let encoded = Command::new("ffmpeg").args(ENCODE).output().expect("ffmpeg, of Debian's package of that name");
    assert!(encoded.status.success(), "{}", String::from_utf8_lossy(&encoded.stderr));
    let mut packets = Vec::new();
    let mut seq = 65_000u16;
    for (number, picture) in (0u32..).zip(pictures(&encoded.stdout)) {
        let payloads = HevcPayloader.payload(1100, &picture.into()).unwrap();
        for (place, payload) in payloads.iter().enumerate() {
            let marker = place + 1 == payloads.len();
            let timestamp = RtpTime(number * 3000);
            let header = RtpHeader { marker, payload_type: PayloadType(100), seq: SeqNo(seq), timestamp, ssrc: SSRC };
            let mut packet = Vec::new();
            write_header(&mut packet, &header, std::iter::empty(), false);
            packet.extend_from_slice(payload);
            packets.push((FRAME * number, packet));
            seq = seq.wrapping_add(1);
        }
    }
    Capture { name: "x265-h265-L1T2".into(), offer: offer(), packets }
}

/// Splits a byte stream into pictures, with start codes: one begins with what stands before its first slice.
fn pictures(stream: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> = (0..stream.len() - 3).filter(|at| stream[*at..*at + 3] == [0, 0, 1]).collect();
    let mut pictures: Vec<Vec<u8>> = Vec::new();
    let mut sliced = true;
    for (place, start) in starts.iter().enumerate() {
        let end = starts.get(place + 1).copied().unwrap_or(stream.len());
        // The fourth byte of a start code is no part of the unit before it.
        let unit = &stream[*start..end];
        let unit = if unit.ends_with(&[0]) { &unit[..unit.len() - 1] } else { unit };
        let (is_slice, is_first) = (unit[3] >> 1 < 32, unit[5] & 0x80 != 0);
        if sliced && (!is_slice || is_first) {
            pictures.push(Vec::new());
            sliced = false;
        }
        sliced |= is_slice;
        pictures.last_mut().unwrap().extend_from_slice(unit);
    }
    pictures
}

fn offer() -> String {
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
        "a=rtpmap:100 H265/90000",
        "a=fmtp:100 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
        "a=rtcp-fb:100 nack pli",
        &format!("a=ssrc:{} cname:x265", SSRC.0),
        "",
    ]
    .join("\r\n")
}
