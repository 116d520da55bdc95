//! Quantities as scenario files write them: rates, sizes, schedules. Every text form names its unit.

use super::numbers::Step;
use serde::de::value::{F64Deserializer, I64Deserializer, StrDeserializer};
use serde::de::{Error, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Bits per second above which a link is as good as unlimited.
const MOST_RATE: u64 = 1_000_000_000_000;
/// An hour.
const MOST_MILLIS: f64 = 3_600_000.0;

/// Bits per second: `"300k"`, `"1.5M"`, `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(Option<u64>);

impl Rate {
    /// No limit.
    pub const UNLIMITED: Rate = Rate(None);

    /// A limited rate in bits per second.
    pub const fn bps(rate: u64) -> Rate {
        Rate(Some(rate))
    }

    /// Bits per second; `None` is unlimited.
    pub fn limit(self) -> Option<u64> {
        self.0
    }

    /// Bits per second, where unlimited makes no sense.
    pub fn finite(self) -> u64 {
        self.0.unwrap_or(0)
    }
}

/// Bytes: `"150KB"`, `"1500B"`. A kilobyte has 1000 of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size(pub u64);

/// How long a queue may get: bytes, or time at the rate of the moment (`"300ms"`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QueueSize {
    /// Bytes.
    Bytes(u64),
    /// Time to drain.
    Time(Duration),
}

/// When packets are marked Congestion Experienced: `"none"` or `"ce-above-ms 5"`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ecn(pub Option<Duration>);

/// Width and height in pixels: `"640x360"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
}

/// A bound on a metric: `">= 0.95"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The value must be this or more.
    AtLeast(f64),
    /// The value must be this or less.
    AtMost(f64),
}

impl Bound {
    /// Whether a value is within it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }

    /// The number in it.
    pub fn limit(self) -> f64 {
        match self {
            Bound::AtLeast(limit) | Bound::AtMost(limit) => limit,
        }
    }

    /// Whether larger values are better.
    pub fn wants_more(self) -> bool {
        matches!(self, Bound::AtLeast(_))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtLeast(least) => write!(f, ">= {least}"),
            Bound::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

/// A value that changes at given seconds. Written as one value, or as `[[second, value], ...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps<T>(Vec<(f64, T)>);

impl<T: Copy> Steps<T> {
    /// The same value at all times.
    pub fn constant(value: T) -> Steps<T> {
        Steps(vec![(0.0, value)])
    }

    /// A schedule of at least one step, in increasing order.
    pub fn from_steps(steps: Vec<(f64, T)>) -> Steps<T> {
        assert!(!steps.is_empty(), "a schedule has at least one step");
        Steps(steps)
    }

    /// The value at a second; before the first step, the first value.
    pub fn at(&self, second: f64) -> T {
        let past = self.0.partition_point(|(from, _)| *from <= second);
        self.0[past.saturating_sub(1)].1
    }

    /// Every step: from which second, which value.
    pub fn steps(&self) -> &[(f64, T)] {
        &self.0
    }

    /// As a schedule of a link.
    pub fn to_schedule<U: Copy>(&self, convert: impl Fn(T) -> U) -> netem::Schedule<U> {
        let changes = self.0.iter().skip(1).map(|(from, value)| (Duration::from_secs_f64(*from), convert(*value)));
        netem::Schedule::steps(convert(self.0[0].1), changes)
    }
}

fn parse_number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

fn parse_millis(text: &str) -> Option<Duration> {
    let ms = parse_number(text).filter(|ms| *ms <= MOST_MILLIS)?;
    Some(Duration::from_secs_f64(ms / 1e3))
}

fn parse_rate(text: &str) -> Option<Rate> {
    if text == "unlimited" {
        return Some(Rate(None));
    }
    let (number, unit) = [("k", 1e3), ("M", 1e6), ("G", 1e9)]
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
        .unwrap_or((text, 1.0));
    let rate = (parse_number(number)? * unit).round() as u64;
    Some(Rate(Some(rate))).filter(|_| rate <= MOST_RATE)
}

fn parse_size(text: &str) -> Option<Size> {
    let (number, unit) = [("KB", 1e3), ("MB", 1e6), ("B", 1.0)]
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))?;
    Some(Size((parse_number(number)? * unit).round() as u64))
}

fn parse_queue(text: &str) -> Option<QueueSize> {
    match text.strip_suffix("ms") {
        Some(ms) => Some(QueueSize::Time(parse_millis(ms)?)),
        None => parse_size(text).map(|size| QueueSize::Bytes(size.0)),
    }
}

fn parse_ecn(text: &str) -> Option<Ecn> {
    if text == "none" {
        return Some(Ecn(None));
    }
    Some(Ecn(Some(parse_millis(text.strip_prefix("ce-above-ms ")?)?)))
}

fn parse_tile(text: &str) -> Option<Tile> {
    let (width, height) = text.split_once('x')?;
    Some(Tile { width: width.parse().ok()?, height: height.parse().ok()? })
}

fn parse_bound(text: &str) -> Option<Bound> {
    let limit = |number: &str| number.trim().parse().ok().filter(|limit: &f64| limit.is_finite());
    match text.strip_prefix(">=") {
        Some(least) => limit(least).map(Bound::AtLeast),
        None => limit(text.strip_prefix("<=")?).map(Bound::AtMost),
    }
}

/// Reads a type from its text form; what was expected is named where it is something else.
macro_rules! read_from_text {
    ($($kind:ty, $parse:ident, $expected:expr;)*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $kind;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$kind, E> {
                        $parse(text).ok_or_else(|| E::custom(format!("{text:?} is not {}", $expected)))
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }
    )*};
}

read_from_text! {
    Rate, parse_rate, "a rate such as \"300k\", \"1.5M\" or \"unlimited\", at most \"1000G\"";
    Size, parse_size, "a size such as \"150KB\"";
    QueueSize, parse_queue, "a queue such as \"150KB\" or \"300ms\", at most an hour";
    Ecn, parse_ecn, "\"none\" or \"ce-above-ms 5\", at most 3600000";
    Tile, parse_tile, "a tile such as \"640x360\"";
    Bound, parse_bound, "a bound: \">= 0.95\" or \"<= 0.5\", with a finite number; there is no other comparison";
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Steps<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StepsVisitor(PhantomData))
    }
}

struct StepsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for StepsVisitor<T> {
    type Value = Steps<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, or a schedule [[second, value], ...]")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Steps<T>, E> {
        let one: StrDeserializer<'_, E> = text.into_deserializer();
        Ok(Steps(vec![(0.0, T::deserialize(one)?)]))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Steps<T>, E> {
        let one: F64Deserializer<E> = number.into_deserializer();
        Ok(Steps(vec![(0.0, T::deserialize(one)?)]))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Steps<T>, E> {
        let one: I64Deserializer<E> = number.into_deserializer();
        Ok(Steps(vec![(0.0, T::deserialize(one)?)]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Steps<T>, A::Error> {
        let mut steps: Vec<(f64, T)> = Vec::new();
        while let Some(Step(from, value)) = seq.next_element()? {
            if steps.last().is_some_and(|(last, _)| *last >= from) {
                return Err(A::Error::custom("the seconds of a schedule must increase"));
            }
            steps.push((from, value));
        }
        if steps.is_empty() {
            return Err(A::Error::custom("an empty schedule"));
        }
        Ok(Steps(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_with_their_units() {
        assert_eq!(parse_rate("1.5M"), Some(Rate::bps(1_500_000)));
        assert_eq!(parse_rate("300k"), Some(Rate::bps(300_000)));
        assert_eq!(parse_rate("unlimited"), Some(Rate(None)));
        assert_eq!(parse_queue("150KB"), Some(QueueSize::Bytes(150_000)));
        assert_eq!(parse_queue("300ms"), Some(QueueSize::Time(Duration::from_millis(300))));
        assert_eq!(parse_ecn("ce-above-ms 5"), Some(Ecn(Some(Duration::from_millis(5)))));
        assert_eq!(parse_tile("640x360"), Some(Tile { width: 640, height: 360 }));
        assert_eq!(parse_bound("<= 0.5"), Some(Bound::AtMost(0.5)));
        assert_eq!((parse_rate("fast"), parse_size("150"), parse_bound("0.5")), (None, None, None));
    }

    #[test]
    fn a_step_holds_until_the_next() {
        let steps = Steps(vec![(0.0, 1), (30.0, 2), (60.0, 3)]);
        assert_eq!([0.0, 29.9, 30.0, 59.0, 1e9].map(|at| steps.at(at)), [1, 1, 2, 2, 3]);
    }
}
