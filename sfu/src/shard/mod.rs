//! A shard: one thread that owns its sockets, its engine and every participant placed on it.
//!
//! The loop waits for input, gives it to the engine with the time, then drains what the engine wants sent and said. It
//! never blocks and never waits for another shard. [`threads`] starts the shards and notices when one ends.

pub(crate) mod emulation;
mod handover;
pub(crate) mod offload;
mod owners;
mod queues;
pub(crate) mod route;
mod sendmmsg;
mod snapshot;
pub(crate) mod tcp;
pub(crate) mod threads;
pub(crate) mod udp;

pub(crate) use queues::{Inbox, ShardHandle, ShardInput};

use emulation::Emulation;
use handover::Handovers;
use owners::{OwnerNews, Owners};
use queues::{Events, News, ShardQueues};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use sfu_engine::crypto::RTCCryptoProvider as CryptoProvider;
use sfu_engine::histogram::ShortTimes;
use sfu_engine::ids::ShardId;
use sfu_engine::relay::Batch;
use sfu_engine::transport::dtls::DtlsCertificate;
use sfu_engine::{Command, Engine, EngineConfig, Event, Protocol, Transmit, Tuple};
use snapshot::OwnFigures;
use stats::{Lane, ShardSlot};
use std::net::UdpSocket as StdUdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tcp::{TcpInput, TcpLimits, TcpPorts};
use tokio::sync::mpsc;
use udp::{Run, UdpPort};

/// Datagrams taken between two rounds of sending, so that a flood cannot starve the senders.
const RECEIVE_BUDGET: usize = 256;
/// Commands carried out between two rounds of sending: answering an offer takes about a millisecond.
const COMMAND_BUDGET: usize = 16;
/// Bytes that are gathered before they are sent: with the longest run they stay within [`BUFFER_BYTES`].
const GATHERED_BYTES: usize = 192 << 10;
/// Runs that are gathered before they are sent.
const GATHERED_RUNS: usize = 64;
const BUFFER_BYTES: usize = 256 << 10;
/// Each shard publishes its counters this often.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// What a shard's thread starts with.
pub(crate) struct ShardSetup {
    pub(crate) config: EngineConfig,
    pub(crate) certificate: DtlsCertificate,
    pub(crate) provider: Arc<dyn CryptoProvider>,
    pub(crate) sockets: Vec<StdUdpSocket>,
    /// Datagrams that one message may hold.
    pub(crate) segments: usize,
    /// Whether participants may have a worse network emulated.
    pub(crate) emulates: bool,
}

/// Why a shard ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardEnd {
    #[error("it was told to stop")]
    Stopped,
    #[error("it could not start: {0}")]
    NotStarted(std::io::Error),
    #[error("the control plane does not take its events")]
    EventsNotTaken,
    #[error("shard {0} does not take news")]
    NewsNotTaken(usize),
    #[error("it panicked: {0}")]
    Panicked(String),
}

struct Shard {
    index: usize,
    engine: Engine,
    udp: Vec<UdpPort>,
    tcp: TcpPorts,
    commands: mpsc::Receiver<Command>,
    inputs: mpsc::Receiver<ShardInput>,
    news: mpsc::Receiver<News>,
    spent: mpsc::Receiver<Batch>,
    events: Events,
    /// Every shard, this one too.
    shards: Vec<Inbox>,
    owners: Owners,
    /// Inputs that are being taken; empty between two turns of the loop.
    batch: Vec<ShardInput>,
    /// Datagrams that came here and belong to others.
    handovers: Handovers,
    /// Where the server runs with `--dev`.
    emulation: Option<Box<Emulation>>,
    /// TCP connections to close once what there was to send has been given to them.
    closing: Vec<Tuple>,
    /// The UDP port that is read first; the next one the next time.
    first_port: usize,
    stats: Arc<ShardSlot>,
    busy: Duration,
    /// How long the turns of the loop took.
    ticks: ShortTimes,
    send_drops: u64,
    relay_drops: u64,
    next_snapshot: Instant,
    /// Runs that leave together, and their bytes one behind the other, each with where its own begin; empty between two
    /// turns of the loop.
    runs: Vec<(usize, Transmit)>,
    buffer: Vec<u8>,
}

/// What woke the loop.
enum Wake {
    News(News),
    Command(Option<Command>),
    Inputs,
    Tcp(TcpInput),
    Socket,
    Time,
}

impl Shard {
    /// How to make a shard on its own thread, inside its runtime.
    fn new(
        index: usize,
        setup: ShardSetup,
        queues: ShardQueues,
        shards: Vec<Inbox>,
        events: Events,
    ) -> impl FnOnce() -> std::io::Result<Shard> + Send {
        move || {
            let rng = ChaCha12Rng::from_seed(rand::random());
            Ok(Shard {
                index,
                engine: Engine::new(setup.config, setup.certificate, setup.provider, rng),
                udp: {
                    let ports = setup.sockets.into_iter().map(|socket| UdpPort::new(socket, setup.segments));
                    ports.collect::<Result<_, _>>()?
                },
                tcp: TcpPorts::new(TcpLimits::default()),
                commands: queues.commands,
                inputs: queues.inputs,
                news: queues.news,
                spent: queues.spent,
                events,
                owners: Owners::new(index, shards.len()),
                handovers: Handovers::new(shards.len()),
                shards,
                batch: Vec::with_capacity(RECEIVE_BUDGET),
                emulation: setup.emulates.then(Box::default),
                closing: Vec::new(),
                first_port: 0,
                stats: queues.stats,
                busy: Duration::ZERO,
                ticks: ShortTimes::default(),
                send_drops: 0,
                relay_drops: 0,
                next_snapshot: Instant::now(),
                runs: Vec::with_capacity(GATHERED_RUNS),
                buffer: Vec::with_capacity(BUFFER_BYTES),
            })
        }
    }

    /// Runs until the command queue ends, then says goodbye to every participant.
    async fn run(&mut self) -> ShardEnd {
        loop {
            let wake = self.wait().await;
            let began = Instant::now();
            let wake = match wake {
                Wake::News(news) => {
                    take(began, news, &mut self.owners, &mut self.engine);
                    Wake::Time
                }
                wake => wake,
            };
            take_news(began, &mut self.news, &mut self.owners, &mut self.engine);
            match wake {
                Wake::Command(Some(command)) => self.take_commands(began, command),
                Wake::Command(None) => return self.finish().await,
                Wake::Inputs => self.take_inputs(began),
                Wake::Tcp(input) => self.take_tcp(began, input),
                Wake::Socket => self.receive(),
                Wake::News(_) | Wake::Time => {}
            }
            if let Err(end) = self.flush(Instant::now()) {
                return end;
            }
            let tick = began.elapsed();
            self.busy += tick;
            self.ticks.observe_time(tick);
        }
    }

    async fn wait(&mut self) -> Wake {
        let arrival = self.emulation.as_ref().and_then(|emulation| emulation.poll_timeout());
        let deadline = self.engine.poll_timeout().into_iter().chain(arrival).fold(self.next_snapshot, Instant::min);
        let udp = &self.udp;
        tokio::select! {
            command = self.commands.recv() => Wake::Command(command),
            Some(news) = self.news.recv() => Wake::News(news),
            // 0 when nobody else is there to hand anything over.
            1.. = self.inputs.recv_many(&mut self.batch, RECEIVE_BUDGET) => Wake::Inputs,
            input = self.tcp.next() => Wake::Tcp(input),
            () = std::future::poll_fn(|context| poll_readable(udp, context)) => Wake::Socket,
            () = tokio::time::sleep_until(deadline.into()) => Wake::Time,
        }
    }

    fn take_commands(&mut self, now: Instant, first: Command) {
        self.engine.handle_command(now, first);
        for _ in 1..COMMAND_BUDGET {
            let Ok(command) = self.commands.try_recv() else { break };
            self.engine.handle_command(now, command);
        }
    }

    fn take_inputs(&mut self, now: Instant) {
        let mut batch = std::mem::take(&mut self.batch);
        for input in batch.drain(..) {
            match input {
                ShardInput::Datagrams(mut handover) => {
                    let (engine, emulation) = (&mut self.engine, &mut self.emulation);
                    handover.for_each(|arrival, tuple, datagram| {
                        take_datagram(engine, emulation, now, arrival.min(now), tuple, datagram);
                    });
                    self.handovers.reuse(handover);
                }
                ShardInput::Relayed(from, batch) => {
                    self.engine.handle_relay_batch(now, &batch);
                    if let Some(shard) = self.shards.get(usize::from(from.0)) {
                        shard.give_back(batch);
                    }
                }
                ShardInput::Emulate(participant, network) => {
                    if let Some(emulation) = &mut self.emulation {
                        emulation.retain(|participant| self.engine.has_participant(participant));
                        emulation.set(now, participant, network);
                    }
                }
                ShardInput::Tcp(accepted) => {
                    if let Some(replaced) = self.tcp.add(*accepted) {
                        self.engine.handle_closed(replaced);
                    }
                }
            }
        }
        self.batch = batch;
    }

    fn take_tcp(&mut self, now: Instant, first: TcpInput) {
        let mut next = Some(first);
        for _ in 0..RECEIVE_BUDGET {
            match next {
                Some(TcpInput::Frame(tuple, mut frame)) => {
                    take_datagram(&mut self.engine, &mut self.emulation, now, now, tuple, &mut frame);
                }
                Some(TcpInput::Closed(tuple)) => self.engine.handle_closed(tuple),
                None => break,
            }
            next = self.tcp.try_next();
        }
    }

    /// Reads all UDP ports in turn, a batch each, until they are empty or the budget is used up.
    fn receive(&mut self) {
        let ports = self.udp.len();
        let mut budget = RECEIVE_BUDGET;
        let mut empty = 0;
        while empty < ports && budget > 0 {
            let port = self.first_port % ports;
            self.first_port = port + 1;
            match self.receive_batch(port) {
                0 => empty += 1,
                received => {
                    empty = 0;
                    budget = budget.saturating_sub(received);
                }
            }
        }
        self.handovers.give(&self.shards);
    }

    fn receive_batch(&mut self, port: usize) -> usize {
        let Shard { udp, engine, emulation, owners, news, handovers, .. } = self;
        let Some(batch) = udp.get_mut(port).and_then(UdpPort::receive) else { return 0 };
        // Whose these datagrams are was told before their sender could know where to send them.
        let now = batch.received_at();
        take_news(now, news, owners, engine);
        batch.for_each(|arrival, tuple, datagram| match owners.other_owner(&tuple, datagram) {
            Some(owner) => handovers.add(owner, arrival, tuple, datagram),
            None => take_datagram(engine, emulation, now, arrival, tuple, datagram),
        })
    }

    /// Sends and says everything that is due.
    fn flush(&mut self, now: Instant) -> Result<(), ShardEnd> {
        self.emulate(now);
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
        }
        // Other shards must know a tuple before its client hears from us, since its next datagram may reach them.
        self.say_events()?;
        // Others can send at the same time as we do.
        self.relay()?;
        self.send(now);
        self.relay()?;
        self.say_events()?;
        for tuple in self.closing.drain(..) {
            self.tcp.forgotten(&tuple);
        }
        if now >= self.next_snapshot {
            self.next_snapshot = now + SNAPSHOT_INTERVAL;
            self.publish_stats();
        }
        Ok(())
    }

    /// Gathers runs and gives them to the kernel together: the engine's data and the kernel's each stay in the cache
    /// while they are worked with, and whoever receives is woken once for many. What many are sent takes a while, and
    /// the queue of a receiver's network is measured from when its packets left: so the engine is told the time anew
    /// for each gathering.
    fn send(&mut self, mut now: Instant) {
        let Shard { engine, runs, buffer, emulation, udp, tcp, .. } = self;
        loop {
            while runs.len() < GATHERED_RUNS && buffer.len() < GATHERED_BYTES {
                let begin = buffer.len();
                let Some(run) = engine.poll_transmit(now, buffer) else { break };
                runs.push((begin, run));
            }
            if runs.is_empty() {
                return;
            }
            if let Some(emulation) = emulation {
                runs.retain(|run| {
                    let run = run_of(run, buffer);
                    !emulation.take_down(now, || engine.participant_at(&run.tuple), &run)
                });
            }
            self.send_drops += give(udp, tcp, runs.iter().map(|run| run_of(run, buffer)));
            runs.clear();
            buffer.clear();
            now = Instant::now();
        }
    }

    /// Lets what has passed an emulated network arrive.
    fn emulate(&mut self, now: Instant) {
        let Some(emulation) = &mut self.emulation else { return };
        while let Some((tuple, mut datagram)) = emulation.poll_up(now) {
            self.engine.handle_datagram(now, now, tuple, &mut datagram);
        }
        while let Some((tuple, datagram)) = emulation.poll_down(now) {
            let run = Run { tuple, contents: &datagram, segment_size: datagram.len() };
            self.send_drops += give(&mut self.udp, &mut self.tcp, std::iter::once(run));
        }
    }

    fn say_events(&mut self) -> Result<(), ShardEnd> {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::TupleValidated { tuple } if tuple.protocol == Protocol::Tcp => {
                    self.closing.retain(|closing| *closing != tuple);
                    self.tcp.validated(&tuple);
                }
                Event::TupleForgotten { tuple } if tuple.protocol == Protocol::Tcp => self.closing.push(tuple),
                Event::TupleValidated { tuple } => {
                    let claim = self.owners.claim(tuple);
                    self.tell_others(claim)?;
                }
                Event::TupleForgotten { tuple } => self.tell_others(self.owners.release(tuple))?,
                event => {
                    if !self.events.tell(event) {
                        return Err(ShardEnd::EventsNotTaken);
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands over what the engine has for other shards: first what it says, which must be known when the packets come.
    fn relay(&mut self) -> Result<(), ShardEnd> {
        let own = ShardId(self.index as u16);
        while let Some((to, message)) = self.engine.poll_relay_message() {
            let index = usize::from(to.0);
            if self.shards.get(index).is_some_and(|shard| !shard.tell(News::Relay(own, message))) {
                return Err(ShardEnd::NewsNotTaken(index));
            }
        }
        while let Ok(batch) = self.spent.try_recv() {
            self.engine.reuse_relay_batch(batch);
        }
        while let Some((to, batch)) = self.engine.poll_relay_batch() {
            let packets = batch.packets.len() as u64;
            let taken = self.shards.get(usize::from(to.0)).is_some_and(|s| s.give(ShardInput::Relayed(own, batch)));
            self.relay_drops += if taken { 0 } else { packets };
        }
        Ok(())
    }

    fn tell_others(&self, news: OwnerNews) -> Result<(), ShardEnd> {
        let mut others = self.shards.iter().enumerate().filter(|(index, _)| *index != self.index);
        others.try_for_each(
            |(index, shard)| if shard.tell(News::Owner(news)) { Ok(()) } else { Err(ShardEnd::NewsNotTaken(index)) },
        )
    }

    fn publish_stats(&mut self) {
        let busy = std::mem::take(&mut self.busy).as_secs_f64() / SNAPSHOT_INTERVAL.as_secs_f64();
        let lanes = vec![
            Lane { name: "commands", depth: self.commands.len() as u64, dropped: 0 },
            Lane { name: "events", depth: 0, dropped: self.events.dropped() },
            Lane { name: "inputs", depth: self.inputs.len() as u64, dropped: self.handovers.dropped() },
            Lane { name: "news", depth: self.news.len() as u64, dropped: 0 },
            Lane { name: "relay", depth: 0, dropped: self.relay_drops },
            Lane { name: "sockets", depth: 0, dropped: self.send_drops },
        ];
        let udp = self.udp.iter().map(UdpPort::traffic).sum();
        let own = OwnFigures { busy_ratio: busy.min(1.0), ticks: &self.ticks, udp, lanes };
        // It reads only: where that panics, the last figures stay, and calls go on.
        if let Ok(engine) = catch_unwind(AssertUnwindSafe(|| self.engine.snapshot())) {
            self.stats.publish(snapshot::compose(&engine, own));
        }
    }

    /// Says goodbye to every participant.
    async fn finish(&mut self) -> ShardEnd {
        let now = Instant::now();
        self.engine.close(now);
        self.send(now);
        self.tcp.finish().await;
        ShardEnd::Stopped
    }
}

/// Gives the engine a datagram, by way of its sender's emulated network where there is one.
fn take_datagram(
    engine: &mut Engine,
    emulation: &mut Option<Box<Emulation>>,
    now: Instant,
    arrival: Instant,
    tuple: Tuple,
    datagram: &mut [u8],
) {
    let owner = || engine.participant_at(&tuple);
    if !emulation.as_mut().is_some_and(|emulation| emulation.take_up(now, owner, &tuple, datagram)) {
        engine.handle_datagram(now, arrival, tuple, datagram);
    }
}

fn run_of<'a>((begin, run): &(usize, Transmit), buffer: &'a [u8]) -> Run<'a> {
    let contents = buffer.get(*begin..*begin + run.len).unwrap_or_default();
    Run { tuple: run.tuple, contents, segment_size: run.segment_size }
}

/// Gives runs to the sockets of their tuples, those that follow one another on one socket together. Returns how many
/// datagrams were not taken.
fn give<'a>(udp: &mut [UdpPort], tcp: &mut TcpPorts, runs: impl Iterator<Item = Run<'a>> + Clone) -> u64 {
    let (mut rest, mut lost) = (runs, 0);
    while let Some(first) = rest.clone().next() {
        let way = |run: &Run<'_>| (run.tuple.protocol, udp.iter().position(|port| port.serves(&run.tuple)));
        let (protocol, port) = way(&first);
        let count = rest.clone().take_while(|run| way(run) == (protocol, port)).count();
        let together = rest.clone().take(count);
        lost += match (protocol, port.and_then(|port| udp.get_mut(port))) {
            (Protocol::Tcp, _) => together.map(|run| tcp.send(&run)).sum(),
            (Protocol::Udp, Some(port)) => port.send(together),
            (Protocol::Udp, None) => together.map(|run| run.datagrams() as u64).sum(),
        };
        rest.by_ref().take(count).for_each(drop);
    }
    lost
}

/// Learns what other shards tell.
fn take_news(now: Instant, news: &mut mpsc::Receiver<News>, owners: &mut Owners, engine: &mut Engine) {
    while let Ok(news) = news.try_recv() {
        take(now, news, owners, engine);
    }
}

fn take(now: Instant, news: News, owners: &mut Owners, engine: &mut Engine) {
    match news {
        News::Owner(news) => {
            if let Some(lost) = owners.take(news) {
                engine.handle_closed(lost);
            }
        }
        News::Relay(from, message) => engine.handle_relay_message(now, from, message),
    }
}

/// Whether one of the sockets has something.
fn poll_readable(ports: &[UdpPort], context: &mut Context<'_>) -> Poll<()> {
    // Any that is ready wakes at once, and then all are read; else each has noted whom to wake.
    if ports.iter().any(|port| port.poll_readable(context).is_ready()) { Poll::Ready(()) } else { Poll::Pending }
}
