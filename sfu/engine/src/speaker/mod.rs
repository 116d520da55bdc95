//! Who speaks in a room: the dominant speaker, and the talkers whose audio is forwarded when there are more than a
//! limit.
//!
//! A room owns one ranking and feeds it the audio level of every received audio packet (RFC 6464). In the manner of
//! Volfin and Cohen ("Dominant speaker identification for multipoint videoconferencing", 2012) loudness is looked at
//! over three spans: a tick of 100 ms, a short mean and a long one. The short one lets a speaker in quickly; the long
//! one carries over the pauses between words; coughs and slamming doors are over before they have led for long enough.
//! Constant noise counts for nothing after some seconds. While everybody is silent no timer runs.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// Span over which levels are averaged before anything is decided.
const TICK: Duration = Duration::from_millis(100);
/// Weight of a tick in the short mean: one half, so it forgets with 150 ms.
const SHORT_SHIFT: u32 = 1;
/// Weight of a tick in the long mean: one eighth, so it forgets with 0.8 s.
const LONG_SHIFT: u32 = 3;
/// Ticks by which a challenger must have led more often than not: the hold time of the dominant speaker.
const LEAD_TO_DOMINATE: u8 = 4;
/// How much louder counts as clearly louder.
const MARGIN: Loudness = Loudness::db(6);
/// -65 dBov: anything below is silence.
const SILENCE: Loudness = Loudness::db(127 - 65);
/// -45 dBov: the loudest background noise that is learned, so that music is not.
const LOUDEST_NOISE: Loudness = Loudness::db(127 - 45);
/// How fast noise is learned: 1 dB per second.
const NOISE_RISE: Loudness = Loudness(25);

/// Loudness in 1/256 dB; 0 is silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Loudness(u32);

/// Ranks the members of one room by how they speak. `K` names a member; its order breaks ties.
#[derive(Debug)]
pub struct SpeakerRanking<K> {
    /// Sorted by key.
    members: Vec<Member<K>>,
    limit: usize,
    /// Score of the weakest talker when it was last looked at: what a packet is compared with.
    weakest: Loudness,
    dominant: Option<K>,
    reported: Option<K>,
    talkers_changed: bool,
    next_tick: Option<Instant>,
}

#[derive(Debug)]
struct Member<K> {
    key: K,
    muted: bool,
    talking: bool,
    /// Loudness above the noise, summed over the packets of this tick.
    sum: Loudness,
    packets: u32,
    noise: Loudness,
    short: Loudness,
    long: Loudness,
    lead: u8,
}

impl<K: Copy + Eq + Ord> SpeakerRanking<K> {
    /// An empty room in which at most `limit` members count as talking.
    pub fn new(limit: usize) -> SpeakerRanking<K> {
        SpeakerRanking {
            members: Vec::new(),
            limit,
            weakest: Loudness::default(),
            dominant: None,
            reported: None,
            talkers_changed: false,
            next_tick: None,
        }
    }

    /// A member that can speak joins. Does nothing where it is known.
    pub fn add(&mut self, key: K) {
        if let Err(at) = self.position(key) {
            self.members.insert(at, Member::new(key));
            self.fill_places();
        }
    }

    /// A member leaves. A dominant speaker that leaves has no successor until one speaks.
    pub fn remove(&mut self, key: K) {
        if let Ok(at) = self.position(key) {
            self.talkers_changed |= self.members.remove(at).talking;
            self.dominant = self.dominant.filter(|dominant| *dominant != key);
            self.fill_places();
        }
    }

    /// A muted member is silent whatever its packets say. It stays dominant until another speaks.
    pub fn set_muted(&mut self, key: K, muted: bool) {
        if let Some(member) = self.member_mut(key) {
            *member = Member { muted, talking: member.talking, ..Member::new(key) };
        }
    }

    /// Takes the level of one audio packet, in -dBov: 0 is the loudest, 127 silence (RFC 6464). Returns whether the
    /// member is talking, so whether this packet is to be forwarded.
    pub fn on_level(&mut self, now: Instant, key: K, level: u8) -> bool {
        let weakest = self.weakest;
        let Some(member) = self.member_mut(key) else { return false };
        let loudness = member.hear(level);
        let onset = loudness.halved();
        let enters = !member.talking && onset > weakest.plus(MARGIN);
        if enters {
            // The place of a weaker talker must not wait for the tick: that would cut the first syllable.
            member.short = member.short.max(onset);
        }
        let talking = member.talking;
        if loudness > Loudness::default() {
            self.next_tick = self.next_tick.or(Some(now + TICK));
        }
        if enters {
            self.exchange_places();
            return self.is_talking(key);
        }
        talking
    }

    /// Whether the member is among the loudest. Everybody is while there are no more members than the limit.
    pub fn is_talking(&self, key: K) -> bool {
        self.position(key).ok().and_then(|at| self.members.get(at)).is_some_and(|member| member.talking)
    }

    /// Whether [`SpeakerRanking::is_talking`] has changed for anybody since the last call.
    pub fn poll_talkers_changed(&mut self) -> bool {
        std::mem::take(&mut self.talkers_changed)
    }

    /// Who leads the conversation; the last one that did while all are silent.
    pub fn dominant(&self) -> Option<K> {
        self.dominant
    }

    /// The new dominant speaker, if it is another one than at the last call.
    pub fn poll_change(&mut self) -> Option<Option<K>> {
        (self.dominant != self.reported).then(|| {
            self.reported = self.dominant;
            self.dominant
        })
    }

    /// When [`SpeakerRanking::handle_timeout`] is due; `None` in silence.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// Ends a tick: averages, and decides who dominates and who talks.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|due| now < due) {
            return;
        }
        self.members.iter_mut().for_each(Member::end_tick);
        self.choose_dominant();
        self.exchange_places();
        let silent = self.members.iter().all(Member::is_silent);
        self.next_tick = (!silent).then(|| now + TICK);
    }

    fn choose_dominant(&mut self) {
        let incumbent = self.dominant.and_then(|key| self.member_mut(key)).map(|m| m.score()).unwrap_or_default();
        let dominant = self.dominant;
        for member in self.members.iter_mut().filter(|m| Some(m.key) != dominant) {
            let leads = member.spoke() && member.short > incumbent.plus(MARGIN);
            member.lead = if leads { member.lead.saturating_add(1) } else { member.lead.saturating_sub(1) };
        }
        let successors = self.members.iter().filter(|m| m.lead >= LEAD_TO_DOMINATE);
        if let Some(key) = successors.max_by_key(|m| m.short).map(|m| m.key) {
            self.dominant = Some(key);
            self.members.iter_mut().for_each(|m| m.lead = 0);
        }
        // Only now does the tick's evidence go.
        self.members.iter_mut().for_each(Member::start_tick);
    }

    /// Gives the places of talkers to members that are clearly louder.
    fn exchange_places(&mut self) {
        while let Some((weakest, loudest)) = self.weakest_talker().zip(self.loudest_listener()) {
            let score = self.members.get(weakest).map(Member::score).unwrap_or_default();
            let louder = self.members.get(loudest).is_some_and(|m| m.short > score.plus(MARGIN));
            if !louder {
                self.weakest = score;
                return;
            }
            self.set_talking(weakest, false);
            self.set_talking(loudest, true);
        }
    }

    /// Makes exactly as many members talkers as there are places.
    fn fill_places(&mut self) {
        let places = self.limit.min(self.members.len());
        let mut talkers = self.members.iter().filter(|m| m.talking).count();
        while talkers < places {
            let Some(at) = self.loudest_listener() else { break };
            self.set_talking(at, true);
            talkers += 1;
        }
        while talkers > places {
            let Some(at) = self.weakest_talker() else { break };
            self.set_talking(at, false);
            talkers -= 1;
        }
        self.weakest = self.weakest_talker().and_then(|at| self.members.get(at)).map(Member::score).unwrap_or_default();
    }

    fn set_talking(&mut self, at: usize, talking: bool) {
        if let Some(member) = self.members.get_mut(at) {
            member.talking = talking;
            self.talkers_changed = true;
        }
    }

    fn weakest_talker(&self) -> Option<usize> {
        let talkers = self.members.iter().enumerate().filter(|(_, m)| m.talking);
        talkers.min_by_key(|(_, m)| m.score()).map(|(at, _)| at)
    }

    fn loudest_listener(&self) -> Option<usize> {
        let listeners = self.members.iter().enumerate().filter(|(_, m)| !m.talking);
        listeners.max_by_key(|(_, m)| m.short).map(|(at, _)| at)
    }

    fn position(&self, key: K) -> Result<usize, usize> {
        self.members.binary_search_by_key(&key, |member| member.key)
    }

    fn member_mut(&mut self, key: K) -> Option<&mut Member<K>> {
        let at = self.position(key).ok()?;
        self.members.get_mut(at)
    }
}

impl<K> Member<K> {
    fn new(key: K) -> Member<K> {
        let zero = Loudness::default();
        let (muted, talking) = (false, false);
        Member { key, muted, talking, sum: zero, packets: 0, noise: SILENCE, short: zero, long: zero, lead: 0 }
    }

    /// Takes one packet. Returns its loudness above the noise.
    fn hear(&mut self, level: u8) -> Loudness {
        if self.muted {
            return Loudness::default();
        }
        let loudness = Loudness::db(127 - u32::from(level.min(127)));
        self.noise = self.noise.min(loudness).max(SILENCE);
        let above = loudness.minus(self.noise);
        self.sum = self.sum.plus(above);
        self.packets = self.packets.saturating_add(1);
        above
    }

    /// Moves the means by the tick's mean.
    fn end_tick(&mut self) {
        let mean = self.tick_mean();
        if mean > Loudness::default() {
            self.noise = self.noise.plus(NOISE_RISE).min(self.noise.plus(mean)).min(LOUDEST_NOISE);
        }
        self.short.approach(mean, SHORT_SHIFT);
        self.long.approach(mean, LONG_SHIFT);
    }

    fn start_tick(&mut self) {
        self.sum = Loudness::default();
        self.packets = 0;
    }

    fn tick_mean(&self) -> Loudness {
        Loudness(self.sum.0.checked_div(self.packets).unwrap_or(0))
    }

    fn spoke(&self) -> bool {
        self.tick_mean() > Loudness::default()
    }

    /// Strength in defending a place: the long mean carries over the pauses between words.
    fn score(&self) -> Loudness {
        self.short.max(self.long)
    }

    fn is_silent(&self) -> bool {
        self.score() == Loudness::default()
    }
}

impl Loudness {
    /// Below a quarter of a dB a mean is taken to be silence, so that it gets there.
    const NEGLIGIBLE: Loudness = Loudness(64);

    const fn db(db: u32) -> Loudness {
        Loudness(db * 256)
    }

    fn plus(self, other: Loudness) -> Loudness {
        Loudness(self.0.saturating_add(other.0))
    }

    fn minus(self, other: Loudness) -> Loudness {
        Loudness(self.0.saturating_sub(other.0))
    }

    fn halved(self) -> Loudness {
        Loudness(self.0 / 2)
    }

    /// Moves this mean by `1 / 2^shift` of the way to `value`.
    fn approach(&mut self, value: Loudness, shift: u32) {
        let rise = value.minus(*self).0 >> shift;
        let fall = self.minus(value).0 >> shift;
        *self = Loudness(self.0.saturating_add(rise).saturating_sub(fall));
        if value < Loudness::NEGLIGIBLE && *self < Loudness::NEGLIGIBLE {
            *self = Loudness::default();
        }
    }
}
