//! What is asked of a publisher whose network fell short: less at once, and more again step by step.
//!
//! An encoding that [falls short](crate::uplink::shortfall) is switched off, and so are those above it, since all of
//! them share the network. After a while the next encoding above what flows is tried: it is asked for and repaired, but
//! offered to receivers only when it has flowed for some time, so a trial that fails does not show. The next trial
//! comes after a pause, which doubles where the last one filled the publisher's network.

use super::Track;
use crate::uplink::encoding::Encoding;
use crate::uplink::shortfall::Cause;
use std::time::{Duration, Instant};

/// The pause after a fall, in which nothing is tried. It doubles each time that a trial fills the network again.
const FIRST_HOLD: Duration = Duration::from_secs(5);
/// The longest such pause.
const LONGEST_HOLD: Duration = Duration::from_secs(40);
/// This long after the pause, the next fall counts as the first one. Until then it is doubtful that more is carried.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// An encoding that has flowed for this long is carried.
const PROVEN: Duration = Duration::from_millis(1500);
/// An encoding that is tried must flow within this time, and from then on. Otherwise its publisher found no room for
/// it: browsers look for room by padding, at the expense of what flows.
const FLOWS_WITHIN: Duration = Duration::from_secs(3);
/// The pause after a trial for which the publisher found no room.
const NO_ROOM: Duration = Duration::from_secs(10);

/// What is known of the network of a track's publisher.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    fall: Option<Fall>,
    carried: Carried,
    tried_at: Option<Instant>,
}

/// The last time it fell short.
#[derive(Clone, Copy, Debug)]
struct Fall {
    /// The lowest encoding that fell short.
    lowest: usize,
    /// The highest encoding that has not been carried since.
    highest: usize,
    /// Nothing is tried before this time.
    until: Instant,
    /// How long the pause is that ends then.
    hold: Duration,
    /// All is carried again, or no more is needed.
    is_over: bool,
}

/// An encoding that is not carried.
#[derive(Clone, Copy, Debug)]
struct Short {
    place: usize,
    cause: Cause,
}

/// What a look has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// Other encodings are carried than before.
    pub changed: bool,
    /// Less is asked for, and why.
    pub fell: Option<Cause>,
}

/// Which encodings are carried, as places among those of the track. By default all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Receivers may choose among those below this one, and the lowest that is to be had; among all where it is `None`.
    offered_below: Option<usize>,
    /// This one is tried.
    pub tried: Option<usize>,
    /// This one and those above are switched off.
    off_from: Option<usize>,
}

impl Carried {
    /// Whether receivers may choose this encoding.
    pub(super) fn is_offered(&self, place: usize) -> bool {
        self.offered_below.is_none_or(|end| place < end)
    }

    /// Whether this encoding is switched off.
    pub(super) fn is_off(&self, place: usize) -> bool {
        self.off_from.is_some_and(|first| place >= first)
    }
}

impl Recovery {
    /// As of the last look.
    pub(super) fn carried(&self) -> Carried {
        self.carried
    }

    /// Whether it is doubtful that more is carried than what flows.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.fall.is_some_and(|fall| now.saturating_duration_since(fall.until) < FORGOTTEN)
    }

    /// The publisher began to send an encoding by itself, and will have had a reason: the pause ends.
    pub(super) fn on_started(&mut self, now: Instant, place: usize) {
        if let Some(fall) = self.fall.as_mut().filter(|fall| fall.lowest <= place) {
            fall.until = fall.until.min(now);
        }
    }

    /// Nobody took an encoding that was offered: more is not needed.
    pub(super) fn on_switched_off(&mut self, place: usize) {
        if let Some(fall) = self.fall.as_mut().filter(|fall| place <= fall.highest && self.carried.is_offered(place)) {
            fall.is_over = true;
        }
    }

    /// An encoding fell short: nothing is tried for a while.
    fn on_fall(&mut self, now: Instant, Short { place, cause }: Short) {
        let before = self.fall.filter(|_| self.is_recent(now));
        let hold = hold_after(before, now, cause);
        // What falls short before all is carried again belongs to the same fall.
        let ongoing = before.filter(|fall| !fall.is_over);
        let in_pause = ongoing.filter(|fall| now < fall.until);
        self.fall = Some(Fall {
            lowest: in_pause.map_or(place, |fall| fall.lowest.min(place)),
            highest: ongoing.map_or(place, |fall| fall.highest.max(place)),
            until: now + hold,
            hold,
            is_over: false,
        });
    }
}

/// The pause after a fall; `before` is the fall before it, unless that was long ago.
fn hold_after(before: Option<Fall>, now: Instant, cause: Cause) -> Duration {
    match before {
        None => FIRST_HOLD,
        Some(_) if cause == Cause::NoRoom => NO_ROOM,
        Some(fall) if now < fall.until => fall.hold,
        Some(fall) => (2 * fall.hold).min(LONGEST_HOLD),
    }
}

impl Track {
    /// Looks anew at what is carried.
    pub(super) fn review_carried(&mut self, now: Instant) -> Review {
        let lowest = self.lowest_to_be_had(now).unwrap_or(0);
        let before = self.recovery.carried;
        let short = self.falls_short(now, lowest, before);
        if let Some(short) = short {
            self.recovery.on_fall(now, short);
        }
        let carried = self.now_carried(now, lowest);
        if carried.tried != before.tried {
            self.recovery.tried_at = carried.tried.map(|_| now);
        }
        self.recovery.carried = carried;
        Review { changed: carried != before, fell: short.map(|short| short.cause) }
    }

    /// Whether receivers are offered less than its publisher has, since its network does not carry more.
    pub fn is_held_back(&self) -> bool {
        self.recovery.carried != Carried::default()
    }

    /// The encoding that falls short. While one is tried it is that one, whichever suffers; otherwise it is the lowest
    /// that does, of those above the lowest that is to be had.
    fn falls_short(&self, now: Instant, lowest: usize, before: Carried) -> Option<Short> {
        match before.tried {
            Some(tried) => self.trial_fails(now, tried),
            None => {
                let mut above = self.encodings.iter().enumerate().skip(lowest + 1);
                let (place, _) = above.find(|(place, e)| !before.is_off(*place) && e.shortfall.is_short())?;
                Some(Short { place, cause: Cause::Loss })
            }
        }
    }

    /// The trial of an encoding fails where that or a lower one falls short, or where the publisher finds no room for
    /// it.
    fn trial_fails(&self, now: Instant, tried: usize) -> Option<Short> {
        let flows = self.encodings.get(tried).is_some_and(|encoding| encoding.activity.active_since().is_some());
        let is_due = self.recovery.tried_at.is_some_and(|at| now.saturating_duration_since(at) >= FLOWS_WITHIN);
        let suffers = || self.encodings.iter().take(tried + 1).any(|encoding| encoding.shortfall.is_short());
        let cause = if flows { Cause::Trial } else { Cause::NoRoom };
        ((!flows && is_due) || suffers()).then_some(Short { place: tried, cause })
    }

    /// What is carried now. Where nothing is left to be tried, the last fall is over.
    fn now_carried(&mut self, now: Instant, lowest: usize) -> Carried {
        let unproven = self.lowest_unproven_above(lowest);
        let Some(fall) = self.recovery.fall.as_mut().filter(|fall| !fall.is_over) else { return Carried::default() };
        if fall.lowest <= lowest {
            // There is nothing lower to be had.
            return Carried::default();
        }
        if now < fall.until {
            let offered_below = unproven.map_or(fall.lowest, |place| place.min(fall.lowest));
            return Carried { offered_below: Some(offered_below), tried: None, off_from: Some(fall.lowest) };
        }
        match unproven.filter(|place| *place <= fall.highest) {
            Some(next) => Carried { offered_below: Some(next), tried: Some(next), off_from: None },
            None => {
                fall.is_over = true;
                Carried::default()
            }
        }
    }

    fn lowest_unproven_above(&self, lowest: usize) -> Option<usize> {
        let mut above = self.encodings.iter().enumerate().skip(lowest + 1);
        above.find(|(_, encoding)| encoding.activity.flowed_for() < PROVEN).map(|(place, _)| place)
    }

    fn lowest_to_be_had(&self, now: Instant) -> Option<usize> {
        let is_to_be_had = |e: &Encoding| e.activity.active_since().is_some() || e.comes_back(now);
        self.encodings.iter().position(is_to_be_had)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::super::relayed::Origin;
    use super::*;
    use crate::engine::keys::{ParticipantKey, RoomKey};
    use crate::ids::{ParticipantId, RoomId, ShardId, TrackId};
    use crate::media::Source;
    use crate::relay::Description;
    use crate::units::Mid;
    use crate::uplink::shortfall::LossCounts;

    const SECOND: Duration = Duration::from_secs(1);
    const FELL: Short = Short { place: 2, cause: Cause::Trial };

    /// For how long nothing is tried.
    fn held(recovery: &Recovery, now: Instant) -> Duration {
        recovery.fall.unwrap().until - now
    }

    /// The lowest encoding that fell short, and the highest that has not been carried since.
    fn places(recovery: &Recovery) -> (usize, usize) {
        let fall = recovery.fall.unwrap();
        (fall.lowest, fall.highest)
    }

    #[test]
    fn each_further_try_that_fills_the_network_comes_later_until_there_was_none_for_a_while() {
        let (mut recovery, mut now) = (Recovery::default(), Instant::now());
        for hold in [5, 10, 20, 40, 40] {
            recovery.on_fall(now, FELL);
            assert_eq!(held(&recovery, now), hold * SECOND);
            now += hold * SECOND;
        }
        now += 29 * SECOND;
        assert!(recovery.is_recent(now));
        now += SECOND;
        assert!(!recovery.is_recent(now));
        recovery.on_fall(now, FELL);
        assert_eq!(held(&recovery, now), 5 * SECOND);
    }

    #[test]
    fn what_falls_short_meanwhile_belongs_to_the_same_fall() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        recovery.on_fall(now, FELL);
        recovery.on_fall(now + SECOND, Short { place: 1, cause: Cause::Trial });
        assert_eq!(held(&recovery, now + SECOND), 5 * SECOND);
        assert_eq!(places(&recovery), (1, 2));
        recovery.on_fall(now + 7 * SECOND, Short { place: 1, cause: Cause::Trial });
        assert_eq!(places(&recovery), (1, 2), "the higher one was not carried since");
    }

    #[test]
    fn who_finds_no_room_for_it_is_asked_again_as_often() {
        let (mut recovery, mut now) = (Recovery::default(), Instant::now());
        recovery.on_fall(now, FELL);
        now += 8 * SECOND;
        for _ in 0..5 {
            recovery.on_fall(now, Short { place: 1, cause: Cause::NoRoom });
            assert_eq!(held(&recovery, now), NO_ROOM);
            now += NO_ROOM + FLOWS_WITHIN;
        }
    }

    #[test]
    fn who_begins_to_send_it_by_itself_is_not_kept_waiting() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        recovery.on_fall(now, FELL);
        recovery.on_started(now + SECOND, 1);
        assert_eq!(held(&recovery, now), 5 * SECOND, "a lower one says nothing about it");
        recovery.on_started(now + SECOND, 2);
        assert_eq!(held(&recovery, now), SECOND);
    }

    /// A track of three encodings.
    struct Call {
        track: Track,
        now: Instant,
        /// Why less was asked for, each time.
        falls: Vec<Cause>,
    }

    impl Call {
        fn new() -> Call {
            let description = Description {
                room: RoomId(1),
                track: TrackId { participant: ParticipantId(1), index: 0 },
                mid: Mid::new("0").unwrap(),
                source: Source::Camera,
                muted: false,
                codec: None,
                rids: vec![None; 3],
            };
            let mut track = Track::mirror_of(ShardId(0), RoomKey::default(), &description);
            track.origin = Origin::Participant(ParticipantKey::default());
            Call { track, now: Instant::now(), falls: vec![] }
        }

        /// These encodings flow for so long; what is carried then.
        fn flow(&mut self, places: &[usize], time: Duration) -> Carried {
            let end = self.now + time;
            while self.now < end {
                self.now += Duration::from_millis(50);
                for place in places {
                    self.track.encodings[*place].activity.on_packet(self.now, true);
                }
                self.track.handle_timeout(self.now);
                self.review();
            }
            self.track.recovery.carried()
        }

        fn review(&mut self) {
            let review = self.track.review_carried(self.now);
            self.falls.extend(review.fell);
        }

        /// An encoding falls short, for a moment.
        fn fall(&mut self, place: usize) -> Carried {
            let shortfall = &mut self.track.encodings[place].shortfall;
            shortfall.update(self.now, LossCounts::default());
            shortfall.update(self.now, LossCounts { sent: 100, overdue: 50, gaps: 50 });
            self.review();
            self.track.encodings[place].shortfall.on_started();
            self.track.recovery.carried()
        }

        fn options(&mut self) -> Vec<(u8, bool)> {
            let options = self.track.layer_options(self.now);
            let mut list: Vec<_> = options.iter().map(|option| (option.encoding.0, option.doubtful)).collect();
            list.dedup();
            list
        }
    }

    const ALL: Carried = Carried { offered_below: None, tried: None, off_from: None };
    const TRIES_NEXT: Carried = Carried { offered_below: Some(1), tried: Some(1), off_from: None };

    #[test]
    fn one_encoding_after_the_other_is_tried_and_offered_when_it_has_flowed_for_a_while() {
        let mut call = Call::new();
        assert_eq!(call.flow(&[0, 2], 3 * SECOND), ALL);
        assert_eq!(call.options(), [(0, false), (2, false)]);
        assert_eq!(call.fall(2), Carried { offered_below: Some(1), tried: None, off_from: Some(2) });
        assert_eq!(call.options(), [(0, false)]);
        assert_eq!(call.flow(&[0], 4 * SECOND), Carried { offered_below: Some(1), tried: None, off_from: Some(2) });
        assert_eq!(call.flow(&[0], SECOND), TRIES_NEXT);
        assert_eq!(call.flow(&[0, 1], SECOND), TRIES_NEXT);
        assert_eq!(call.options(), [(0, false)]);
        assert_eq!(call.flow(&[0, 1], SECOND), Carried { offered_below: Some(2), tried: Some(2), off_from: None });
        assert_eq!(call.options(), [(0, false), (1, true)]);
        assert_eq!(call.flow(&[0, 1, 2], 2 * SECOND), ALL);
        assert_eq!(call.options(), [(0, false), (1, true), (2, true)]);
        assert_eq!(call.flow(&[0, 1, 2], 30 * SECOND), ALL);
        assert_eq!(call.falls, [Cause::Loss]);
        assert_eq!(call.options(), [(0, false), (1, false), (2, false)]);
    }

    #[test]
    fn what_does_not_flow_soon_or_only_for_a_moment_is_off_again() {
        for flows in [0, 12] {
            let mut call = Call::new();
            call.flow(&[0, 1], 3 * SECOND);
            call.fall(1);
            assert_eq!(call.flow(&[0], 5 * SECOND), TRIES_NEXT);
            assert_eq!(call.flow(&[0, 1], Duration::from_millis(50) * flows), TRIES_NEXT);
            assert_eq!(call.flow(&[0], 2 * SECOND), TRIES_NEXT);
            assert_eq!(
                call.flow(&[0], SECOND + SECOND / 2),
                Carried { offered_below: Some(1), tried: None, off_from: Some(1) }
            );
            assert_eq!(call.falls, [Cause::Loss, Cause::NoRoom]);
            call.flow(&[0], NO_ROOM - SECOND);
            assert_eq!(call.flow(&[0], SECOND), TRIES_NEXT);
        }
    }

    #[test]
    fn what_suffers_from_a_try_ends_it() {
        let mut call = Call::new();
        call.flow(&[0, 1], 3 * SECOND);
        call.fall(1);
        call.flow(&[0], 5 * SECOND);
        assert_eq!(call.flow(&[0, 1], SECOND), TRIES_NEXT);
        assert_eq!(call.fall(0), Carried { offered_below: Some(1), tried: None, off_from: Some(1) });
        assert_eq!(call.falls, [Cause::Loss, Cause::Trial]);
        assert_eq!(call.flow(&[0], 9 * SECOND).tried, None, "twice as long as before");
        assert_eq!(call.flow(&[0], SECOND), TRIES_NEXT);
    }

    #[test]
    fn the_lowest_that_is_to_be_had_is_never_off() {
        let mut call = Call::new();
        call.flow(&[1, 2], 3 * SECOND);
        assert_eq!(call.fall(1), ALL);
        assert_eq!(call.fall(2).off_from, Some(2));
    }

    #[test]
    fn no_more_is_tried_than_somebody_takes() {
        let mut call = Call::new();
        call.flow(&[0, 2], 3 * SECOND);
        assert!(!call.track.is_held_back());
        call.fall(2);
        assert!(call.track.is_held_back());
        call.flow(&[0], 5 * SECOND);
        assert_eq!(call.flow(&[0, 1], 2 * SECOND).tried, Some(2));
        call.track.recovery.on_switched_off(1);
        assert_eq!(call.flow(&[0], SECOND), ALL);
    }
}
