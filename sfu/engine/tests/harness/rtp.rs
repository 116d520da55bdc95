//! RTP packets by `rtc-rtp`.

use super::sdp::ext;
use bytes::{Bytes, BytesMut};
use rtc::rtp::{Header, Packet};
use rtc::shared::marshal::{Marshal, Unmarshal};

/// What a packet says beside its payload.
pub struct Head {
    pub payload_type: u8,
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub marker: bool,
}

/// Extensions that a sender adds; `None` where it leaves one out.
#[derive(Default)]
pub struct Extensions<'a> {
    pub audio_level: Option<u8>,
    pub mid: Option<&'a str>,
    pub rid: Option<&'a str>,
    pub repaired_rid: Option<&'a str>,
    /// Others, by id.
    pub others: &'a [(u8, Vec<u8>)],
}

pub fn write(head: &Head, extensions: &Extensions<'_>, transport_seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = Header {
        version: 2,
        marker: head.marker,
        payload_type: head.payload_type,
        sequence_number: head.seq,
        timestamp: head.timestamp,
        ssrc: head.ssrc,
        ..Header::default()
    };
    let mut add = |id, bytes: &[u8]| header.set_extension(id, Bytes::copy_from_slice(bytes)).unwrap();
    add(ext::TRANSPORT_CC, &transport_seq.to_be_bytes());
    add(ext::ABS_SEND_TIME, &[1, 2, 3]);
    if let Some(level) = extensions.audio_level {
        add(ext::AUDIO_LEVEL, &[0x80 | level]);
    }
    let names = [(ext::MID, extensions.mid), (ext::RID, extensions.rid), (ext::REPAIRED_RID, extensions.repaired_rid)];
    for (id, name) in names {
        if let Some(name) = name {
            add(id, name.as_bytes());
        }
    }
    for (id, bytes) in extensions.others {
        add(*id, bytes);
    }
    Packet { header, payload: Bytes::copy_from_slice(payload) }.marshal().unwrap().to_vec()
}

pub fn read(plain: BytesMut) -> Packet {
    Packet::unmarshal(&mut plain.freeze()).expect("the server's RTP parses")
}

/// Unwraps a 16-bit number next to the highest one so far.
pub fn unwrap(highest: Option<u64>, wire: u16) -> u64 {
    let Some(highest) = highest else { return 0x1_0000 + u64::from(wire) };
    let step = wire.wrapping_sub(highest as u16) as i16;
    highest.checked_add_signed(i64::from(step)).unwrap()
}
