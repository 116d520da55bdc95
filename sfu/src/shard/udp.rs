//! The media port's UDP side: batches in (recvmmsg, GRO), runs out (GSO), by `quinn-udp`, which falls back where the kernel lacks them.
//!
//! Each shard has its own sockets on the same port (SO_REUSEPORT), one for each address that media is taken on.

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use sfu_engine::{Protocol, Tuple};
use socket2::{Domain, Socket, Type};
use stats::UdpTraffic;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Asked of the kernel for both directions; it may grant less.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Datagrams of one receive call may be up to this long together, with GRO.
const RECEIVE_SLOT_BYTES: usize = 64 << 10;
/// A datagram cannot have waited longer in a socket's buffer; a larger figure means that somebody set the wall clock.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Longer datagrams are not sent as runs: where they exceed the interface's MTU, the kernel refuses the run with the error by which
/// `quinn-udp` concludes that there is no GSO at all, and one client's long packets would cost everybody.
const LONGEST_SEGMENT: usize = 1452;

/// Binds a UDP socket that other shards may bind too.
pub(crate) fn bind(address: SocketAddr) -> io::Result<StdUdpSocket> {
    open(address, true)
}

/// Fails if another server has the address, which [`bind`] would share with it. Returns the port, picked by the kernel if it was 0.
pub(crate) fn free_port(address: SocketAddr) -> io::Result<u16> {
    Ok(open(address, false)?.local_addr()?.port())
}

fn open(address: SocketAddr, shared: bool) -> io::Result<StdUdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// One UDP socket of one shard.
pub(crate) struct UdpPort {
    /// Watched for what comes in alone: a socket that is watched for room too wakes its thread whenever a datagram that it has sent is taken in, on
    /// loopback by the receiver of each.
    socket: AsyncFd<StdUdpSocket>,
    state: UdpSocketState,
    /// Datagrams that one call may send.
    segments: usize,
    traffic: UdpTraffic,
    local: SocketAddr,
    /// It takes what comes to any address of the machine, so what is sent has to name its own: the kernel looks for a route twice then.
    wildcard: bool,
    metas: [RecvMeta; BATCH_SIZE],
    buffers: Vec<Vec<u8>>,
}

/// Datagrams that one call received.
pub(crate) struct Batch<'a> {
    now: Instant,
    wall_now: Duration,
    local: SocketAddr,
    metas: &'a [RecvMeta],
    buffers: &'a mut [Vec<u8>],
}

impl UdpPort {
    /// Takes a bound socket into the shard's runtime. `segments` is how many datagrams one call may send.
    pub(crate) fn new(socket: StdUdpSocket, segments: usize) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Smaller buffers lose more in bursts, which is no reason not to start.
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        // SAFETY: a `UdpSocket` owns its descriptor, which stays open and the same until it is dropped, and nobody takes it out of here.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(UdpPort {
            socket,
            state,
            segments,
            traffic: UdpTraffic::default(),
            local,
            wildcard: local.ip().is_unspecified(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            buffers: vec![vec![0; RECEIVE_SLOT_BYTES]; BATCH_SIZE],
        })
    }

    /// Whether there is something to receive; wakes the task when there is.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // An error here is an error of the next receive.
        self.socket.poll_read_ready(context).map(|_| ())
    }

    /// Calls and datagrams so far.
    pub(crate) fn traffic(&self) -> UdpTraffic {
        UdpTraffic { socket_drops: socket_drops(self.socket.get_ref()), ..self.traffic }
    }

    /// Whether datagrams of this tuple come and go here.
    pub(crate) fn serves(&self, tuple: &Tuple) -> bool {
        let (own, wanted) = (self.local.ip(), tuple.local.ip());
        own == wanted || (own.is_unspecified() && own.is_ipv4() == wanted.is_ipv4())
    }

    /// Receives one batch; `None` when there is nothing more.
    pub(crate) fn receive(&mut self) -> Option<Batch<'_>> {
        let UdpPort { socket, state, local, metas, buffers, traffic, .. } = self;
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (slice, buffer) in slices.iter_mut().zip(buffers.iter_mut()) {
            *slice = IoSliceMut::new(buffer);
        }
        let mut received = 0;
        let outcome = socket.try_io(Interest::READABLE, |socket| {
            received = state.recv(UdpSockRef::from(socket), &mut slices, metas)?;
            // Less than there is room for was all: what comes later is told anew, so that no call is needed to find the socket empty.
            if received < BATCH_SIZE { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        let failed = outcome.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock);
        traffic.receive_errors += u64::from(failed);
        if received == 0 {
            return None;
        }
        // One after the other, so that the kernel's wall clock times can be carried over to the monotonic clock.
        let now = Instant::now();
        let wall_now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        traffic.calls.received += 1;
        for meta in &metas[..received] {
            count(&mut traffic.joined.received, &mut traffic.single.received, meta.len.div_ceil(meta.stride.max(1)));
        }
        Some(Batch { now, wall_now, local: *local, metas: &metas[..received], buffers })
    }

    /// Sends a run of datagrams to one address. Returns how many the socket could not take; they are lost, as on any link.
    pub(crate) fn send(&mut self, tuple: &Tuple, contents: &[u8], segment_size: usize) -> u64 {
        let segment_size = segment_size.max(1);
        let segments =
            if segment_size > LONGEST_SEGMENT { 1 } else { self.segments.min(self.state.max_gso_segments()) };
        contents.chunks(segment_size * segments).map(|run| self.send_run(tuple, run, segment_size)).sum()
    }

    fn send_run(&mut self, tuple: &Tuple, run: &[u8], segment_size: usize) -> u64 {
        if self.send_once(tuple, run, segment_size).is_ok() {
            return 0;
        }
        let datagrams = run.chunks(segment_size);
        // That send found out that runs do not work here: what it held still has to leave.
        if datagrams.len() > 1 && self.state.max_gso_segments() == 1 {
            return datagrams.map(|datagram| u64::from(self.send_once(tuple, datagram, segment_size).is_err())).sum();
        }
        datagrams.len() as u64
    }

    /// One system call. It does not go by tokio's readiness: after a full buffer that would refuse everything until the loop comes round.
    fn send_once(&mut self, tuple: &Tuple, contents: &[u8], segment_size: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: tuple.remote,
            ecn: None,
            contents,
            segment_size: (contents.len() > segment_size).then_some(segment_size),
            src_ip: self.wildcard.then_some(tuple.local.ip()).filter(|ip: &IpAddr| !ip.is_unspecified()),
        };
        self.traffic.calls.sent += 1;
        self.state.try_send(UdpSockRef::from(self.socket.get_ref()), &transmit)?;
        let datagrams = contents.len().div_ceil(segment_size);
        count(&mut self.traffic.joined.sent, &mut self.traffic.single.sent, datagrams);
        Ok(())
    }
}

/// Datagrams that came to a socket whose buffer was full, since it was made.
#[cfg(target_os = "linux")]
fn socket_drops(socket: &StdUdpSocket) -> u64 {
    use std::os::fd::AsRawFd;
    /// Index of the drops among the figures of SO_MEMINFO (linux/sock_diag.h).
    const SK_MEMINFO_DROPS: usize = 8;
    let mut figures = [0_u32; SK_MEMINFO_DROPS + 1];
    let mut length = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `figures`, which has that size and takes any bytes.
    let outcome = unsafe {
        let (level, option) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
        libc::getsockopt(socket.as_raw_fd(), level, option, figures.as_mut_ptr().cast(), &mut length)
    };
    if outcome == 0 { u64::from(figures[SK_MEMINFO_DROPS]) } else { 0 }
}

#[cfg(not(target_os = "linux"))]
fn socket_drops(_: &StdUdpSocket) -> u64 {
    0
}

/// Counts datagrams that crossed the kernel as one unit.
fn count(joined: &mut u64, single: &mut u64, datagrams: usize) {
    *(if datagrams > 1 { joined } else { single }) += datagrams as u64;
}

impl Batch<'_> {
    /// When the batch was received.
    pub(crate) fn received_at(&self) -> Instant {
        self.now
    }

    /// Hands each datagram to `each`, with the time at which the kernel received it, and returns how many there were.
    pub(crate) fn for_each(self, mut each: impl FnMut(Instant, Tuple, &mut [u8])) -> usize {
        let mut datagrams = 0;
        for (meta, buffer) in self.metas.iter().zip(self.buffers) {
            let local = SocketAddr::new(meta.dst_ip.unwrap_or(self.local.ip()), self.local.port());
            let tuple = Tuple { protocol: Protocol::Udp, local, remote: meta.addr };
            let arrival = arrival(self.now, self.wall_now, meta.timestamp);
            for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                datagrams += 1;
                // Nothing can be sent to port 0; the kernel's refusal would look like a lack of GSO.
                if meta.addr.port() != 0 {
                    each(arrival, tuple, datagram);
                }
            }
        }
        datagrams
    }
}

/// The kernel's wall clock time of a datagram on the monotonic clock, by both clocks read at once after it: never later than `now`.
fn arrival(now: Instant, wall_now: Duration, timestamp: Option<Duration>) -> Instant {
    timestamp
        .and_then(|at| wall_now.checked_sub(at))
        .filter(|waited| *waited <= LONGEST_WAIT)
        .and_then(|waited| now.checked_sub(waited))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn a_datagram_arrived_as_long_ago_as_its_timestamp_says() {
        let now = Instant::now();
        let waited = Duration::from_millis(7);
        assert_eq!(arrival(now, WALL, Some(WALL - waited)), now - waited);
    }

    #[test]
    fn a_datagram_never_arrives_later_than_now_or_absurdly_early() {
        let now = Instant::now();
        for timestamp in [None, Some(WALL), Some(WALL + Duration::from_millis(1)), Some(Duration::ZERO)] {
            assert_eq!(arrival(now, WALL, timestamp), now, "{timestamp:?}");
        }
    }

    #[tokio::test]
    async fn a_run_comes_out_as_its_datagrams_with_their_times_whether_or_not_the_kernel_splits_it() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        for segments in [64, 1] {
            let mut receiver = UdpPort::new(bind(loopback).unwrap(), segments).unwrap();
            let mut sender = UdpPort::new(bind(loopback).unwrap(), segments).unwrap();
            let tuple = Tuple { protocol: Protocol::Udp, local: sender.local, remote: receiver.local };
            let address = sender.local;

            let began = Instant::now();
            // Longer datagrams than runs may hold, and a run whose last datagram is shorter.
            assert_eq!(sender.send(&tuple, &[1; 2000], 1500), 0);
            assert_eq!(sender.send(&tuple, &[2; 250], 100), 0);
            let mut lengths = Vec::new();
            while lengths.len() < 5 {
                std::future::poll_fn(|context| receiver.poll_readable(context)).await;
                let Some(batch) = receiver.receive() else { continue };
                let now = batch.received_at();
                batch.for_each(|arrival, tuple, datagram| {
                    assert!(arrival <= now && arrival + Duration::from_millis(1) >= began);
                    assert_eq!(tuple.remote, address);
                    lengths.push(datagram.len());
                });
            }
            assert_eq!(lengths, [1500, 500, 100, 100, 50]);
            let joined = if segments.min(sender.state.max_gso_segments()) > 1 { 3 } else { 0 };
            let sent = sender.traffic();
            assert_eq!(
                (sent.joined.sent, sent.single.sent, sent.calls.sent),
                (joined, 5 - joined, if joined > 0 { 3 } else { 5 })
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn datagrams_that_a_full_buffer_turns_away_are_counted() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = UdpPort::new(bind(loopback).unwrap(), 1).unwrap();
        let mut sender = UdpPort::new(bind(loopback).unwrap(), 1).unwrap();
        let tuple = Tuple { protocol: Protocol::Udp, local: sender.local, remote: receiver.local };
        assert_eq!(receiver.traffic().socket_drops, 0);
        // Nobody reads, and the kernel gives a socket at most twice what it was asked for.
        for _ in 0..2 * SOCKET_BUFFER_BYTES / 1000 + 1 {
            sender.send(&tuple, &[0; 1000], 1000);
        }
        assert!(receiver.traffic().socket_drops > 0);
    }

    #[tokio::test]
    async fn a_socket_serves_its_own_address_only() {
        let at = |local: &str| Tuple {
            protocol: Protocol::Udp,
            local: local.parse().unwrap(),
            remote: "192.0.2.1:4".parse().unwrap(),
        };
        let bound = |address: &str| UdpPort::new(bind(address.parse().unwrap()).unwrap(), 64).unwrap();
        let one = bound("127.0.0.1:0");
        assert!(one.serves(&at("127.0.0.1:1")) && !one.serves(&at("127.0.0.2:1")));
        let all = bound("0.0.0.0:0");
        assert!(all.serves(&at("127.0.0.2:1")) && !all.serves(&at("[::1]:1")));
    }

    #[test]
    fn a_port_that_another_server_shares_is_not_free() {
        let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        free_port(taken.local_addr().unwrap()).unwrap_err();
    }
}
