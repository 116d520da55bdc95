//! What a caller may do: read from a token once, when it comes in, and enforced from then on by whoever acts for it.

use crate::protocol::Source;
use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What somebody may do, and as whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Grants {
    /// Who the bearer is to whoever issued the token (`sub`); it need not be unique.
    pub identity: Option<String>,
    /// The name that others see, where the issuer decides it; else the client chooses one.
    pub name: Option<String>,
    /// Which rooms these grants are for.
    pub room: RoomGrant,
    /// What may be published.
    pub publish: PublishGrant,
    /// Whether media of others may be received.
    pub subscribe: bool,
    /// Whether data may be sent to others.
    pub data: bool,
    /// Whether rooms and participants may be managed.
    pub admin: bool,
    /// Present without being shown to others; such a participant cannot publish.
    pub hidden: bool,
    /// Whatever the issuer wants others to know of the bearer.
    pub metadata: Option<serde_json::Value>,
}

/// Which rooms a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomGrant {
    /// Every room.
    Any,
    /// The room of this name.
    Named(String),
}

/// The sources that may be published.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublishGrant(u8);

/// Every source there is.
const SOURCES: [Source; 4] = [Source::Camera, Source::Microphone, Source::Screen, Source::ScreenAudio];

impl Grants {
    /// Open access: everything, in every room.
    pub fn everything() -> Grants {
        Grants {
            identity: None,
            name: None,
            room: RoomGrant::Any,
            publish: PublishGrant::ALL,
            subscribe: true,
            data: true,
            admin: true,
            hidden: false,
            metadata: None,
        }
    }

    /// Whether these grants are for this room.
    pub fn allows_room(&self, room: &str) -> bool {
        match &self.room {
            RoomGrant::Any => true,
            RoomGrant::Named(name) => name == room,
        }
    }

    /// Whether a track of this source may be published. Who is hidden publishes nothing: others would see it.
    pub fn may_publish(&self, source: Source) -> bool {
        !self.hidden && self.publish.contains(source)
    }

    /// Whether data may be sent to others. Who is hidden sends none: others would learn of it.
    pub fn may_send_data(&self) -> bool {
        !self.hidden && self.data
    }

    /// The sources that may be published, in a fixed order.
    pub fn publishable(&self) -> impl Iterator<Item = Source> {
        SOURCES.into_iter().filter(|source| self.may_publish(*source))
    }
}

impl PublishGrant {
    /// Every source.
    pub const ALL: PublishGrant = PublishGrant(0b1111);
    /// No source.
    pub const NONE: PublishGrant = PublishGrant(0);

    /// Whether `source` is among them.
    pub fn contains(self, source: Source) -> bool {
        self.0 & bit(source) != 0
    }

    /// The sources, in a fixed order.
    pub fn sources(self) -> impl Iterator<Item = Source> {
        SOURCES.into_iter().filter(move |source| self.contains(*source))
    }
}

impl FromIterator<Source> for PublishGrant {
    fn from_iter<I: IntoIterator<Item = Source>>(sources: I) -> Self {
        PublishGrant(sources.into_iter().fold(0, |set, source| set | bit(source)))
    }
}

fn bit(source: Source) -> u8 {
    match source {
        Source::Camera => 1,
        Source::Microphone => 2,
        Source::Screen => 4,
        Source::ScreenAudio => 8,
    }
}

impl fmt::Debug for PublishGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.sources()).finish()
    }
}

/// `"*"` or a room's name.
impl Serialize for RoomGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RoomGrant::Any => serializer.serialize_str("*"),
            RoomGrant::Named(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for RoomGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(if name == "*" { RoomGrant::Any } else { RoomGrant::Named(name) })
    }
}

/// `true`, or a list of sources.
impl Serialize for PublishGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            PublishGrant::ALL => serializer.serialize_bool(true),
            some => serializer.collect_seq(some.sources()),
        }
    }
}

impl<'de> Deserialize<'de> for PublishGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sources;
        impl<'de> Visitor<'de> for Sources {
            type Value = PublishGrant;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a list of \"camera\", \"microphone\", \"screen\", \"screen-audio\"")
            }
            fn visit_bool<E: de::Error>(self, all: bool) -> Result<PublishGrant, E> {
                Ok(if all { PublishGrant::ALL } else { PublishGrant::NONE })
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<PublishGrant, A::Error> {
                let mut sources = PublishGrant::NONE;
                while let Some(source) = list.next_element::<Source>()? {
                    sources.0 |= bit(source);
                }
                Ok(sources)
            }
        }
        deserializer.deserialize_any(Sources)
    }
}
