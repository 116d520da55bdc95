//! Addresses of a datagram as the engine sees them, and what the engine wants sent.

use std::net::SocketAddr;

/// How bytes travel. TCP carries one datagram per RFC 4571 frame; the framing is the shard's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// One datagram, one packet.
    Udp,
    /// ICE-TCP passive (RFC 6544), framed by RFC 4571.
    Tcp,
}

/// Where a datagram came from and where it arrived: the key of the demultiplexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Our address that the datagram was sent to, as well as the socket can tell.
    pub local: SocketAddr,
    /// The client's address.
    pub remote: SocketAddr,
}

/// Bytes to send to one place. The bytes themselves stand in the buffer given to [`crate::Engine::poll_transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From where, to where.
    pub tuple: Tuple,
    /// Bytes in the buffer.
    pub len: usize,
    /// Size of each datagram where the buffer holds several; the last may be shorter (UDP_SEGMENT's rule).
    pub segment_size: usize,
}
