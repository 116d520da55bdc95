//! The media port's UDP side: batches in (recvmmsg, GRO), batches of runs out (sendmmsg, GSO), by `quinn-udp`, which
//! falls back where the kernel lacks them, and [`super::sendmmsg`].
//!
//! Each shard has its own sockets on the same port (SO_REUSEPORT), one for each address that media is taken on.

use super::sendmmsg::Messages;
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
/// Longer datagrams are not sent as runs: where they exceed the interface's MTU, the kernel refuses the run with the
/// error by which `quinn-udp` concludes that there is no GSO at all, and one client's long packets would cost
/// everybody.
const LONGEST_SEGMENT: usize = 1452;

/// Binds a UDP socket that other shards may bind too.
pub(crate) fn bind(address: SocketAddr) -> io::Result<StdUdpSocket> {
    open(address, true)
}

/// Fails if another server has the address, which [`bind`] would share with it. Returns the port, picked by the kernel
/// if it was 0.
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
    /// Watched for what comes in alone: a socket that is watched for room too wakes its thread whenever a datagram that
    /// it has sent is taken in, on loopback by the receiver of each.
    socket: AsyncFd<StdUdpSocket>,
    state: UdpSocketState,
    messages: Messages,
    /// Datagrams that one message may hold.
    segments: usize,
    traffic: UdpTraffic,
    local: SocketAddr,
    /// It takes what comes to any address of the machine, so what is sent has to name its own: the kernel looks for a
    /// route twice then.
    wildcard: bool,
    metas: [RecvMeta; BATCH_SIZE],
    buffers: Vec<Vec<u8>>,
}

/// Datagrams of one size to one address, the last of which may be shorter, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) tuple: Tuple,
    pub(crate) contents: &'a [u8],
    pub(crate) segment_size: usize,
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
    /// Takes a bound socket into the shard's runtime. `segments` is how many datagrams one message may hold.
    pub(crate) fn new(socket: StdUdpSocket, segments: usize) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Smaller buffers lose more in bursts, which is no reason not to start.
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
        // SAFETY: a `UdpSocket` owns its descriptor, which stays open and the same until it is dropped, and nobody
        // takes it out of here.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(UdpPort {
            socket,
            state,
            messages: Messages::default(),
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
            // Less than there is room for was all: what comes later is told anew, so that no call is needed to find the
            // socket empty.
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

    /// Sends runs of datagrams. Returns how many datagrams the socket could not take; they are lost, as on any link. It
    /// does not go by tokio's readiness: after a full buffer that would refuse everything until the loop comes round.
    pub(crate) fn send<'a>(&mut self, runs: impl Iterator<Item = Run<'a>> + Clone) -> u64 {
        let (segments, wildcard) = (self.segments.min(self.state.max_gso_segments()), self.wildcard);
        let mut rest = runs.flat_map(move |run| run.pieces(segments));
        let mut lost = 0;
        loop {
            let messages = rest.clone().map(|run| run.transmit(wildcard));
            let sent = self.messages.send(self.socket.get_ref(), messages);
            if sent > 0 {
                self.traffic.calls.sent += 1;
                rest.by_ref().take(sent).for_each(|run| self.note_sent(&run));
                continue;
            }
            let Some(run) = rest.next() else { return lost };
            lost += self.send_alone(run);
        }
    }

    fn send_alone(&mut self, run: Run<'_>) -> u64 {
        if self.send_once(&run).is_ok() {
            return 0;
        }
        let datagrams = run.pieces(1);
        // That send found out that runs do not work here: what it held still has to leave.
        if run.datagrams() > 1 && self.state.max_gso_segments() == 1 {
            return datagrams.map(|datagram| u64::from(self.send_once(&datagram).is_err())).sum();
        }
        datagrams.count() as u64
    }

    fn send_once(&mut self, run: &Run<'_>) -> io::Result<()> {
        self.traffic.calls.sent += 1;
        self.state.try_send(UdpSockRef::from(self.socket.get_ref()), &run.transmit(self.wildcard))?;
        self.note_sent(run);
        Ok(())
    }

    fn note_sent(&mut self, run: &Run<'_>) {
        count(&mut self.traffic.joined.sent, &mut self.traffic.single.sent, run.datagrams());
    }
}

impl<'a> Run<'a> {
    /// The same in runs of at most so many datagrams, which leave in one message each.
    fn pieces(self, segments: usize) -> impl Iterator<Item = Run<'a>> + Clone {
        let size = self.segment_size.max(1);
        let segments = if size > LONGEST_SEGMENT { 1 } else { segments };
        self.contents.chunks(size * segments).map(move |contents| Run { contents, segment_size: size, ..self })
    }

    /// How many it is.
    pub(crate) fn datagrams(&self) -> usize {
        self.contents.len().div_ceil(self.segment_size.max(1))
    }

    /// As a message on a socket that has several addresses, or one.
    fn transmit(&self, wildcard: bool) -> Transmit<'a> {
        Transmit {
            destination: self.tuple.remote,
            ecn: None,
            contents: self.contents,
            segment_size: (self.contents.len() > self.segment_size).then_some(self.segment_size),
            src_ip: wildcard.then_some(self.tuple.local.ip()).filter(|ip: &IpAddr| !ip.is_unspecified()),
        }
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

/// The kernel's wall clock time of a datagram on the monotonic clock, by both clocks read at once after it: never later
/// than `now`.
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
            let run = |contents, segment_size| Run { tuple, contents, segment_size };
            assert_eq!(sender.send([run(&[1; 2000][..], 1500), run(&[2; 250][..], 100)].into_iter()), 0);
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
            assert_eq!((sent.joined.sent, sent.single.sent), (joined, 5 - joined));
            #[cfg(target_os = "linux")]
            assert_eq!(sent.calls.sent, 1);
        }
    }

    /// What a socket receives by the time that a datagram of one byte, 0, has come.
    fn received(socket: &StdUdpSocket) -> Vec<(Vec<u8>, SocketAddr)> {
        socket.set_nonblocking(false).unwrap();
        let next = || {
            let mut datagram = vec![0; 2000];
            let (length, from) = socket.recv_from(&mut datagram).unwrap();
            datagram.truncate(length);
            (datagram, from)
        };
        std::iter::repeat_with(next).take_while(|(datagram, _)| datagram != &[0]).collect()
    }

    #[tokio::test]
    async fn each_run_reaches_its_own_address_from_ours_whatever_becomes_of_those_beside_it() {
        // Nothing can be sent to the broadcast address without leave.
        let refused = Some("255.255.255.255");
        for (any, ours, theirs, refused) in [("0.0.0.0", "127.0.0.2", "127.0.0.1", refused), ("::", "::1", "::1", None)]
        {
            let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
            let mut port = UdpPort::new(bind(at(any)).unwrap(), 64).unwrap();
            let segments = port.state.max_gso_segments();
            let receivers: Vec<_> = (0..3).map(|_| bind(at(theirs)).unwrap()).collect();
            let local = SocketAddr::new(ours.parse().unwrap(), port.local.port());
            let tuple = |remote| Tuple { protocol: Protocol::Udp, local, remote };
            let to = |n: usize, contents| {
                let remote = receivers[n % 3].local_addr().unwrap();
                Run { tuple: tuple(remote), contents, segment_size: 2 }
            };
            let contents: Vec<_> = (1..=200).map(|n: u8| [n, 1, n, 2, n]).collect();
            let mut runs: Vec<_> = contents.iter().enumerate().map(|(n, contents)| to(n, &contents[..])).collect();
            let refused = refused.map(|address: &str| SocketAddr::new(address.parse().unwrap(), 9));
            let refused = refused.map(|address| Run { tuple: tuple(address), contents: &[9, 9, 9], segment_size: 2 });
            // One is the first of a call, and one in the middle of it.
            refused.into_iter().for_each(|refused| runs.insert(100, refused));
            refused.into_iter().for_each(|refused| runs.insert(0, refused));
            runs.extend((0..receivers.len()).map(|n| to(n, &[0][..])));
            assert_eq!(port.send(runs.into_iter()), refused.map_or(0, |_| 4), "datagrams that could not be sent");
            assert_eq!(port.state.max_gso_segments(), segments, "an error of one says nothing about runs");
            for (n, receiver) in receivers.iter().enumerate() {
                let sent = contents.iter().skip(n).step_by(receivers.len());
                let expected: Vec<_> = sent.flat_map(|run| run.chunks(2)).map(|d| (d.to_vec(), local)).collect();
                assert_eq!(received(receiver), expected);
            }
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
            sender.send([Run { tuple, contents: &[0; 1000], segment_size: 1000 }].into_iter());
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
