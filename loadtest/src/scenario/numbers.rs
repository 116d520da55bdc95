//! Numbers with a range, and lists of them. What is out of range is refused where it stands in the file, with the
//! range.
//!
//! Fields hold plain numbers: `#[serde(deserialize_with = "checked::<_, Seconds, _>")]` reads them.

use super::units::Steps;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// What a number counts, and how far it goes.
pub(super) trait Range {
    const UNIT: &'static str;
    const LEAST: f64;
    const MOST: f64;
    const WHOLE: bool = false;
}

/// A number in a range.
#[derive(Clone, Copy)]
pub(super) struct Within<R>(f64, PhantomData<R>);

/// Names a range, from its least to its greatest number.
macro_rules! ranges {
    ($($name:ident, $range:ident: $unit:literal, $least:literal, $most:literal $(, whole $whole:literal)?;)*) => {$(
        #[derive(Clone, Copy)]
        pub(super) struct $range;

        impl Range for $range {
            const UNIT: &'static str = $unit;
            const LEAST: f64 = $least;
            const MOST: f64 = $most;
            $(const WHOLE: bool = $whole;)?
        }

        pub(super) type $name = Within<$range>;
    )*};
}

ranges! {
    Seconds, InSeconds: "a number of seconds", 0.0, 86_400.0;
    Millis, InMillis: "a number of milliseconds", 0.0, 3_600_000.0;
    Gap, InGap: "a number of seconds", 0.01, 86_400.0;
    Fps, InFps: "a number of frames per second", 0.01, 1000.0;
    KeyframeFactor, InKeyframeFactor: "a factor", 0.01, 100.0;
    Variation, InVariation: "a coefficient of variation", 0.0, 10.0;
    Factor, InFactor: "a factor", 0.0, 1000.0;
    Seeds, InSeeds: "a whole number", 1.0, 100_000.0, whole true;
    Count, InCount: "a whole number", 1.0, 65_535.0, whole true;
    Flows, InFlows: "a whole number", 1.0, 1000.0, whole true;
}

/// Seconds from and to.
pub(super) struct Span((f64, f64));

/// From a second on a value.
pub(super) struct Step<T>(pub f64, pub T);

/// Factors from given seconds on.
pub(super) struct Factors(Vec<(f64, f64)>);

/// Spans in a list.
pub(super) struct Spans(Vec<(f64, f64)>);

/// Entries of a file in double brackets.
pub(super) struct Entries<T>(Vec<T>);

/// Reads a field as `C`, which checks, and keeps what is inside.
pub(super) fn checked<'de, D: Deserializer<'de>, C: Deserialize<'de> + Plain<T>, T>(from: D) -> Result<T, D::Error> {
    C::deserialize(from).map(C::plain)
}

/// What was checked, as `T`.
pub(super) trait Plain<T> {
    fn plain(self) -> T;
}

impl<R> Plain<f64> for Within<R> {
    fn plain(self) -> f64 {
        self.0
    }
}

impl<R> Plain<u64> for Within<R> {
    fn plain(self) -> u64 {
        self.0 as u64
    }
}

impl<R> Plain<usize> for Within<R> {
    fn plain(self) -> usize {
        self.0 as usize
    }
}

impl Plain<Vec<(f64, f64)>> for Spans {
    fn plain(self) -> Vec<(f64, f64)> {
        self.0
    }
}

impl<T> Plain<Vec<T>> for Entries<T> {
    fn plain(self) -> Vec<T> {
        self.0
    }
}

impl<T, C: Plain<T>> Plain<Option<T>> for Option<C> {
    fn plain(self) -> Option<T> {
        self.map(C::plain)
    }
}

impl<R: Copy> Plain<Steps<f64>> for Steps<Within<R>> {
    fn plain(self) -> Steps<f64> {
        Steps::from_steps(self.steps().iter().map(|(second, value)| (*second, value.0)).collect())
    }
}

impl Plain<Vec<(f64, f64)>> for Factors {
    fn plain(self) -> Vec<(f64, f64)> {
        self.0
    }
}

impl<'de, R: Range> Deserialize<'de> for Within<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor(PhantomData))
    }
}

struct NumberVisitor<R>(PhantomData<R>);

impl<R: Range> Visitor<'_> for NumberVisitor<R> {
    type Value = Within<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&range_of::<R>())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Within<R>, E> {
        let fits = (R::LEAST..=R::MOST).contains(&number) && (!R::WHOLE || number.fract() == 0.0);
        if fits {
            Ok(Within(number, PhantomData))
        } else {
            Err(E::custom(format!("{number} is not {}", range_of::<R>())))
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Within<R>, E> {
        self.visit_f64(number as f64)
    }
}

fn range_of<R: Range>() -> String {
    format!("{} from {} to {}", R::UNIT, R::LEAST, R::MOST)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor: PairVisitor<Seconds, Seconds> =
            PairVisitor("[from, to] in seconds; a list of them is [[70, 76]]", PhantomData);
        deserializer.deserialize_any(visitor).map(|(from, to)| Span((from.plain(), to.plain())))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Step<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor: PairVisitor<Seconds, T> =
            PairVisitor("[second, value]; a schedule is [[0, value], [30, value]]", PhantomData);
        deserializer.deserialize_any(visitor).map(|(second, value)| Step(second.plain(), value))
    }
}

/// Two values, and what is expected where there is something else.
struct PairVisitor<A, B>(&'static str, PhantomData<(A, B)>);

impl<'de, A: Deserialize<'de>, B: Deserialize<'de>> Visitor<'de> for PairVisitor<A, B> {
    type Value = (A, B);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(A, B), S::Error> {
        let (first, second) = (seq.next_element()?, seq.next_element()?);
        match (first, second, seq.next_element::<IgnoredAny>()?) {
            (Some(first), Some(second), None) => Ok((first, second)),
            _ => Err(S::Error::custom(format!("this is not {}", self.0))),
        }
    }
}

impl<'de> Deserialize<'de> for Spans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor: ListVisitor<Span> = ListVisitor("a list of [from, to] in seconds: [[70, 76]]", PhantomData);
        let spans = deserializer.deserialize_any(visitor)?;
        Ok(Spans(spans.into_iter().map(|Span(span)| span).collect()))
    }
}

impl<'de> Deserialize<'de> for Factors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor: ListVisitor<Step<Factor>> =
            ListVisitor("a list of [second, factor]: [[0, 1], [30, 0.02]]", PhantomData);
        let steps = deserializer.deserialize_any(visitor)?;
        Ok(Factors(steps.into_iter().map(|Step(second, factor)| (second, factor.plain())).collect()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a list: write [[ ]] around the name of each entry, as in [[participant]]";
        deserializer.deserialize_any(ListVisitor(expected, PhantomData)).map(Entries)
    }
}

/// A list, and what is expected where there is something else.
struct ListVisitor<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = seq.next_element()? {
            list.push(entry);
        }
        Ok(list)
    }
}
