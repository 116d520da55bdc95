//! A worker: one thread that owns sockets and the clients on them. It waits for datagrams, orders and deadlines, and
//! never for another worker.
//!
//! A thread that sleeps until a datagram comes is woken by whoever sends it. On one machine that is the server, whose
//! call takes 20 to 30 us then and not two, by the interrupt that a processor at rest is sent. A network wakes nobody
//! at the sender's expense. So once all clients have joined, a worker looks at its sockets every so often and sleeps by
//! time alone in between: the kernel notes when datagrams came, so no figure but the clients' answers is late.

use super::client::Client;
use super::ports::{Buffers, Port, own_address};
use super::publisher::Departures;
use super::totals::Totals;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Batches taken from a socket between two rounds of sending.
const RECEIVE_BUDGET: usize = 8;
/// Between two publications of what was counted.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// The waker's token; sockets have their place.
const ORDERS: Token = Token(usize::MAX);

/// Names a client of all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u64);

/// What workers are told.
pub(crate) enum Order {
    /// Runs a client that has its answer.
    Add(ClientId, Box<Client>),
    /// A section of a client carries these packets from now on.
    Bind(ClientId, usize, Option<Arc<Departures>>),
    /// The server wants these encodings of a section.
    Wanted(ClientId, usize, Vec<(String, bool)>),
    /// Forgets a client.
    Remove(ClientId),
    /// Ends the worker.
    Stop,
}

/// A worker as others see it.
pub(crate) struct WorkerHandle {
    orders: mpsc::Sender<Order>,
    waker: Waker,
    totals: Arc<Mutex<Totals>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl WorkerHandle {
    /// Starts a worker.
    pub(crate) fn start(index: usize, read_every: Duration) -> io::Result<WorkerHandle> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), ORDERS)?;
        let (orders, inbox) = mpsc::channel();
        let totals = Arc::new(Mutex::new(Totals::default()));
        let worker = Worker::new(poll, inbox, read_every, totals.clone());
        let thread = std::thread::Builder::new().name(format!("load-{index}")).spawn(move || worker.run())?;
        Ok(WorkerHandle { orders, waker, totals, thread: Mutex::new(Some(thread)) })
    }

    /// Tells it something.
    pub(crate) fn give(&self, order: Order) {
        // It ends only when told to, and what it is told afterwards does not matter.
        if self.orders.send(order).is_ok() {
            let _ = self.waker.wake();
        }
    }

    /// What it counted so far.
    pub(crate) fn totals(&self) -> Totals {
        self.totals.lock().clone()
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        self.give(Order::Stop);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    poll: Poll,
    inbox: mpsc::Receiver<Order>,
    read_every: Duration,
    /// Clients that want each datagram at once: how long a join takes is measured, too.
    joining: Vec<ClientId>,
    ports: Vec<Port>,
    /// Ports that may hold datagrams.
    readable: Vec<usize>,
    /// The port that clients with own addresses share.
    shared: Option<usize>,
    clients: FxHashMap<ClientId, Seat>,
    by_address: FxHashMap<(usize, IpAddr), ClientId>,
    deadlines: BinaryHeap<Reverse<(Instant, ClientId)>>,
    totals: Totals,
    published: Arc<Mutex<Totals>>,
    next_publish: Instant,
}

/// A client and its way out.
struct Seat {
    client: Box<Client>,
    port: usize,
    from: IpAddr,
    to: SocketAddr,
    /// The earliest deadline in the queue.
    scheduled: Option<Instant>,
}

impl Worker {
    fn new(poll: Poll, inbox: mpsc::Receiver<Order>, read_every: Duration, published: Arc<Mutex<Totals>>) -> Worker {
        Worker {
            poll,
            inbox,
            read_every,
            joining: Vec::new(),
            ports: Vec::new(),
            readable: Vec::new(),
            shared: None,
            clients: FxHashMap::default(),
            by_address: FxHashMap::default(),
            deadlines: BinaryHeap::new(),
            totals: Totals::default(),
            published,
            next_publish: Instant::now(),
        }
    }

    fn run(mut self) {
        let (mut events, mut buffers) = (Events::with_capacity(1024), Buffers::default());
        loop {
            self.wait(&mut events);
            for port in events.iter().map(|event| event.token()).filter(|token| *token != ORDERS) {
                if !self.readable.contains(&port.0) {
                    self.readable.push(port.0);
                }
            }
            while let Ok(order) = self.inbox.try_recv() {
                if matches!(order, Order::Stop) {
                    return;
                }
                self.obey(order);
            }
            self.receive(&mut buffers);
            self.handle_deadlines();
            self.publish();
        }
    }

    /// Waits until something is due, until it is time to look at the sockets or, where each datagram is wanted at once,
    /// until one comes.
    fn wait(&mut self, events: &mut Events) {
        let deadline = self.deadlines.peek().map_or(self.next_publish, |Reverse((at, _))| (*at).min(self.next_publish));
        let idle = deadline.saturating_duration_since(Instant::now());
        let mut wait = if self.readable.is_empty() { idle } else { Duration::ZERO };
        let clients = &self.clients;
        self.joining.retain(|id| clients.get(id).is_some_and(|seat| seat.client.is_joining()));
        if self.joining.is_empty() && !self.read_every.is_zero() {
            std::thread::sleep(wait.min(self.read_every));
            wait = Duration::ZERO;
        }
        // An interrupted wait is a short one.
        let _ = self.poll.poll(events, Some(wait));
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Add(id, client) => self.add(id, client),
            Order::Bind(id, section, departures) => {
                if let Some(seat) = self.clients.get_mut(&id) {
                    seat.client.bind(section, departures);
                }
            }
            Order::Wanted(id, section, wanted) => {
                if let Some(seat) = self.clients.get_mut(&id) {
                    seat.client.set_wanted(section, &wanted);
                }
            }
            Order::Remove(id) => self.remove(id),
            Order::Stop => {}
        }
    }

    /// A client without a server, or without a socket, is forgotten: its join fails for want of a connection.
    fn add(&mut self, id: ClientId, client: Box<Client>) {
        let Some(to) = client.server() else { return };
        let own = own_address(to);
        let port = match (own, self.shared) {
            (Some(_), Some(shared)) => shared,
            _ => {
                let Ok(port) = self.open() else { return };
                if own.is_some() {
                    self.shared = Some(port);
                }
                port
            }
        };
        let from = IpAddr::from(own.unwrap_or(Ipv4Addr::UNSPECIFIED));
        self.by_address.insert((port, from), id);
        self.clients.insert(id, Seat { client, port, from, to, scheduled: None });
        self.joining.push(id);
        self.attend(id, Instant::now());
    }

    fn remove(&mut self, id: ClientId) {
        if let Some(seat) = self.clients.remove(&id) {
            self.by_address.remove(&(seat.port, seat.from));
        }
    }

    fn open(&mut self) -> io::Result<usize> {
        let mut port = Port::open()?;
        let place = self.ports.len();
        self.poll.registry().register(&mut port.socket, Token(place), Interest::READABLE)?;
        self.ports.push(port);
        Ok(place)
    }

    /// Takes what arrived, a few batches from each port. A port is told of once only, so it stays on the list until it
    /// is empty.
    fn receive(&mut self, buffers: &mut Buffers) {
        let Worker { ports, readable, clients, by_address, totals, shared, .. } = self;
        let mut touched = Vec::new();
        readable.retain(|place| {
            let is_shared = *shared == Some(*place);
            let mut each = |arrival, to, datagram: &mut [u8]| {
                let to = if is_shared { to } else { Ipv4Addr::UNSPECIFIED.into() };
                let Some(id) = by_address.get(&(*place, to)) else { return };
                let Some(seat) = clients.get_mut(id) else { return };
                seat.client.handle_datagram(arrival, datagram, totals);
                if touched.last() != Some(id) {
                    touched.push(*id);
                }
            };
            (0..RECEIVE_BUDGET).all(|_| ports[*place].receive(buffers, &mut each))
        });
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            self.attend(id, Instant::now());
        }
    }

    fn handle_deadlines(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.deadlines.pop();
            let Some(seat) = self.clients.get_mut(&id) else { continue };
            // An earlier deadline took this one's place.
            if seat.scheduled == Some(at) {
                seat.scheduled = None;
                seat.client.handle_timeout(now);
                self.attend(id, now);
            }
        }
    }

    /// Sends what a client has to send and notes its next deadline.
    fn attend(&mut self, id: ClientId, now: Instant) {
        let Some(seat) = self.clients.get_mut(&id) else { return };
        while let Some(datagram) = seat.client.poll_transmit(now, &mut self.totals) {
            let sent = self.ports[seat.port].send(seat.from, seat.to, &datagram);
            self.totals.send_drops += u64::from(!sent);
        }
        if let Some(at) = seat.client.poll_timeout()
            && seat.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            seat.scheduled = Some(at);
            self.deadlines.push(Reverse((at, id)));
        }
    }

    fn publish(&mut self) {
        let now = Instant::now();
        if now >= self.next_publish {
            self.next_publish = now + PUBLISH_INTERVAL;
            self.published.lock().clone_from(&self.totals);
        }
    }
}
