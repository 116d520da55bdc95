//! The world of one run. An event wakes one owner; then everything that follows at the same moment is carried out:
//! datagrams go to links, what the server tells to the clients, and everybody touched notes when to be woken next.

use super::clock::Agenda;
use super::engine::EngineServer;
use super::path::PathLink;
use super::server::{Server, Told};
use super::signal::{Mailbox, Signal};
use super::unanswered::Unanswered;
use super::{Member, Parcel, cast};
use crate::client::{Client, Common, Role, payload};
use crate::flow::Traffic;
use crate::metrics::record::{BIN_S, PathRecord, RunRecord};
use crate::scenario::{Scenario, Source};
use sfu_engine::crypto::{self, RTCCryptoProvider};
use sfu_engine::ids::{ParticipantId, TrackId};
use sfu_engine::transport::dtls::DtlsCertificate;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Owners of wake-ups: these two, then links, clients and flows.
const SERVER: usize = 0;
const SIGNALS: usize = 1;
const SAMPLER: usize = 2;
const FIRST_LINK: usize = 3;

/// Wake-ups at one moment, beyond which somebody asks for the past.
const MOST_WAKES: u32 = 100_000;
/// IPv4 and UDP.
const IP_UDP: usize = 28;
/// A packet that is later than its way takes by so much will not come.
const LATE_S: f64 = 1.0;
/// Video sections that a client opens at first, at most; audio sections likewise.
const MOST_SLOTS: (usize, usize) = (8, 49);

/// Runs a scenario once. Fails where the scenario names a file that cannot be read, or the engine refuses an offer.
pub fn run(scenario: &Scenario, seed: u64) -> Result<RunRecord, String> {
    let start = Instant::now();
    let provider = crypto::default_provider().map_err(|error| error.to_string())?;
    let engine = EngineServer::new(start, provider.clone(), seed)?;
    let mut world = World::new(scenario, start, provider, seed, engine)?;
    world.begin();
    world.advance(world.end())?;
    Ok(world.finish().0)
}

/// A world with a server in it.
pub(crate) struct World<'a, S> {
    scenario: &'a Scenario,
    start: Instant,
    cast: Vec<Member>,
    server: S,
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
    /// The last wake-up, and how many there were at the same moment.
    moment: (Instant, u32),
    problem: Option<String>,
}

impl<'a, S: Server> World<'a, S> {
    /// The world before its first moment. Fails where the scenario names a file that cannot be read.
    pub(crate) fn new(
        scenario: &'a Scenario,
        start: Instant,
        provider: Arc<dyn RTCCryptoProvider>,
        seed: u64,
        server: S,
    ) -> Result<World<'a, S>, String> {
        let certificate = DtlsCertificate::generate(&provider).map_err(|error| error.to_string())?;
        let common = Common { start, certificate, provider };
        let cast = cast(scenario);

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
            server,
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
            moment: (start, 0),
            problem: None,
        })
    }

    /// Notes everything that the scenario schedules.
    pub(crate) fn begin(&mut self) {
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

    /// Lets time go on until then, and does everything that is due on the way at its moment.
    pub(crate) fn advance(&mut self, until: Instant) -> Result<(), String> {
        while let Some((at, owner)) = self.agenda.pop(until) {
            let (moment, wakes) = self.moment;
            // What a server behind sockets sent may be told after the moment at which it came.
            self.moment = if at <= moment { (moment, wakes + 1) } else { (at, 0) };
            let (now, wakes) = self.moment;
            if wakes > MOST_WAKES {
                return Err(format!(
                    "time stands still at {:.6} s: {} wants to be woken again and again",
                    self.second(now),
                    self.name(owner)
                ));
            }
            self.wake(now, owner);
            if let Some(problem) = self.problem.take() {
                return Err(problem);
            }
        }
        Ok(())
    }

    /// When the run ends.
    pub(crate) fn end(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.scenario.duration_s)
    }

    /// When somebody is to be woken next.
    pub(crate) fn next_wake(&mut self) -> Option<Instant> {
        self.agenda.next()
    }

    /// Lets the outside do something with the server, which may then have something to poll.
    pub(crate) fn with_server<R>(&mut self, act: impl FnOnce(&mut S) -> R) -> R {
        let result = act(&mut self.server);
        self.agenda.note(SERVER, self.server.poll_timeout());
        result
    }

    /// The record of the run, and the server.
    pub(crate) fn finish(mut self) -> (RunRecord, S) {
        let end = self.start + Duration::from_secs_f64(self.scenario.duration_s);
        for (place, client) in self.clients.iter_mut().enumerate() {
            let way = self.links[self.routes[place].1].latency(end, self.scenario.duration_s);
            let record = &mut client.record;
            for second in self.unanswered[place].overdue(record.leave_s, way.as_secs_f64() + LATE_S) {
                record.expected.add(second, 1.0);
                record.lost.add(second, 1.0);
            }
        }
        let ce_marks = self.server.ce_marks();
        let participants = self.clients.into_iter().map(|client| client.record).collect();
        (RunRecord { participants, paths: self.paths, ce_marks }, self.server)
    }

    fn wake(&mut self, now: Instant, owner: usize) {
        self.touched.push(owner);
        let (links, clients) = (self.links.len(), self.clients.len());
        match owner {
            SERVER => self.server.handle_timeout(now),
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
                self.server.handle_datagram(now, place, &mut datagram);
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
        self.drain_server(now);
        let (links, clients) = (self.links.len(), self.clients.len());
        self.touched.push(SERVER);
        while let Some(owner) = self.touched.pop() {
            let at = match owner {
                SERVER => self.server.poll_timeout(),
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

    fn drain_server(&mut self, now: Instant) {
        loop {
            while let Some((place, datagram)) = self.server.poll_datagram(now) {
                self.send_to_client(now, place, datagram);
            }
            let mut quiet = true;
            while let Some(told) = self.server.poll_told(now) {
                quiet = false;
                self.pass_on(now, told);
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

    fn pass_on(&mut self, now: Instant, told: Told) {
        match told {
            Told::Client(place, signal) => self.tell(now, place, signal),
            Told::Published(track) => {
                self.tracks.push(track);
                for place in (0..self.cast.len()).filter(|place| self.joined[*place]).collect::<Vec<_>>() {
                    self.tell(now, place, Signal::Published(track));
                }
            }
            Told::Ended(track) => self.tracks.retain(|known| *known != track),
            Told::Failed(place, reason) => {
                self.problem = Some(format!("{}: {reason}", self.cast[place].name));
            }
        }
    }

    fn tell(&mut self, now: Instant, place: usize, signal: Signal) {
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
                self.server.offer(now, place, sdp, published);
            }
            Signal::Gone => self.server.leave(now, place),
            Signal::Prefer(track, wish) => self.server.prefer(now, place, track, wish),
            Signal::Muted(track, muted) => self.server.set_muted(now, track, muted),
        }
    }

    fn offer(&mut self, now: Instant, place: usize) {
        let second = self.second(now);
        let (sdp, hints) = self.clients[place].offer(second);
        self.tell_server(now, place, Signal::Offer(sdp, hints));
    }

    fn join(&mut self, now: Instant, place: usize) {
        // Who has rules wants nothing but what they name, which is said track by track.
        let everything = Member {
            spec: crate::scenario::Participant { subscribe: None, ..self.cast[place].spec.clone() },
            ..self.cast[place].clone()
        };
        let wish =
            everything.wish(&everything, Source::Camera, 0.0).filter(|_| self.cast[place].spec.subscribe.is_none());
        self.server.join(now, place, wish);
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
            if let Some(estimate) = self.server.estimate(place) {
                record.estimate.set(second, estimate);
            }
        }
        let next = (second / BIN_S).round() + 1.0;
        self.agenda.note(SAMPLER, Some(self.start + Duration::from_micros((next * BIN_S * 1e6).round() as u64)));
    }

    /// For people.
    fn name(&self, owner: usize) -> String {
        match owner {
            SERVER => "the server".into(),
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
