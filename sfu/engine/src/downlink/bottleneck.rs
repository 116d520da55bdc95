//! Receivers of a room behind one bottleneck: a household, an office. Each would find by probes what the others leave free, all would take it at once, and
//! none could keep it. So who waits in the same queue (`estimate/standing.rs`) is held to its part of what all of them together were seen to get through.
//!
//! The parts are max-min fair (as with the flow state exchange of RFC 8699): who wants less than an equal part leaves the rest to the others.

use super::{Downlink, layers};
use crate::engine::keys::ParticipantKey;
use crate::units::Bitrate;
use rustc_hash::FxHashMap;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

slotmap::new_key_type! {
    struct BottleneckKey;
}

/// What waits at the bottleneck is compared with what others meet this often.
const COMPARE_INTERVAL: Duration = Duration::from_millis(500);
/// How much of what changes in the queue of one of two receivers changes for the other too: from where on they are taken to share it, the same where one of them is
/// known to share it with others, and below which they do not.
const SAME: f64 = 0.7;
const ONE_MORE: f64 = 0.55;
const DIFFERENT: f64 = 0.15;
/// Without a further sign receivers are taken to share a bottleneck for so long, twice as long with each sign since, and at most for the second time:
/// where parts are kept no queue tells any more.
const BELIEVED: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(600));
/// Signs of one queue come many at once. After so long without any that should have come, one receiver after the other is left alone.
const SIGNS_APART: Duration = Duration::from_secs(10);

/// To work a part out takes a look at all who share the bottleneck. Where these are more than a few, each of them looks that much less often for each one more.
const FEW: usize = 16;
const LOOKED_AT_APART: Duration = Duration::from_millis(1);

/// The link's end is explored for all where it was not met for so long.
const MET: Duration = Duration::from_secs(10);
/// A part below this share of what a receiver could be sent alone asks for more to be known of the link.
const HELD_BACK: f64 = 0.6;

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

/// What a receiver has of a bottleneck that it shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What it may be sent.
    pub rate: Bitrate,
    /// What it is of use to know of: what all could be sent, less what the others are; nothing where it knows enough.
    pub useful: Bitrate,
}

/// The bottlenecks that several receivers of a room share.
#[derive(Debug, Default)]
pub struct Bottlenecks {
    shared: SlotMap<BottleneckKey, Bottleneck>,
    of: FxHashMap<ParticipantKey, Membership>,
}

/// Which bottleneck a receiver shares.
#[derive(Clone, Copy, Debug)]
struct Membership {
    bottleneck: BottleneckKey,
    /// Its part, and until when that is not looked at anew.
    part: Part,
    until: Instant,
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
    /// How many receivers share a bottleneck with others.
    pub fn receivers(&self) -> usize {
        self.of.len()
    }

    /// Whether two receivers are taken to be behind one bottleneck.
    pub fn are_together(&self, one: ParticipantKey, two: ParticipantKey) -> bool {
        self.of_receiver(one).is_some_and(|key| self.of_receiver(two) == Some(key))
    }

    /// Takes up how much of what changes in a receiver's queue changes for others too.
    pub fn relate(&mut self, now: Instant, receiver: ParticipantKey, others: &[(ParticipantKey, f64)]) {
        let (mut is_one, mut is_mistaken) = (false, false);
        for (other, likeness) in others {
            let is_shared = self.of.contains_key(other) || self.of.contains_key(&receiver);
            if *likeness >= if is_shared { ONE_MORE } else { SAME } {
                self.join(now, receiver, *other);
                is_one = true;
            }
            is_mistaken |= *likeness < DIFFERENT && self.are_together(receiver, *other);
        }
        if is_mistaken && !is_one {
            self.remove(receiver);
        }
    }

    /// A receiver is gone, or behind a bottleneck of its own.
    pub fn remove(&mut self, receiver: ParticipantKey) {
        let Some(Membership { bottleneck: key, .. }) = self.of.remove(&receiver) else { return };
        let Some(bottleneck) = self.shared.get_mut(key) else { return };
        bottleneck.members.retain(|member| member.receiver != receiver);
        if bottleneck.members.len() < 2 {
            self.forget(key);
        }
    }

    /// Notes what a receiver does, and returns its part of the bottleneck where it shares one.
    pub fn part(&mut self, now: Instant, receiver: ParticipantKey, flow: impl FnOnce() -> Flow) -> Option<Part> {
        let membership = self.of.get_mut(&receiver)?;
        if now < membership.until {
            return Some(membership.part);
        }
        let bottleneck = self.shared.get_mut(membership.bottleneck)?;
        if now >= bottleneck.believed_until {
            bottleneck.believed_until = now + SIGNS_APART;
            self.remove(receiver);
            return None;
        }
        bottleneck.note(receiver, flow());
        membership.part = bottleneck.part(receiver);
        membership.until = now + LOOKED_AT_APART * bottleneck.members.len().saturating_sub(FEW) as u32;
        Some(membership.part)
    }

    fn of_receiver(&self, receiver: ParticipantKey) -> Option<BottleneckKey> {
        self.of.get(&receiver).map(|membership| membership.bottleneck)
    }

    /// Two receivers wait in one queue.
    fn join(&mut self, now: Instant, receiver: ParticipantKey, other: ParticipantKey) {
        let key = match (self.of_receiver(other), self.of_receiver(receiver)) {
            (Some(key), _) => key,
            (None, Some(own)) => own,
            (None, None) => self.shared.insert(Bottleneck {
                members: Vec::new(),
                seen: now,
                believed: BELIEVED.0,
                believed_until: now,
            }),
        };
        for joins in [receiver, other] {
            if self.of_receiver(joins) != Some(key) {
                self.remove(joins);
                self.of.insert(joins, Membership { bottleneck: key, part: Part::default(), until: now });
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
    fn part(&self, receiver: ParticipantKey) -> Part {
        // Who has probed for no more than it needs has seen less.
        let capacity = self.members.iter().map(|member| member.capacity).max().unwrap_or_default();
        let (mut demand, mut others) = (Bitrate::ZERO, Bitrate::ZERO);
        for member in &self.members {
            demand = demand.plus(member.flow.demand);
            others = others.plus(if member.receiver == receiver { Bitrate::ZERO } else { member.flow.rate });
        }
        // Half of what one of two finds for itself is enough for it: it looks for more than it needs.
        let useful = if self.members.len() > 2 { demand.minus(others) } else { Bitrate::ZERO };
        Part { rate: self.share(capacity, receiver), useful }
    }

    /// Its equal part of a capacity, after those who want less.
    fn share(&self, capacity: Bitrate, receiver: ParticipantKey) -> Bitrate {
        let mut left = capacity;
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

impl Downlink {
    /// Whether it is time to compare the queue that it meets with those of others: where there is one, and where there should be.
    pub fn is_to_be_compared(&mut self, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) < COMPARE_INTERVAL;
        let may_tell = self.part.is_some() || self.estimator.has_queued();
        if self.compared_at.is_some_and(is_recent) || !may_tell {
            return false;
        }
        self.compared_at = Some(now);
        true
    }

    /// How much of what changes in the queue of one of two receivers changes for the other too, 0 to 1; `None` where that cannot be told.
    pub fn likeness(&self, other: &Downlink) -> Option<f64> {
        self.estimator.likeness(&other.estimator)
    }

    /// What it takes of its bottleneck, and could.
    pub fn flow(&self, now: Instant) -> Flow {
        let demand = self.demand.plus(self.audio).scale(layers::DEMAND_HEADROOM);
        Flow { estimate: self.estimator.estimate(), rate: self.rate.rate(now), demand }
    }

    /// How far it explores the link for all that share it: where its part is far less than it could be sent alone, and it has not met the link's end for a while,
    /// there may be more.
    pub(super) fn explored_for_all(&self, now: Instant) -> Bitrate {
        let holds_back = |part: &Part| part.rate < self.estimator.estimate().scale(HELD_BACK);
        let part = self.part.filter(holds_back).filter(|_| !self.estimator.has_met_bottleneck(now, MET));
        part.map_or(Bitrate::ZERO, |part| part.useful)
    }

    /// Sets its part of a bottleneck that it shares with others.
    pub fn set_part(&mut self, part: Option<Part>) {
        self.part = part;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use crate::downlink::estimate::EstimatorConfig;

    fn receivers() -> [ParticipantKey; 4] {
        let mut keys = SlotMap::<ParticipantKey, ()>::with_key();
        std::array::from_fn(|_| keys.insert(()))
    }

    fn flow(estimate: u64, rate: u64, demand: u64) -> Flow {
        Flow { estimate: Bitrate::kbps(estimate), rate: Bitrate::kbps(rate), demand: Bitrate::kbps(demand) }
    }

    fn kbps(part: Option<Part>) -> Option<u64> {
        part.map(|part| part.rate.as_bps() / 1000)
    }

    #[test]
    fn who_wants_less_than_an_equal_part_leaves_the_rest_to_the_others() {
        let (now, [a, b, c, _]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        assert_eq!(bottlenecks.part(now, a, || flow(2700, 300, 2500)), None, "nobody shares anything");
        bottlenecks.relate(now, a, &[(b, 0.95), (c, 0.95)]);
        // All were seen to get 3000 through: 300 are wanted by one, the rest is for two.
        bottlenecks.part(now, a, || flow(2400, 300, 2500));
        bottlenecks.part(now, b, || flow(2700, 300, 300));
        bottlenecks.part(now, c, || flow(2400, 300, 2500));
        let parts = [a, b, c].map(|key| bottlenecks.shared.values().next().map(|shared| shared.part(key)));
        assert_eq!(parts.map(kbps), [Some(1350), Some(1000), Some(1350)]);
    }

    #[test]
    fn what_others_are_sent_counts_with_an_estimate_when_it_is_found_and_not_when_they_are_sent_more() {
        let (now, [a, b, ..]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        bottlenecks.relate(now, a, &[(b, 0.95)]);
        bottlenecks.part(now, b, || flow(500, 400, 5000));
        assert_eq!(kbps(bottlenecks.part(now, a, || flow(2600, 400, 5000))), Some(1500));
        bottlenecks.part(now, b, || flow(500, 1500, 5000));
        assert_eq!(kbps(bottlenecks.part(now, a, || flow(2600, 400, 5000))), Some(1500), "it found that before");
        assert_eq!(kbps(bottlenecks.part(now, a, || flow(2500, 400, 5000))), Some(2000), "it finds that beside 1500");
    }

    #[test]
    fn what_all_could_be_sent_beside_what_the_others_are_is_of_use_to_know() {
        let (now, [a, b, c, _]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        bottlenecks.relate(now, a, &[(b, 0.95), (c, 0.95)]);
        bottlenecks.part(now, b, || flow(2500, 400, 2500));
        bottlenecks.part(now, c, || flow(2500, 400, 2500));
        let useful = |part: Option<Part>| part.map(|part| part.useful);
        assert_eq!(useful(bottlenecks.part(now, a, || flow(2500, 300, 2500))), Some(Bitrate::kbps(6700)));
        bottlenecks.remove(c);
        assert_eq!(useful(bottlenecks.part(now, a, || flow(2500, 300, 2500))), Some(Bitrate::ZERO));
    }

    #[test]
    fn the_link_is_explored_for_all_where_a_part_holds_back() {
        let now = Instant::now();
        let mut downlink = Downlink::new(now, EstimatorConfig::default());
        let (estimate, useful) = (downlink.estimator.estimate(), Bitrate::kbps(9000));
        let mut explored = |part: Option<f64>| {
            downlink.set_part(part.map(|share| Part { rate: estimate.scale(share), useful }));
            downlink.explored_for_all(now)
        };
        assert_eq!(explored(Some(0.5)), useful);
        assert_eq!(explored(Some(0.7)), Bitrate::ZERO, "a part that is nearly all");
        assert_eq!(explored(None), Bitrate::ZERO);
    }

    #[test]
    fn it_takes_more_to_find_a_bottleneck_than_to_find_one_more_behind_it() {
        let (now, [a, b, c, d]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        let between = (SAME + ONE_MORE) / 2.0;
        bottlenecks.relate(now, a, &[(b, between)]);
        assert_eq!(bottlenecks.receivers(), 0);
        bottlenecks.relate(now, a, &[(b, SAME)]);
        bottlenecks.relate(now, c, &[(b, between)]);
        assert!(bottlenecks.are_together(a, c));
        bottlenecks.relate(now, d, &[(b, ONE_MORE - 0.01)]);
        assert!(!bottlenecks.are_together(a, d));
    }

    #[test]
    fn bottlenecks_that_turn_out_to_be_one_become_one() {
        let (now, [a, b, c, d]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        bottlenecks.relate(now, a, &[(b, 0.9)]);
        bottlenecks.relate(now, c, &[(d, 0.9)]);
        assert!(!bottlenecks.are_together(a, c));
        bottlenecks.relate(now, a, &[(c, 0.9)]);
        bottlenecks.relate(now, b, &[(c, 0.9)]);
        assert!(bottlenecks.are_together(a, b) && bottlenecks.are_together(b, d));
        assert_eq!(bottlenecks.shared.len(), 1);
    }

    #[test]
    fn who_waits_elsewhere_than_all_others_is_left_alone_and_those_stay_together() {
        let (now, [a, b, c, _]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        bottlenecks.relate(now, a, &[(b, 0.9), (c, 0.9)]);
        bottlenecks.relate(now, a, &[(b, 0.9), (c, 0.1)]);
        assert!(bottlenecks.are_together(a, b), "it waits where one of the others does");
        bottlenecks.relate(now, c, &[(a, 0.1), (b, DIFFERENT)]);
        assert!(bottlenecks.are_together(a, b) && !bottlenecks.are_together(a, c));
        bottlenecks.relate(now, a, &[(b, 0.1)]);
        assert_eq!(bottlenecks.receivers(), 0);
        assert!(bottlenecks.shared.is_empty());
    }

    #[test]
    fn without_a_further_sign_one_after_the_other_is_left_alone_later_each_time() {
        let (start, [a, b, c, _]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        let part = |bottlenecks: &mut Bottlenecks, at, key| bottlenecks.part(at, key, || flow(1000, 300, 5000));
        bottlenecks.relate(start, a, &[(b, 0.9), (c, 0.9)]);
        let last = start + SIGNS_APART;
        bottlenecks.relate(last, a, &[(b, 0.9)]);
        let end = last + 2 * BELIEVED.0;
        assert!(part(&mut bottlenecks, end - Duration::from_millis(1), a).is_some());
        assert!(part(&mut bottlenecks, end, a).is_none());
        assert!(part(&mut bottlenecks, end, b).is_some(), "not two at once");
        assert!(part(&mut bottlenecks, end + SIGNS_APART, b).is_none());
        assert!(bottlenecks.receivers() == 0 && bottlenecks.shared.is_empty(), "nobody shares with itself");
    }

    #[test]
    fn the_more_share_a_bottleneck_the_less_often_each_looks_at_all_of_them() {
        let mut keys = SlotMap::<ParticipantKey, ()>::with_key();
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut bottlenecks = Bottlenecks::default();
        let a = keys.insert(());
        let mut looked = 0;
        let mut look = |bottlenecks: &mut Bottlenecks, at| {
            let flow = || {
                looked += 1;
                flow(1000, 300, 5000)
            };
            assert!(bottlenecks.part(at, a, flow).is_some());
            looked
        };
        (1..FEW).for_each(|_| bottlenecks.relate(now, a, &[(keys.insert(()), 0.9)]));
        assert_eq!([now, now].map(|at| look(&mut bottlenecks, at)), [1, 2], "those of a household always");
        (0..100).for_each(|_| bottlenecks.relate(now, a, &[(keys.insert(()), 0.9)]));
        let times = [now, now + ms(99), now + ms(100), now + ms(199)];
        assert_eq!(times.map(|at| look(&mut bottlenecks, at)), [3, 3, 4, 4]);
    }

    #[test]
    fn who_leaves_takes_no_part() {
        let (now, [a, b, c, _]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        bottlenecks.relate(now, a, &[(b, 0.9), (c, 0.9)]);
        for key in [a, b, c] {
            bottlenecks.part(now, key, || flow(600, 1000, 5000));
        }
        bottlenecks.remove(c);
        assert_eq!(kbps(bottlenecks.part(now, a, || flow(2000, 1000, 5000))), Some(1500));
        bottlenecks.remove(b);
        assert!(bottlenecks.receivers() == 0 && bottlenecks.shared.is_empty());
    }
}
