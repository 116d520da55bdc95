//! Writes an answer (RFC 9429 section 5.3): one m= section for each offered one, in order.

use super::codecs::CCFB;
use super::data;
use super::negotiation::Accepted;
use super::offer::{Offer, OfferedSection};
use super::{CNAME, CandidateAddress, LocalParameters, SectionRole, Setup, SlotFeedback, SlotSection};
use crate::net::Protocol;
use rtc_sdp::description::common::{Address, Attribute, ConnectionInformation};
use rtc_sdp::description::media::{MediaName, RangedPort};
use rtc_sdp::description::session::{Origin, TimeDescription};
use rtc_sdp::direction::Direction;
use rtc_sdp::{MediaDescription, SessionDescription};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The `o=` line's numbers (RFC 9429 section 5.2.1).
pub(super) struct Version {
    pub(super) session_id: u64,
    pub(super) session_version: u64,
}

/// Writes the answer to `offer`. `accepted` has one entry for each section, `None` for a rejected one.
pub(super) fn write(
    offer: &Offer,
    accepted: &[Option<Accepted<'_>>],
    local: &LocalParameters<'_>,
    setup: Setup,
    version: Version,
) -> String {
    let pairs = || offer.sections.iter().zip(accepted);
    // The answerer-tagged section is the first of the offer's group that we keep (RFC 9143 section 7.3.1).
    let bundled: Vec<&OfferedSection> = (offer.bundle.iter())
        .filter(|index| accepted.get(**index).is_some_and(Option::is_some))
        .filter_map(|index| offer.sections.get(*index))
        .collect();
    let alone = || pairs().find(|(_, accepted)| accepted.is_some()).map(|(section, _)| section);
    let tagged = bundled.first().copied().or_else(alone).map(|section| section.index);

    let mut attributes = vec![flag("ice-lite"), attribute("ice-options", "ice2 trickle")];
    if !bundled.is_empty() {
        let mids = bundled.iter().map(|section| section.mid_text()).collect::<Vec<_>>().join(" ");
        attributes.push(attribute("group", format!("BUNDLE {mids}")));
    }
    if offer.attributes.has("extmap-allow-mixed") {
        attributes.push(flag("extmap-allow-mixed"));
    }
    let section = |(section, accepted): (&OfferedSection, &Option<Accepted<'_>>)| match accepted {
        None => rejected_section(section),
        Some(accepted) => accepted_section(section, accepted, local, setup, tagged == Some(section.index)),
    };
    SessionDescription {
        origin: Origin {
            username: "-".into(),
            session_id: version.session_id,
            session_version: version.session_version,
            network_type: "IN".into(),
            address_type: "IP4".into(),
            unicast_address: "127.0.0.1".into(),
        },
        session_name: "-".into(),
        time_descriptions: vec![TimeDescription::default()],
        attributes,
        media_descriptions: pairs().map(section).collect(),
        ..SessionDescription::default()
    }
    .marshal()
}

/// A section that keeps its place and nothing else (RFC 9429 section 5.3.1).
fn rejected_section(section: &OfferedSection) -> MediaDescription {
    let mut attributes = Vec::new();
    attributes.extend(section.attributes.value("mid").map(|mid| attribute("mid", mid)));
    attributes.push(flag("inactive"));
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    media_section(section, nowhere, section.formats.clone(), attributes)
}

fn accepted_section(
    section: &OfferedSection,
    accepted: &Accepted<'_>,
    local: &LocalParameters<'_>,
    setup: Setup,
    tagged: bool,
) -> MediaDescription {
    let mut lines = vec![attribute("mid", section.mid_text())];
    match &accepted.role {
        SectionRole::Publish(_) => lines.push(flag("recvonly")),
        SectionRole::Slot(slot) => {
            lines.push(flag("sendonly"));
            lines.extend(slot_lines(section.mid_text(), slot));
        }
        SectionRole::Data => lines.extend(data::lines()),
        SectionRole::Inactive | SectionRole::Rejected => lines.push(flag("inactive")),
    }
    let is_data = accepted.role == SectionRole::Data;
    if !is_data {
        lines.push(flag("rtcp-mux"));
    }
    if !is_data && section.attributes.has("rtcp-rsize") {
        lines.push(flag("rtcp-rsize"));
    }
    lines.extend([
        attribute("ice-ufrag", &local.ice.ufrag),
        attribute("ice-pwd", &local.ice.pwd),
        attribute("fingerprint", local.fingerprint),
        attribute("setup", if setup == Setup::Active { "active" } else { "passive" }),
    ]);
    if !is_data && section.attributes.has("extmap-allow-mixed") {
        lines.push(flag("extmap-allow-mixed"));
    }
    lines.extend(accepted.extension_lines.iter().cloned());
    lines.extend(accepted.payloads.attributes());
    if matches!(&accepted.role, SectionRole::Slot(slot) if slot.feedback == SlotFeedback::Ccfb) {
        lines.push(attribute("rtcp-fb", CCFB));
    }
    lines.extend(accepted.encoding_lines.iter().cloned());
    if tagged {
        lines.extend(candidate_lines(local.candidates));
    }
    let formats = if is_data { vec![data::FORMAT.to_owned()] } else { accepted.payloads.formats() };
    media_section(section, default_address(local.candidates), formats, lines)
}

fn media_section(
    section: &OfferedSection,
    address: SocketAddr,
    formats: Vec<String>,
    attributes: Vec<Attribute>,
) -> MediaDescription {
    let port = RangedPort { value: isize::try_from(address.port()).unwrap_or(0), range: None };
    MediaDescription {
        media_name: MediaName {
            media: section.media.clone(),
            port,
            // The answer repeats the offer's profile (RFC 9429 section 5.1.2).
            protos: vec![section.profile.clone()],
            formats,
        },
        connection_information: Some(ConnectionInformation {
            network_type: "IN".into(),
            address_type: if address.is_ipv4() { "IP4" } else { "IP6" }.into(),
            address: Some(Address { address: address.ip().to_string(), ttl: None, range: None }),
        }),
        attributes,
        ..MediaDescription::default()
    }
}

/// A stream of its own for every slot, so that the browser's `track` events tell slots apart.
fn slot_lines(mid: &str, slot: &SlotSection) -> Vec<Attribute> {
    let ssrc = slot.ssrc.0;
    let mut lines = vec![attribute("msid", format!("slot-{mid} track-{mid}"))];
    match slot.rtx_ssrc {
        None => lines.push(attribute("ssrc", format!("{ssrc} cname:{CNAME}"))),
        Some(rtx) => lines.extend([
            attribute("ssrc-group", format!("FID {ssrc} {}", rtx.0)),
            attribute("ssrc", format!("{ssrc} cname:{CNAME}")),
            attribute("ssrc", format!("{} cname:{CNAME}", rtx.0)),
        ]),
    }
    lines
}

/// The default destination: where a client without ICE would send (RFC 8839 section 4.2.1). IPv4 is what old ones know.
fn default_address(candidates: &[CandidateAddress]) -> SocketAddr {
    let mut udp = candidates.iter().filter(|candidate| candidate.protocol == Protocol::Udp);
    let v4 = udp.clone().find(|candidate| candidate.address.is_ipv4());
    let discard = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
    v4.or_else(|| udp.next()).map_or(discard, |candidate| candidate.address)
}

/// `a=candidate` lines (RFC 8839 section 5.1, RFC 6544 section 4.5), then `a=end-of-candidates`.
fn candidate_lines(candidates: &[CandidateAddress]) -> Vec<Attribute> {
    let mut bases: Vec<(Protocol, IpAddr)> = Vec::new();
    let mut lines = Vec::new();
    for (rank, candidate) in candidates.iter().enumerate() {
        // One foundation for each protocol and address (RFC 8445 section 5.1.1.3).
        let base = (candidate.protocol, candidate.address.ip());
        let foundation = bases.iter().position(|known| *known == base).unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        let (transport, suffix) = match candidate.protocol {
            Protocol::Udp => ("udp", ""),
            Protocol::Tcp => ("tcp", " tcptype passive"),
        };
        lines.push(attribute(
            "candidate",
            format!(
                "{} 1 {transport} {} {} {} typ host{suffix}",
                foundation + 1,
                priority(candidate.protocol, rank),
                candidate.address.ip(),
                candidate.address.port(),
            ),
        ));
    }
    lines.push(flag("end-of-candidates"));
    lines
}

/// Candidate priority (RFC 8445 section 5.1.2.1): UDP above TCP, then in the given order. `rank` counts from 0.
fn priority(protocol: Protocol, rank: usize) -> u32 {
    let rank = u32::try_from(rank).unwrap_or(u32::MAX);
    let (type_preference, local_preference) = match protocol {
        Protocol::Udp => (126, 0xffff_u32.saturating_sub(rank)),
        // The upper three bits are the direction preference, 4 for a passive host candidate (RFC 6544 section 4.2).
        Protocol::Tcp => (90, (4 << 13) | 0x1fff_u32.saturating_sub(rank)),
    };
    (type_preference << 24) | (local_preference << 8) | 255
}

/// `a=<key>:<value>`.
pub(super) fn attribute(key: &str, value: impl Into<String>) -> Attribute {
    Attribute { key: key.to_owned(), value: Some(value.into()) }
}

/// `a=<key>`.
fn flag(key: &str) -> Attribute {
    Attribute { key: key.to_owned(), value: None }
}

/// What the other side calls `direction`.
pub(super) fn reversed(direction: &Direction) -> Direction {
    match direction {
        Direction::SendOnly => Direction::RecvOnly,
        Direction::RecvOnly => Direction::SendOnly,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn udp_candidates_come_before_tcp_ones_and_each_keeps_its_order() {
        let lines: Vec<String> = candidate_lines(
            &[
                ("[2001:db8::1]:7882", Protocol::Udp),
                ("192.0.2.1:7882", Protocol::Udp),
                ("192.0.2.1:7882", Protocol::Tcp),
            ]
            .map(|(address, protocol)| CandidateAddress { address: address.parse().unwrap(), protocol }),
        )
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(
            lines,
            [
                "candidate:1 1 udp 2130706431 2001:db8::1 7882 typ host",
                "candidate:2 1 udp 2130706175 192.0.2.1 7882 typ host",
                "candidate:3 1 tcp 1520434687 192.0.2.1 7882 typ host tcptype passive",
                "end-of-candidates"
            ]
        );
        assert!(priority(Protocol::Udp, usize::MAX) > priority(Protocol::Tcp, 0));
    }
}
