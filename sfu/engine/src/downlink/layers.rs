//! Which layer each slot of a receiver gets now: audio first, then the allocator's choice among the videos, then what
//! that means for the publishers.

use super::allocate::{Allocator, Choice, Decision, LayerOption, Strain, Subscription, video_budget};
use super::estimate::UTILISATION;
use super::redundancy::{self, Sound};
use super::slot::Slot;
use super::{ALLOCATE_INTERVAL, Downlink, Relief};
use crate::command::Priority;
use crate::engine::keys::{ParticipantKey, TrackKey};
use crate::event::PauseReason;
use crate::forward::Layer;
use crate::media::{MediaKind, Source};
use crate::room::Room;
use crate::sdp::MAX_ENCODINGS;
use crate::units::Bitrate;
use crate::uplink::track::Track;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

/// The demand that the estimator is told is this many times what all layers and audio cost. Without it the estimate
/// would stay just below what the last switch upwards takes. The estimator multiplies the demand once more, by its own
/// headroom for probes (1.15), so the link is explored up to about 1.7 times what all layers cost.
pub(super) const DEMAND_HEADROOM: f64 = 1.5;
/// New frames of a larger encoding are held back for at most this long while a smaller one is waited for. An encoding
/// that was switched off at the publisher comes after about 100 ms and one frame.
const HELD: Duration = Duration::from_millis(150);
/// Probes explore the link up to this rate even while less is wanted.
const EXPLORED: Bitrate = Bitrate::kbps(1500);

impl Downlink {
    /// Whether layers should be chosen anew: something changed, the estimate moved, or time passed.
    pub fn allocation_is_due(&self, now: Instant) -> bool {
        self.guard.is_due(now, self.budget(), || self.rate.rate(now).minus(self.audio), self.demand)
            || self.allocated_at.is_some_and(|at| now >= at + ALLOCATE_INTERVAL)
    }

    /// What is left of the estimate for video. Behind a shared bottleneck it is at most the receiver's fair share.
    /// There the share is used in full: the 5 % that an estimate leaves free are not this receiver's alone, and what
    /// all leave free together pays for the key frame of the one that switches.
    fn budget(&self) -> Bitrate {
        if self.relief == Relief::NoPictures {
            return Bitrate::ZERO;
        }
        let estimate = self.estimator.estimate();
        let all = self.fair_share.map_or(estimate, |part| part.rate.min(estimate).scale(1.0 / UTILISATION));
        video_budget(all, self.audio, self.estimator.loss())
    }

    /// Chooses a layer for every slot with the engine's `allocator`, and tells the tracks which encodings this receiver
    /// takes. Returns the tracks for which that is news.
    pub fn allocate(
        &mut self,
        now: Instant,
        receiver: ParticipantKey,
        room: &Room,
        tracks: &mut SlotMap<TrackKey, Track>,
        allocator: &mut Allocator,
    ) -> Vec<TrackKey> {
        self.allocated_at = Some(now);
        self.audio = self.allocate_audio(now, room, tracks);
        let budget = self.budget();
        self.guard.solved(now, budget);
        let wishes = self.video_wishes(now, room, tracks);
        let changes = self.choose_layers(now, budget, &wishes, allocator);
        self.tell_demand(now, !wishes.is_empty());
        self.apply_decisions(&wishes);
        if changes.lower {
            self.hold_larger(now);
        }
        self.start_from_store(now, tracks);
        self.publish_interest(now, receiver, tracks)
    }

    /// Has the `allocator` decide on every video slot. The decisions are kept in the order of the wishes.
    fn choose_layers(&mut self, now: Instant, budget: Bitrate, wishes: &[Wish], allocator: &mut Allocator) -> Changes {
        let subscriptions: Vec<_> = wishes.iter().map(Wish::subscription).collect();
        let backoff = self.upswitch_backoff.share(now, budget);
        let sending = subscriptions.iter().filter_map(|s| s.sent()).fold(Bitrate::ZERO, |sum, o| sum.plus(o.rate));
        let strain = Strain { queue: self.queue_time(), loss: self.estimator.loss() };
        let allowance = self.dip_tolerance.allowance(now, budget, sending, strain);
        let allocation = allocator.choose(budget, backoff, allowance, &subscriptions, &mut self.decisions);
        let changes = Changes::between(wishes, &self.decisions);
        self.upswitch_backoff.on_choice(now, budget, changes.higher, changes.lower);
        self.demand = allocation.demand;
        self.starved = allocation.paused > 0;
        changes
    }

    /// Tells the estimator up to which rate the link is worth exploring.
    fn tell_demand(&mut self, now: Instant, has_video: bool) {
        // With video, the link is explored beforehand up to what a frame of a usual size takes, so that a larger tile
        // need not wait.
        let explored = if has_video { EXPLORED } else { Bitrate::ZERO };
        let demand = self.demand.plus(self.audio).scale(DEMAND_HEADROOM);
        self.estimator.set_demand(now, demand.max(explored).max(self.explored_for_all(now)));
    }

    /// Sets the target, the limit and the pause of every video slot as decided.
    fn apply_decisions(&mut self, wishes: &[Wish]) {
        for (decision, wish) in self.decisions.iter().zip(wishes) {
            let Some(slot) = self.slots.get_mut(decision.key).and_then(Option::as_mut) else { continue };
            let (target, pause) = match decision.choice {
                Choice::Layer(layer) => (Some(layer.layer()), None),
                Choice::Paused => (None, Some(self.relief.pause())),
                Choice::Hidden => (None, Some(PauseReason::NotVisible)),
                Choice::Absent => (None, Some(PauseReason::NoMedia)),
            };
            if let Choice::Layer(layer) = &decision.choice {
                self.states_changed |= slot.choose(target, self.relief.limit(wish.subscription().limit(layer)));
                slot.forwarder.require_whole_keyframe(layer.doubtful);
            }
            slot.forwarder.set_target(target);
            set_pause(slot, pause, &mut self.states_changed);
        }
    }

    /// Holds new frames of a larger encoding back while a smaller one is waited for and the network's queue still holds
    /// what was sent before: the smaller one would arrive behind them, and until then few of them get through whole.
    /// Nothing is held back where others share the bottleneck: they would fill it meanwhile.
    fn hold_larger(&mut self, now: Instant) {
        let falls = |slot: &Slot| {
            let flows = slot.forwarder.current().map(|current| current.encoding);
            slot.forwarder.wants_keyframe().zip(flows).is_some_and(|(wanted, flows)| wanted < flows)
        };
        let Some(passed) = self.estimator.queue_passed().filter(|passed| self.fair_share.is_none() && *passed > now)
        else {
            return;
        };
        if self.slots.iter().flatten().any(falls) {
            self.pacer.hold_video(now, passed.min(now + HELD));
        }
    }

    /// Sets the pauses of audio slots, chooses how often their packets are repeated, and returns the rate that audio
    /// takes.
    fn allocate_audio(&mut self, now: Instant, room: &Room, tracks: &SlotMap<TrackKey, Track>) -> Bitrate {
        let mut sound = Sound::default();
        for slot in self.slots.iter_mut().flatten().filter(|s| s.kind == MediaKind::Audio) {
            let Some(key) = slot.binding.as_ref().map(|b| b.track) else { continue };
            let Some(track) = tracks.get(key) else { continue };
            let pause = if track.muted {
                Some(PauseReason::Muted)
            } else if slot.lacks_codec() {
                Some(PauseReason::Codec)
            } else if !room.is_heard(key, track) {
                Some(PauseReason::NotTalking)
            } else {
                let (once, all) = (track.rate(now, false), track.rate(now, slot.takes_repetitions()));
                // The server does not repeat what the publisher repeats already.
                let repeatable = if slot.takes_repetitions() && all == once { once } else { Bitrate::ZERO };
                sound.all = sound.all.plus(all);
                sound.repeatable = sound.repeatable.plus(repeatable);
                None
            };
            slot.forwarder.set_target(pause.is_none().then_some(Layer::default()));
            set_pause(slot, pause, &mut self.states_changed);
        }
        let (loss, alone) = (self.estimator.stray_loss(), self.demand == Bitrate::ZERO);
        self.repetitions = redundancy::choose(self.repetitions, loss, sound, alone, self.estimator.estimate());
        sound.repeated(self.repetitions)
    }

    /// What the video slots could be given. A slot that is paused for a reason of its own (muted, codec) gets that
    /// reason and no wish.
    fn video_wishes(&mut self, now: Instant, room: &Room, tracks: &mut SlotMap<TrackKey, Track>) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (index, place) in self.slots.iter_mut().enumerate() {
            let Some(slot) = place.as_mut().filter(|s| s.kind == MediaKind::Video) else { continue };
            let Some(track) = slot.binding.as_ref().and_then(|b| tracks.get_mut(b.track)) else { continue };
            let preference = self.preferences.of(track.id);
            if track.muted || slot.lacks_codec() {
                let pause = if track.muted { PauseReason::Muted } else { PauseReason::Codec };
                slot.forwarder.set_target(None);
                set_pause(slot, Some(pause), &mut self.states_changed);
                continue;
            }
            let mut options = track.layer_options(now);
            if !slot.reads_spatial_layers() {
                keep_lowest_and_whole(&mut options);
            }
            wishes.push(Wish {
                slot: index,
                priority: effective_priority(preference.priority, track, room),
                source: track.source,
                max_height: preference.max_height.min(self.relief.max_height()),
                current: slot.forwarder.target().or(slot.forwarder.current()).map(|now| as_offered(now, &options)),
                options,
            });
        }
        wishes
    }

    /// Tells every bound track which of its encodings this receiver takes or waits for, and asks for key frames.
    /// Returns the tracks for which that is news.
    fn publish_interest(
        &mut self,
        now: Instant,
        receiver: ParticipantKey,
        tracks: &mut SlotMap<TrackKey, Track>,
    ) -> Vec<TrackKey> {
        let mut concerned = Vec::new();
        for slot in self.slots.iter_mut().flatten() {
            let waiting = slot.forwarder.wants_keyframe();
            slot.waiting_since = waiting.map(|_| slot.waiting_since.unwrap_or(now));
            let Some(binding) = slot.binding.as_ref() else { continue };
            let Some(track) = tracks.get_mut(binding.track) else { continue };
            let changed = if binding.pause == Some(PauseReason::NoMedia) {
                // Nothing is known of the track yet, so any encoding is taken.
                track.set_interest(receiver, track.encoding_indices())
            } else {
                let flows = slot.forwarder.current().map(|c| c.encoding);
                let wanted = slot.forwarder.target().map(|t| t.encoding);
                track.set_interest(receiver, [flows, waiting, wanted].into_iter().flatten())
            };
            if let Some(encoding) = waiting {
                track.request_keyframe(now, encoding);
            }
            if changed || waiting.is_some() {
                concerned.push(binding.track);
            }
        }
        concerned
    }
}

/// Keeps of each encoding the options of its lowest and of its highest spatial layer: a receiver that cannot tell
/// spatial layers apart is sent the lowest alone, or all of them, of which its decoder shows the highest.
fn keep_lowest_and_whole(options: &mut Vec<LayerOption>) {
    let mut highest = [0; MAX_ENCODINGS];
    for option in options.iter() {
        if let Some(highest) = highest.get_mut(usize::from(option.encoding.0)) {
            *highest = option.spatial.max(*highest);
        }
    }
    options.retain(|option| {
        option.spatial == 0 || highest.get(usize::from(option.encoding.0)).is_some_and(|top| *top == option.spatial)
    });
}

/// What is sent, as one of the options: how many temporal layers an encoding has is known only once it has flowed for a
/// while, and until then all of them count as one.
fn as_offered(sent: Layer, options: &[LayerOption]) -> Layer {
    let same = options.iter().filter(|option| (option.encoding, option.spatial) == (sent.encoding, sent.spatial));
    let temporal = same.map(|option| option.temporal);
    let covers = temporal.clone().filter(|layer| *layer >= sent.temporal).min();
    Layer { temporal: covers.or(temporal.max()).unwrap_or(sent.temporal), ..sent }
}

/// How the chosen layers differ from those that are sent.
struct Changes {
    /// Some slot gets a higher layer.
    higher: bool,
    /// Some slot gets a lower layer, or none.
    lower: bool,
}

impl Changes {
    fn between(wishes: &[Wish], decisions: &[Decision<usize>]) -> Changes {
        let mut changes = Changes { higher: false, lower: false };
        for (wish, decision) in wishes.iter().zip(decisions) {
            let chosen = match decision.choice {
                Choice::Layer(option) => Some(option.layer()),
                _ => None,
            };
            changes.higher |= chosen > wish.current;
            changes.lower |= chosen < wish.current;
        }
        changes
    }
}

/// What one video slot could be given.
struct Wish {
    slot: usize,
    priority: Priority,
    source: Source,
    max_height: u16,
    options: Vec<LayerOption>,
    current: Option<Layer>,
}

impl Wish {
    fn subscription(&self) -> Subscription<'_, usize> {
        Subscription {
            key: self.slot,
            priority: self.priority,
            source: self.source,
            max_height: self.max_height,
            options: &self.options,
            current: self.current,
        }
    }
}

/// Visible screens and the dominant speaker's camera come before other visible tiles.
fn effective_priority(asked: Priority, track: &Track, room: &Room) -> Priority {
    match (asked, track.source) {
        (Priority::Visible, Source::Screen) => Priority::Screen,
        (Priority::Visible, Source::Camera) if room.dominant == Some(track.id.participant) => Priority::Speaker,
        _ => asked,
    }
}

fn set_pause(slot: &mut Slot, pause: Option<PauseReason>, changed: &mut bool) {
    if let Some(binding) = slot.binding.as_mut()
        && binding.pause != pause
    {
        binding.pause = pause;
        *changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::bottleneck::FairShare;
    use super::*;
    use crate::downlink::estimate::EstimatorConfig;
    use crate::ids::EncodingIndex;

    #[test]
    fn who_cannot_tell_spatial_layers_apart_chooses_between_the_lowest_and_all() {
        let option = |(encoding, spatial, temporal)| LayerOption {
            encoding: EncodingIndex(encoding),
            spatial,
            temporal,
            rate: Bitrate::kbps(100),
            height: 180,
            fps: 30,
            doubtful: false,
        };
        let layers = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1), (1, 0, 0), (1, 1, 0)];
        let mut options: Vec<_> = layers.map(option).into();
        keep_lowest_and_whole(&mut options);
        let kept: Vec<_> = options.iter().map(|o| (o.encoding.0, o.spatial, o.temporal)).collect();
        assert_eq!(kept, [(0, 0, 0), (0, 0, 1), (0, 2, 0), (0, 2, 1), (1, 0, 0), (1, 1, 0)]);
    }

    #[test]
    fn what_is_sent_is_the_same_layer_before_and_after_its_temporal_layers_are_known() {
        let target = |temporal| Layer { encoding: EncodingIndex(1), spatial: 0, temporal };
        let option = |encoding, temporal| LayerOption {
            encoding: EncodingIndex(encoding),
            spatial: 0,
            temporal,
            rate: Bitrate::kbps(100),
            height: 180,
            fps: 30,
            doubtful: false,
        };
        let known = [option(0, 0), option(1, 0), option(1, 1), option(1, 2)];
        assert_eq!([0, 1, 2, 3].map(|sent| as_offered(target(sent), &known).temporal), [0, 1, 2, 2]);
        let young = [option(0, 0), option(1, 3)];
        assert_eq!([0, 2, 3].map(|sent| as_offered(target(sent), &young).temporal), [3, 3, 3]);
        assert_eq!(as_offered(target(1), &[option(0, 0)]), target(1), "not offered any more");
    }

    #[test]
    fn packets_are_remembered_for_as_long_as_the_queue_and_a_few_round_trips() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut downlink = Downlink::new(start, EstimatorConfig::default());
        assert_eq!(downlink.asks_within(), ms(300));
        downlink.estimator.on_loss_report(start, 0.0, ms(50));
        assert_eq!(downlink.asks_within(), ms(500));
        downlink.estimator.on_loss_report(start, 0.0, ms(1));
        assert_eq!(downlink.asks_within(), ms(304), "the shortest is what the path takes");
        let mut downlink = Downlink::new(start, EstimatorConfig::default());
        downlink.estimator.on_loss_report(start, 0.0, ms(400));
        assert_eq!(downlink.asks_within(), ms(1500));
    }

    #[test]
    fn packets_alone_have_layers_looked_at_now_and_then_and_at_once_where_something_has_changed() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut downlink = Downlink::new(start, EstimatorConfig::default());
        assert!(downlink.is_to_be_looked_at(start), "layers were never chosen");
        downlink.guard.solved(start, Bitrate::kbps(1000));
        downlink.handle_timeout(start);
        assert!(downlink.was_looked_at(start) && !downlink.was_looked_at(start + ms(1)));
        assert!(!downlink.is_to_be_looked_at(start + ms(49)));
        assert!(downlink.is_to_be_looked_at(start + ms(50)));
        downlink.allocate_soon();
        assert!(downlink.is_to_be_looked_at(start + ms(1)));
    }

    #[test]
    fn of_a_shared_bottleneck_there_is_a_part_at_most_and_none_of_it_is_left_free_twice() {
        let mut downlink = Downlink::new(Instant::now(), EstimatorConfig::default());
        let alone = downlink.budget();
        let part = |rate| Some(FairShare { rate, useful: Bitrate::ZERO });
        downlink.set_fair_share(part(alone.scale(0.5)));
        assert_eq!(downlink.budget(), alone.scale(0.5).scale(1.0 / UTILISATION));
        downlink.set_fair_share(part(alone.scale(2.0)));
        assert_eq!(downlink.budget(), alone.scale(1.0 / UTILISATION), "no more than its own way carries");
        downlink.set_fair_share(None);
        assert_eq!(downlink.budget(), alone);
    }
}
