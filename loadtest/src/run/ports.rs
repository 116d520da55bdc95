//! The sockets of a worker: batches in (recvmmsg, GRO), single datagrams out, as each came from a network of its own.
//!
//! A server tells its clients apart by their addresses. Where it is on the same machine, one socket serves thousands of
//! clients: each has an address of its own in 127.64.0.0/10, which the loopback interface takes without being told. To
//! a server elsewhere each client has a socket.

use super::client::Arrival;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Asked of the kernel for both directions; it may grant less.
const SOCKET_BUFFER_BYTES: usize = 16 << 20;
/// Datagrams of one receive call may be up to this long together, with GRO.
const RECEIVE_SLOT_BYTES: usize = 64 << 10;
/// An arrival cannot be longer ago; a larger figure means that somebody set the wall clock.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A socket.
pub(crate) struct Port {
    pub(crate) socket: mio::net::UdpSocket,
    state: UdpSocketState,
}

/// Room for one batch of received datagrams.
pub(crate) struct Buffers {
    metas: [RecvMeta; BATCH_SIZE],
    slots: Vec<Vec<u8>>,
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers { metas: [RecvMeta::default(); BATCH_SIZE], slots: vec![vec![0; RECEIVE_SLOT_BYTES]; BATCH_SIZE] }
    }
}

impl Port {
    /// A socket on any address.
    pub(crate) fn open() -> io::Result<Port> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Root may have more than the system's limit. Less than asked for loses in bursts, which the report shows.
        if set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
            let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        }
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        Ok(Port { socket: mio::net::UdpSocket::from_std(socket), state })
    }

    /// Hands each datagram of one batch to `each`, with the address that it came to. False where there was none.
    pub(crate) fn receive(&self, buffers: &mut Buffers, mut each: impl FnMut(Arrival, IpAddr, &mut [u8])) -> bool {
        let Buffers { metas, slots } = buffers;
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (slice, slot) in slices.iter_mut().zip(slots.iter_mut()) {
            *slice = IoSliceMut::new(slot);
        }
        let Ok(received) = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas) else { return false };
        // One after the other, so that the kernel's wall clock times can be carried over to the monotonic clock.
        let now = Instant::now();
        let wall_now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        for (meta, slot) in metas[..received].iter().zip(slots) {
            let waited = meta.timestamp.and_then(|at| wall_now.checked_sub(at)).filter(|waited| *waited < LONGEST_WAIT);
            let waited = waited.unwrap_or_default();
            let at = now.checked_sub(waited).unwrap_or(now);
            let arrival = Arrival { at, wall: (wall_now - waited).as_nanos() as u64 };
            let to = meta.dst_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            slot[..meta.len].chunks_mut(meta.stride.max(1)).for_each(|datagram| each(arrival, to, datagram));
        }
        true
    }

    /// Sends a datagram. False where the socket does not take it: it is lost, as on any link.
    pub(crate) fn send(&self, from: IpAddr, to: SocketAddr, contents: &[u8]) -> bool {
        let src_ip = Some(from).filter(|ip| !ip.is_unspecified());
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit).is_ok()
    }
}

/// An own address for a client of a server there; `None` where the server is not on this machine.
pub(crate) fn own_address(server: SocketAddr) -> Option<Ipv4Addr> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 0]);
    const COUNT: u32 = 1 << 22;
    let here = server.ip().is_loopback() || std::net::UdpSocket::bind((server.ip(), 0)).is_ok();
    here.then(|| Ipv4Addr::from(FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_one_socket_are_told_apart_by_their_addresses() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let port = Port::open().unwrap();
        let addresses = [own_address(to).unwrap(), own_address(to).unwrap()];
        assert_ne!(addresses[0], addresses[1]);
        let before = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        for address in addresses {
            assert!(port.send(address.into(), to, &[7]));
            let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
            assert_eq!(from.ip(), address);
            server.send_to(&[8, 9], from).unwrap();
        }
        let (mut buffers, mut seen) = (Buffers::default(), Vec::new());
        while seen.len() < 2 {
            port.receive(&mut buffers, |arrival, to, datagram| {
                assert!(arrival.wall >= before && datagram == [8, 9]);
                seen.push(to);
            });
        }
        assert_eq!(seen, addresses.map(IpAddr::from));
    }
}
