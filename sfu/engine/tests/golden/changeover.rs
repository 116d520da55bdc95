//! A publisher that changes its codec in the middle of a call, as it is told to in mixed rooms: two captures as one
//! source.

use crate::capture::Capture;
use sfu_engine::rtp::packet::RtpPacket;
use std::time::Duration;

/// Between the last picture of one codec and the first of the other, in time and in ticks of 90 kHz.
const PAUSE: (Duration, u32) = (Duration::from_millis(33), 3000);

/// `after` follows on `before` with the same source, numbers and times going on. Without retransmissions, which have
/// sources of their own.
pub fn changeover(before: &Capture, after: &Capture) -> Capture {
    let types = [before, after].map(|capture| payload_type(&capture.offer));
    let mut packets: Vec<_> = before.packets.iter().filter(|packet| is_of(packet, types[0])).cloned().collect();
    let (last_at, last) = packets.last().unwrap().clone();
    let last = RtpPacket::parse(&last).unwrap();
    let (seq, timestamp, ssrc) = (last.seq().0, last.timestamp().0, last.ssrc().0);
    let mut first = None;
    for (at, bytes) in after.packets.iter().filter(|packet| is_of(packet, types[1])) {
        let packet = RtpPacket::parse(bytes).unwrap();
        let (from_at, from_seq, from_timestamp) = *first.get_or_insert((*at, packet.seq().0, packet.timestamp().0));
        let seq = seq.wrapping_add(1).wrapping_add(packet.seq().0.wrapping_sub(from_seq));
        let ticks = packet.timestamp().0.wrapping_sub(from_timestamp);
        let mut bytes = bytes.clone();
        bytes[2..4].copy_from_slice(&seq.to_be_bytes());
        bytes[4..8].copy_from_slice(&timestamp.wrapping_add(PAUSE.1).wrapping_add(ticks).to_be_bytes());
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packets.push((last_at + PAUSE.0 + (*at - from_at), bytes));
    }
    let name = format!("{}, then {}", before.name, after.name);
    Capture { name, offer: with_codec(&before.offer, &after.offer, types), packets }
}

/// The payload type of the offer's codec: the first of its section.
pub fn payload_type(offer: &str) -> u8 {
    let section = offer.lines().find(|line| line.starts_with("m=video")).unwrap();
    section.split(' ').nth(3).unwrap().parse().unwrap()
}

fn is_of((_, bytes): &(Duration, Vec<u8>), payload_type: u8) -> bool {
    RtpPacket::parse(bytes).unwrap().payload_type().0 == payload_type
}

/// The offer with the other one's codec too.
fn with_codec(offer: &str, other: &str, types: [u8; 2]) -> String {
    let about = |line: &&str| {
        ["rtpmap", "fmtp", "rtcp-fb"].iter().any(|name| line.starts_with(&format!("a={name}:{} ", types[1])))
    };
    let lines = offer.lines().map(|line| match line.starts_with("m=video") {
        true => format!("{line} {}", types[1]),
        false => line.to_owned(),
    });
    lines.chain(other.lines().filter(about).map(str::to_owned)).map(|line| line + "\r\n").collect()
}
