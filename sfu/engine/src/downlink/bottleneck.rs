//! Receivers of a room behind one bottleneck: a household, an office. Each would find by probes what the others leave free, all would take it at once, and
//! none could keep it. So who waits in the same queue (`estimate/standing.rs`) is held to its part of what all of them together were seen to get through.
//!
//! The parts are max-min fair (as with the flow state exchange of RFC 8699): who wants less than an equal part leaves the rest to the others.

use super::estimate::UTILISATION;
use crate::engine::keys::ParticipantKey;
use crate::units::Bitrate;
use rustc_hash::FxHashMap;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

slotmap::new_key_type! {
    struct BottleneckKey;
}

/// How much of the queue that one of two receivers meets the other meets too: from where on they are taken to share it, the same where one of them is
/// known to share it with others, and below which they do not.
const SAME: f64 = 0.9;
const ONE_MORE: f64 = 0.7;
const DIFFERENT: f64 = 0.4;
/// Without a further sign receivers are taken to share a bottleneck for so long, twice as long with each sign since, and at most for the second time:
/// where parts are kept no queue tells any more.
const BELIEVED: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(600));
/// Signs of one queue come many at once. After so long without any that should have come, one receiver after the other is left alone.
const SIGNS_APART: Duration = Duration::from_secs(10);
/// What of a part is used in the long run is less than what gets through, and layers must fit with some room: a part that is that much short is enough.
const ROOM: f64 = 1.03 / UTILISATION;

/// What a receiver's estimator and pacer say at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// What it could be sent, others sending what they do.
    pub estimate: Bitrate,
    /// What it is sent.
    pub rate: Bitrate,
    /// What it wants.
    pub demand: Bitrate,
}

/// The bottlenecks that several receivers of a room share.
#[derive(Debug, Default)]
pub struct Bottlenecks {
    shared: SlotMap<BottleneckKey, Bottleneck>,
    of: FxHashMap<ParticipantKey, BottleneckKey>,
}

#[derive(Debug)]
struct Bottleneck {
    /// Those that want least first.
    members: Vec<Member>,
    /// The last sign that there is one queue.
    seen: Instant,
    /// For how long that is believed, and until when.
    believed: Duration,
    believed_until: Instant,
}

#[derive(Debug)]
struct Member {
    receiver: ParticipantKey,
    flow: Flow,
    /// What got through of all when its estimate was found.
    capacity: Bitrate,
}

impl Bottlenecks {
    /// Whether nobody shares anything.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether two receivers are taken to be behind one bottleneck.
    pub fn are_together(&self, one: ParticipantKey, two: ParticipantKey) -> bool {
        self.of.get(&one).is_some_and(|key| self.of.get(&two) == Some(key))
    }

    /// Takes up how much of the queue that a receiver meets others meet too, or the other way round.
    pub fn relate(&mut self, now: Instant, receiver: ParticipantKey, others: &[(ParticipantKey, f64)]) {
        let mut is_one = false;
        let mut mistaken = Vec::new();
        for (other, likeness) in others {
            let is_shared = self.of.contains_key(other) || self.of.contains_key(&receiver);
            if *likeness >= if is_shared { ONE_MORE } else { SAME } {
                self.join(now, receiver, *other);
                is_one = true;
            } else if *likeness < DIFFERENT && self.are_together(receiver, *other) {
                mistaken.push(*other);
            }
        }
        if is_one {
            mistaken.into_iter().for_each(|other| self.remove(other));
        } else if !mistaken.is_empty() {
            self.remove(receiver);
        }
    }

    /// A receiver is gone, or behind a bottleneck of its own.
    pub fn remove(&mut self, receiver: ParticipantKey) {
        let Some(key) = self.of.remove(&receiver) else { return };
        let Some(bottleneck) = self.shared.get_mut(key) else { return };
        bottleneck.members.retain(|member| member.receiver != receiver);
        if bottleneck.members.len() < 2 {
            self.forget(key);
        }
    }

    /// Notes what a receiver does, and returns its part of the bottleneck where it shares one.
    pub fn part(&mut self, now: Instant, receiver: ParticipantKey, flow: Flow) -> Option<Bitrate> {
        let key = *self.of.get(&receiver)?;
        let bottleneck = self.shared.get_mut(key)?;
        if now >= bottleneck.believed_until {
            bottleneck.believed_until = now + SIGNS_APART;
            self.remove(receiver);
            return None;
        }
        bottleneck.note(receiver, flow);
        Some(bottleneck.part(receiver).scale(ROOM))
    }

    /// Two receivers wait in one queue.
    fn join(&mut self, now: Instant, receiver: ParticipantKey, other: ParticipantKey) {
        let key = match (self.of.get(&other), self.of.get(&receiver)) {
            (Some(key), Some(own)) if key == own => *key,
            (Some(key), _) => *key,
            (None, Some(own)) => *own,
            (None, None) => {
                self.shared.insert(Bottleneck { members: Vec::new(), seen: now, believed: BELIEVED.0, believed_until: now })
            }
        };
        for joins in [receiver, other] {
            if self.of.get(&joins) != Some(&key) {
                self.remove(joins);
                self.of.insert(joins, key);
                self.shared.get_mut(key).into_iter().for_each(|bottleneck| bottleneck.admit(joins));
            }
        }
        self.shared.get_mut(key).into_iter().for_each(|bottleneck| bottleneck.confirm(now));
    }

    fn forget(&mut self, key: BottleneckKey) {
        let members = self.shared.remove(key).into_iter().flat_map(|bottleneck| bottleneck.members);
        members.for_each(|member| {
            self.of.remove(&member.receiver);
        });
    }
}

impl Bottleneck {
    fn confirm(&mut self, now: Instant) {
        if now.saturating_duration_since(self.seen) >= SIGNS_APART {
            self.believed = (self.believed * 2).min(BELIEVED.1);
        }
        self.seen = now;
        self.believed_until = now + self.believed;
    }

    fn admit(&mut self, receiver: ParticipantKey) {
        self.members.push(Member { receiver, flow: Flow::default(), capacity: Bitrate::ZERO });
    }

    /// An estimate that has changed was found beside what the others are sent now; one that has not says what the link carried then.
    fn note(&mut self, receiver: ParticipantKey, flow: Flow) {
        let others = self.members.iter().filter(|member| member.receiver != receiver);
        let capacity = others.fold(flow.estimate, |sum, member| sum.plus(member.flow.rate));
        let Some(member) = self.members.iter_mut().find(|member| member.receiver == receiver) else { return };
        if member.flow.estimate != flow.estimate {
            member.capacity = capacity;
        }
        member.flow = flow;
        self.members.sort_by_key(|member| member.flow.demand);
    }

    /// A receiver's equal part of what those leave that want less.
    fn part(&self, receiver: ParticipantKey) -> Bitrate {
        // Who has probed for no more than it needs has seen less.
        let mut left = self.members.iter().map(|member| member.capacity).max().unwrap_or_default();
        let mut waiting = self.members.len();
        for member in &self.members {
            let equal = left.scale(1.0 / waiting as f64);
            if member.receiver == receiver || member.flow.demand >= equal {
                return equal;
            }
            left = left.minus(member.flow.demand);
            waiting -= 1;
        }
        left
    }
}
