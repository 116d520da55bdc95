//! The server of virtual time: Sluice's engine in this process, with the same clock as everybody else.

use super::Wish;
use super::server::{Server, Told};
use super::signal::Signal;
use crate::scenario::Priority;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use sfu_engine::command::{Command, Permissions, Preference, PublishHint};
use sfu_engine::config::{EngineConfig, WallClock};
use sfu_engine::crypto::RTCCryptoProvider;
use sfu_engine::event::Event;
use sfu_engine::ids::{ParticipantId, RequestId, RoomId, TrackId};
use sfu_engine::net::{Protocol, Tuple};
use sfu_engine::sdp::{CandidateAddress, CodecRules};
use sfu_engine::transport::dtls::DtlsCertificate;
use sfu_engine::{Engine, command};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROOM: RoomId = RoomId(1);
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 7882);
/// Wall clock at the start of a run, as time since 1970.
const UNIX_START: Duration = Duration::from_secs(1_700_000_000);

/// The engine. A participant's id in it is its place in the cast.
pub(super) struct EngineServer {
    engine: Engine,
    /// What the engine writes datagrams into.
    buffer: Vec<u8>,
    /// Datagrams that it wrote together.
    outgoing: VecDeque<(usize, Vec<u8>)>,
}

impl EngineServer {
    /// An engine that knows nobody yet.
    pub(super) fn new(start: Instant, provider: Arc<dyn RTCCryptoProvider>, seed: u64) -> Result<EngineServer, String> {
        let certificate = DtlsCertificate::generate(&provider).map_err(|error| error.to_string())?;
        let candidate = CandidateAddress { address: ADDRESS, protocol: Protocol::Udp };
        let config = EngineConfig::new(vec![candidate], "s", WallClock { at: start, unix: UNIX_START });
        let engine = Engine::new(config, certificate, provider, ChaCha12Rng::seed_from_u64(seed));
        Ok(EngineServer { engine, buffer: Vec::new(), outgoing: VecDeque::new() })
    }
}

impl Server for EngineServer {
    fn join(&mut self, now: Instant, place: usize, default: Option<Wish>) {
        let participant = id_of(place);
        let permissions = Permissions::default();
        self.engine.handle_command(now, Command::Join { room: ROOM, participant, permissions, others: Vec::new() });
        let default = Some(preference(default));
        self.engine.handle_command(now, Command::Prefer { participant, default, tracks: Vec::new() });
    }

    fn offer(&mut self, now: Instant, place: usize, sdp: String, published: Vec<PublishHint>) {
        let (participant, request, codecs) = (id_of(place), RequestId(0), CodecRules::default());
        self.engine.handle_command(now, Command::Offer { participant, request, sdp, published, codecs });
    }

    fn prefer(&mut self, now: Instant, place: usize, track: TrackId, wish: Option<Wish>) {
        let tracks = vec![(track, preference(wish))];
        self.engine.handle_command(now, Command::Prefer { participant: id_of(place), default: None, tracks });
    }

    fn set_muted(&mut self, now: Instant, track: TrackId, muted: bool) {
        self.engine.handle_command(now, Command::SetMuted { track, muted });
    }

    fn leave(&mut self, now: Instant, place: usize) {
        self.engine.handle_command(now, Command::Leave { participant: id_of(place) });
    }

    fn handle_datagram(&mut self, now: Instant, place: usize, datagram: &mut [u8]) {
        let tuple = Tuple { protocol: Protocol::Udp, local: ADDRESS, remote: address_of(place) };
        self.engine.handle_datagram(now, now, tuple, datagram);
    }

    fn poll_datagram(&mut self, now: Instant) -> Option<(usize, Vec<u8>)> {
        if self.outgoing.is_empty() {
            self.buffer.clear();
            let transmit = self.engine.poll_transmit(now, &mut self.buffer)?;
            let place = place_of(transmit.tuple.remote);
            let datagrams = self.buffer[..transmit.len].chunks(transmit.segment_size.max(1));
            self.outgoing.extend(datagrams.map(|datagram| (place, datagram.to_vec())));
        }
        self.outgoing.pop_front()
    }

    /// What the engine tells the control plane, the control plane tells clients.
    fn poll_told(&mut self, _now: Instant) -> Option<Told> {
        loop {
            let to = |participant: ParticipantId, signal| Some(Told::Client(participant.0 as usize, signal));
            match self.engine.poll_event()? {
                Event::Answer { participant, result: Ok(answer), .. } => {
                    return to(participant, Signal::Answer(answer.sdp));
                }
                Event::Answer { participant, result: Err(error), .. } => {
                    let problem = format!("the engine refuses its offer: {error}");
                    return Some(Told::Failed(participant.0 as usize, problem));
                }
                Event::Disconnected { participant, .. } => return to(participant, Signal::Disconnected),
                Event::Slots { participant, slots } => return to(participant, Signal::Slots(slots)),
                Event::SlotsWanted { participant, audio, video } => {
                    return to(participant, Signal::SlotsWanted(audio.into(), video.into()));
                }
                Event::EncodingsWanted { track, encodings } => {
                    let wanted = encodings.iter().map(|(_, _, wanted)| *wanted).collect();
                    return to(track.participant, Signal::Wanted(track.index as usize, wanted));
                }
                Event::TrackPublished(info) => return Some(Told::Published(info.id)),
                Event::TrackEnded { track, .. } => return Some(Told::Ended(track)),
                _ => {}
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
    }

    fn estimate(&mut self, place: usize) -> Option<f64> {
        self.engine.downlink_estimate(id_of(place)).map(|estimate| estimate.as_bps() as f64)
    }

    fn ce_marks(&self) -> u64 {
        self.engine.snapshot().counters.ce_marks
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

fn id_of(place: usize) -> ParticipantId {
    ParticipantId(place as u64)
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
