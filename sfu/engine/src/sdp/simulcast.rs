//! Encodings that a client declares for a section it sends on: by rid (RFC 8851, RFC 8853, also the older `rid=`
//! spelling that Firefox used), by `ssrc-group:SIM`, or a single one; their SSRCs and those of their retransmissions
//! (RFC 5576).

use super::answer::attribute;
use super::codecs::Payloads;
use super::offer::OfferedSection;
use super::{DeclaredEncoding, ExtensionKind, ExtensionMap, MAX_ENCODINGS};
use crate::media::MediaKind;
use crate::units::{Rid, Ssrc};
use rtc_sdp::description::common::Attribute;

/// Most SSRCs that one section may declare; further ones are not read.
const MAX_SOURCES: usize = 4 * MAX_ENCODINGS;

/// The encodings that the server takes, and what the answer says about them.
pub(super) struct Encodings {
    /// At least one.
    pub(super) declared: Vec<DeclaredEncoding>,
    /// `a=rid` and `a=simulcast` lines; none without rids.
    pub(super) attributes: Vec<Attribute>,
}

/// Reads what `section` declares.
pub(super) fn encodings(section: &OfferedSection, payloads: &Payloads<'_>, extensions: &ExtensionMap) -> Encodings {
    let sources = Sources::read(section, payloads.has_rtx());
    if section.kind == Some(MediaKind::Video) && extensions.id(ExtensionKind::Rid).is_some() {
        let offered = OfferedRids::read(section, payloads);
        if !offered.rids.is_empty() {
            return by_rid(offered, &sources);
        }
    }
    let mut declared: Vec<DeclaredEncoding> = (sources.simulcast.iter().take(MAX_ENCODINGS))
        .map(|ssrc| DeclaredEncoding { rid: None, ssrc: Some(*ssrc), rtx_ssrc: sources.rtx(*ssrc), paused: false })
        .collect();
    if declared.is_empty() {
        let ssrc = sources.primary.first().copied();
        declared.push(DeclaredEncoding {
            rid: None,
            ssrc,
            rtx_ssrc: ssrc.and_then(|ssrc| sources.rtx(ssrc)),
            paused: false,
        });
    }
    Encodings { declared, attributes: Vec::new() }
}

fn by_rid(offered: OfferedRids, sources: &Sources) -> Encodings {
    // The order of SSRCs says something only where there is one for each rid.
    let ssrcs = if sources.primary.len() == offered.offered { sources.primary.as_slice() } else { &[] };
    let declared = offered.rids.iter().map(|offer| {
        let ssrc = ssrcs.get(offer.at).copied();
        let rtx_ssrc = ssrc.and_then(|ssrc| sources.rtx(ssrc));
        DeclaredEncoding { rid: Some(offer.rid), ssrc, rtx_ssrc, paused: offer.paused }
    });
    let mut attributes: Vec<Attribute> = (offered.rids.iter())
        .map(|offer| match offer.restrictions.is_empty() {
            true => attribute("rid", format!("{} recv", offer.rid)),
            false => attribute("rid", format!("{} recv {}", offer.rid, offer.restrictions)),
        })
        .collect();
    if let Some(spelling) = offered.simulcast {
        let name = |offer: &OfferedRid| format!("{}{}", if offer.paused { "~" } else { "" }, offer.rid);
        let list = offered.rids.iter().map(name).collect::<Vec<_>>().join(";");
        attributes.push(attribute("simulcast", format!("{spelling}{list}")));
    }
    Encodings { declared: declared.collect(), attributes }
}

/// The rids that an offer wants to send.
struct OfferedRids {
    rids: Vec<OfferedRid>,
    /// How many there were before unusable ones went.
    offered: usize,
    /// How the answer's `a=simulcast` begins; `None` without simulcast.
    simulcast: Option<&'static str>,
}

struct OfferedRid {
    rid: Rid,
    /// Place in the offered list.
    at: usize,
    paused: bool,
    /// Restrictions to repeat, without payload types that are not accepted.
    restrictions: String,
}

impl OfferedRids {
    fn read(section: &OfferedSection, payloads: &Payloads<'_>) -> OfferedRids {
        let mut described: Vec<(&str, &str)> = section.attributes.values("rid").filter_map(sent_rid).collect();
        let Some((list, legacy)) = section.attributes.value("simulcast").and_then(send_list) else {
            // A single named encoding needs no simulcast.
            let first = described.iter().find_map(|(name, described)| {
                let restrictions = restrictions(described, payloads)?;
                Some(OfferedRid { rid: Rid::new(name)?, at: 0, paused: false, restrictions })
            });
            return OfferedRids { rids: first.into_iter().collect(), offered: 1, simulcast: None };
        };
        // Sorted, because the list may be long: a search for each name must stay cheap.
        described.sort_by_key(|(name, _)| *name);
        let find = |name: &str| {
            let at = described.binary_search_by_key(&name, |(name, _)| *name).ok()?;
            restrictions(described.get(at)?.1, payloads)
        };
        let mut rids: Vec<OfferedRid> = Vec::new();
        for (at, alternatives) in list.split(';').enumerate() {
            // Of alternatives the first is the client's favourite.
            let name = alternatives.split(',').next().unwrap_or_default();
            let (paused, name) = name.strip_prefix('~').map_or((false, name), |name| (true, name));
            let (Some(rid), Some(restrictions)) = (Rid::new(name), find(name)) else { continue };
            if !rids.iter().any(|known| known.rid == rid) {
                rids.push(OfferedRid { rid, at, paused, restrictions });
            }
            if rids.len() == MAX_ENCODINGS {
                break;
            }
        }
        let spelling = if legacy { " recv rid=" } else { "recv " };
        OfferedRids { rids, offered: list.split(';').count(), simulcast: Some(spelling) }
    }
}

/// The list behind `send`, and whether it is in the older `rid=` spelling. The still older lists of payload types are
/// not read.
fn send_list(simulcast: &str) -> Option<(&str, bool)> {
    let mut words = simulcast.split_ascii_whitespace().skip_while(|word| *word != "send");
    let list = words.nth(1)?;
    match list.split_once('=') {
        Some(("rid", list)) => Some((list, true)),
        Some(_) => None,
        None => Some((list, false)),
    }
}

/// Name and restrictions of an `a=rid` line for sending.
fn sent_rid(value: &str) -> Option<(&str, &str)> {
    let mut words = value.splitn(3, ' ');
    let (name, direction) = (words.next()?, words.next()?);
    (direction == "send").then(|| (name, words.next().unwrap_or_default()))
}

/// What an `a=rid` line restricts, reduced to accepted payload types; `None` if it allows none of them.
fn restrictions(described: &str, payloads: &Payloads<'_>) -> Option<String> {
    let mut kept = Vec::new();
    for restriction in described.split(';').map(str::trim).filter(|restriction| !restriction.is_empty()) {
        let Some(list) = restriction.strip_prefix("pt=") else {
            kept.push(restriction.to_owned());
            continue;
        };
        let accepted = |format: &&str| payloads.meanings().any(|(known, _)| format.parse() == Ok(known));
        let list: Vec<&str> = list.split(',').filter(accepted).collect();
        if list.is_empty() {
            return None;
        }
        kept.push(format!("pt={}", list.join(",")));
    }
    Some(kept.join(";"))
}

/// SSRCs that a section declares.
struct Sources {
    /// Those that carry media, in order.
    primary: Vec<Ssrc>,
    /// Those of `ssrc-group:SIM`, lowest quality first by custom.
    simulcast: Vec<Ssrc>,
    /// Media and its retransmissions.
    pairs: Vec<(Ssrc, Ssrc)>,
}

impl Sources {
    fn read(section: &OfferedSection, rtx: bool) -> Sources {
        let mut sources = Sources { primary: Vec::new(), simulcast: Vec::new(), pairs: Vec::new() };
        let mut repairs = Vec::new();
        for group in section.attributes.values("ssrc-group").take(MAX_SOURCES) {
            let mut words = group.split_ascii_whitespace();
            let semantics = words.next().unwrap_or_default();
            let members: Vec<Ssrc> = words.filter_map(ssrc).take(MAX_SOURCES).collect();
            match (semantics, members.as_slice()) {
                ("SIM", _) if sources.simulcast.is_empty() => sources.simulcast = members,
                ("FID", [media, repair]) => {
                    sources.pairs.push((*media, *repair));
                    repairs.push(*repair);
                }
                ("FEC" | "FEC-FR", [_, repair]) => repairs.push(*repair),
                _ => {}
            }
        }
        for found in section.attributes.values("ssrc").filter_map(|value| ssrc(value.split(' ').next()?)) {
            if !repairs.contains(&found) && !sources.primary.contains(&found) && sources.primary.len() < MAX_SOURCES {
                sources.primary.push(found);
            }
        }
        if !rtx {
            sources.pairs.clear();
        }
        sources
    }

    fn rtx(&self, media: Ssrc) -> Option<Ssrc> {
        self.pairs.iter().find(|(known, _)| *known == media).map(|(_, repair)| *repair)
    }
}

fn ssrc(text: &str) -> Option<Ssrc> {
    text.parse().ok().filter(|number| *number != 0).map(Ssrc)
}
