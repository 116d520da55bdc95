//! The world of one run. An event wakes one owner; then everything that follows at the same moment is carried out: datagrams go to
//! links, events of the engine to the clients, and everybody touched notes when to be woken next.

use super::clock::Agenda;
use super::path::PathLink;
use super::signal::{Mailbox, Signal};
use super::unanswered::Unanswered;
use super::{Member, Parcel, Wish, cast};
use crate::client::{Client, Common, Role, payload};
use crate::flow::Traffic;
use crate::metrics::record::{BIN_S, PathRecord, RunRecord};
use crate::scenario::{Priority, Scenario, Source};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use sfu_engine::command::{Command, Permissions, Preference};
use sfu_engine::config::{EngineConfig, WallClock};
use sfu_engine::crypto;
use sfu_engine::event::Event;
use sfu_engine::ids::{ParticipantId, RequestId, RoomId, TrackId};
use sfu_engine::net::{Protocol, Tuple};
use sfu_engine::sdp::{CandidateAddress, CodecRules};
use sfu_engine::transport::dtls::DtlsCertificate;
use sfu_engine::{Engine, command};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Owners of wake-ups: these two, then links, clients and flows.
const ENGINE: usize = 0;
const SIGNALS: usize = 1;
const SAMPLER: usize = 2;
const FIRST_LINK: usize = 3;

/// Wake-ups at one moment, beyond which somebody asks for the past.
const MOST_WAKES: u32 = 100_000;
/// IPv4 and UDP.
const IP_UDP: usize = 28;
/// A packet that is later than its way takes by so much will not come.
const LATE_S: f64 = 1.0;
const ROOM: RoomId = RoomId(1);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 7882);
/// Video sections that a client opens at first, at most; audio sections likewise.
const MOST_SLOTS: (usize, usize) = (8, 49);
/// Wall clock at the start of a run, as time since 1970.
const UNIX_START: Duration = Duration::from_secs(1_700_000_000);

/// Runs a scenario once. Fails where the scenario names a file that cannot be read, or the engine refuses an offer.
pub fn run(scenario: &Scenario, seed: u64) -> Result<RunRecord, String> {
    let mut world = World::new(scenario, seed)?;
    world.begin();
    let end = world.start + Duration::from_secs_f64(scenario.duration_s);
    let (mut moment, mut wakes) = (world.start, 0);
    while let Some((now, owner)) = world.agenda.pop(end) {
        (moment, wakes) = if now == moment { (moment, wakes + 1) } else { (now, 0) };
        if wakes > MOST_WAKES {
            return Err(format!(
                "time stands still at {:.6} s: {} wants to be woken again and again",
                world.second(now),
                world.name(owner)
            ));
        }
        world.wake(now, owner);
        if let Some(problem) = world.problem.take() {
            return Err(problem);
        }
    }
    Ok(world.finish())
}

struct World<'a> {
    scenario: &'a Scenario,
    start: Instant,
    cast: Vec<Member>,
    engine: Engine,
    clients: Vec<Client>,
    /// Clients that are there.
    present: Vec<bool>,
    joined: Vec<bool>,
    /// Of each client.
    unanswered: Vec<Unanswered>,
    links: Vec<PathLink>,
    /// Index of each client's links: up, down.
    routes: Vec<(usize, usize)>,
    flows: Vec<Traffic>,
    mailbox: Mailbox,
    tracks: Vec<TrackId>,
    agenda: Agenda,
    /// Owners that want to be woken at another time now.
    touched: Vec<usize>,
    paths: Vec<PathRecord>,
    buffer: Vec<u8>,
    problem: Option<String>,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Result<World<'a>, String> {
        let start = Instant::now();
        let provider = crypto::default_provider().map_err(|error| error.to_string())?;
        let certificate = || DtlsCertificate::generate(&provider).map_err(|error| error.to_string());
        let common = Common { start, certificate: certificate()?, provider: provider.clone() };
        let cast = cast(scenario);
        let candidate = CandidateAddress { address: SERVER, protocol: Protocol::Udp };
        let config = EngineConfig::new(vec![candidate], "s", WallClock { at: start, unix: UNIX_START });
        let engine = Engine::new(config, certificate()?, provider, ChaCha12Rng::seed_from_u64(seed));

        let link_seed = |index: usize| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64);
        let mut links = Vec::new();
        for path in &scenario.paths {
            links.push(PathLink::new(scenario, path, start, link_seed(links.len()))?);
        }
        let mut routes = Vec::new();
        for member in &cast {
            let mut route = |named: Option<usize>| {
                named.unwrap_or_else(|| {
                    links.push(PathLink::unlimited(start, link_seed(links.len())));
                    links.len() - 1
                })
            };
            routes.push((route(member.up), route(member.down)));
        }
        let speaker = cast.iter().position(|m| m.spec.publish.iter().any(|p| p.source == Source::Microphone));
        let mut clients = Vec::new();
        for (place, member) in cast.iter().enumerate() {
            let (audio, video) = member.wanted_tracks(&cast);
            let slots = (audio.min(MOST_SLOTS.0), video.min(MOST_SLOTS.1));
            let limited = member.up.is_some_and(|path| scenario.paths[path].is_limited());
            let role = Role { place: place as u16, spec: &member.spec, speaks: speaker == Some(place), limited, slots };
            let mut client = Client::new(&common, &role, seed);
            client.record.name = member.name.clone();
            (client.record.join_s, client.record.leave_s) = (member.join_s, member.leave_s);
            clients.push(client);
        }
        let flows: Vec<Traffic> = scenario
            .flows
            .iter()
            .enumerate()
            .map(|(index, flow)| Traffic::new(flow, start, scenario.duration_s, link_seed(1000 + index)))
            .collect();
        let owners = FIRST_LINK + links.len() + clients.len() + flows.len();
        Ok(World {
            scenario,
            start,
            engine,
            present: vec![false; cast.len()],
            joined: vec![false; cast.len()],
            unanswered: cast.iter().map(|_| Unanswered::default()).collect(),
            cast,
            clients,
            routes,
            flows,
            mailbox: Mailbox::default(),
            tracks: Vec::new(),
            agenda: Agenda::new(owners),
            touched: Vec::new(),
            paths: vec![PathRecord::default(); scenario.paths.len()],
            links,
            buffer: Vec::new(),
            problem: None,
        })
    }

    /// Notes everything that the scenario schedules.
    fn begin(&mut self) {
        for (place, member) in self.cast.iter().enumerate() {
            let at = |second: f64| self.start + Duration::from_secs_f64(second);
            self.mailbox.send(at(member.join_s), place, Signal::Join);
            if member.leave_s < self.scenario.duration_s {
                self.mailbox.send(at(member.leave_s), place, Signal::Leave);
            }
            for second in member.wish_changes() {
                self.mailbox.send(at(second), place, Signal::WishesChange);
            }
            let mutes = member.spec.publish.iter().flat_map(|publish| &publish.mute_s);
            for second in mutes.flat_map(|(from, to)| [*from, *to]).filter(|second| *second > member.join_s) {
                self.mailbox.send(at(second), place, Signal::MuteChanges);
            }
        }
        self.agenda.note(SAMPLER, Some(self.start));
        self.touched.push(SIGNALS);
        self.touched
            .extend((0..self.flows.len()).map(|flow| FIRST_LINK + self.links.len() + self.clients.len() + flow));
        self.settle(self.start);
    }

    fn wake(&mut self, now: Instant, owner: usize) {
        self.touched.push(owner);
        let (links, clients) = (self.links.len(), self.clients.len());
        match owner {
            ENGINE => self.engine.handle_timeout(now),
            SIGNALS => {
                while let Some((place, signal)) = self.mailbox.poll(now) {
                    self.deliver_signal(now, place, signal);
                }
            }
            SAMPLER => self.sample(now),
            link if link < FIRST_LINK + links => {
                while let Some(delivered) = self.links[link - FIRST_LINK].link.poll_deliver(now) {
                    self.deliver(now, link - FIRST_LINK, delivered.packet, delivered.ce_marked);
                }
            }
            client if client < FIRST_LINK + links + clients => {
                self.clients[client - FIRST_LINK - links].handle_timeout(now);
            }
            flow => self.flows[flow - FIRST_LINK - links - clients].handle_timeout(now),
        }
        self.settle(now);
    }

    /// A parcel has arrived at the end of its link.
    fn deliver(&mut self, now: Instant, link: usize, parcel: Parcel, ce_marked: bool) {
        match parcel {
            Parcel::ToServer(place, mut datagram) if self.present[place] => {
                let tuple = Tuple { protocol: Protocol::Udp, local: SERVER, remote: address_of(place) };
                self.engine.handle_datagram(now, now, tuple, &mut datagram);
            }
            Parcel::ToClient(place, mut datagram) if self.present[place] => {
                let second = self.second(now);
                self.clients[place].record.delivered_bytes.add(second, (datagram.len() + IP_UDP) as f64);
                self.unanswered[place].on_arrival(&datagram);
                self.clients[place].handle_datagram(now, &mut datagram, ce_marked);
                self.touch_client(place);
            }
            Parcel::ToServer(..) | Parcel::ToClient(..) => {}
            Parcel::Flow(flow, segment) => {
                let second = self.second(now);
                if let Some(path) = self.paths.get_mut(link) {
                    path.flow_bytes.add(second, segment.bytes as f64);
                }
                let delay = self.links[link].delay(second);
                self.flows[flow].handle_segment(now, segment, delay);
                self.touched.push(FIRST_LINK + self.links.len() + self.clients.len() + flow);
            }
        }
    }

    /// Carries out what follows at this moment, and notes when everybody touched wants to be woken.
    fn settle(&mut self, now: Instant) {
        self.drain_engine(now);
        let (links, clients) = (self.links.len(), self.clients.len());
        self.touched.push(ENGINE);
        while let Some(owner) = self.touched.pop() {
            let at = match owner {
                ENGINE => self.engine.poll_timeout(),
                SIGNALS => self.mailbox.poll_timeout(),
                SAMPLER => continue,
                link if link < FIRST_LINK + links => self.links[link - FIRST_LINK].link.poll_timeout(),
                client if client < FIRST_LINK + links + clients => {
                    let place = client - FIRST_LINK - links;
                    self.drain_client(now, place);
                    self.clients[place].poll_timeout().filter(|_| self.present[place])
                }
                flow => {
                    let index = flow - FIRST_LINK - links - clients;
                    self.drain_flow(now, index);
                    self.flows[index].poll_timeout()
                }
            };
            self.agenda.note(owner, at.map(|at| at.max(now)));
        }
    }

    fn drain_engine(&mut self, now: Instant) {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            while let Some(transmit) = self.engine.poll_transmit(now, &mut buffer) {
                let place = place_of(transmit.tuple.remote);
                for datagram in buffer[..transmit.len].chunks(transmit.segment_size.max(1)) {
                    self.send_to_client(now, place, datagram.to_vec());
                }
                buffer.clear();
            }
            self.buffer = buffer;
            let mut quiet = true;
            while let Some(event) = self.engine.poll_event() {
                quiet = false;
                self.pass_on(now, event);
            }
            if quiet {
                return;
            }
        }
    }

    fn send_to_client(&mut self, now: Instant, place: usize, datagram: Vec<u8>) {
        let second = self.second(now);
        let (_, down) = self.routes[place];
        let link = &mut self.links[down].link;
        let record = &mut self.clients[place].record;
        let bytes = datagram.len() + IP_UDP;
        let is_repair = datagram.get(1).is_some_and(|byte| payload::RTX.contains(&(byte & 0x7f)));
        record.queue_s.raise(second, link.queue_delay(now).as_secs_f64().min(60.0));
        record.sent_bytes.add(second, bytes as f64);
        record.sent_packets.add(second, 1.0);
        if is_repair {
            record.repair_bytes.add(second, bytes as f64);
        }
        self.unanswered[place].on_sent(&datagram, second);
        let dropped = link.counters().dropped_by_queue;
        link.handle_packet(now, bytes, Parcel::ToClient(place, datagram));
        record.queue_drops.add(second, (link.counters().dropped_by_queue - dropped) as f64);
        record.queue_bytes.raise(second, link.queued_bytes(now) as f64);
        self.touched.push(FIRST_LINK + down);
    }

    fn drain_client(&mut self, now: Instant, place: usize) {
        let (up, _) = self.routes[place];
        while let Some(datagram) = self.clients[place].poll_transmit(now) {
            if self.present[place] {
                let bytes = datagram.len() + IP_UDP;
                self.links[up].link.handle_packet(now, bytes, Parcel::ToServer(place, datagram));
            }
        }
        self.touched.push(FIRST_LINK + up);
    }

    fn drain_flow(&mut self, now: Instant, flow: usize) {
        let Some(link) = self.scenario.path(&self.scenario.flows[flow].path) else { return };
        while let Some(segment) = self.flows[flow].poll_segment(now) {
            self.links[link].link.handle_packet(now, segment.bytes, Parcel::Flow(flow, segment));
        }
        self.touched.push(FIRST_LINK + link);
    }

    /// What the engine tells the control plane, the control plane tells clients.
    fn pass_on(&mut self, now: Instant, event: Event) {
        match event {
            Event::Answer { participant, result: Ok(answer), .. } => {
                self.tell(now, participant, Signal::Answer(answer.sdp));
            }
            Event::Answer { participant, result: Err(error), .. } => {
                let name = &self.cast[participant.0 as usize].name;
                self.problem = Some(format!("the engine refuses the offer of {name}: {error}"));
            }
            Event::Disconnected { participant, .. } => self.tell(now, participant, Signal::Disconnected),
            Event::Slots { participant, slots } => self.tell(now, participant, Signal::Slots(slots)),
            Event::SlotsWanted { participant, audio, video } => {
                self.tell(now, participant, Signal::SlotsWanted(audio.into(), video.into()));
            }
            Event::EncodingsWanted { track, encodings } => {
                let wanted = encodings.iter().map(|(_, _, wanted)| *wanted).collect();
                self.tell(now, track.participant, Signal::Wanted(track.index as usize, wanted));
            }
            Event::TrackPublished(info) => {
                self.tracks.push(info.id);
                for place in (0..self.cast.len()).filter(|place| self.joined[*place]).collect::<Vec<_>>() {
                    self.tell(now, ParticipantId(place as u64), Signal::Published(info.id));
                }
            }
            Event::TrackEnded { track, .. } => self.tracks.retain(|known| *known != track),
            _ => {}
        }
    }

    fn tell(&mut self, now: Instant, participant: ParticipantId, signal: Signal) {
        let place = participant.0 as usize;
        let latency = self.links[self.routes[place].1].latency(now, self.second(now));
        self.mailbox.send(now + latency, place, signal);
        self.touched.push(SIGNALS);
    }

    fn tell_server(&mut self, now: Instant, place: usize, signal: Signal) {
        let latency = self.links[self.routes[place].0].latency(now, self.second(now));
        self.mailbox.send(now + latency, place, signal);
        self.touched.push(SIGNALS);
    }

    fn deliver_signal(&mut self, now: Instant, place: usize, signal: Signal) {
        let id = ParticipantId(place as u64);
        let second = self.second(now);
        match signal {
            Signal::Join => {
                self.present[place] = true;
                if self.clients[place].takes_part() {
                    self.offer(now, place);
                }
            }
            Signal::Leave => {
                self.present[place] = false;
                self.tell_server(now, place, Signal::Gone);
                self.touch_client(place);
            }
            Signal::WishesChange => self.say_wishes(now, place, self.tracks.clone()),
            Signal::MuteChanges => {
                for (index, publish) in self.cast[place].spec.publish.clone().iter().enumerate() {
                    let muted = publish.mute_s.iter().any(|(from, to)| (*from..*to).contains(&second));
                    let track = TrackId { participant: id, index: index as u32 };
                    self.tell_server(now, place, Signal::Muted(track, muted));
                }
            }
            Signal::Answer(sdp) => {
                self.clients[place].handle_answer(now, &sdp);
                self.touch_client(place);
                if self.cast[place].spec.subscribe.is_some() {
                    self.say_wishes(now, place, self.tracks.clone());
                }
            }
            Signal::Disconnected => {
                if self.clients[place].handle_disconnected() {
                    self.offer(now, place);
                }
            }
            Signal::Slots(slots) => self.clients[place].handle_slots(now, &slots),
            Signal::Wanted(track, wanted) => {
                self.clients[place].handle_wanted(now, track, wanted);
                self.touch_client(place);
            }
            Signal::SlotsWanted(audio, video) => {
                if self.clients[place].add_slots(audio, video) {
                    self.offer(now, place);
                }
            }
            Signal::Published(track) => {
                if self.cast[place].spec.subscribe.is_some() {
                    self.say_wishes(now, place, vec![track]);
                }
            }
            Signal::Offer(sdp, published) => {
                if !std::mem::replace(&mut self.joined[place], true) {
                    self.join(now, place);
                }
                let request = RequestId(0);
                self.engine.handle_command(
                    now,
                    Command::Offer { participant: id, request, sdp, published, codecs: CodecRules::default() },
                );
            }
            Signal::Gone => self.engine.handle_command(now, Command::Leave { participant: id }),
            Signal::Prefer(track, wish) => {
                let preference = preference(wish);
                self.engine.handle_command(
                    now,
                    Command::Prefer { participant: id, default: None, tracks: vec![(track, preference)] },
                );
            }
            Signal::Muted(track, muted) => self.engine.handle_command(now, Command::SetMuted { track, muted }),
        }
    }

    fn offer(&mut self, now: Instant, place: usize) {
        let second = self.second(now);
        let (sdp, hints) = self.clients[place].offer(second);
        self.tell_server(now, place, Signal::Offer(sdp, hints));
    }

    fn join(&mut self, now: Instant, place: usize) {
        let participant = ParticipantId(place as u64);
        let permissions = Permissions::default();
        self.engine.handle_command(now, Command::Join { room: ROOM, participant, permissions, others: Vec::new() });
        // Who has rules wants nothing but what they name, which is said track by track.
        let everything = Member {
            spec: crate::scenario::Participant { subscribe: None, ..self.cast[place].spec.clone() },
            ..self.cast[place].clone()
        };
        let wish =
            everything.wish(&everything, Source::Camera, 0.0).filter(|_| self.cast[place].spec.subscribe.is_none());
        let preference = preference(wish);
        self.engine.handle_command(now, Command::Prefer { participant, default: Some(preference), tracks: Vec::new() });
    }

    /// The client says what it wants of these tracks.
    fn say_wishes(&mut self, now: Instant, place: usize, tracks: Vec<TrackId>) {
        if !self.present[place] {
            return;
        }
        let second = self.second(now);
        for track in tracks.into_iter().filter(|track| track.participant.0 as usize != place) {
            let publisher = &self.cast[track.participant.0 as usize];
            let Some(publish) = publisher.spec.publish.get(track.index as usize) else { continue };
            let wish = self.cast[place].wish(publisher, publish.source, second);
            self.tell_server(now, place, Signal::Prefer(track, wish));
        }
    }

    /// Looks at what is not counted as it happens.
    fn sample(&mut self, now: Instant) {
        let second = self.second(now);
        for place in 0..self.clients.len() {
            if !self.present[place] {
                continue;
            }
            let link = &self.links[self.routes[place].1].link;
            let record = &mut self.clients[place].record;
            record.queue_s.raise(second, link.queue_delay(now).as_secs_f64().min(60.0));
            record.queue_bytes.raise(second, link.queued_bytes(now) as f64);
            if let Some(estimate) = self.engine.downlink_estimate(ParticipantId(place as u64)) {
                record.estimate.set(second, estimate.as_bps() as f64);
            }
        }
        let next = (second / BIN_S).round() + 1.0;
        self.agenda.note(SAMPLER, Some(self.start + Duration::from_micros((next * BIN_S * 1e6).round() as u64)));
    }

    fn finish(mut self) -> RunRecord {
        let end = self.start + Duration::from_secs_f64(self.scenario.duration_s);
        for (place, client) in self.clients.iter_mut().enumerate() {
            let way = self.links[self.routes[place].1].latency(end, self.scenario.duration_s);
            let record = &mut client.record;
            for second in self.unanswered[place].overdue(record.leave_s, way.as_secs_f64() + LATE_S) {
                record.expected.add(second, 1.0);
                record.lost.add(second, 1.0);
            }
        }
        let ce_marks = self.engine.snapshot().counters.ce_marks;
        let participants = self.clients.into_iter().map(|client| client.record).collect();
        RunRecord { participants, paths: self.paths, ce_marks }
    }

    /// For people.
    fn name(&self, owner: usize) -> String {
        match owner {
            ENGINE => "the engine".into(),
            SIGNALS => "signalling".into(),
            SAMPLER => "the sampler".into(),
            link if link < FIRST_LINK + self.links.len() => format!("link {}", link - FIRST_LINK),
            client => match self.cast.get(client - FIRST_LINK - self.links.len()) {
                Some(member) => member.name.clone(),
                None => "competing traffic".into(),
            },
        }
    }

    fn touch_client(&mut self, place: usize) {
        self.touched.push(FIRST_LINK + self.links.len() + place);
    }

    fn second(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.start).as_secs_f64()
    }
}

fn preference(wish: Option<Wish>) -> Preference {
    let Some(Wish { tile, priority }) = wish else { return Preference { enabled: false, ..Preference::default() } };
    let priority = match priority {
        Priority::Pinned => command::Priority::Pinned,
        Priority::Screen => command::Priority::Screen,
        Priority::Speaker => command::Priority::Speaker,
        Priority::Visible => command::Priority::Visible,
        Priority::Hidden => command::Priority::Hidden,
    };
    Preference { enabled: true, max_height: tile.height, priority }
}

/// A client's address says its place.
fn address_of(place: usize) -> SocketAddr {
    let [_, _, high, low] = (place as u32).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 40_000)
}

fn place_of(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => usize::from(u16::from_be_bytes([ip.octets()[2], ip.octets()[3]])),
        IpAddr::V6(_) => 0,
    }
}
