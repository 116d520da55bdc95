//! The layout of DTLS 1.2 records and handshake messages (RFC 6347 sections 4.1 and 4.2.2).

use crate::byte_reader::ByteReader;

/// Bytes of a record's header.
pub(super) const RECORD_HEADER_LEN: usize = 13;
/// Bytes of a handshake fragment's header.
pub(super) const HANDSHAKE_HEADER_LEN: usize = 12;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
pub(super) const CERTIFICATE: u8 = 11;

/// DTLS 1.0, which a first ClientHello may carry in its record header, and DTLS 1.2.
pub(super) const VERSIONS: [u16; 2] = [0xfeff, 0xfefd];

/// One record of a datagram. Its body is encrypted from epoch 1 on.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) kind: u8,
    pub(super) version: u16,
    pub(super) epoch: u16,
    pub(super) body: &'a [u8],
    /// Header and body as they came.
    pub(super) raw: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the front of `reader`; `None` where it is cut off.
    pub(super) fn read(reader: &mut ByteReader<'a>) -> Option<Record<'a>> {
        let whole = reader.rest();
        let (kind, version, epoch) = (reader.u8()?, reader.u16()?, reader.u16()?);
        let _sequence_number = reader.bytes(6)?;
        let body = reader.vec16()?;
        let raw = whole.get(..RECORD_HEADER_LEN + body.len())?;
        Some(Record { kind, version, epoch, body, raw })
    }
}

/// One fragment of a handshake message; a whole one where `offset` is zero and `data` has `total` bytes.
pub(super) struct Fragment<'a> {
    pub(super) kind: u8,
    /// Bytes of the message without its header.
    pub(super) total: usize,
    /// The message's place in the handshake.
    pub(super) message: u16,
    pub(super) offset: usize,
    pub(super) data: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// The fragment at the front of `reader`; `None` where it is cut off.
    pub(super) fn read(reader: &mut ByteReader<'a>) -> Option<Fragment<'a>> {
        let (kind, total, message, offset) = (reader.u8()?, reader.u24()?, reader.u16()?, reader.u24()?);
        let data = reader.vec24()?;
        Some(Fragment { kind, total: total as usize, message, offset: offset as usize, data })
    }
}

/// Appends a record of epoch 0.
pub(super) fn write_record(output: &mut Vec<u8>, kind: u8, sequence: u64, body: &[&[u8]]) {
    let len: usize = body.iter().map(|part| part.len()).sum();
    output.push(kind);
    output.extend_from_slice(&VERSIONS[1].to_be_bytes());
    // Epoch 0 in the upper 16 bits, the sequence number in the lower 48.
    output.extend_from_slice(&(sequence & 0xffff_ffff_ffff).to_be_bytes());
    output.extend_from_slice(&(len as u16).to_be_bytes());
    body.iter().for_each(|part| output.extend_from_slice(part));
}

/// The header of a handshake message that is not fragmented.
pub(super) fn handshake_header(kind: u8, message: u16, len: usize) -> [u8; HANDSHAKE_HEADER_LEN] {
    let [_, l0, l1, l2] = (len as u32).to_be_bytes();
    let [m0, m1] = message.to_be_bytes();
    [kind, l0, l1, l2, m0, m1, 0, 0, 0, l0, l1, l2]
}
