//! Scenario files: links, participants, competing traffic and what is expected, as `SCENARIOS.md` defines them.
//!
//! [`Scenario::read`] is the only way in: it refuses unknown keys with their position, and whatever does not fit
//! together.

mod check;
mod expect;
mod flow;
mod numbers;
pub mod traces;
mod units;

pub use expect::{Expectation, Over, Who};
pub use flow::{Flow, FlowKind};
use numbers::{Count, Entries, Factors, Fps, KeyframeFactor, Millis, Seconds, Seeds, Spans, Variation, checked};
pub use units::{Bound, Ecn, QueueSize, Rate, Size, Steps, Tile};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::{Path as FilePath, PathBuf};

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Stands in tables and names plots.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// Length of the run.
    #[serde(deserialize_with = "checked::<_, Seconds, _>")]
    pub duration_s: f64,
    /// The usual sweep.
    #[serde(default)]
    pub repeat: Repeat,
    /// Link emulators.
    #[serde(default, rename = "path", deserialize_with = "checked::<_, Entries<_>, _>")]
    pub paths: Vec<Path>,
    /// Who takes part.
    #[serde(default, rename = "participant", deserialize_with = "checked::<_, Entries<_>, _>")]
    pub participants: Vec<Participant>,
    /// Competing traffic.
    #[serde(default, rename = "flow", deserialize_with = "checked::<_, Entries<_>, _>")]
    pub flows: Vec<Flow>,
    /// What must hold.
    #[serde(default, rename = "expect", deserialize_with = "checked::<_, Entries<_>, _>")]
    pub expectations: Vec<Expectation>,
    /// The folder that file names in it are relative to.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Seeds `1..=seeds` are run.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How many.
    #[serde(deserialize_with = "checked::<_, Seeds, _>")]
    pub seeds: u64,
}

impl Default for Repeat {
    fn default() -> Self {
        Repeat { seeds: 1 }
    }
}

/// One direction of one link; whoever names it shares its queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// What participants and flows call it.
    pub name: String,
    /// Bits per second.
    pub rate: Option<Steps<Rate>>,
    /// One way.
    #[serde(default = "no_delay", deserialize_with = "checked::<_, Steps<Millis>, _>")]
    pub delay_ms: Steps<f64>,
    /// Delay that differs from packet to packet.
    #[serde(default)]
    pub jitter: Jitter,
    /// FIFO limit.
    pub queue: Option<QueueSize>,
    /// What is lost before the queue.
    #[serde(default)]
    pub loss: Loss,
    /// Probability of a packet being sent twice.
    #[serde(default)]
    pub duplicate: f64,
    /// Marking.
    #[serde(default)]
    pub ecn: Ecn,
    /// Seconds in which nothing passes.
    #[serde(default, deserialize_with = "checked::<_, Spans, _>")]
    pub outage: Vec<(f64, f64)>,
    /// Regular stalls of delivery.
    pub pauses: Option<Pauses>,
    /// A file of delivery opportunities, instead of `rate`.
    pub opportunities: Option<PathBuf>,
}

/// How delay differs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jitter {
    /// How it is drawn.
    pub model: JitterModel,
    /// `normal`: standard deviation.
    #[serde(default, deserialize_with = "checked::<_, Option<Millis>, _>")]
    pub sd_ms: Option<f64>,
    /// `uniform`: the longest.
    #[serde(default, deserialize_with = "checked::<_, Option<Millis>, _>")]
    pub max_ms: Option<f64>,
    /// `trace`: a file of milliseconds.
    pub file: Option<PathBuf>,
    /// Whether packets overtake each other.
    #[serde(default)]
    pub reorder: bool,
}

/// How jitter is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JitterModel {
    /// None.
    #[default]
    None,
    /// Half a normal distribution.
    Normal,
    /// Equally likely up to a maximum.
    Uniform,
    /// From a file.
    Trace,
}

/// What is lost by chance or by rule.
#[derive(Clone, Debug)]
pub enum Loss {
    /// Each packet with this probability.
    Random(Steps<f64>),
    /// A model with parameters.
    Model(LossParameters),
}

impl Default for Loss {
    fn default() -> Self {
        Loss::Random(Steps::constant(0.0))
    }
}

/// Parameters of a loss model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossParameters {
    /// Which model.
    pub model: LossModel,
    /// `gilbert-elliott`: share lost.
    pub mean: Option<f64>,
    /// `gilbert-elliott`: mean length of a run of losses in packets.
    pub burst: Option<f64>,
    /// `policer`: rate.
    pub rate: Option<Rate>,
    /// `policer`: bucket.
    pub bucket: Option<Size>,
}

/// Which loss model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossModel {
    /// Runs of losses.
    GilbertElliott,
    /// A token bucket without a queue.
    Policer,
}

/// Regular stalls.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pauses {
    /// From one to the next.
    #[serde(deserialize_with = "checked::<_, Seconds, _>")]
    pub every_s: f64,
    /// Length of each.
    #[serde(deserialize_with = "checked::<_, Millis, _>")]
    pub for_ms: f64,
}

/// A participant, or `count` alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Participant {
    /// Its name; above a count of 1 the first of `name-1`, `name-2` and so on.
    pub name: String,
    /// How many.
    #[serde(default = "one", deserialize_with = "checked::<_, Count, _>")]
    pub count: usize,
    /// When it begins to join.
    #[serde(default, deserialize_with = "checked::<_, Seconds, _>")]
    pub join_s: f64,
    /// Between the joins of several.
    #[serde(default, deserialize_with = "checked::<_, Millis, _>")]
    pub join_every_ms: f64,
    /// When it leaves; default: never.
    #[serde(default, deserialize_with = "checked::<_, Option<Seconds>, _>")]
    pub leave_s: Option<f64>,
    /// Path from the client to the server.
    pub up: Option<String>,
    /// Path from the server to the client.
    pub down: Option<String>,
    /// Video codec.
    #[serde(default)]
    pub codec: Codec,
    /// Congestion control feedback that it offers.
    #[serde(default)]
    pub feedback: Feedback,
    /// What it sends.
    #[serde(default, deserialize_with = "checked::<_, Entries<_>, _>")]
    pub publish: Vec<Publish>,
    /// What it wants; `None` is everything.
    #[serde(default, deserialize_with = "checked::<_, Option<Entries<_>>, _>")]
    pub subscribe: Option<Vec<Subscribe>>,
}

/// A video codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// RFC 7741, with temporal layers.
    #[default]
    Vp8,
    /// RFC 6184, without.
    H264,
}

/// Congestion control feedback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Transport-wide numbers.
    #[default]
    TransportCc,
    /// RFC 8888.
    Rfc8888,
    /// A receiver-side estimate.
    Remb,
}

/// A published track.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// What it shows.
    pub source: Source,
    /// Encodings, in any order; default: what a browser sends of this source.
    pub encodings: Option<Vec<Encoding>>,
    /// Temporal layers of each encoding, 1 to 3; default: 3 for a camera, else 1. H.264 has one whatever stands here.
    pub temporal_layers: Option<u8>,
    /// Size of a key frame over a mean frame.
    #[serde(default = "six", deserialize_with = "checked::<_, KeyframeFactor, _>")]
    pub keyframe_factor: f64,
    /// Coefficient of variation of frame sizes.
    #[serde(default = "a_fifth", deserialize_with = "checked::<_, Variation, _>")]
    pub variation: f64,
    /// Factor on the rates.
    #[serde(default, deserialize_with = "checked::<_, Factors, _>")]
    pub rate_schedule: Vec<(f64, f64)>,
    /// Seconds in which it is muted.
    #[serde(default, deserialize_with = "checked::<_, Spans, _>")]
    pub mute_s: Vec<(f64, f64)>,
    /// Seconds in which an encoding is not sent.
    #[serde(default)]
    pub drop_encoding_s: Vec<DropEncoding>,
}

/// One encoding.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// Its rid; needed where there are several.
    pub rid: Option<String>,
    /// Picture height in pixels; widths are 16:9.
    #[serde(default = "height_720")]
    pub height: u16,
    /// Frames per second.
    #[serde(default = "fps_30", deserialize_with = "checked::<_, Fps, _>")]
    pub fps: f64,
    /// Mean rate.
    pub rate: Rate,
}

/// An encoding that is not sent for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropEncoding {
    /// Which.
    pub rid: String,
    /// From this second.
    #[serde(deserialize_with = "checked::<_, Seconds, _>")]
    pub from: f64,
    /// To this second.
    #[serde(deserialize_with = "checked::<_, Seconds, _>")]
    pub to: f64,
}

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A camera.
    Camera,
    /// A screen.
    Screen,
    /// A microphone.
    Microphone,
}

/// What a participant wants. The first entry that fits a track counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Whose tracks: a participant or `*`.
    #[serde(default = "anybody")]
    pub from: String,
    /// Of which source; default: any.
    pub source: Option<Source>,
    /// Size on screen.
    #[serde(default = "big_tile")]
    pub tile: Steps<Tile>,
    /// What comes first.
    #[serde(default = "visible")]
    pub priority: Steps<Priority>,
}

/// Priority of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Pinned by the user.
    Pinned,
    /// A shared screen.
    Screen,
    /// The speaker.
    Speaker,
    /// A tile like any other.
    Visible,
    /// Not on screen.
    Hidden,
}

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It cannot be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not TOML, or has keys or values that are not in the format; says where.
    #[error("{}: {error}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What and where.
        error: Box<toml::de::Error>,
    },
    /// Its parts do not fit together.
    #[error("{}:{line}: {problem}", file.display())]
    Inconsistent {
        /// The file.
        file: PathBuf,
        /// Line at which the entry begins that is wrong, from 1.
        line: usize,
        /// What does not fit.
        problem: String,
    },
}

impl Scenario {
    /// Reads and checks a file.
    pub fn read(file: &FilePath) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ScenarioError::Unreadable { file: file.to_owned(), error })?;
        Scenario::parse(&text, file)
    }

    /// As [`Scenario::read`], from the file's text.
    pub fn parse(text: &str, file: &FilePath) -> Result<Scenario, ScenarioError> {
        let mut scenario: Scenario = toml::from_str(text)
            .map_err(|error| ScenarioError::Malformed { file: file.to_owned(), error: Box::new(error) })?;
        scenario.folder = file.parent().unwrap_or(FilePath::new("")).to_owned();
        check::check(&scenario).map_err(|problem| ScenarioError::Inconsistent {
            file: file.to_owned(),
            line: line_of(text, problem.entry),
            problem: problem.text,
        })?;
        Ok(scenario)
    }

    /// A path by its name.
    pub fn path(&self, name: &str) -> Option<usize> {
        self.paths.iter().position(|path| path.name == name)
    }
}

/// Line at which the `index`th `[[kind]]` begins; the first line of the file where it is written in another way.
fn line_of(text: &str, entry: Option<(&str, usize)>) -> usize {
    let Some((kind, index)) = entry else { return 1 };
    let is_header = |line: &str| {
        let inner = line.trim().strip_prefix("[[").and_then(|rest| rest.split_once("]]"));
        inner.is_some_and(|(name, _)| name.trim() == kind)
    };
    text.lines().enumerate().filter(|(_, line)| is_header(line)).nth(index).map_or(1, |(number, _)| number + 1)
}

impl Path {
    /// Whether it ever carries less than anybody sends.
    pub fn is_limited(&self) -> bool {
        let scheduled = self.rate.as_ref().is_some_and(|rate| rate.steps().iter().any(|(_, r)| r.limit().is_some()));
        scheduled || self.opportunities.is_some() || matches!(self.loss, Loss::Model(_))
    }
}

impl Publish {
    /// The encodings, the lowest first.
    pub fn ladder(&self) -> Vec<Encoding> {
        let encoding =
            |rid: &str, height, fps, rate| Encoding { rid: Some(rid.into()), height, fps, rate: Rate::bps(rate) };
        let mut ladder = match (&self.encodings, self.source) {
            (Some(encodings), _) => encodings.clone(),
            (None, Source::Camera) => vec![
                encoding("q", 180, 30.0, 150_000),
                encoding("h", 360, 30.0, 500_000),
                encoding("f", 720, 30.0, 1_700_000),
            ],
            (None, Source::Screen) => vec![Encoding { rid: None, ..encoding("", 1080, 15.0, 2_500_000) }],
            (None, Source::Microphone) => vec![Encoding { rid: None, ..encoding("", 0, 50.0, 32_000) }],
        };
        ladder.sort_by_key(|encoding| encoding.rate.finite());
        ladder
    }

    /// Temporal layers of each encoding.
    pub fn temporal_layers(&self, codec: Codec) -> u8 {
        match (codec, self.source) {
            (Codec::H264, _) | (_, Source::Microphone) => 1,
            (Codec::Vp8, Source::Camera) => self.temporal_layers.unwrap_or(3),
            (Codec::Vp8, Source::Screen) => self.temporal_layers.unwrap_or(1),
        }
    }

    /// Factor on the rates at a second.
    pub fn rate_factor(&self, second: f64) -> f64 {
        self.rate_schedule.iter().rev().find(|(from, _)| *from <= second).map_or(1.0, |(_, factor)| *factor)
    }

    /// Whether an encoding is sent at a second, for all that the scenario says.
    pub fn sends(&self, rid: Option<&str>, second: f64) -> bool {
        let within = |from: f64, to: f64| (from..to).contains(&second);
        !self.mute_s.iter().any(|(from, to)| within(*from, *to))
            && !self.drop_encoding_s.iter().any(|d| Some(d.rid.as_str()) == rid && within(d.from, d.to))
    }
}

impl Subscribe {
    /// What is wanted of everything by default.
    pub fn everything() -> Subscribe {
        Subscribe { from: anybody(), source: None, tile: big_tile(), priority: visible() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Camera => "camera",
            Source::Screen => "screen",
            Source::Microphone => "microphone",
        })
    }
}

impl<'de> Deserialize<'de> for Loss {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Loss;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a probability, a schedule of it, or a table with a model")
            }

            fn visit_f64<E: serde::de::Error>(self, probability: f64) -> Result<Loss, E> {
                Ok(Loss::Random(Steps::constant(probability)))
            }

            fn visit_i64<E: serde::de::Error>(self, probability: i64) -> Result<Loss, E> {
                self.visit_f64(probability as f64)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Loss, A::Error> {
                Steps::deserialize(serde::de::value::SeqAccessDeserializer::new(seq)).map(Loss::Random)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Loss, A::Error> {
                LossParameters::deserialize(MapAccessDeserializer::new(map)).map(Loss::Model)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn no_delay() -> Steps<f64> {
    Steps::constant(0.0)
}

fn one() -> usize {
    1
}

fn six() -> f64 {
    6.0
}

fn a_fifth() -> f64 {
    0.2
}

fn height_720() -> u16 {
    720
}

fn fps_30() -> f64 {
    30.0
}

fn anybody() -> String {
    "*".into()
}

fn big_tile() -> Steps<Tile> {
    Steps::constant(Tile { width: 1280, height: 720 })
}

fn visible() -> Steps<Priority> {
    Steps::constant(Priority::Visible)
}
