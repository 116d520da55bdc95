//! A worse network for chosen participants, where the server runs with `--dev`: their datagrams pass a link emulator
//! between socket and engine, one for each direction. Nobody else's do, and without `--dev` there is none of this.

use super::udp::Run;
use netem::{Link, LinkConfig, Loss, QueueLimit, Rate, Schedule};
use sfu_engine::Tuple;
use sfu_engine::ids::ParticipantId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What a full queue holds.
const QUEUE: Duration = Duration::from_millis(300);
/// What IPv4 and UDP add to a datagram.
const HEADERS: usize = 28;

/// One direction of a participant's network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Path {
    /// Bits per second; `None` is unlimited.
    pub(crate) rate: Option<u64>,
    /// One-way delay.
    pub(crate) delay: Duration,
    /// Share of datagrams that are lost, 0 to 1.
    pub(crate) loss: f64,
}

/// What a participant's network shall be like; a direction that is `None` is as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Network {
    /// From the participant.
    pub(crate) up: Option<Path>,
    /// To the participant.
    pub(crate) down: Option<Path>,
}

/// A datagram on its way.
pub(super) type Datagram = (Tuple, Vec<u8>);

/// The emulated networks of a shard.
#[derive(Default)]
pub(super) struct Emulation {
    networks: HashMap<ParticipantId, Links>,
}

struct Links {
    up: Option<Link<Datagram>>,
    down: Option<Link<Datagram>>,
}

impl Emulation {
    /// Gives a participant another network. What is on its way on the one before is lost.
    pub(super) fn set(&mut self, now: Instant, participant: ParticipantId, network: Network) {
        let link = |path: Path| Link::new(config(path), now, rand::random());
        let links = Links { up: network.up.map(link), down: network.down.map(link) };
        if links.up.is_none() && links.down.is_none() {
            self.networks.remove(&participant);
        } else {
            self.networks.insert(participant, links);
        }
    }

    /// Takes a datagram from a participant; false where its network is as it is.
    pub(super) fn take_up(
        &mut self,
        now: Instant,
        owner: impl FnOnce() -> Option<ParticipantId>,
        tuple: &Tuple,
        datagram: &[u8],
    ) -> bool {
        let Some(link) = self.links(owner).and_then(|links| links.up.as_mut()) else { return false };
        link.handle_packet(now, datagram.len() + HEADERS, (*tuple, datagram.to_vec()));
        true
    }

    /// Takes a run of datagrams to a participant; false where its network is as it is.
    pub(super) fn take_down(
        &mut self,
        now: Instant,
        owner: impl FnOnce() -> Option<ParticipantId>,
        run: &Run<'_>,
    ) -> bool {
        let Some(link) = self.links(owner).and_then(|links| links.down.as_mut()) else { return false };
        for datagram in run.contents.chunks(run.segment_size.max(1)) {
            link.handle_packet(now, datagram.len() + HEADERS, (run.tuple, datagram.to_vec()));
        }
        true
    }

    /// A datagram that has arrived from a participant.
    pub(super) fn poll_up(&mut self, now: Instant) -> Option<Datagram> {
        let mut links = self.networks.values_mut().filter_map(|links| links.up.as_mut());
        links.find_map(|link| link.poll_deliver(now)).map(|delivered| delivered.packet)
    }

    /// A datagram that leaves for a participant now.
    pub(super) fn poll_down(&mut self, now: Instant) -> Option<Datagram> {
        let mut links = self.networks.values_mut().filter_map(|links| links.down.as_mut());
        links.find_map(|link| link.poll_deliver(now)).map(|delivered| delivered.packet)
    }

    /// When the next datagram arrives.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let links = self.networks.values().flat_map(|links| [&links.up, &links.down]);
        links.flatten().filter_map(Link::poll_timeout).min()
    }

    /// Forgets the networks of those who are gone.
    pub(super) fn retain(&mut self, is_here: impl Fn(ParticipantId) -> bool) {
        self.networks.retain(|participant, _| is_here(*participant));
    }

    fn links(&mut self, owner: impl FnOnce() -> Option<ParticipantId>) -> Option<&mut Links> {
        if self.networks.is_empty() {
            return None;
        }
        self.networks.get_mut(&owner()?)
    }
}

fn config(path: Path) -> LinkConfig {
    LinkConfig {
        rate: Rate::Schedule(Schedule::constant(path.rate)),
        delay: Schedule::constant(path.delay),
        loss: Loss::Random(Schedule::constant(path.loss)),
        queue: QueueLimit::Time(QUEUE),
        ..LinkConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_engine::Protocol;

    const ADA: ParticipantId = ParticipantId(1);

    fn tuple() -> Tuple {
        Tuple { protocol: Protocol::Udp, local: ([127, 0, 0, 1], 1).into(), remote: ([127, 0, 0, 1], 2).into() }
    }

    fn path(rate: Option<u64>, delay_ms: u64, loss: f64) -> Path {
        Path { rate, delay: Duration::from_millis(delay_ms), loss }
    }

    #[test]
    fn a_run_leaves_one_by_one_at_the_rate_and_after_the_delay() {
        let start = Instant::now();
        let mut emulation = Emulation::default();
        // 972 bytes and the headers are 1000: 8 ms at 1 Mb/s.
        emulation.set(start, ADA, Network { up: None, down: Some(path(Some(1_000_000), 50, 0.0)) });
        let run = Run { tuple: tuple(), contents: &[7; 2 * 972], segment_size: 972 };
        assert!(emulation.take_down(start, || Some(ADA), &run));
        for arrival in [58, 66].map(|ms| start + Duration::from_millis(ms)) {
            assert_eq!(emulation.poll_timeout(), Some(arrival));
            assert_eq!(emulation.poll_down(arrival - Duration::from_millis(1)), None);
            assert_eq!(emulation.poll_down(arrival), Some((tuple(), vec![7; 972])));
        }
        assert!(!emulation.take_up(start, || Some(ADA), &tuple(), &[7; 972]), "the other direction is as it is");
    }

    #[test]
    fn others_and_those_who_are_gone_have_the_network_that_they_have() {
        let start = Instant::now();
        let mut emulation = Emulation::default();
        assert!(!emulation.take_up(start, || panic!("nobody is looked for while there is no network"), &tuple(), &[1]));
        emulation.set(start, ADA, Network { up: Some(path(None, 0, 1.0)), down: None });
        assert!(!emulation.take_up(start, || Some(ParticipantId(2)), &tuple(), &[1]));
        assert!(!emulation.take_up(start, || None, &tuple(), &[1]));
        assert!(emulation.take_up(start, || Some(ADA), &tuple(), &[1]));
        assert_eq!((emulation.poll_up(start), emulation.poll_timeout()), (None, None), "all is lost");
        emulation.retain(|participant| participant != ADA);
        assert!(!emulation.take_up(start, || Some(ADA), &tuple(), &[1]));
        emulation.set(start, ADA, Network { up: Some(path(None, 0, 1.0)), down: None });
        emulation.set(start, ADA, Network::default());
        assert!(!emulation.take_up(start, || Some(ADA), &tuple(), &[1]));
    }
}
