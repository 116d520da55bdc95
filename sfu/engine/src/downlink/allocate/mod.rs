//! Which layer of every subscribed video track one receiver gets: solved exactly, not guessed.
//!
//! `Downlink::allocate` asks, with the measured rates of the layers; the answer is a layer, or an explicit pause, for
//! each subscription. Priority classes are lexicographic: a class is solved with what the classes above it have left.
//! Within a class the sum of the [`utility()`]s is the highest that fits, which is a multiple-choice knapsack; among
//! equal sums the one of the lowest rate is taken. [`Allocator::choose`] adds hysteresis in the budget. An
//! [`Allocator`] is only scratch memory: the answer depends on the arguments alone.

mod dip_tolerance;
mod guard;
mod knapsack;
#[cfg(test)]
mod tests;
mod upswitch_backoff;
mod utility;

pub use dip_tolerance::{DipTolerance, Strain};
pub use guard::SolveGuard;
pub use upswitch_backoff::UpswitchBackoff;
pub use utility::utility;

use crate::command::Priority;
use crate::event::Limit;
use crate::forward::Layer;
use crate::ids::EncodingIndex;
use crate::media::Source;
use crate::units::Bitrate;
use knapsack::{Item, Knapsack};

/// A key frame is about this many mean frames large.
const KEYFRAME_FRAMES: f64 = 6.0;
/// Time over which the key frame of a switch upwards may be spread.
const KEYFRAME_SPREAD_S: f64 = 3.0;
/// Most that a switch upwards must leave free, as a share of the layer's rate.
const MAX_KEYFRAME_SHARE: f64 = 0.25;
/// A change must fit into the budget less this share and rate, what is being sent may exceed it by as much: noise
/// changes nothing.
const SLACK: (f64, Bitrate) = (0.03, Bitrate::kbps(3));
/// Points that a change must gain, and more, which takes from one picture to give to another. A measured frame rate
/// swings by one frame per second, which is worth five points where the lowest temporal layer has seven: tracks that
/// are alike would change places with it.
const TRADE: u32 = 5;
/// Loss beyond this is not repaired at the expense of new media.
const MAX_REPAIRED_LOSS: f64 = 0.2;

/// One layer that could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerOption {
    /// The encoding.
    pub encoding: EncodingIndex,
    /// Its highest spatial layer.
    pub spatial: u8,
    /// Its highest temporal layer.
    pub temporal: u8,
    /// What that costs on the wire, measured.
    pub rate: Bitrate,
    /// Picture height in pixels, 0 while unknown.
    pub height: u16,
    /// Frames per second.
    pub fps: u8,
    /// The publisher's network did not carry it lately, so that it is switched to only when its key frame has come
    /// whole.
    pub doubtful: bool,
}

/// What one receiver wants of one video track. `K` names the subscription.
#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a, K> {
    /// Comes back in the decision.
    pub key: K,
    /// Its class; [`Priority::Hidden`] gets nothing.
    pub priority: Priority,
    /// A screen is to be sharp, a camera to be fluent.
    pub source: Source,
    /// Height of the tile in pixels; `u16::MAX` where there is no limit.
    pub max_height: u16,
    /// The layers that arrive from the publisher, in any order; empty while muted or not yet there.
    pub options: &'a [LayerOption],
    /// What is being sent or about to be.
    pub current: Option<Layer>,
}

/// What is to be sent of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This layer.
    Layer(LayerOption),
    /// Nothing, because the bandwidth does not allow it: the client is to be told.
    Paused,
    /// Nothing, because it is not on screen.
    Hidden,
    /// Nothing, because nothing arrives from the publisher.
    Absent,
}

/// The answer for one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<K> {
    /// The subscription's key.
    pub key: K,
    /// The answer.
    pub choice: Choice,
}

/// The answer as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// What all subscriptions together could use, whatever the budget. For [`super::estimate::Estimator::set_demand`],
    /// once audio and repair have been added.
    pub demand: Bitrate,
    /// Subscriptions that are paused for want of bandwidth.
    pub paused: usize,
}

/// What noise in a budget may be.
fn slack(budget: Bitrate) -> Bitrate {
    budget.scale(SLACK.0).plus(SLACK.1)
}

/// What is left for video of an estimate: audio is never cut, and what gets lost is sent again.
pub fn video_budget(estimate: Bitrate, audio: Bitrate, loss: f32) -> Bitrate {
    let repair = f64::from(loss).clamp(0.0, MAX_REPAIRED_LOSS);
    estimate.scale(1.0 - repair).minus(audio)
}

/// Solves allocations; one per shard is enough.
#[derive(Debug, Default)]
pub struct Allocator {
    knapsack: Knapsack,
    /// Subscriptions of the class being solved.
    class: Vec<usize>,
}

/// Utility of a solution by class, highest class first; compared in this order.
type Worth = [u32; 4];

/// Which options are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All that the tile can show.
    All,
    /// Of these, what is being sent and less.
    Held,
}

impl Allocator {
    /// Chooses with hysteresis: the best solution a little below the budget, unless as much (or where that takes from
    /// one to give to another, nearly as much) can be had within the `allowance` by going on with what is being sent,
    /// or less. `backoff`: a further share of the budget that a change must leave free, see [`UpswitchBackoff`]; for
    /// the allowance see [`DipTolerance`].
    pub fn choose<K: Copy>(
        &mut self,
        budget: Bitrate,
        backoff: f64,
        allowance: Bitrate,
        subscriptions: &[Subscription<'_, K>],
        decisions: &mut Vec<Decision<K>>,
    ) -> Allocation {
        let free = slack(budget).plus(budget.scale(backoff));
        let new = self.solve_within(Scope::All, budget.minus(free), subscriptions, decisions);
        let mut kept = Vec::new();
        let held = self.solve_within(Scope::Held, allowance, subscriptions, &mut kept);
        let trades = subscriptions.iter().zip(decisions.iter()).any(|(s, decision)| s.loses_by(&decision.choice));
        if !gains(new, held, if trades { TRADE } else { 0 }) {
            *decisions = kept;
        }
        summarise(subscriptions, decisions)
    }

    /// Chooses the best of the options in `scope` under `budget`, exactly. `decisions` is cleared and gets one entry
    /// per subscription, in their order.
    fn solve_within<K: Copy>(
        &mut self,
        scope: Scope,
        budget: Bitrate,
        subscriptions: &[Subscription<'_, K>],
        decisions: &mut Vec<Decision<K>>,
    ) -> Worth {
        decisions.clear();
        decisions.extend(subscriptions.iter().map(|s| Decision { key: s.key, choice: s.without_bandwidth() }));
        let mut left = budget;
        [Priority::Pinned, Priority::Screen, Priority::Speaker, Priority::Visible].map(|class| {
            let (cost, worth) = self.solve_class(class, scope, left, subscriptions, decisions);
            left = left.minus(cost);
            worth
        })
    }

    /// Solves one class with what is left; returns what it costs and is worth.
    fn solve_class<K: Copy>(
        &mut self,
        class: Priority,
        scope: Scope,
        left: Bitrate,
        subscriptions: &[Subscription<'_, K>],
        decisions: &mut [Decision<K>],
    ) -> (Bitrate, u32) {
        self.knapsack.clear();
        self.class.clear();
        for (index, subscription) in subscriptions.iter().enumerate().filter(|(_, s)| s.priority == class) {
            self.class.push(index);
            self.knapsack.add_group(subscription.allowed(scope).map(|(choice, option)| Item {
                choice,
                value: utility(subscription, option),
                cost: cost(subscription, option),
            }));
        }
        let total = self.knapsack.solve(left);
        let mut worth = 0;
        for (index, choice) in self.class.iter().zip(self.knapsack.choices()) {
            let Some(subscription) = subscriptions.get(*index) else { continue };
            let option = choice.and_then(|c| subscription.options.get(c));
            if let (Some(option), Some(decision)) = (option, decisions.get_mut(*index)) {
                decision.choice = Choice::Layer(*option);
                worth += utility(subscription, option);
            }
        }
        (total, worth)
    }
}

impl<K> Subscription<'_, K> {
    /// The options worth considering, with their index: none above the lowest height that fills the tile.
    fn allowed(&self, scope: Scope) -> impl Iterator<Item = (usize, &LayerOption)> {
        let filling = self.options.iter().map(|o| o.height).filter(|height| *height >= self.max_height).min();
        let cap = filling.unwrap_or(u16::MAX);
        let options = self.options.iter().enumerate().filter(move |(_, option)| option.height <= cap);
        options.filter(move |(_, option)| scope == Scope::All || self.current.is_some_and(|now| option.layer() <= now))
    }

    /// The option that is being sent.
    pub fn sent(&self) -> Option<&LayerOption> {
        self.options.iter().find(|option| Some(option.layer()) == self.current)
    }

    /// Whether less is chosen than what is being sent.
    fn loses_by(&self, choice: &Choice) -> bool {
        let chosen = if let Choice::Layer(option) = choice { Some(option.layer()) } else { None };
        chosen < self.current
    }

    /// Why nothing higher was chosen than this.
    pub fn limit(&self, chosen: &LayerOption) -> Limit {
        let is_higher = |option: &LayerOption| option.layer() > chosen.layer();
        if self.allowed(Scope::All).any(|(_, option)| is_higher(option)) {
            Limit::Bandwidth
        } else if self.options.iter().any(is_higher) {
            Limit::Size
        } else {
            Limit::Source
        }
    }

    fn without_bandwidth(&self) -> Choice {
        match (self.priority, self.options.is_empty()) {
            (Priority::Hidden, _) => Choice::Hidden,
            (_, true) => Choice::Absent,
            (_, false) => Choice::Paused,
        }
    }
}

impl LayerOption {
    /// The layer itself.
    pub fn layer(&self) -> Layer {
        Layer { encoding: self.encoding, spatial: self.spatial, temporal: self.temporal }
    }
}

/// What an option takes from the budget: its rate and, for a switch to a higher encoding or spatial layer, room for the
/// key frame that it begins with. To start and to switch down must always be possible, so they need no room.
fn cost<K>(subscription: &Subscription<'_, K>, option: &LayerOption) -> Bitrate {
    if subscription.current.is_none_or(|now| (option.encoding, option.spatial) <= (now.encoding, now.spatial)) {
        return option.rate;
    }
    let share = (KEYFRAME_FRAMES - 1.0) / (f64::from(option.fps.max(1)) * KEYFRAME_SPREAD_S);
    option.rate.plus(option.rate.scale(share.min(MAX_KEYFRAME_SHARE)))
}

/// Whether a solution is worth more than another, by more than so many points, to the highest class to which it makes a
/// difference.
fn gains(new: Worth, other: Worth, points: u32) -> bool {
    let differing = new.into_iter().zip(other).find(|(new, other)| new != other);
    differing.is_some_and(|(new, other)| new > other.saturating_add(points))
}

fn summarise<K>(subscriptions: &[Subscription<'_, K>], decisions: &[Decision<K>]) -> Allocation {
    let best =
        |s: &Subscription<'_, K>| s.allowed(Scope::All).map(|(_, option)| cost(s, option)).max().unwrap_or_default();
    let visible = subscriptions.iter().filter(|s| s.priority != Priority::Hidden);
    Allocation {
        demand: visible.map(best).fold(Bitrate::ZERO, Bitrate::plus),
        paused: decisions.iter().filter(|decision| decision.choice == Choice::Paused).count(),
    }
}
