//! What a receiver could get at best: the layers that fit a capacity, solved exactly, with the priority classes in
//! order.
//!
//! Which of two feasible choices is better is a matter of taste: 360p at 30 frames, or 720p at 8 with more bits. The
//! taste is the server's own utility function; what is judged here is how much of the best choice arrives.

use crate::client::{MAX_PAYLOAD, affordable, cumulative_share, frame_share};
use crate::scenario::{Flow, FlowKind, Priority, Publish, Rate, Scenario, Source, Steps};
use crate::sim::{Member, cast};
use sfu_engine::command;
use sfu_engine::downlink::allocate::{LayerOption, Subscription, utility};
use sfu_engine::ids::EncodingIndex;
use sfu_engine::media;
use sfu_engine::units::Bitrate;

/// Bytes around a media payload on the wire: IP, UDP, SRTP tag, RTP header, extensions.
const PACKET_OVERHEAD: f64 = 28.0 + 16.0 + 12.0 + 12.0;
/// The same for audio, which has one extension more.
const AUDIO_OVERHEAD: f64 = PACKET_OVERHEAD + 4.0;
/// What headers add to a publisher's encodings.
const UPLINK_HEADERS: f64 = 1.08;
/// Audio packets per second.
const AUDIO_PACKETS: f64 = 50.0;
/// Bits per second of one step of the knapsack.
const UNIT: f64 = 4000.0;
/// As many talkers are heard at once.
const MAX_TALKERS: usize = 8;

/// The layers that a scenario offers to each member.
pub struct Ladder {
    cast: Vec<Member>,
    /// Capacity of each path.
    limits: Vec<Steps<Rate>>,
    paths: Vec<String>,
    flows: Vec<Flow>,
    speaker: Option<usize>,
}

/// What a receiver could take at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer {
    /// Payload rate of all audio, and what it costs on the wire.
    audio: (f64, f64),
    /// Video tracks: class and options.
    tracks: Vec<(u8, Vec<Layer>)>,
}

/// One layer that could be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layer {
    /// Payload rate in bit/s.
    rate: f64,
    /// Rate on the wire in bit/s.
    cost: f64,
    /// Worth to the receiver.
    value: u32,
}

/// The best choice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Best {
    /// Payload rate of audio and video in bit/s.
    pub total: f64,
    /// Payload rate of video in bit/s.
    pub video: f64,
}

impl Ladder {
    /// The ladder of a scenario whose paths carry `limits`.
    pub fn new(scenario: &Scenario, limits: Vec<Steps<Rate>>) -> Ladder {
        let cast = cast(scenario);
        let speaker = cast.iter().position(|m| m.spec.publish.iter().any(|p| p.source == Source::Microphone));
        let flows = scenario.flows.clone();
        let paths = scenario.paths.iter().map(|path| path.name.clone()).collect();
        Ladder { cast, limits, paths, flows, speaker }
    }

    /// Everybody.
    pub fn cast(&self) -> &[Member] {
        &self.cast
    }

    /// What the member at `place` could take at a second, whatever the capacity.
    pub fn offer(&self, place: usize, second: f64) -> Offer {
        let mut offer = Offer::default();
        let mut talkers = 0;
        let receiver = &self.cast[place];
        let others = self.cast.iter().enumerate().filter(|(other, m)| *other != place && m.present(second));
        for (other, publisher) in others {
            for publish in &publisher.spec.publish {
                let Some(wish) = receiver.wish(publisher, publish.source, second) else { continue };
                if publish.source == Source::Microphone {
                    if publish.sends(None, second) && talkers < MAX_TALKERS {
                        talkers += 1;
                        let rate = publish.ladder()[0].rate.finite() as f64;
                        offer.audio.0 += rate;
                        offer.audio.1 += rate + AUDIO_PACKETS * AUDIO_OVERHEAD * 8.0;
                    }
                } else if wish.priority != Priority::Hidden {
                    let options = self.options(publisher, publish, wish.tile.height, second);
                    let speaks = self.speaker == Some(other) && publish.source == Source::Camera;
                    offer.tracks.push((class(wish.priority, publish.source, speaks), options));
                }
            }
        }
        offer
    }

    /// Payload rate of one layer of a track at a second.
    pub fn layer_rate(&self, publisher: usize, track: usize, encoding: u8, temporal: u8, second: f64) -> f64 {
        let Some(member) = self.cast.get(publisher) else { return 0.0 };
        let Some(publish) = member.spec.publish.get(track) else { return 0.0 };
        let layers = publish.temporal_layers(member.spec.codec);
        let ladder = publish.ladder();
        let index = usize::from(encoding);
        let Some(encoding) = ladder.get(index) else { return 0.0 };
        let share = self.affordable(member, publish, second).get(index).copied().unwrap_or(1.0);
        encoding.rate.finite() as f64 * share * cumulative_share(layers, temporal) * publish.rate_factor(second)
    }

    /// The layers that help a tile of this height.
    fn options(&self, member: &Member, publish: &Publish, tile: u16, second: f64) -> Vec<Layer> {
        let layers = publish.temporal_layers(member.spec.codec);
        let ladder = publish.ladder();
        let tallest = ladder.iter().map(|e| e.height).filter(|height| *height >= tile).min().unwrap_or(u16::MAX);
        let factor = publish.rate_factor(second);
        let affordable = self.affordable(member, publish, second);
        let sent = ladder
            .iter()
            .enumerate()
            .filter(|(_, encoding)| encoding.height <= tallest && publish.sends(encoding.rid.as_deref(), second));
        let layers = sent.flat_map(|(index, encoding)| {
            let share = affordable.get(index).copied().unwrap_or(1.0);
            (0..layers).filter(move |_| share > 0.0).map(move |temporal| {
                let rate = encoding.rate.finite() as f64 * share * cumulative_share(layers, temporal) * factor;
                let fps = encoding.fps * frame_share(layers, temporal);
                let packets = (rate / 8.0 / fps / MAX_PAYLOAD as f64).ceil() * fps;
                let option = LayerOption {
                    encoding: EncodingIndex(index as u8),
                    spatial: 0,
                    temporal,
                    rate: Bitrate::bps(rate as u64),
                    height: encoding.height,
                    fps: fps.round() as u8,
                    doubtful: false,
                };
                (option, rate, rate + packets * PACKET_OVERHEAD * 8.0)
            })
        });
        let layers: Vec<(LayerOption, f64, f64)> = layers.collect();
        let options: Vec<LayerOption> = layers.iter().map(|(option, ..)| *option).collect();
        let subscription = Subscription {
            key: (),
            priority: command::Priority::Visible,
            source: if publish.source == Source::Screen { media::Source::Screen } else { media::Source::Camera },
            max_height: tile,
            options: &options,
            current: None,
        };
        layers
            .iter()
            .map(|(o, rate, cost)| Layer { rate: *rate, cost: *cost, value: utility(&subscription, o) })
            .collect()
    }

    /// What a publisher's own way to the server leaves of a track's encodings; empty where that is not limited. All its
    /// video shares it as its encoders do, track after track; the path is shared equally with whoever else sends or
    /// receives over it.
    fn affordable(&self, member: &Member, publish: &Publish, second: f64) -> Vec<f64> {
        let Some(path) = member.up else { return Vec::new() };
        let Some(limit) = self.limits.get(path).and_then(|limits| limits.at(second).limit()) else {
            return Vec::new();
        };
        let (steady, greedy) = self.flows_on(path, second);
        let sends = |m: &&Member| m.up == Some(path) && !m.spec.publish.is_empty() && m.present(second);
        let receives = |m: &&Member| m.down == Some(path) && m.present(second) && m.wanted_tracks(&self.cast) != (0, 0);
        let sharing = self.cast.iter().filter(sends).count() + self.cast.iter().filter(receives).count() + greedy;
        let limit = (limit as f64 - steady).max(0.0) / sharing.max(1) as f64;
        let audio = member.spec.publish.iter().filter(|publish| publish.source == Source::Microphone);
        let audio: f64 =
            audio.map(|publish| publish.ladder()[0].rate.finite() as f64 + AUDIO_PACKETS * AUDIO_OVERHEAD * 8.0).sum();
        let video = || member.spec.publish.iter().filter(|publish| publish.source != Source::Microphone);
        let rates: Vec<f64> = video().flat_map(Publish::ladder).map(|encoding| encoding.rate.finite() as f64).collect();
        let before = video().take_while(|other| !std::ptr::eq(*other, publish)).map(|other| other.ladder().len()).sum();
        affordable((limit - audio) / UPLINK_HEADERS, &rates, &[]).split_off(before)
    }

    /// What competing traffic takes of a path at a second: bits per second, and so many connections that take what they
    /// get.
    fn flows_on(&self, path: usize, second: f64) -> (f64, usize) {
        let active = self.flows.iter().filter(|flow| {
            Some(&flow.path) == self.paths.get(path)
                && (flow.from_s..flow.to_s.unwrap_or(f64::INFINITY)).contains(&second)
        });
        active.fold((0.0, 0), |(steady, greedy), flow| match flow.kind {
            FlowKind::Tcp => (steady, greedy + 1),
            FlowKind::Udp { rate } => (steady + rate.finite() as f64, greedy),
            // Fetches are short.
            FlowKind::Web { .. } => (steady, greedy),
        })
    }
}

impl Offer {
    /// What everything costs on the wire at its best.
    pub fn demand(&self) -> f64 {
        let best = |options: &Vec<Layer>| options.iter().map(|layer| layer.cost).fold(0.0, f64::max);
        self.audio.1 + self.tracks.iter().map(|(_, options)| best(options)).sum::<f64>()
    }

    /// The best sum of layers that a capacity carries; `None` is unlimited.
    pub fn best(&self, capacity: Option<f64>) -> Best {
        let capacity = capacity.unwrap_or(f64::INFINITY);
        if capacity >= self.demand() {
            let best = |options: &Vec<Layer>| options.iter().map(|layer| layer.rate).fold(0.0, f64::max);
            let video: f64 = self.tracks.iter().map(|(_, options)| best(options)).sum();
            return Best { total: self.audio.0 + video, video };
        }
        let audio = if self.audio.1 <= capacity { self.audio.0 } else { self.audio.0 * capacity / self.audio.1 };
        let mut left = ((capacity - self.audio.1).max(0.0) / UNIT) as usize;
        let mut video = 0.0;
        let mut classes: Vec<u8> = self.tracks.iter().map(|(class, _)| *class).collect();
        classes.sort_unstable();
        classes.dedup();
        for class in classes.into_iter().rev() {
            let tracks = self.tracks.iter().filter(|(c, _)| *c == class).map(|(_, options)| options.as_slice());
            let (rate, used) = knapsack(tracks, left);
            video += rate;
            left -= used;
        }
        Best { total: audio + video, video }
    }
}

/// The choice of one option of each track at most that is worth most; of equal ones the cheapest. Its rate, and the
/// units it takes.
fn knapsack<'a>(tracks: impl Iterator<Item = &'a [Layer]>, units: usize) -> (f64, usize) {
    // Best value, and its rate, for each number of units.
    let mut best = vec![(0u32, 0.0f64); units + 1];
    for layers in tracks {
        for at in (0..=units).rev() {
            for layer in layers {
                let cost = (layer.cost / UNIT).ceil() as usize;
                let Some((value, rate)) = at.checked_sub(cost).map(|rest| best[rest]) else { continue };
                let candidate = (value + layer.value, rate + layer.rate);
                if candidate.0 > best[at].0 || (candidate.0 == best[at].0 && candidate.1 < best[at].1) {
                    best[at] = candidate;
                }
            }
        }
    }
    let (value, rate) = best[units];
    let used = best.iter().position(|(other, _)| *other >= value).unwrap_or(units);
    (rate, used)
}

/// Priority class: a visible screen and the speaker's visible camera come before other visible tiles, as in the server.
fn class(priority: Priority, source: Source, speaks: bool) -> u8 {
    match (priority, source) {
        (Priority::Pinned, _) => 4,
        (Priority::Screen, _) | (Priority::Visible, Source::Screen) => 3,
        (Priority::Speaker, _) => 2,
        (Priority::Visible, _) if speaks => 2,
        (Priority::Visible, _) => 1,
        (Priority::Hidden, _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(of: &[(f64, u32)]) -> Vec<Layer> {
        of.iter().map(|(rate, value)| Layer { rate: *rate, cost: rate * 1.06, value: *value }).collect()
    }

    #[test]
    fn the_best_choice_fits_the_capacity_and_no_other_is_worth_more() {
        let ladder = layers(&[(150e3, 176), (500e3, 188), (1700e3, 200)]);
        let offer = Offer { audio: (32e3, 61e3), tracks: vec![(1, ladder.clone()), (1, ladder)] };
        assert_eq!(offer.best(None).video, 3400e3);
        assert_eq!(
            offer.best(Some(2_100_000.0)).video,
            1000e3,
            "two of 188 before one of 200 and one of 176 at more cost"
        );
        assert_eq!(offer.best(Some(800_000.0)).video, 650e3);
        assert_eq!(offer.best(Some(1_200_000.0)), Best { total: 1032e3, video: 1000e3 });
        assert_eq!(offer.best(Some(100_000.0)), Best { total: 32e3, video: 0.0 });
    }

    #[test]
    fn a_higher_class_is_served_first() {
        let tracks = vec![(1, layers(&[(1300e3, 200)])), (4, layers(&[(1000e3, 100)]))];
        let offer = Offer { audio: (0.0, 0.0), tracks };
        assert_eq!(offer.best(Some(1_500_000.0)).video, 1000e3);
    }
}
