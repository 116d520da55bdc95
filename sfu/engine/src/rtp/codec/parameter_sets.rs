//! The parameter sets (VPS, SPS, PPS) that an H.264 or H.265 encoder sent last: some send them once, or in packets of
//! their own, and without them no picture can be decoded.
//!
//! Filled by the codecs' parsers; the uplink puts them, as one payload, beside the packets of the encoding's store.

use super::rbsp::RbspReader;

/// The most bytes of a payload of parameter sets; an encoder whose sets are longer must send them itself.
const MAX_PAYLOAD: usize = 1000;
/// Sets that are remembered.
const MAX_SETS: usize = 16;

/// The newest unit of each kind and id.
#[derive(Debug, Default)]
pub struct ParameterSets {
    units: Vec<Unit>,
    changed: bool,
}

#[derive(Debug)]
struct Unit {
    kind: u8,
    id: u32,
    bytes: Vec<u8>,
}

impl ParameterSets {
    /// Takes a whole NAL unit.
    pub(super) fn note(&mut self, kind: u8, id: u32, unit: &[u8]) {
        let has_room = self.units.len() < MAX_SETS;
        match self.units.iter_mut().find(|known| (known.kind, known.id) == (kind, id)) {
            Some(known) if known.bytes == unit => return,
            Some(known) => known.bytes = unit.to_vec(),
            None if has_room => self.units.push(Unit { kind, id, bytes: unit.to_vec() }),
            None => return,
        }
        // In the order in which a decoder needs them.
        self.units.sort_by_key(|unit| (unit.kind, unit.id));
        self.changed = true;
    }

    /// Takes a picture parameter set, a whole NAL unit, of which encoders sometimes have several. Its `body` begins
    /// with its id.
    pub(super) fn note_pps(&mut self, kind: u8, unit: &[u8], body: &[u8]) {
        self.note(kind, RbspReader::new(body).golomb().unwrap_or(0), unit);
    }

    /// One aggregation packet of all, behind the payload header `header`; `None` where nothing changed since the last
    /// call.
    pub(super) fn take_payload(&mut self, header: &[u8]) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut payload = header.to_vec();
        for unit in &self.units {
            payload.extend(u16::try_from(unit.bytes.len()).ok()?.to_be_bytes());
            payload.extend_from_slice(&unit.bytes);
        }
        (payload.len() <= MAX_PAYLOAD).then_some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_kind_and_id_are_given_once_in_the_order_of_their_kinds() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.take_payload(&[0x78]), None);
        sets.note(8, 0, &[0x68, 1]);
        sets.note(7, 0, &[0x67, 1]);
        sets.note(8, 1, &[0x68, 2]);
        let first = [0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1, 0, 2, 0x68, 2];
        assert_eq!(sets.take_payload(&[0x78]).as_deref(), Some(&first[..]));
        sets.note(8, 0, &[0x68, 1]);
        assert_eq!(sets.take_payload(&[0x78]), None, "known");
        sets.note(7, 0, &[0x67, 9]);
        let second = [0x78, 0, 2, 0x67, 9, 0, 2, 0x68, 1, 0, 2, 0x68, 2];
        assert_eq!(sets.take_payload(&[0x78]).as_deref(), Some(&second[..]));
    }

    #[test]
    fn what_fits_into_no_packet_is_not_given() {
        let mut sets = ParameterSets::default();
        sets.note(7, 0, &[0x67; MAX_PAYLOAD]);
        assert_eq!(sets.take_payload(&[0x78]), None);
        for id in 0..100 {
            sets.note(8, id, &[0x68; 30]);
        }
        assert!(sets.units.len() <= MAX_SETS);
    }
}
