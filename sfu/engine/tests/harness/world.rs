//! The engine, its clients, the links between, and the clock.

use super::client::{Client, Publish};
use super::data::Data;
use super::transport::Transport;
use netem::{Counters, Link, LinkConfig};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use rtc::crypto::default_provider;
use sfu_engine::command::Preference;
use sfu_engine::ids::{ParticipantId, RequestId, RoomId, ShardId, TrackId};
use sfu_engine::sdp::{CandidateAddress, CodecRules};
use sfu_engine::transport::dtls::DtlsCertificate;
use sfu_engine::{
    Command, Engine, EngineConfig, EngineSnapshot, Event, Permissions, Protocol, Transmit, Tuple, WallClock,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// IPv4 and UDP headers.
const OVERHEAD: usize = 28;

/// How a client reaches the server.
pub struct Access {
    pub protocol: Protocol,
    pub up: LinkConfig,
    pub down: LinkConfig,
    /// Adds the sections that the server asks for.
    pub adds_slots: bool,
    /// Has data channels.
    pub data: bool,
    /// Offers redundant audio.
    pub red: bool,
    pub permissions: Permissions,
}

impl Default for Access {
    fn default() -> Self {
        Access {
            protocol: Protocol::Udp,
            up: super::delay(20),
            down: super::delay(20),
            adds_slots: true,
            data: false,
            red: true,
            permissions: Permissions::default(),
        }
    }
}

/// Everything.
pub struct World {
    pub start: Instant,
    pub now: Instant,
    /// One for each shard. Participants are spread over them in turn.
    pub engines: Vec<Engine>,
    pub clients: BTreeMap<u64, Client>,
    /// What the engine told, with the time.
    pub events: Vec<(Duration, Event)>,
    paths: BTreeMap<u64, Path>,
    seed: u64,
    server: SocketAddr,
    /// What an engine wants sent, and the bytes one run behind the other.
    runs: Vec<Transmit>,
    buffer: Vec<u8>,
    /// Of the batches between shards, every so manieth is lost.
    pub relay_loses: Option<u64>,
    relay_batches: u64,
    /// How long each datagram has waited before the server takes it.
    pub waited: Duration,
    /// Who is in which room.
    rooms: BTreeMap<u64, u64>,
    /// Runs each call that takes or gives a datagram; says whether that was media.
    pub around: fn(&mut dyn FnMut() -> bool),
}

struct Path {
    up: Link<Vec<u8>>,
    down: Link<Vec<u8>>,
    protocol: Protocol,
    /// What the server sees; differs from the client's own address behind a NAT.
    public: SocketAddr,
    /// Addresses at which the client is reached.
    reachable: Vec<SocketAddr>,
    /// Nothing passes.
    cut: bool,
}

impl World {
    /// Engines without participants, as many as [`crate::SHARDS`].
    pub fn new(seed: u64) -> World {
        World::with(seed, |_| {})
    }

    /// Engines with settings of their own.
    pub fn with(seed: u64, configure: impl FnOnce(&mut EngineConfig)) -> World {
        let start = Instant::now();
        let server: SocketAddr = "192.0.2.1:7882".parse().unwrap();
        let candidates =
            [Protocol::Udp, Protocol::Tcp].map(|protocol| CandidateAddress { address: server, protocol }).to_vec();
        let clock = WallClock { at: start, unix: Duration::from_secs(1_700_000_000) };
        let mut config = EngineConfig::new(candidates, "", clock);
        configure(&mut config);
        let provider = default_provider().unwrap();
        let certificate = DtlsCertificate::generate(&provider).unwrap();
        let engine = |shard: u16| {
            let mut config = EngineConfig { shard: ShardId(shard), ..config.clone() };
            config.ufrag_prefix = format!("s{shard}");
            let rng = ChaCha12Rng::seed_from_u64(seed ^ u64::from(shard) << 48);
            Engine::new(config, certificate.clone(), provider.clone(), rng)
        };
        World {
            start,
            now: start,
            engines: (0..crate::SHARDS).map(engine).collect(),
            clients: BTreeMap::new(),
            events: Vec::new(),
            paths: BTreeMap::new(),
            seed,
            server,
            runs: Vec::new(),
            buffer: Vec::new(),
            relay_loses: None,
            relay_batches: 0,
            waited: Duration::ZERO,
            rooms: BTreeMap::new(),
            around: |call| {
                call();
            },
        }
    }

    /// A participant joins room 1, offers what it publishes and as many slots (audio, video) as given.
    pub fn join(&mut self, id: u64, access: Access, publish: &[Publish], slots: (usize, usize)) {
        self.join_room(1, id, access, publish, slots);
    }

    /// As [`World::join`], in any room.
    pub fn join_room(&mut self, room: u64, id: u64, access: Access, publish: &[Publish], slots: (usize, usize)) {
        let participant = ParticipantId(id);
        let permissions = access.permissions;
        let others = (0..crate::SHARDS).map(ShardId).filter(|other| self.members_on(*other, room)).collect();
        let join = Command::Join { room: RoomId(room), participant, permissions, others };
        let now = self.now;
        self.engine(id).handle_command(now, join);
        self.rooms.insert(id, room);
        let local = SocketAddr::new([10, 0, 0, id as u8].into(), 5000);
        let transport = Transport::new(self.now, &format!("client {id}"), local, self.server, access.protocol);
        let mut client = Client::new(self.now, self.start, id, transport, publish, slots);
        client.adds_slots = access.adds_slots;
        client.red = access.red;
        client.data = access.data.then(|| Data::new(self.now));
        self.clients.insert(id, client);
        let link = |config, way| Link::new(config, self.start, self.seed << 16 ^ id << 1 ^ way);
        let path = Path {
            up: link(access.up, 0),
            down: link(access.down, 1),
            protocol: access.protocol,
            public: local,
            reachable: vec![local],
            cut: false,
        };
        self.paths.insert(id, path);
        self.offer(id);
    }

    /// A client offers anew.
    pub fn offer(&mut self, id: u64) {
        let client = self.clients.get_mut(&id).unwrap();
        let (request, sdp, published) = client.offer();
        let participant = ParticipantId(id);
        let now = self.now;
        self.engine(id).handle_command(
            now,
            Command::Offer { participant, request: RequestId(request), sdp, published, codecs: CodecRules::default() },
        );
        self.handle_events();
    }

    /// A participant says goodbye over signaling and is gone.
    pub fn leave(&mut self, id: u64) {
        let now = self.now;
        self.engine(id).handle_command(now, Command::Leave { participant: ParticipantId(id) });
        self.rooms.remove(&id);
        self.settle();
        self.clients.remove(&id);
        self.paths.remove(&id);
    }

    /// A receiver wants this of a track.
    pub fn prefer(&mut self, id: u64, track: TrackId, preference: Preference) {
        let prefer =
            Command::Prefer { participant: ParticipantId(id), default: None, tracks: vec![(track, preference)] };
        let now = self.now;
        self.engine(id).handle_command(now, prefer);
    }

    /// An operator caps the pictures that somebody is sent.
    pub fn cap(&mut self, id: u64, max_height: u16) {
        let now = self.now;
        self.engine(id).handle_command(now, Command::Cap { participant: ParticipantId(id), max_height });
    }

    /// A publisher mutes a track, and stops sending it, as browsers do.
    pub fn set_muted(&mut self, track: TrackId, muted: bool) {
        let now = self.now;
        self.engine(track.participant.0).handle_command(now, Command::SetMuted { track, muted });
    }

    /// The client's network gives it another address, and it restarts ICE there.
    pub fn move_client(&mut self, id: u64, address: SocketAddr) {
        let client = self.clients.get_mut(&id).unwrap();
        client.transport.restart_ice(self.now, &format!("client {id} at {address}"), address);
        let path = self.paths.get_mut(&id).unwrap();
        path.public = address;
        path.reachable = vec![address];
        self.offer(id);
    }

    /// Nothing passes between a client and the server from now on.
    pub fn cut(&mut self, id: u64) {
        self.paths.get_mut(&id).unwrap().cut = true;
    }

    /// Gives every engine a datagram from anywhere.
    pub fn inject(&mut self, tuple: Tuple, datagram: Vec<u8>) {
        for engine in &mut self.engines {
            engine.handle_datagram(self.now, self.now, tuple, &mut datagram.clone());
        }
    }

    /// The engine on which a participant is.
    pub fn engine(&mut self, id: u64) -> &mut Engine {
        &mut self.engines[shard_of(id)]
    }

    fn members_on(&self, shard: ShardId, room: u64) -> bool {
        self.rooms.iter().any(|(id, of)| *of == room && shard_of(*id) == usize::from(shard.0))
    }

    /// The tuple that the server knows a client by.
    pub fn tuple(&self, id: u64) -> Tuple {
        let path = &self.paths[&id];
        Tuple { protocol: path.protocol, local: self.server, remote: path.public }
    }

    /// What happened on a client's links, up and down.
    pub fn links(&self, id: u64) -> (Counters, Counters) {
        (self.paths[&id].up.counters(), self.paths[&id].down.counters())
    }

    pub fn client(&self, id: u64) -> &Client {
        &self.clients[&id]
    }

    /// A client's data channels.
    pub fn data(&mut self, id: u64) -> &mut Data {
        self.client_mut(id).data.as_mut().expect("a client with data channels")
    }

    pub fn client_mut(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).unwrap()
    }

    /// A figure of all engines together.
    pub fn total(&self, figure: impl Fn(&EngineSnapshot) -> u64) -> u64 {
        self.engines.iter().map(|engine| figure(&engine.snapshot())).sum()
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_to(end, |_| false);
    }

    /// Lets time pass until something is so; false where it is not so within `limit`.
    pub fn run_until(&mut self, limit: Duration, is_so: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + limit;
        self.run_to(end, is_so)
    }

    fn run_to(&mut self, end: Instant, mut is_so: impl FnMut(&World) -> bool) -> bool {
        self.settle();
        let mut idle = 0;
        loop {
            if is_so(self) {
                return true;
            }
            let next = self.next_timeout().filter(|at| *at <= end).unwrap_or(end).max(self.now);
            idle = if next == self.now { idle + 1 } else { 0 };
            let wanted = || self.engines.iter().map(Engine::poll_timeout).collect::<Vec<_>>();
            assert!(idle < 1000, "time stands still: the engines want {:?} of {next:?}", wanted());
            self.now = next;
            self.deliver();
            let now = self.now;
            for engine in self.engines.iter_mut().filter(|e| e.poll_timeout().is_some_and(|at| at <= now)) {
                engine.handle_timeout(now);
            }
            for client in self.clients.values_mut() {
                if client.poll_timeout().is_some_and(|at| at <= now) {
                    client.handle_timeout(now);
                }
            }
            self.settle();
            if self.now >= end && self.next_timeout().is_none_or(|at| at > end) {
                return is_so(self);
            }
        }
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        let links = self.paths.values().flat_map(|path| [path.up.poll_timeout(), path.down.poll_timeout()]);
        let clients = self.clients.values_mut().map(Client::poll_timeout);
        let engines = self.engines.iter().map(Engine::poll_timeout);
        links.chain(clients).chain(engines).flatten().min()
    }

    /// Engines first get all that comes at this moment, as from a socket.
    fn deliver(&mut self) {
        let (now, waited) = (self.now, self.waited);
        let mut arrived: Vec<Vec<(Tuple, Vec<u8>)>> = self.engines.iter().map(|_| Vec::new()).collect();
        for (id, path) in &mut self.paths {
            while let Some(delivered) = path.up.poll_deliver(now) {
                let tuple = Tuple { protocol: path.protocol, local: self.server, remote: path.public };
                arrived[shard_of(*id)].push((tuple, delivered.packet));
            }
            while let Some(delivered) = path.down.poll_deliver(now) {
                if let Some(client) = self.clients.get_mut(id) {
                    client.handle_datagram(now, &delivered.packet);
                }
            }
        }
        for (engine, arrived) in self.engines.iter_mut().zip(&mut arrived) {
            for (tuple, datagram) in arrived {
                let is_media = is_media(datagram);
                (self.around)(&mut || {
                    engine.handle_datagram(now, now - waited, *tuple, datagram);
                    is_media
                });
            }
        }
    }

    /// Moves everything that is ready to go at this moment.
    fn settle(&mut self) {
        let now = self.now;
        let mut rounds = 0;
        loop {
            let mut moved = false;
            for shard in 0..self.engines.len() {
                moved |= self.transmit(shard);
            }
            moved |= self.relay();
            moved |= self.handle_events();
            for (id, client) in &mut self.clients {
                let path = self.paths.get_mut(id).unwrap();
                while let Some(datagram) = client.poll_datagram(now) {
                    moved = true;
                    if !path.cut {
                        path.up.handle_packet(now, datagram.len() + OVERHEAD, datagram);
                    }
                }
            }
            if !moved {
                return;
            }
            rounds += 1;
            assert!(rounds < 1000, "the engine never comes to rest");
        }
    }

    /// Hands over what the engines have for each other, as shards do: first what is said, then the packets.
    fn relay(&mut self) -> bool {
        let mut moved = false;
        for from in 0..self.engines.len() {
            let own = ShardId(from as u16);
            while let Some((to, message)) = self.engines[from].poll_relay_message() {
                self.engines[usize::from(to.0)].handle_relay_message(self.now, own, message);
                moved = true;
            }
            while let Some((to, batch)) = self.engines[from].poll_relay_batch() {
                self.relay_batches += 1;
                if self.relay_loses.is_none_or(|every| !self.relay_batches.is_multiple_of(every)) {
                    self.engines[usize::from(to.0)].handle_relay_batch(self.now, &batch);
                }
                self.engines[from].reuse_relay_batch(batch);
                moved = true;
            }
        }
        moved
    }

    /// Gathers all that an engine wants sent, as a shard does, and gives it to the links; false where there is nothing.
    fn transmit(&mut self, shard: usize) -> bool {
        let World { now, engines, runs, buffer, paths, server, around, .. } = self;
        let engine = &mut engines[shard];
        buffer.clear();
        loop {
            let begin = buffer.len();
            let mut transmit = None;
            around(&mut || {
                transmit = engine.poll_transmit(*now, buffer);
                is_media(&buffer[begin..])
            });
            let Some(run) = transmit else { break };
            assert_eq!(run.len, buffer.len() - begin);
            runs.push(run);
        }
        let moved = !runs.is_empty();
        let mut rest = buffer.as_slice();
        for Transmit { tuple, len, segment_size } in runs.drain(..) {
            let (contents, behind) = rest.split_at(len);
            rest = behind;
            assert!(segment_size > 0 && tuple.local == *server);
            let mut paths = paths.values_mut();
            let to = paths.find(|path| path.protocol == tuple.protocol && path.reachable.contains(&tuple.remote));
            if let Some(path) = to.filter(|path| !path.cut) {
                for datagram in contents.chunks(segment_size) {
                    path.down.handle_packet(*now, datagram.len() + OVERHEAD, datagram.to_vec());
                }
            }
        }
        moved
    }

    fn handle_events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.engines.iter_mut().find_map(Engine::poll_event) {
            any = true;
            let offers = self.handle_event(&event);
            self.events.push((self.now - self.start, event));
            if let Some(id) = offers {
                self.offer(id);
            }
        }
        any
    }

    /// Does what a client's page does; returns a client that wants to offer.
    fn handle_event(&mut self, event: &Event) -> Option<u64> {
        let now = self.now;
        match event {
            Event::Answer { participant, result, .. } => {
                let answer = result.as_ref().unwrap_or_else(|error| panic!("the offer of {participant}: {error}"));
                self.clients.get_mut(&participant.0)?.handle_answer(now, answer);
            }
            Event::Slots { participant, slots } => self.clients.get_mut(&participant.0)?.handle_slots(slots),
            Event::SlotsWanted { participant, audio, video } => {
                let client = self.clients.get_mut(&participant.0)?;
                return client.handle_slots_wanted(*audio, *video).then_some(participant.0);
            }
            Event::EncodingsWanted { track, encodings } => {
                let wanted: Vec<bool> = encodings.iter().map(|(_, _, wanted)| *wanted).collect();
                self.clients.get_mut(&track.participant.0)?.handle_wanted(*track, &wanted);
            }
            _ => {}
        }
        None
    }
}

/// The shard on which a participant is.
fn shard_of(id: u64) -> usize {
    (id % u64::from(crate::SHARDS)) as usize
}

/// Whether a datagram is RTP and not RTCP (RFC 5761 section 4).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..192, second, ..] if !(192..224).contains(second))
}

impl World {
    /// What the engine said about a participant, for the eyes of whoever looks for a fault.
    pub fn story(&self, id: u64) -> String {
        let mut story = String::new();
        for (at, event) in &self.events {
            match event {
                Event::Slots { participant, slots } if participant.0 == id => {
                    for slot in slots {
                        story += &format!("{at:?} {} {:?}\n", slot.mid, slot.track);
                    }
                }
                Event::Quality { participant, quality } if participant.0 == id => {
                    story += &format!("{at:?} {quality:?}\n");
                }
                Event::EncodingsWanted { track, encodings } if track.participant.0 == id => {
                    story += &format!("{at:?} wanted {encodings:?}\n");
                }
                Event::Disconnected { participant, reason } if participant.0 == id => {
                    story += &format!("{at:?} {reason:?}\n");
                }
                _ => {}
            }
        }
        story
    }
}
