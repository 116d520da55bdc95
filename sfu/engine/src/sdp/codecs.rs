//! Which of a section's payload types the server takes: codecs, their RTX (RFC 4588), redundant audio (RFC 2198) and
//! the RTCP feedback of each (RFC 4585, RFC 5104, RFC 8888).
//!
//! The client's parameters are answered unchanged: the server forwards and neither encodes nor decodes.

use super::CodecRules;
use super::answer::attribute;
use super::offer::OfferedSection;
use crate::media::{Codec, MediaKind};
use crate::units::{Mid, PayloadType};
use rtc_sdp::description::common::Attribute;

/// One accepted codec of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadMapping {
    /// The codec with the parameters that decide compatibility.
    pub codec: Codec,
    /// Its payload type in this section.
    pub payload_type: PayloadType,
    /// Payload type of its retransmissions.
    pub rtx: Option<PayloadType>,
    /// RTCP feedback for it.
    pub feedback: Feedback,
}

/// RTCP feedback that both sides use for a codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Generic NACK (RFC 4585).
    pub nack: bool,
    /// Picture loss indication (RFC 4585).
    pub pli: bool,
    /// Full intra request (RFC 5104).
    pub fir: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
    /// Receiver estimated maximum bitrate.
    pub remb: bool,
}

/// A codec that the server forwards: a new codec is a new row.
struct Known {
    /// Encoding name of `a=rtpmap`, in any case.
    name: &'static str,
    kind: MediaKind,
    clock_rate: &'static str,
    channels: &'static str,
    /// Reads `a=fmtp`; `None` where the parameters rule the payload type out.
    codec: fn(fmtp: &str) -> Option<Codec>,
}

const KNOWN: &[Known] = &[
    Known { name: "opus", kind: MediaKind::Audio, clock_rate: "48000", channels: "2", codec: |_| Some(Codec::Opus) },
    Known { name: "VP8", kind: MediaKind::Video, clock_rate: "90000", channels: "1", codec: |_| Some(Codec::Vp8) },
    Known { name: "VP9", kind: MediaKind::Video, clock_rate: "90000", channels: "1", codec: vp9 },
    Known { name: "AV1", kind: MediaKind::Video, clock_rate: "90000", channels: "1", codec: av1 },
    Known { name: "H264", kind: MediaKind::Video, clock_rate: "90000", channels: "1", codec: h264 },
    Known { name: "H265", kind: MediaKind::Video, clock_rate: "90000", channels: "1", codec: h265 },
];

/// Where [`Feedback`] keeps one kind.
type Flag = fn(&mut Feedback) -> &mut bool;

/// The RTCP feedback that is answered.
const FEEDBACK: [(&str, Flag); 5] = [
    ("goog-remb", |feedback| &mut feedback.remb),
    ("transport-cc", |feedback| &mut feedback.transport_cc),
    ("ccm fir", |feedback| &mut feedback.fir),
    ("nack", |feedback| &mut feedback.nack),
    ("nack pli", |feedback| &mut feedback.pli),
];

/// Congestion control feedback (RFC 8888 section 6): always for every payload type.
pub(super) const CCFB: &str = "* ack ccfb";

/// What a payload type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Media(Codec),
    /// Retransmissions of another payload type.
    Rtx(u8),
    /// Redundant audio.
    Red,
}

/// The accepted payload types of a section.
#[derive(Default)]
pub(super) struct Payloads<'a> {
    /// In the client's order of preference.
    accepted: Vec<(u8, Meaning, Description<'a>)>,
    ccfb: bool,
}

/// What an offer says about one payload type.
#[derive(Clone, Copy, Default)]
struct Description<'a> {
    rtpmap: &'a str,
    fmtp: &'a str,
    feedback: Feedback,
}

impl<'a> Payloads<'a> {
    /// Picks from `section` what the server forwards.
    pub(super) fn accept(section: &'a OfferedSection) -> Payloads<'a> {
        let Some(kind) = section.kind else { return Payloads::default() };
        let table = describe(section);
        let offered = offered_types(section);
        let mut meanings = [None; 128];
        // Retransmissions and redundancy stand on codecs, which may come later in the list.
        for judge in [media as Judge, repair] {
            let known = meanings;
            for payload_type in &offered {
                let at = usize::from(*payload_type);
                if let (Some(slot @ None), Some(description)) = (meanings.get_mut(at), table.get(at)) {
                    *slot = judge(kind, description, &known);
                }
            }
        }

        let ccfb = section.attributes.values("rtcp-fb").any(|value| value.trim() == CCFB);
        let mut payloads = Payloads { accepted: Vec::new(), ccfb };
        for payload_type in offered {
            let at = usize::from(payload_type);
            let (Some(Some(meaning)), Some(description)) = (meanings.get(at), table.get(at)) else { continue };
            // Of two retransmission types for one codec the first is enough.
            let again = payloads.accepted.iter().any(|(_, known, _)| known == meaning);
            if !(again && matches!(meaning, Meaning::Rtx(_) | Meaning::Red)) {
                payloads.accepted.push((payload_type, *meaning, *description));
            }
        }
        payloads
    }

    /// Leaves of what the client can send on section `mid` what the rules allow, best first, each codec with its
    /// retransmissions.
    pub(super) fn follow(&mut self, rules: &CodecRules, mid: Option<Mid>) {
        let told = mid.and_then(|mid| rules.told(mid));
        let media = |(payload_type, meaning, _): &(u8, Meaning, Description<'_>)| match meaning {
            Meaning::Media(codec) if rules.allow(*codec) => Some((*payload_type, *codec)),
            _ => None,
        };
        let mut allowed: Vec<_> = self.accepted.iter().filter_map(media).collect();
        allowed.sort_by_key(|(_, codec)| (Some(*codec) != told, rules.rank(*codec)));
        let place = |payload_type: u8, meaning: &Meaning| {
            let stands_on = if let Meaning::Rtx(primary) = meaning { *primary } else { payload_type };
            allowed.iter().position(|(allowed, _)| *allowed == stands_on)
        };
        self.accepted.retain(|(payload_type, meaning, _)| place(*payload_type, meaning).is_some());
        self.accepted.sort_by_key(|(payload_type, meaning, _)| place(*payload_type, meaning));
    }

    /// Whether the section has nothing for us.
    pub(super) fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }

    /// The codecs, in the client's order of preference.
    pub(super) fn codecs(&self) -> Vec<PayloadMapping> {
        let rtx = |wanted| self.meanings().find(|(_, meaning)| *meaning == Meaning::Rtx(wanted));
        let mapping = |(payload_type, meaning, description): &(u8, Meaning, Description<'_>)| match meaning {
            Meaning::Media(codec) => Some(PayloadMapping {
                codec: *codec,
                payload_type: PayloadType(*payload_type),
                rtx: rtx(*payload_type).map(|(rtx, _)| PayloadType(rtx)),
                feedback: description.feedback,
            }),
            Meaning::Rtx(_) | Meaning::Red => None,
        };
        self.accepted.iter().filter_map(mapping).collect()
    }

    /// Whether the client would report by RFC 8888.
    pub(super) fn offer_ccfb(&self) -> bool {
        self.ccfb
    }

    /// Whether the client would report by transport-wide numbers.
    pub(super) fn offer_transport_cc(&self) -> bool {
        self.accepted.iter().any(|(_, _, description)| description.feedback.transport_cc)
    }

    /// Payload type of redundant audio.
    pub(super) fn red(&self) -> Option<PayloadType> {
        self.meanings().find(|(_, meaning)| *meaning == Meaning::Red).map(|(red, _)| PayloadType(red))
    }

    /// Whether any codec has retransmissions.
    pub(super) fn has_rtx(&self) -> bool {
        self.meanings().any(|(_, meaning)| matches!(meaning, Meaning::Rtx(_)))
    }

    /// Each accepted payload type and what it means.
    pub(super) fn meanings(&self) -> impl Iterator<Item = (u8, Meaning)> + '_ {
        self.accepted.iter().map(|(payload_type, meaning, _)| (*payload_type, *meaning))
    }

    /// The payload types of the answer's m= line.
    pub(super) fn formats(&self) -> Vec<String> {
        self.meanings().map(|(payload_type, _)| payload_type.to_string()).collect()
    }

    /// The answer's `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` lines.
    pub(super) fn attributes(&self) -> Vec<Attribute> {
        let mut lines = Vec::new();
        for (payload_type, meaning, description) in &self.accepted {
            lines.push(attribute("rtpmap", format!("{payload_type} {}", description.rtpmap)));
            if !description.fmtp.is_empty() {
                lines.push(attribute("fmtp", format!("{payload_type} {}", description.fmtp)));
            }
            if matches!(meaning, Meaning::Media(_)) {
                let mut feedback = description.feedback;
                let taken = FEEDBACK.iter().filter(|(_, flag)| *flag(&mut feedback));
                lines.extend(taken.map(|(name, _)| attribute("rtcp-fb", format!("{payload_type} {name}"))));
            }
        }
        lines
    }
}

/// Payload types of the m= line, each once. 64 to 95 would be taken for RTCP (RFC 5761 section 4).
fn offered_types(section: &OfferedSection) -> Vec<u8> {
    let mut seen = [false; 128];
    let first_time =
        |payload_type: &u8| seen.get_mut(usize::from(*payload_type)).is_some_and(|seen| !std::mem::replace(seen, true));
    let numbers = section.formats.iter().filter_map(|format| format.parse().ok());
    numbers.filter(|number| !(64..=95).contains(number)).filter(first_time).collect()
}

/// Collects in one pass what the section says about each payload type, whatever the order of the lines.
fn describe(section: &OfferedSection) -> [Description<'_>; 128] {
    let mut table = [Description::default(); 128];
    for value in section.attributes.values("rtpmap") {
        if let Some((description, rtpmap)) = entry(&mut table, value) {
            description.rtpmap = rtpmap;
        }
    }
    for value in section.attributes.values("fmtp") {
        if let Some((description, fmtp)) = entry(&mut table, value) {
            description.fmtp = fmtp;
        }
    }
    for value in section.attributes.values("rtcp-fb") {
        match value.split_once(' ') {
            Some(("*", feedback)) => table.iter_mut().for_each(|description| description.feedback.note(feedback)),
            _ => {
                if let Some((description, feedback)) = entry(&mut table, value) {
                    description.feedback.note(feedback);
                }
            }
        }
    }
    table
}

/// Splits `<payload type> <rest>` and finds the payload type's entry.
fn entry<'t, 'a>(table: &'t mut [Description<'a>; 128], value: &'a str) -> Option<(&'t mut Description<'a>, &'a str)> {
    let (payload_type, rest) = value.split_once(' ')?;
    Some((table.get_mut(payload_type.parse::<usize>().ok()?)?, rest.trim()))
}

impl Feedback {
    fn note(&mut self, text: &str) {
        let text = text.trim();
        if let Some((_, flag)) = FEEDBACK.iter().find(|(name, _)| *name == text) {
            *flag(self) = true;
        }
    }
}

/// Says what a payload type of a section means, given what is known of the others.
type Judge = fn(MediaKind, &Description<'_>, &[Option<Meaning>; 128]) -> Option<Meaning>;

fn media(kind: MediaKind, description: &Description<'_>, _: &[Option<Meaning>; 128]) -> Option<Meaning> {
    let (name, clock_rate, channels) = rtpmap(description.rtpmap)?;
    let known = KNOWN.iter().find(|known| {
        known.kind == kind
            && known.name.eq_ignore_ascii_case(name)
            && (known.clock_rate, known.channels) == (clock_rate, channels)
    })?;
    (known.codec)(description.fmtp).map(Meaning::Media)
}

fn repair(kind: MediaKind, description: &Description<'_>, known: &[Option<Meaning>; 128]) -> Option<Meaning> {
    let codec = |payload_type: &str| {
        let payload_type: u8 = payload_type.parse().ok()?;
        match known.get(usize::from(payload_type)) {
            Some(Some(Meaning::Media(codec))) => Some((payload_type, *codec)),
            _ => None,
        }
    };
    let (name, clock_rate, _) = rtpmap(description.rtpmap)?;
    if name.eq_ignore_ascii_case("rtx") {
        let (primary, codec) = codec(parameter(description.fmtp, "apt")?)?;
        (clock_rate == codec.clock_rate().to_string()).then_some(Meaning::Rtx(primary))
    } else if name.eq_ignore_ascii_case("red") && kind == MediaKind::Audio {
        // "111/111": every block must be of a codec that we take.
        description.fmtp.split('/').all(|block| codec(block).is_some()).then_some(Meaning::Red)
    } else {
        None
    }
}

/// `<name>/<clock rate>[/<channels>]`; one channel where none is given.
fn rtpmap(value: &str) -> Option<(&str, &str, &str)> {
    let mut parts = value.split('/');
    Some((parts.next()?, parts.next()?, parts.next().unwrap_or("1")))
}

/// A parameter of `a=fmtp`: `name=value;name=value`.
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads VP9 parameters (RFC 9628 section 6): profile 0 where none is given.
fn vp9(fmtp: &str) -> Option<Codec> {
    let profile = parameter(fmtp, "profile-id").unwrap_or("0").parse().ok().filter(|profile| *profile <= 3)?;
    Some(Codec::Vp9 { profile })
}

/// Reads AV1 parameters (RTP Payload Format for AV1, section 7.2). Level and tier do not decide compatibility here: who
/// sends keeps within what the answer repeats.
fn av1(fmtp: &str) -> Option<Codec> {
    let profile = parameter(fmtp, "profile").unwrap_or("0").parse().ok().filter(|profile| *profile <= 2)?;
    Some(Codec::Av1 { profile })
}

/// Reads H.264 parameters (RFC 6184 section 8.1). Interleaved mode (2) is nobody's.
fn h264(fmtp: &str) -> Option<Codec> {
    let packetization_mode = parameter(fmtp, "packetization-mode").unwrap_or("0").parse().ok()?;
    // Without the parameter it is the Baseline profile at level 1.
    let id = parameter(fmtp, "profile-level-id").unwrap_or("42000a");
    if packetization_mode > 1 || id.len() != 6 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let [_, idc, iop, _] = u32::from_str_radix(id, 16).ok()?.to_be_bytes();
    let profile =
        H264_PROFILES.iter().find(|(profile_idc, mask, bits, _)| *profile_idc == idc && iop & mask == *bits)?;
    Some(Codec::H264 { profile: profile.3, packetization_mode })
}

/// Reads H.265 parameters (RFC 7798 section 7.1). The level does not decide compatibility, as for H.264: who sends
/// keeps within what the answer repeats. Several streams or transports (`tx-mode`) and packets out of decoding order
/// (`sprop-max-don-diff`) are nobody's.
fn h265(fmtp: &str) -> Option<Codec> {
    let number = |name, usual: &'static str| parameter(fmtp, name).unwrap_or(usual).parse::<u8>().ok();
    let single = parameter(fmtp, "tx-mode").is_none_or(|mode| mode.eq_ignore_ascii_case("SRST"));
    let in_order = parameter(fmtp, "sprop-max-don-diff").is_none_or(|most| most == "0");
    if !single || !in_order || number("profile-space", "0")? != 0 {
        return None;
    }
    number("level-id", "93")?;
    let (profile, tier) = (number("profile-id", "1")?, number("tier-flag", "0")?);
    (profile <= 31 && tier <= 1).then_some(Codec::H265 { profile, tier })
}

/// Profiles by profile_idc and the bits of profile_iop that matter (RFC 6184 table 5), with the spelling that stands
/// for all equivalent ones. Two payload types are of one profile if these are equal; the level does not matter.
const H264_PROFILES: [(u8, u8, u8, u16); 9] = [
    (0x42, 0b0100_1111, 0b0100_0000, 0x42e0), // Constrained Baseline, in three spellings.
    (0x4d, 0b1000_1111, 0b1000_0000, 0x42e0),
    (0x58, 0b1100_1111, 0b1100_0000, 0x42e0),
    (0x42, 0b0100_1111, 0b0000_0000, 0x4200), // Baseline, in two.
    (0x58, 0b1100_1111, 0b1000_0000, 0x4200),
    (0x4d, 0b1010_1111, 0b0000_0000, 0x4d00), // Main.
    (0x64, 0b1111_1111, 0b0000_0000, 0x6400), // High.
    (0x64, 0b1111_1111, 0b0000_1100, 0x640c), // Constrained High.
    (0xf4, 0b1111_1111, 0b0000_0000, 0xf400), // High 4:4:4 Predictive.
];

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: &str) -> Option<u16> {
        match h264(&format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={id}"))? {
            Codec::H264 { profile, packetization_mode: 1 } => Some(profile),
            _ => None,
        }
    }

    #[test]
    fn spellings_of_one_h264_profile_are_one_codec_whatever_the_level() {
        for id in ["42e01f", "42E034", "42c01f", "4d801f", "58c00a", "42401f"] {
            assert_eq!(profile(id), Some(0x42e0), "{id}");
        }
        for id in ["42001f", "420034", "58800a"] {
            assert_eq!(profile(id), Some(0x4200), "{id}");
        }
        assert_eq!(profile("4d001f"), Some(0x4d00));
        assert_eq!((profile("64001f"), profile("640c1f")), (Some(0x6400), Some(0x640c)));
    }

    #[test]
    fn h265_is_told_apart_by_profile_and_tier_whatever_the_level_and_other_transports_are_refused() {
        let main = Some(Codec::H265 { profile: 1, tier: 0 });
        assert_eq!(h265(""), main);
        assert_eq!(h265("level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST"), main);
        assert_eq!(h265("profile-id=2;tier-flag=1"), Some(Codec::H265 { profile: 2, tier: 1 }));
        for refused in
            ["tx-mode=MRST", "sprop-max-don-diff=2", "profile-space=1", "profile-id=32", "tier-flag=2", "level-id=x"]
        {
            assert_eq!(h265(refused), None, "{refused}");
        }
    }

    #[test]
    fn vp9_and_av1_are_told_apart_by_profile() {
        assert_eq!([vp9(""), vp9("profile-id=2")], [0, 2].map(|profile| Some(Codec::Vp9 { profile })));
        let fmtp = "level-idx=5;profile=1;tier=0";
        assert_eq!([av1(""), av1(fmtp)], [0, 1].map(|profile| Some(Codec::Av1 { profile })));
        assert_eq!([vp9("profile-id=4"), av1("profile=x")], [None, None]);
    }

    #[test]
    fn h264_parameters_default_as_the_rfc_says_and_nonsense_is_left_out() {
        assert_eq!(h264(""), Some(Codec::H264 { profile: 0x4200, packetization_mode: 0 }));
        for fmtp in
            ["profile-level-id=42e0", "profile-level-id=+2e01f", "profile-level-id=99001f", "packetization-mode=2"]
        {
            assert_eq!(h264(fmtp), None, "{fmtp}");
        }
    }
}
