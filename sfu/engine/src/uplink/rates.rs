//! How fast an encoding comes: bits, packets and frames per second, in total and for each spatial and temporal layer.
//!
//! Fed with every packet by the uplink; read by the allocator (what a layer costs) and by statistics.

use crate::media::{FrameMeta, Source};
use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Bytes and items (packets or frames) over a sliding second. Falls to zero by itself when nothing comes.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    /// When the first packet came after at least a window of silence.
    started: Option<Instant>,
    /// Bucket numbers count from here.
    epoch: Option<Instant>,
    /// Number of the bucket that was counted into last, and when.
    newest: u64,
    last: Option<Instant>,
    buckets: [Bucket; RateMeter::BUCKETS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: u64,
    bytes: u64,
    items: u32,
}

impl RateMeter {
    /// The window over which the rate is an average.
    pub const WINDOW: Duration = Duration::from_secs(1);
    const BUCKETS: u64 = 10;
    const BUCKET_MS: u64 = 100;
    /// A rate is spread over at least this time, so that the first burst does not look like a flood.
    const SHORTEST: Duration = Duration::from_millis(500);

    /// Counts one item of `bytes`.
    pub fn on_packet(&mut self, now: Instant, bytes: usize) {
        // Packets come and go in bursts of one moment.
        let number = if self.last == Some(now) { self.newest } else { self.bucket_number(now) };
        self.last = Some(now);
        self.epoch.get_or_insert(now);
        if self.newest + Self::BUCKETS <= number {
            self.started = Some(now);
        }
        self.newest = self.newest.max(number);
        let Some(bucket) = self.buckets.get_mut((number % Self::BUCKETS) as usize) else { return };
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        bucket.bytes += bytes as u64;
        bucket.items = bucket.items.saturating_add(1);
    }

    /// Bits per second over the window that ends now.
    pub fn rate(&self, now: Instant) -> Bitrate {
        let number = self.bucket_number(now);
        let bytes = self.buckets.iter().filter(|bucket| bucket.is_within(number)).map(|bucket| bucket.bytes).sum();
        Bitrate::of(bytes, self.covered(now))
    }

    /// Items per second over the window that ends now.
    pub fn frequency(&self, now: Instant) -> f32 {
        let number = self.bucket_number(now);
        let items: u32 = self.buckets.iter().filter(|bucket| bucket.is_within(number)).map(|bucket| bucket.items).sum();
        items as f32 / self.covered(now).as_secs_f32()
    }

    /// Number of the bucket that `now` falls into. The first is 10, so that an unused bucket, 0, is never within the
    /// window.
    fn bucket_number(&self, now: Instant) -> u64 {
        let since = self.epoch.map_or(Duration::ZERO, |epoch| now.saturating_duration_since(epoch));
        Self::BUCKETS + since.as_millis() as u64 / Self::BUCKET_MS
    }

    /// The time that the buckets of the window stand for: all but the newest are over.
    fn covered(&self, now: Instant) -> Duration {
        let elapsed =
            |since: Option<Instant>| since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let into_newest = elapsed(self.epoch).as_micros() as u64 % (Self::BUCKET_MS * 1000);
        let window = Duration::from_millis((Self::BUCKETS - 1) * Self::BUCKET_MS) + Duration::from_micros(into_newest);
        elapsed(self.started).clamp(Self::SHORTEST, window)
    }
}

impl Bucket {
    fn is_within(&self, newest: u64) -> bool {
        self.number + RateMeter::BUCKETS > newest
    }
}

/// The rates of one encoding by layer. A figure "up to" a layer includes what it depends on of the layers below it.
#[derive(Clone, Debug, Default)]
pub struct LayerRates {
    /// A meter is there once a packet of its layer has come: few encodings have more than one spatial layer.
    layers: [[Option<Box<LayerMeter>>; LayerRates::MAX_TEMPORAL]; LayerRates::MAX_SPATIAL],
    /// By spatial layer, what came in key pictures.
    keyframes: [Option<Box<RateMeter>>; LayerRates::MAX_SPATIAL],
    in_keyframe: bool,
    sizes: [Option<(u16, u16)>; LayerRates::MAX_SPATIAL],
    refreshed: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct LayerMeter {
    /// Frames on which higher spatial layers depend, or would.
    shared: Flow,
    /// Frames that only receivers of this spatial layer need.
    own: Flow,
    frames: RateMeter,
}

#[derive(Clone, Debug, Default)]
struct Flow {
    media: RateMeter,
    mean: Bitrate,
    stable: Bitrate,
}

impl LayerRates {
    /// Temporal layers told apart; higher ones count as the highest of these.
    pub const MAX_TEMPORAL: usize = 4;
    /// Spatial layers told apart; higher ones count as the highest of these.
    pub const MAX_SPATIAL: usize = 3;
    /// Time over which sizes of frames are averaged: long enough that a key frame is no rise.
    const MEAN: Duration = Duration::from_secs(3);
    /// Share of a key frame that encoders save on the frames after it.
    const PAID_BACK: f64 = 0.75;
    /// A rate beyond the stable one by this factor is another content and followed within [`Self::RISE`].
    const MOVED: f64 = 1.2;
    const RISE: Duration = Duration::from_millis(500);
    const FALL: Duration = Duration::from_secs(15);
    /// A screen that stands still scrolls again, at the rate that it had.
    const SCREEN_FALL: Duration = Duration::from_secs(60);

    /// Counts a packet; `bytes` as they count against a receiver's budget.
    pub fn on_packet(&mut self, now: Instant, frame: &FrameMeta, bytes: usize) {
        let temporal = usize::from(frame.temporal).min(Self::MAX_TEMPORAL - 1);
        let spatial = usize::from(frame.spatial).min(Self::MAX_SPATIAL - 1);
        let Some(layer) = self.layers.get_mut(spatial).and_then(|layers| layers.get_mut(temporal)) else { return };
        let layer = layer.get_or_insert_default();
        let flow = if frame.unneeded_above { &mut layer.own } else { &mut layer.shared };
        flow.media.on_packet(now, bytes);
        if frame.starts_frame {
            layer.frames.on_packet(now, 0);
            // The higher spatial layers of a key picture belong to it.
            self.in_keyframe = frame.keyframe || (self.in_keyframe && spatial > 0);
        }
        if let Some(keyframes) = self.keyframes.get_mut(spatial).filter(|_| self.in_keyframe && temporal == 0) {
            keyframes.get_or_insert_default().on_packet(now, bytes);
        }
        if let Some(size) = self.sizes.get_mut(spatial) {
            *size = frame.size.or(*size);
        }
    }

    /// Brings the stable rates of what comes from `source` up to date; call it every 100 ms or so, at least before
    /// [`LayerRates::stable`] is read.
    pub fn refresh(&mut self, now: Instant, source: Source) {
        let fall = if source == Source::Screen { Self::SCREEN_FALL } else { Self::FALL };
        let elapsed = self.refreshed.map(|at| now.saturating_duration_since(at));
        self.refreshed = Some(now);
        for (layers, keyframes) in self.layers.iter_mut().zip(&self.keyframes) {
            let rate = keyframes.as_ref().map_or(Bitrate::ZERO, |keyframes| keyframes.rate(now));
            let mut paid_back = rate.scale(Self::PAID_BACK);
            for flow in layers.iter_mut().flatten().flat_map(|layer| [&mut layer.shared, &mut layer.own]) {
                flow.refresh(now, elapsed, fall, std::mem::take(&mut paid_back));
            }
        }
    }

    /// Rate up to a layer that one can plan with: rises within a second, falls slowly, so that a still picture or a
    /// quiet moment does not invite an up-switch that the next movement takes back.
    pub fn stable(&self, spatial: u8, temporal: u8) -> Bitrate {
        self.up_to(spatial, temporal).map(|flow| flow.stable).fold(Bitrate::ZERO, Bitrate::plus)
    }

    /// Rate of all layers over the last second.
    pub fn total(&self, now: Instant) -> Bitrate {
        let flows = self.layers.iter().flatten().flatten().flat_map(|layer| [&layer.shared, &layer.own]);
        flows.map(|flow| flow.media.rate(now)).fold(Bitrate::ZERO, Bitrate::plus)
    }

    /// Frames per second of a spatial layer, up to a temporal one.
    pub fn frame_rate(&self, now: Instant, spatial: u8, temporal: u8) -> f32 {
        let layers = self.layers.get(usize::from(spatial)).into_iter().flatten();
        layers.take(usize::from(temporal) + 1).flatten().map(|layer| layer.frames.frequency(now)).sum()
    }

    /// How many temporal layers the last second had: the highest seen and one, 0 for silence.
    pub fn temporal_layers(&self, now: Instant) -> u8 {
        let flows = |layer: &Option<Box<LayerMeter>>| layer.as_ref().is_some_and(|layer| layer.flows(now));
        let highest = self.layers.iter().filter_map(|layers| layers.iter().rposition(flows));
        highest.max().map_or(0, |highest| highest as u8 + 1)
    }

    /// How many spatial layers the last second had, likewise.
    pub fn spatial_layers(&self, now: Instant) -> u8 {
        let highest = self.layers.iter().rposition(|layers| layers.iter().flatten().any(|layer| layer.flows(now)));
        highest.map_or(0, |highest| highest as u8 + 1)
    }

    /// Largest picture size that the last key frame told.
    pub fn size(&self) -> Option<(u16, u16)> {
        self.sizes.iter().rev().find_map(|size| *size)
    }

    /// The same of one spatial layer.
    pub fn size_of(&self, spatial: u8) -> Option<(u16, u16)> {
        self.sizes.get(usize::from(spatial)).copied().flatten()
    }

    /// Takes the picture size of a spatial layer of which no key frame has told it.
    pub fn assume_size(&mut self, spatial: u8, size: (u16, u16)) {
        if let Some(known) = self.sizes.get_mut(usize::from(spatial)) {
            known.get_or_insert(size);
        }
    }

    /// Forgets the rates of an encoding that stopped. Its picture size stays known: after a mere stall it goes on
    /// without a key frame.
    pub fn reset(&mut self) {
        *self = LayerRates { sizes: self.sizes, ..LayerRates::default() };
    }

    fn up_to(&self, spatial: u8, temporal: u8) -> impl Iterator<Item = &Flow> {
        let (spatial, temporal) = (usize::from(spatial), usize::from(temporal) + 1);
        let below = self.layers.iter().take(spatial).flat_map(move |layers| layers.iter().take(temporal));
        let itself = self.layers.get(spatial).into_iter().flat_map(move |layers| layers.iter().take(temporal));
        below.flatten().map(|layer| &layer.shared).chain(itself.flatten().flat_map(|layer| [&layer.shared, &layer.own]))
    }
}

impl LayerMeter {
    fn flows(&self, now: Instant) -> bool {
        [&self.shared, &self.own].iter().any(|flow| flow.media.rate(now) > Bitrate::ZERO)
    }
}

impl Flow {
    fn refresh(&mut self, now: Instant, elapsed: Option<Duration>, fall: Duration, paid_back: Bitrate) {
        let measured = self.media.rate(now).minus(paid_back);
        let Some(elapsed) = elapsed.filter(|_| self.stable > Bitrate::ZERO) else {
            (self.mean, self.stable) = (measured, measured);
            return;
        };
        let moved = measured > self.stable.scale(LayerRates::MOVED);
        let constant = if moved { LayerRates::RISE } else { LayerRates::MEAN };
        self.mean = approach(self.mean, measured, elapsed, constant);
        self.stable = self.mean.max(approach(self.stable, self.mean, elapsed, fall));
    }
}

/// Exponential smoothing that does not overshoot, however rarely it is called.
fn approach(from: Bitrate, to: Bitrate, elapsed: Duration, constant: Duration) -> Bitrate {
    let share = elapsed.as_secs_f64() / (elapsed + constant).as_secs_f64();
    from.scale(1.0 - share).plus(to.scale(share))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    fn frame(temporal: u8) -> FrameMeta {
        FrameMeta { starts_frame: true, temporal, ..FrameMeta::default() }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Feeds 1000 bytes every 10 ms: 800 kb/s.
    fn feed(meter: &mut RateMeter, from: Instant, duration: u64) -> Instant {
        (0..duration / 10).for_each(|n| meter.on_packet(from + ms(n * 10), 1000));
        from + ms(duration)
    }

    fn assert_near(rate: Bitrate, kbps: u64, tolerance: f64) {
        let error = (rate.as_bps() as f64 / 1000.0 - kbps as f64).abs();
        assert!(error <= kbps as f64 * tolerance, "{rate}, expected {kbps} kb/s");
    }

    #[test]
    fn a_steady_flow_is_measured_from_the_first_half_second_on() {
        let start = Instant::now();
        for duration in [500, 730, 1000, 1050, 5000] {
            let mut meter = RateMeter::default();
            let now = feed(&mut meter, start, duration);
            assert_near(meter.rate(now), 800, 0.03);
            assert!((meter.frequency(now) - 100.0).abs() < 3.0, "{}", meter.frequency(now));
        }
    }

    #[test]
    fn a_single_packet_is_no_flood() {
        let (mut meter, now) = (RateMeter::default(), Instant::now());
        meter.on_packet(now, 1000);
        assert_near(meter.rate(now), 16, 0.0);
    }

    #[test]
    fn a_rate_falls_to_zero_within_the_window() {
        let mut meter = RateMeter::default();
        let end = feed(&mut meter, Instant::now(), 2000);
        assert_near(meter.rate(end + ms(500)), 400, 0.15);
        assert_eq!(meter.rate(end + RateMeter::WINDOW), Bitrate::ZERO);
    }

    #[test]
    fn after_a_pause_the_rate_is_right_again_at_once() {
        let mut meter = RateMeter::default();
        let end = feed(&mut meter, Instant::now(), 2000);
        let end = feed(&mut meter, end + ms(60_000), 600);
        assert_near(meter.rate(end), 800, 0.03);
    }

    #[test]
    fn a_layer_costs_what_it_and_the_layers_below_it_send() {
        let (mut rates, start) = (LayerRates::default(), Instant::now());
        for n in 0..200u64 {
            let now = start + ms(n * 10);
            let temporal = [0, 2, 1, 2][n as usize % 4];
            rates.on_packet(now, &frame(temporal), 500);
            rates.on_packet(now, &FrameMeta { starts_frame: false, ..frame(temporal) }, 500);
        }
        let now = start + ms(2000);
        rates.refresh(now, Source::Camera);
        for (temporal, kbps, fps) in [(0, 200, 25.0), (1, 400, 50.0), (2, 800, 100.0), (3, 800, 100.0)] {
            assert_near(rates.stable(0, temporal), kbps, 0.1);
            assert!((rates.frame_rate(now, 0, temporal) - fps).abs() <= fps * 0.1);
        }
        assert_near(rates.total(now), 800, 0.1);
        assert_eq!((rates.spatial_layers(now), rates.temporal_layers(now)), (1, 3));
        assert_eq!(rates.temporal_layers(now + ms(1100)), 0);
    }

    #[test]
    fn only_layers_that_came_take_memory() {
        let (mut rates, now) = (LayerRates::default(), Instant::now());
        for temporal in [0, 2] {
            rates.on_packet(now, &frame(temporal), 500);
        }
        assert_eq!((rates.layers.iter().flatten().flatten().count(), rates.keyframes.iter().flatten().count()), (2, 0));
        assert_eq!((rates.spatial_layers(now), rates.temporal_layers(now)), (1, 3));
        assert!(size_of::<LayerRates>() < 256);
    }

    #[test]
    fn a_spatial_layer_costs_what_it_needs_of_those_below_it() {
        let (mut rates, start) = (LayerRates::default(), Instant::now());
        for n in 0..200u64 {
            for spatial in 0..3 {
                // The top layer needs the bottom one, and nobody above needs the middle one.
                let layer = FrameMeta { spatial, unneeded_above: spatial == 1, ..frame(0) };
                rates.on_packet(start + ms(n * 10), &layer, 125);
            }
        }
        let now = start + ms(2000);
        rates.refresh(now, Source::Camera);
        assert_eq!(rates.spatial_layers(now), 3);
        for (spatial, kbps) in [(0, 100), (1, 200), (2, 200)] {
            assert_near(rates.stable(spatial, 0), kbps, 0.1);
            assert!((rates.frame_rate(now, spatial, 0) - 100.0).abs() < 10.0);
        }
    }

    /// Feeds so many bytes every 10 ms.
    fn run(rates: &mut LayerRates, source: Source, now: &mut Instant, bytes: usize, duration: u64) -> Bitrate {
        for _ in 0..duration / 100 {
            (0..10).for_each(|_| rates.on_packet(*now, &frame(0), bytes));
            *now += ms(100);
            rates.refresh(*now, source);
        }
        rates.stable(0, 0)
    }

    #[test]
    fn the_stable_rate_rises_in_a_second_and_falls_in_many() {
        let (mut rates, mut now) = (LayerRates::default(), Instant::now());
        let mut run = |bytes, duration| run(&mut rates, Source::Camera, &mut now, bytes, duration);
        assert_near(run(125, 5000), 100, 0.1);
        assert!(run(1250, 2000) > Bitrate::kbps(800));
        assert!(run(125, 3000) > Bitrate::kbps(700), "a quiet moment");
        assert!(run(125, 60_000) < Bitrate::kbps(150));
    }

    #[test]
    fn a_screen_that_stands_still_is_expected_to_scroll_again() {
        for (source, kbps) in [(Source::Camera, 0..400), (Source::Screen, 650..900)] {
            let (mut rates, mut now) = (LayerRates::default(), Instant::now());
            run(&mut rates, source, &mut now, 1250, 10_000);
            let still = run(&mut rates, source, &mut now, 12, 20_000);
            assert!(kbps.contains(&(still.as_bps() / 1000)), "{source:?}: {still}");
        }
    }

    #[test]
    fn the_picture_size_of_the_last_keyframe_stays_known() {
        let (mut rates, now) = (LayerRates::default(), Instant::now());
        rates.on_packet(now, &FrameMeta { size: Some((640, 360)), ..frame(0) }, 1);
        rates.on_packet(now, &frame(0), 1);
        rates.reset();
        assert_eq!(rates.size(), Some((640, 360)));
    }
}
