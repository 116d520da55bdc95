//! Whether the publisher should send an encoding: not while nobody takes it, nor while the publisher's network cannot
//! carry it.

use super::Encoding;
use crate::ids::EncodingIndex;
use crate::rtp::layers_allocation::StreamAllocation;
use std::time::{Duration, Instant};

/// An encoding that nobody takes is switched off at the publisher after this time, so that brief changes cost nothing.
pub(super) const UNWANTED_AFTER: Duration = Duration::from_secs(5);
/// A switched-off encoding that is wanted again must flow within this time, or it no longer counts as available.
const COMEBACK: Duration = Duration::from_secs(3);

/// Whether the publisher should send the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Somebody takes it, or took it lately.
    Wanted {
        /// Since when it is wanted again; `None` if it always was.
        since: Option<Instant>,
        /// Since when it flows without being taken by anybody.
        idle: Option<Instant>,
    },
    /// The publisher was told that nobody takes it.
    Unwanted,
}

impl Encoding {
    /// Notes whether anybody takes the encoding; nobody can where it is `too_much` for the publisher's network. Returns
    /// true where the publisher must be told something else than before.
    pub fn update_demand(&mut self, now: Instant, taken: bool, too_much: bool, index: EncodingIndex) -> bool {
        match self.demand {
            Demand::Unwanted if taken && !too_much => {
                self.demand = Demand::Wanted { since: Some(now), idle: None };
                true
            }
            Demand::Unwanted => false,
            Demand::Wanted { since, .. } if too_much => self.give_up_too_much(now, since, index),
            Demand::Wanted { since, idle } => self.note_takers(now, taken, since, idle, index),
        }
    }

    /// Switches the encoding off at once, even where it does not flow: its publisher would only look for room that
    /// there is not. It stays on where nothing is known of its cost, since it could not be offered again then.
    fn give_up_too_much(&mut self, now: Instant, since: Option<Instant>, index: EncodingIndex) -> bool {
        let flows = self.activity.active_since().is_some();
        if !flows && self.remembered.is_empty() {
            self.demand = Demand::Wanted { since, idle: None };
            return false;
        }
        if flows {
            // The measured rates, and those that the publisher announces, are only what its network leaves of them.
            self.allocation = StreamAllocation::default();
            let mut options = Vec::new();
            self.usual_options(now, index, None, &mut options);
            self.remembered = options;
        }
        self.demand = Demand::Unwanted;
        true
    }

    /// Switches the encoding off where nobody has taken it for some time. Only what flows is switched off: an encoding
    /// that the publisher itself stopped stays welcome, and one that just began is given time to be chosen.
    fn note_takers(
        &mut self,
        now: Instant,
        taken: bool,
        since: Option<Instant>,
        idle: Option<Instant>,
        index: EncodingIndex,
    ) -> bool {
        if taken || self.activity.active_since().is_none() {
            self.demand = Demand::Wanted { since, idle: None };
            return false;
        }
        let idle = idle.unwrap_or(now);
        self.demand = Demand::Wanted { since, idle: Some(idle) };
        if now.saturating_duration_since(idle) < UNWANTED_AFTER {
            return false;
        }
        let mut options = Vec::new();
        self.layer_options(now, index, &mut options);
        self.remembered = options;
        self.demand = Demand::Unwanted;
        true
    }

    /// Whether the publisher should send it.
    pub fn is_wanted(&self) -> bool {
        self.demand != Demand::Unwanted
    }

    /// Whether it can be expected to flow once somebody takes it.
    pub fn comes_back(&self, now: Instant) -> bool {
        match self.demand {
            Demand::Unwanted => true,
            Demand::Wanted { since, .. } => since.is_some_and(|at| now.saturating_duration_since(at) < COMEBACK),
        }
    }

    /// Whether it flows because it was wanted again. Then it costs what it cost before; what begins by itself may be
    /// anything.
    pub(super) fn came_back(&self) -> bool {
        let Demand::Wanted { since: Some(since), .. } = self.demand else { return false };
        self.activity.active_since().is_some_and(|active| active >= since && active < since + COMEBACK)
    }

    /// When [`Encoding::update_demand`] may find it unwanted.
    pub fn demand_timeout(&self) -> Option<Instant> {
        match self.demand {
            Demand::Wanted { idle: Some(at), .. } if self.activity.active_since().is_some() => {
                Some(at + UNWANTED_AFTER)
            }
            _ => None,
        }
    }
}
