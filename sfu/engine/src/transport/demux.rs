//! Whose datagram is this, and what is it? One UDP port serves all participants, so both are read from the datagram.
//!
//! The engine classifies by the first bytes (RFC 7983, RFC 5761) and looks up the tuple; only STUN from a tuple that is
//! not known yet is looked up by its user fragment. Tuples enter after a check with correct integrity, so a stranger
//! cannot make the tables grow.

use rustc_hash::FxHashMap;

use crate::net::Tuple;

/// What a datagram holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketClass {
    /// STUN (RFC 8489).
    Stun,
    /// A DTLS record.
    Dtls,
    /// RTP, or SRTP.
    Rtp,
    /// RTCP, or SRTCP.
    Rtcp,
}

/// Reads the class from the first byte (RFC 7983 section 7), and for RTP and RTCP from the second (RFC 5761 section 4).
/// `None` for everything else, such as ZRTP, TURN channels and QUIC.
pub fn classify(datagram: &[u8]) -> Option<PacketClass> {
    match *datagram {
        [0..=3, ..] => Some(PacketClass::Stun),
        [20..=63, ..] => Some(PacketClass::Dtls),
        [128..=191, 192..=223, ..] => Some(PacketClass::Rtcp),
        [128..=191, _, ..] => Some(PacketClass::Rtp),
        _ => None,
    }
}

/// Finds the owner of a datagram. `K` is what the engine knows a participant by.
#[derive(Debug)]
pub struct Demux<K> {
    tuples: FxHashMap<Tuple, K>,
    /// The keys are ours and random, so lookups of hostile fragments cannot be made to collide.
    ufrags: FxHashMap<String, K>,
}

impl<K: Copy + Eq> Demux<K> {
    /// An empty table.
    pub fn new() -> Demux<K> {
        Demux { tuples: FxHashMap::default(), ufrags: FxHashMap::default() }
    }

    /// The owner of a validated tuple: one hash, no allocation.
    pub fn by_tuple(&self, tuple: &Tuple) -> Option<K> {
        self.tuples.get(tuple).copied()
    }

    /// To whom a check with this user fragment of ours is addressed.
    pub fn by_ufrag(&self, ufrag: &str) -> Option<K> {
        self.ufrags.get(ufrag).copied()
    }

    /// From now on checks to `ufrag` are for `owner`.
    pub fn register_ufrag(&mut self, ufrag: &str, owner: K) {
        self.ufrags.insert(ufrag.to_owned(), owner);
    }

    /// Nobody answers to `ufrag` any more.
    pub fn remove_ufrag(&mut self, ufrag: &str) {
        self.ufrags.remove(ufrag);
    }

    /// Enters a tuple that `owner` has just validated. Returns another participant that it belonged to before (a NAT
    /// reuses ports): that one must forget it.
    pub fn insert_tuple(&mut self, tuple: Tuple, owner: K) -> Option<K> {
        self.tuples.insert(tuple, owner).filter(|previous| *previous != owner)
    }

    /// Removes a tuple, unless somebody else has validated it since.
    pub fn remove_tuple(&mut self, tuple: &Tuple, owner: K) {
        if self.by_tuple(tuple) == Some(owner) {
            self.tuples.remove(tuple);
        }
    }
}

impl<K: Copy + Eq> Default for Demux<K> {
    fn default() -> Self {
        Demux::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Protocol;

    fn tuple(port: u16) -> Tuple {
        Tuple {
            protocol: Protocol::Udp,
            local: ([192, 0, 2, 1], 7882).into(),
            remote: ([198, 51, 100, 7], port).into(),
        }
    }

    #[test]
    fn every_first_byte_has_the_class_of_rfc_7983() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Some(PacketClass::Stun),
                20..=63 => Some(PacketClass::Dtls),
                128..=191 => Some(PacketClass::Rtp),
                _ => None,
            };
            assert_eq!(classify(&[first, 96]), expected, "{first}");
        }
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[128]), None);
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_packet_type_whatever_the_marker_bit_of_rtp() {
        for second in 0..=255u8 {
            let rtcp = (192..=223).contains(&second);
            let expected = if rtcp { PacketClass::Rtcp } else { PacketClass::Rtp };
            assert_eq!(classify(&[0x80, second]), Some(expected), "{second}");
        }
    }

    #[test]
    fn a_tuple_that_moves_to_another_participant_is_not_removed_by_the_first() {
        let mut demux = Demux::new();
        assert_eq!(demux.insert_tuple(tuple(1), 'a'), None);
        assert_eq!(demux.insert_tuple(tuple(1), 'a'), None);
        assert_eq!(demux.insert_tuple(tuple(1), 'b'), Some('a'));
        demux.remove_tuple(&tuple(1), 'a');
        assert_eq!(demux.by_tuple(&tuple(1)), Some('b'));
        demux.remove_tuple(&tuple(1), 'b');
        assert_eq!(demux.by_tuple(&tuple(1)), None);
    }

    #[test]
    fn the_same_addresses_over_udp_and_tcp_are_two_tuples() {
        let mut demux = Demux::new();
        demux.insert_tuple(tuple(1), 'a');
        assert_eq!(demux.by_tuple(&Tuple { protocol: Protocol::Tcp, ..tuple(1) }), None);
    }

    #[test]
    fn user_fragments_lead_to_their_owner_until_removed() {
        let mut demux = Demux::new();
        demux.register_ufrag("old", 'a');
        demux.register_ufrag("new", 'a');
        demux.remove_ufrag("old");
        assert_eq!((demux.by_ufrag("old"), demux.by_ufrag("new"), demux.by_ufrag("")), (None, Some('a'), None));
    }
}
