//! An offer's text as sections and attributes.
//!
//! `rtc-sdp` reads the syntax. It sets no limits and knows a fixed list of media names, so the text is looked through
//! first: size, line length, number of lines and sections, control characters.

use super::{MAX_OFFER_BYTES, MAX_SECTIONS, NegotiationError};
use crate::media::MediaKind;
use crate::units::Mid;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::direction::Direction;
use rtc_sdp::{MediaDescription, SessionDescription};
use std::collections::BTreeMap;
use std::io::Cursor;

/// Longest line that is read, in bytes: a BUNDLE group of [`MAX_SECTIONS`] mids fits.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Most lines of the session level or of one section, so that looking through them for every section stays cheap. A
/// browser writes some 150 for video.
const MAX_LEVEL_LINES: usize = 1000;

/// A parsed offer.
pub(super) struct Offer {
    /// Session level.
    pub(super) attributes: Attributes,
    /// In m-line order.
    pub(super) sections: Vec<OfferedSection>,
    /// Indices of the sections of the first BUNDLE group that are in use, in the group's order (RFC 9143 section 7.2).
    pub(super) bundle: Vec<usize>,
}

/// One m= section of an offer.
pub(super) struct OfferedSection {
    /// Which m-line, from 0.
    pub(super) index: usize,
    /// `audio`, `video`, `application`, ...
    pub(super) media: String,
    /// Audio or video.
    pub(super) kind: Option<MediaKind>,
    /// `UDP/TLS/RTP/SAVPF`.
    pub(super) profile: String,
    /// Payload types, for RTP.
    pub(super) formats: Vec<String>,
    /// `None` where there is none or RTP cannot carry it; only stopped sections come like that.
    pub(super) mid: Option<Mid>,
    /// In use: the port is not 0, or it is 0 because the section is `bundle-only`.
    pub(super) live: bool,
    /// From the client's view.
    pub(super) direction: Direction,
    /// Media level.
    pub(super) attributes: Attributes,
}

impl Offer {
    /// Reads `text`. Every section in use has a mid of its own afterwards.
    pub(super) fn parse(text: &str) -> Result<Offer, NegotiationError> {
        let checked = check(text)?;
        let mut cursor = Cursor::new(checked.text.as_bytes());
        let session = SessionDescription::unmarshal(&mut cursor).map_err(|error| {
            let read = checked.text.as_bytes().iter().take(cursor.position() as usize);
            malformed(read.filter(|byte| **byte == b'\n').count().max(1), &error.to_string())
        })?;
        let attributes = Attributes(session.attributes);
        let mut sections: Vec<OfferedSection> = (session.media_descriptions.into_iter().zip(checked.media).enumerate())
            .map(|(index, (description, media))| OfferedSection::new(index, description, media, &attributes))
            .collect();
        let bundle = resolve_bundle(&attributes, &mut sections)?;
        Ok(Offer { attributes, sections, bundle })
    }

    /// The sections in use.
    pub(super) fn live(&self) -> impl Iterator<Item = &OfferedSection> {
        self.sections.iter().filter(|section| section.live)
    }

    /// The values of `key` that hold for `section`: its own, or else those of the session.
    pub(super) fn inherited<'a>(&'a self, section: &'a OfferedSection, key: &'a str) -> impl Iterator<Item = &'a str> {
        section.attributes.values(key).chain(self.attributes.values(key))
    }
}

impl OfferedSection {
    fn new(index: usize, description: MediaDescription, media: String, session: &Attributes) -> OfferedSection {
        let attributes = Attributes(description.attributes);
        let kind = match media.as_str() {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        };
        OfferedSection {
            index,
            kind,
            media,
            profile: description.media_name.protos.join("/"),
            formats: description.media_name.formats,
            mid: attributes.value("mid").and_then(Mid::new),
            live: description.media_name.port.value != 0 || attributes.has("bundle-only"),
            direction: attributes.direction().or_else(|| session.direction()).unwrap_or(Direction::SendRecv),
            attributes,
        }
    }

    /// The mid as text for errors and the answer; the raw attribute where it is not a usable mid.
    pub(super) fn mid_text(&self) -> &str {
        self.attributes.value("mid").unwrap_or_default()
    }
}

/// `a=` lines of one level.
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Every value of `key`, in order.
    pub(super) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |attribute| attribute.key == key).filter_map(|attribute| attribute.value.as_deref())
    }

    /// The first value of `key`.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.as_deref())
    }

    /// Whether `key` is there at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|attribute| attribute.key == key)
    }

    fn direction(&self) -> Option<Direction> {
        self.0.iter().map(|attribute| Direction::new(&attribute.key)).find(|found| *found != Direction::Unspecified)
    }
}

/// Finds the first BUNDLE group's sections and checks the mids. A `bundle-only` section outside of the group is not in
/// use (RFC 9143 section 7.2.1).
fn resolve_bundle(session: &Attributes, sections: &mut [OfferedSection]) -> Result<Vec<usize>, NegotiationError> {
    let mut by_mid = BTreeMap::new();
    for section in sections.iter().filter(|section| section.live) {
        let mid = section.mid.ok_or(NegotiationError::MidInvalid { index: section.index })?;
        if by_mid.insert(mid, section.index).is_some() {
            return Err(NegotiationError::DuplicateMid { mid: mid.to_string() });
        }
    }
    let group = session.values("group").find_map(|group| group.strip_prefix("BUNDLE")).unwrap_or_default();
    // Removing what was found keeps a mid that the group names twice from counting twice.
    let bundle: Vec<usize> = group.split_ascii_whitespace().filter_map(|mid| by_mid.remove(&Mid::new(mid)?)).collect();
    for index in by_mid.into_values() {
        if let Some(section) = sections.get_mut(index) {
            section.live = !section.attributes.has("bundle-only");
        }
    }
    Ok(bundle)
}

/// What `rtc-sdp` may read, and the media name of each m= line.
struct Checked {
    text: String,
    media: Vec<String>,
}

/// Media names that `rtc-sdp` reads; another one fails the whole offer there, so it reads `application` in its place.
const KNOWN_MEDIA: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];

/// Applies the limits and evens out line ends.
fn check(text: &str) -> Result<Checked, NegotiationError> {
    if text.len() > MAX_OFFER_BYTES {
        return Err(NegotiationError::TooLarge { size: text.len() });
    }
    let mut checked = Checked { text: String::with_capacity(text.len()), media: Vec::new() };
    let mut level_lines = 0;
    for (at, line) in text.lines().enumerate() {
        if line.len() > MAX_LINE_BYTES {
            return Err(malformed(at + 1, "longer than 8192 bytes"));
        }
        level_lines = if line.starts_with("m=") { 0 } else { level_lines + 1 };
        if level_lines > MAX_LEVEL_LINES {
            return Err(malformed(at + 1, "more than 1000 lines at one level"));
        }
        // A carriage return inside of a line would travel into the answer as a line end.
        if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(malformed(at + 1, "a control character"));
        }
        if let Some(section) = line.strip_prefix("m=") {
            if checked.media.len() >= MAX_SECTIONS {
                return Err(NegotiationError::TooManySections { limit: MAX_SECTIONS });
            }
            let (media, rest) = section.split_once(' ').unwrap_or((section, ""));
            let readable = if KNOWN_MEDIA.contains(&media) { media } else { "application" };
            checked.media.push(media.to_owned());
            checked.text.extend(["m=", readable, " ", rest, "\r\n"]);
        } else {
            checked.text.extend([line, "\r\n"]);
        }
    }
    Ok(checked)
}

fn malformed(line: usize, what: &str) -> NegotiationError {
    // The parser quotes the offer, which may be long.
    NegotiationError::Malformed { line, what: what.chars().take(120).collect() }
}
