//! A server behind sockets, as a world's server: datagrams by UDP, one socket for each client, and everything else by a
//! [`Signaling`].

use crate::client::sdp::Answer;
use crate::run::ports::{Buffers, Port, own_address};
use crate::sim::Wish;
use crate::sim::server::{Server, Told};
use crate::sim::signal::Signal;
use mio::{Events, Interest, Poll, Token, Waker};
use sfu_engine::command::PublishHint;
use sfu_engine::ids::TrackId;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Wakes the loop where signaling has something.
const SIGNALING: Token = Token(usize::MAX);
/// The system's wait counts in these; what is shorter is slept.
const POLL_UNIT: Duration = Duration::from_millis(1);
/// How long participants have to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// How participants and the server tell each other things beside the media. Named as in [`Server`].
pub(super) trait Signaling {
    fn join(&mut self, place: usize, default: Option<Wish>);
    fn offer(&mut self, place: usize, sdp: String, published: Vec<PublishHint>);
    fn prefer(&mut self, place: usize, track: TrackId, wish: Option<Wish>);
    fn set_muted(&mut self, track: TrackId, muted: bool);
    fn leave(&mut self, place: usize);
    /// The next thing that the server told.
    fn poll(&mut self) -> Option<Told>;
    /// What the server told last of somebody's downlink, in bit/s.
    fn estimate(&self, place: usize) -> Option<f64>;
    /// Lets everybody leave, and waits until they have.
    fn close(self: Box<Self>, runtime: &Runtime, patience: Duration);
}

/// Where sessions on other threads leave what they hear.
pub(super) struct Outside<T> {
    said: mpsc::Sender<(usize, T)>,
    waker: Arc<Waker>,
}

impl<T> Clone for Outside<T> {
    fn clone(&self) -> Outside<T> {
        Outside { said: self.said.clone(), waker: self.waker.clone() }
    }
}

impl<T> Outside<T> {
    /// A way from the sessions' threads to the world's, and its end.
    pub(super) fn new(waker: Arc<Waker>) -> (Outside<T>, mpsc::Receiver<(usize, T)>) {
        let (said, heard) = mpsc::channel();
        (Outside { said, waker }, heard)
    }

    /// Somebody's session heard something.
    pub(super) fn tell(&self, place: usize, what: T) {
        // Nobody listens any more only where the run is over.
        if self.said.send((place, what)).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// The room of a run, new with each process and seed: participants that another run has left behind are not in it.
pub(super) fn room_name(seed: u64) -> String {
    format!("scenario-{}-{seed}", std::process::id())
}

/// The server.
pub(super) struct Remote {
    poll: Poll,
    events: Events,
    buffers: Buffers,
    seats: Vec<Seat>,
    /// Places whose sockets may hold datagrams.
    readable: Vec<usize>,
    /// Datagrams that came, by time.
    arrived: VecDeque<(Instant, usize, Vec<u8>)>,
    told: VecDeque<(Instant, Told)>,
    signaling: Box<dyn Signaling>,
}

/// A client's way to the server.
struct Seat {
    port: Port,
    /// Its address and the server's, once an answer told.
    way: Option<(IpAddr, SocketAddr)>,
}

impl Remote {
    /// Opens a socket for each of so many clients.
    pub(super) fn new(clients: usize, signaling: impl FnOnce(Arc<Waker>) -> Box<dyn Signaling>) -> io::Result<Remote> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), SIGNALING)?);
        let mut seats = Vec::new();
        for place in 0..clients {
            let mut port = Port::open()?;
            poll.registry().register(&mut port.socket, Token(place), Interest::READABLE)?;
            seats.push(Seat { port, way: None });
        }
        Ok(Remote {
            poll,
            events: Events::with_capacity(1024),
            buffers: Buffers::default(),
            seats,
            readable: Vec::new(),
            arrived: VecDeque::new(),
            told: VecDeque::new(),
            signaling: signaling(waker),
        })
    }

    /// Waits until then at most, or until something comes.
    pub(super) fn wait(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let wait = if left < POLL_UNIT {
            std::thread::sleep(left);
            Duration::ZERO
        } else {
            Duration::from_millis(left.as_millis() as u64)
        };
        // An interrupted wait is a short one.
        let _ = self.poll.poll(&mut self.events, Some(wait));
        for token in self.events.iter().map(|event| event.token()).filter(|token| *token != SIGNALING) {
            if !self.readable.contains(&token.0) {
                self.readable.push(token.0);
            }
        }
    }

    /// Takes what has come. Datagrams keep the time at which the kernel took them.
    pub(super) fn receive(&mut self) {
        let Remote { readable, seats, arrived, buffers, .. } = self;
        for place in readable.drain(..) {
            let mut each = |arrival: crate::run::client::Arrival, _, datagram: &mut [u8]| {
                arrived.push_back((arrival.at, place, datagram.to_vec()));
            };
            while seats[place].port.receive(buffers, &mut each) {}
        }
        arrived.make_contiguous().sort_by_key(|(at, ..)| *at);
        let now = Instant::now();
        while let Some(told) = self.signaling.poll() {
            if let Told::Client(place, Signal::Answer(sdp)) = &told {
                self.seats[*place].set_server(sdp);
            }
            self.told.push_back((now, told));
        }
    }

    /// Lets everybody leave.
    pub(super) fn close(self, runtime: &Runtime) {
        self.signaling.close(runtime, GOODBYE);
    }
}

impl Seat {
    fn set_server(&mut self, answer: &str) {
        let server = Answer::parse(answer).candidates.into_iter().find(SocketAddr::is_ipv4);
        if let Some(server) = server.filter(|server| self.way.is_none_or(|(_, known)| known != *server)) {
            let own = own_address(server).unwrap_or(Ipv4Addr::UNSPECIFIED);
            self.way = Some((own.into(), server));
        }
    }
}

impl Server for Remote {
    fn join(&mut self, _now: Instant, place: usize, default: Option<Wish>) {
        self.signaling.join(place, default);
    }

    fn offer(&mut self, _now: Instant, place: usize, sdp: String, published: Vec<PublishHint>) {
        self.signaling.offer(place, sdp, published);
    }

    fn prefer(&mut self, _now: Instant, place: usize, track: TrackId, wish: Option<Wish>) {
        self.signaling.prefer(place, track, wish);
    }

    fn set_muted(&mut self, _now: Instant, track: TrackId, muted: bool) {
        self.signaling.set_muted(track, muted);
    }

    fn leave(&mut self, _now: Instant, place: usize) {
        self.signaling.leave(place);
    }

    fn handle_datagram(&mut self, _now: Instant, place: usize, datagram: &mut [u8]) {
        let Seat { port, way } = &self.seats[place];
        if let Some((own, server)) = way {
            // A socket that does not take it loses it, as any link may.
            let _ = port.send(*own, *server, datagram);
        }
    }

    fn poll_datagram(&mut self, now: Instant) -> Option<(usize, Vec<u8>)> {
        self.arrived.front().filter(|(at, ..)| *at <= now)?;
        self.arrived.pop_front().map(|(_, place, datagram)| (place, datagram))
    }

    fn poll_told(&mut self, now: Instant) -> Option<Told> {
        self.told.front().filter(|(at, _)| *at <= now)?;
        self.told.pop_front().map(|(_, told)| told)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let datagram = self.arrived.front().map(|(at, ..)| *at);
        datagram.into_iter().chain(self.told.front().map(|(at, _)| *at)).min()
    }

    /// Nothing is ever due: whatever comes is there to be polled.
    fn handle_timeout(&mut self, _now: Instant) {}

    fn estimate(&mut self, place: usize) -> Option<f64> {
        self.signaling.estimate(place)
    }

    /// A server does not tell.
    fn ce_marks(&self) -> u64 {
        0
    }
}
