//! Receivers of a room behind one bottleneck: a household, an office. Each would find by probes what the others leave
//! free, all would take it at once, and none could keep it. So receivers that wait in the same queue
//! (`estimate/standing.rs`) are each held to a fair share of what all of them together were seen to get through.
//!
//! The shares are max-min fair (as with the flow state exchange of RFC 8699): a receiver that wants less than an equal
//! share leaves the rest to the others.

use super::{Downlink, layers};
use crate::engine::keys::ParticipantKey;
use crate::units::Bitrate;
use rustc_hash::FxHashMap;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

slotmap::new_key_type! {
    struct BottleneckKey;
}

/// The queue that a receiver meets is compared with those of others this often.
const COMPARE_INTERVAL: Duration = Duration::from_millis(500);
/// Correlation above which two receivers form a group; join one; leave one.
const SAME: f64 = 0.7;
const ONE_MORE: f64 = 0.55;
const DIFFERENT: f64 = 0.15;
/// Without a further sign, receivers are taken to share a bottleneck for the first time. It doubles with each sign, up
/// to the second time: receivers that keep to their shares leave no queue that could be compared.
const BELIEVED: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(600));
/// Signs of one queue come many at once, so only signs this far apart count as several. When the bottleneck is no
/// longer believed in, one receiver after the other leaves it, this far apart.
const SIGNS_APART: Duration = Duration::from_secs(10);

/// To work out a fair share takes a look at all receivers that share the bottleneck. Beyond this number of them, each
/// share is worked out less often, by [`LOOKED_AT_APART`] for each further receiver.
const FEW: usize = 16;
const LOOKED_AT_APART: Duration = Duration::from_millis(1);

/// A receiver explores the link for all when it has not met the bottleneck for this time.
const MET: Duration = Duration::from_secs(10);
/// A fair share below this part of what a receiver could be sent alone makes it explore the link for all.
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

/// A receiver's fair share of a bottleneck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FairShare {
    /// What it may be sent.
    pub rate: Bitrate,
    /// The rate up to which it is useful to explore the link: what all could be sent, minus what the others are sent.
    /// Zero where enough is known.
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
    /// Its fair share, and until when that is not worked out anew.
    fair_share: FairShare,
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
    /// What all together were sent when its estimate changed last: the capacity as this receiver has found it.
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

    /// Takes how well a receiver's queue correlates with those of others: groups the receivers, or takes this one out
    /// of its group.
    pub fn relate(&mut self, now: Instant, receiver: ParticipantKey, others: &[(ParticipantKey, f64)]) {
        let (mut is_one, mut is_mistaken) = (false, false);
        for (other, correlation) in others {
            let is_shared = self.of.contains_key(other) || self.of.contains_key(&receiver);
            if *correlation >= if is_shared { ONE_MORE } else { SAME } {
                self.join(now, receiver, *other);
                is_one = true;
            }
            is_mistaken |= *correlation < DIFFERENT && self.are_together(receiver, *other);
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

    /// Notes a receiver's flow, and returns its fair share of the bottleneck where it shares one.
    pub fn fair_share(
        &mut self,
        now: Instant,
        receiver: ParticipantKey,
        flow: impl FnOnce() -> Flow,
    ) -> Option<FairShare> {
        let membership = self.of.get_mut(&receiver)?;
        if now < membership.until {
            return Some(membership.fair_share);
        }
        let bottleneck = self.shared.get_mut(membership.bottleneck)?;
        if now >= bottleneck.believed_until {
            bottleneck.believed_until = now + SIGNS_APART;
            self.remove(receiver);
            return None;
        }
        bottleneck.note(receiver, flow());
        membership.fair_share = bottleneck.fair_share(receiver);
        membership.until = now + LOOKED_AT_APART * bottleneck.members.len().saturating_sub(FEW) as u32;
        Some(membership.fair_share)
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
                self.of.insert(joins, Membership { bottleneck: key, fair_share: FairShare::default(), until: now });
                if let Some(bottleneck) = self.shared.get_mut(key) {
                    bottleneck.admit(joins);
                }
            }
        }
        if let Some(bottleneck) = self.shared.get_mut(key) {
            bottleneck.confirm(now);
        }
    }

    fn forget(&mut self, key: BottleneckKey) {
        let Some(bottleneck) = self.shared.remove(key) else { return };
        for member in bottleneck.members {
            self.of.remove(&member.receiver);
        }
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

    /// Notes a receiver's flow. An estimate that has changed was found beside what the others are sent now; one that
    /// has not changed still says what the link carried when it was found.
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

    /// A receiver's fair share: an equal part of what those leave that want less.
    fn fair_share(&self, receiver: ParticipantKey) -> FairShare {
        // A receiver that has probed for no more than it needs has seen less of the capacity.
        let capacity = self.members.iter().map(|member| member.capacity).max().unwrap_or_default();
        let (mut demand, mut others) = (Bitrate::ZERO, Bitrate::ZERO);
        for member in &self.members {
            demand = demand.plus(member.flow.demand);
            others = others.plus(if member.receiver == receiver { Bitrate::ZERO } else { member.flow.rate });
        }
        // One of two explores beyond what it needs anyway (`DEMAND_HEADROOM`), and half of what it finds that way is
        // enough for it.
        let useful = if self.members.len() > 2 { demand.minus(others) } else { Bitrate::ZERO };
        FairShare { rate: self.share(capacity, receiver), useful }
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
    /// Whether it is time to compare the queue that it meets with those of others: where there is one, and where there
    /// should be.
    pub fn is_to_be_compared(&mut self, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) < COMPARE_INTERVAL;
        let may_tell = self.fair_share.is_some() || self.estimator.has_queued();
        if self.compared_at.is_some_and(is_recent) || !may_tell {
            return false;
        }
        self.compared_at = Some(now);
        true
    }

    /// How well the queues that two receivers meet correlate over time, 0 to 1: the share of their changes that both
    /// have in common. `None` where too little has changed to tell.
    pub fn queue_correlation(&self, other: &Downlink) -> Option<f64> {
        self.estimator.queue_correlation(&other.estimator)
    }

    /// What it takes of its bottleneck, and could.
    pub fn flow(&self, now: Instant) -> Flow {
        let demand = self.demand.plus(self.audio).scale(layers::DEMAND_HEADROOM);
        Flow { estimate: self.estimator.estimate(), rate: self.rate.rate(now), demand }
    }

    /// How far it explores the link for all that share it. Where its fair share is far less than it could be sent
    /// alone, and it has not met the bottleneck for a while, there may be more.
    pub(super) fn explored_for_all(&self, now: Instant) -> Bitrate {
        let holds_back = |part: &FairShare| part.rate < self.estimator.estimate().scale(HELD_BACK);
        let part = self.fair_share.filter(holds_back).filter(|_| !self.estimator.has_met_bottleneck(now, MET));
        part.map_or(Bitrate::ZERO, |part| part.useful)
    }

    /// Sets its fair share of a bottleneck that it shares with others.
    pub fn set_fair_share(&mut self, part: Option<FairShare>) {
        self.fair_share = part;
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

    fn kbps(part: Option<FairShare>) -> Option<u64> {
        part.map(|part| part.rate.as_bps() / 1000)
    }

    #[test]
    fn who_wants_less_than_an_equal_part_leaves_the_rest_to_the_others() {
        let (now, [a, b, c, _]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        assert_eq!(bottlenecks.fair_share(now, a, || flow(2700, 300, 2500)), None, "nobody shares anything");
        bottlenecks.relate(now, a, &[(b, 0.95), (c, 0.95)]);
        // All were seen to get 3000 through: 300 are wanted by one, the rest is for two.
        bottlenecks.fair_share(now, a, || flow(2400, 300, 2500));
        bottlenecks.fair_share(now, b, || flow(2700, 300, 300));
        bottlenecks.fair_share(now, c, || flow(2400, 300, 2500));
        let parts = [a, b, c].map(|key| bottlenecks.shared.values().next().map(|shared| shared.fair_share(key)));
        assert_eq!(parts.map(kbps), [Some(1350), Some(1000), Some(1350)]);
    }

    #[test]
    fn what_others_are_sent_counts_with_an_estimate_when_it_is_found_and_not_when_they_are_sent_more() {
        let (now, [a, b, ..]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        bottlenecks.relate(now, a, &[(b, 0.95)]);
        bottlenecks.fair_share(now, b, || flow(500, 400, 5000));
        assert_eq!(kbps(bottlenecks.fair_share(now, a, || flow(2600, 400, 5000))), Some(1500));
        bottlenecks.fair_share(now, b, || flow(500, 1500, 5000));
        assert_eq!(kbps(bottlenecks.fair_share(now, a, || flow(2600, 400, 5000))), Some(1500), "it found that before");
        assert_eq!(
            kbps(bottlenecks.fair_share(now, a, || flow(2500, 400, 5000))),
            Some(2000),
            "it finds that beside 1500"
        );
    }

    #[test]
    fn what_all_could_be_sent_beside_what_the_others_are_is_of_use_to_know() {
        let (now, [a, b, c, _]) = (Instant::now(), receivers());
        let mut bottlenecks = Bottlenecks::default();
        bottlenecks.relate(now, a, &[(b, 0.95), (c, 0.95)]);
        bottlenecks.fair_share(now, b, || flow(2500, 400, 2500));
        bottlenecks.fair_share(now, c, || flow(2500, 400, 2500));
        let useful = |part: Option<FairShare>| part.map(|part| part.useful);
        assert_eq!(useful(bottlenecks.fair_share(now, a, || flow(2500, 300, 2500))), Some(Bitrate::kbps(6700)));
        bottlenecks.remove(c);
        assert_eq!(useful(bottlenecks.fair_share(now, a, || flow(2500, 300, 2500))), Some(Bitrate::ZERO));
    }

    #[test]
    fn the_link_is_explored_for_all_where_a_part_holds_back() {
        let now = Instant::now();
        let mut downlink = Downlink::new(now, EstimatorConfig::default());
        let (estimate, useful) = (downlink.estimator.estimate(), Bitrate::kbps(9000));
        let mut explored = |part: Option<f64>| {
            downlink.set_fair_share(part.map(|share| FairShare { rate: estimate.scale(share), useful }));
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
        let part = |bottlenecks: &mut Bottlenecks, at, key| bottlenecks.fair_share(at, key, || flow(1000, 300, 5000));
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
            assert!(bottlenecks.fair_share(at, a, flow).is_some());
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
            bottlenecks.fair_share(now, key, || flow(600, 1000, 5000));
        }
        bottlenecks.remove(c);
        assert_eq!(kbps(bottlenecks.fair_share(now, a, || flow(2000, 1000, 5000))), Some(1500));
        bottlenecks.remove(b);
        assert!(bottlenecks.receivers() == 0 && bottlenecks.shared.is_empty());
    }
}
