//! Decides what becomes of each m= section of an offer, and keeps what must stay the same from one offer to the next.

use super::answer::{self, Version};
use super::codecs::Payloads;
use super::offer::{Offer, OfferedSection};
use super::{
    DeclaredEncoding, ExtensionKind, ExtensionMap, LocalParameters, MAX_SECTIONS, Negotiated, NegotiationError,
    PublishSection, RemoteTransport, Section, SectionRole, Setup, SlotFeedback, SlotSection,
};
use super::{data, simulcast};
use crate::command::PublishHint;
use crate::media::MediaKind;
use crate::units::{Mid, Ssrc};
use rand::RngCore;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::direction::Direction;
use std::collections::BTreeSet;

/// The state of one peer connection's m= sections over all its offers.
///
/// A new peer connection of the same participant gets a new value.
#[derive(Clone, Debug)]
pub struct Negotiation {
    session_id: u64,
    session_version: u64,
    /// By m-line. `None` where the section never was a slot, or was stopped.
    slots: Vec<Option<KeptSlot>>,
    /// Of the last offer that had a section in use, and our DTLS role in it.
    association: Option<(RemoteTransport, Setup)>,
}

/// A slot's numbers, kept for the section `mid`.
#[derive(Clone, Copy, Debug)]
struct KeptSlot {
    mid: Mid,
    kind: MediaKind,
    ssrc: Ssrc,
    rtx_ssrc: Ssrc,
}

/// A section that is not rejected.
pub(super) struct Accepted<'a> {
    pub(super) role: SectionRole,
    pub(super) payloads: Payloads<'a>,
    pub(super) extensions: ExtensionMap,
    pub(super) extension_lines: Vec<Attribute>,
    pub(super) encoding_lines: Vec<Attribute>,
}

impl Accepted<'_> {
    /// A section for data channels, which has nothing of RTP.
    fn data() -> Self {
        Accepted {
            role: SectionRole::Data,
            payloads: Payloads::default(),
            extensions: ExtensionMap::default(),
            extension_lines: Vec::new(),
            encoding_lines: Vec::new(),
        }
    }
}

impl Negotiation {
    /// For a new peer connection. `session_id` should be random; its upper 63 bits go into the answers' `o=` lines.
    pub fn new(session_id: u64) -> Self {
        // RFC 9429 section 5.2.1: the highest bit is 0.
        Negotiation { session_id: session_id >> 1, session_version: 0, slots: Vec::new(), association: None }
    }

    /// Answers an offer. On an error nothing has changed. `rng` gives the SSRCs of new slots.
    pub fn handle_offer(
        &mut self,
        offer: &str,
        local: &LocalParameters<'_>,
        rng: &mut impl RngCore,
    ) -> Result<Negotiated, NegotiationError> {
        let offer = Offer::parse(offer)?;
        self.check_sections(&offer, local)?;
        let (remote, setup) = self.associate(&offer)?;
        let mut accepted = accept_sections(&offer, local)?;
        check_bundle(&offer, &accepted)?;
        check_numbers(&accepted)?;

        take_feedback(&mut accepted);
        let slots = self.assign_slots(&offer, &mut accepted, rng);
        self.slots = slots;
        self.association = Some((remote.clone(), setup));
        self.session_version = self.session_version.wrapping_add(1);
        let version = Version { session_id: self.session_id, session_version: self.session_version };
        let answer = answer::write(&offer, &accepted, local, setup, version);
        let sections = offer.sections.iter().zip(accepted).filter_map(|(section, accepted)| settled(section, accepted));
        Ok(Negotiated { answer, sections: sections.collect(), remote, setup })
    }

    fn check_sections(&self, offer: &Offer, local: &LocalParameters<'_>) -> Result<(), NegotiationError> {
        let (before, now) = (self.slots.len(), offer.sections.len());
        let limit = local.max_sections.min(MAX_SECTIONS);
        if now > limit {
            return Err(NegotiationError::TooManySections { limit });
        }
        if now < before {
            return Err(NegotiationError::SectionsRemoved { before, now });
        }
        Ok(())
    }

    /// The client's transport and our DTLS role in it.
    fn associate(&self, offer: &Offer) -> Result<(RemoteTransport, Setup), NegotiationError> {
        let remote = match (RemoteTransport::of(offer), &self.association) {
            // A client that stopped everything describes no transport any more.
            (Err(NegotiationError::NothingOffered), Some(association)) => return Ok(association.clone()),
            (remote, _) => remote?,
        };
        let setup = match (remote.setup, &self.association) {
            (Setup::Passive, _) => Setup::Active,
            // Roles stay while the DTLS association does, that is, while the certificate does (RFC 8842 section 5.5).
            (Setup::ActPass, Some((before, setup))) if before.fingerprints == remote.fingerprints => *setup,
            (Setup::ActPass | Setup::Active, _) => Setup::Passive,
        };
        Ok((remote, setup))
    }

    /// Gives every slot its SSRCs: those it had, or new ones. Returns what to keep.
    fn assign_slots(
        &self,
        offer: &Offer,
        accepted: &mut [Option<Accepted<'_>>],
        rng: &mut impl RngCore,
    ) -> Vec<Option<KeptSlot>> {
        let mut taken: BTreeSet<Ssrc> =
            self.slots.iter().flatten().flat_map(|slot| [slot.ssrc, slot.rtx_ssrc]).collect();
        taken.extend(accepted.iter().flatten().flat_map(|section| declared_ssrcs(&section.role)));
        let mut fresh = || {
            loop {
                let ssrc = Ssrc(rng.next_u32());
                if ssrc.0 != 0 && taken.insert(ssrc) {
                    return ssrc;
                }
            }
        };
        let mut kept = Vec::with_capacity(accepted.len());
        for (section, accepted) in offer.sections.iter().zip(accepted) {
            let same = |slot: &&KeptSlot| Some(slot.mid) == section.mid && Some(slot.kind) == section.kind;
            let before = self.slots.get(section.index).and_then(Option::as_ref).filter(same).copied();
            kept.push(match (accepted, section.mid, section.kind) {
                (Some(Accepted { role: SectionRole::Slot(slot), payloads, .. }), Some(mid), Some(kind)) => {
                    let numbers = before.unwrap_or_else(|| KeptSlot { mid, kind, ssrc: fresh(), rtx_ssrc: fresh() });
                    let rtx_ssrc = payloads.has_rtx().then_some(numbers.rtx_ssrc);
                    (slot.ssrc, slot.rtx_ssrc) = (numbers.ssrc, rtx_ssrc);
                    Some(numbers)
                }
                (Some(_), ..) => before,
                (None, ..) => None,
            });
        }
        kept
    }
}

/// Judges every section by itself: `None` is rejected.
fn accept_sections<'a>(
    offer: &'a Offer,
    local: &LocalParameters<'_>,
) -> Result<Vec<Option<Accepted<'a>>>, NegotiationError> {
    let mut tracks = 0;
    let mut has_data = false;
    let mut ssrcs = BTreeSet::new();
    let mut sections = Vec::with_capacity(offer.sections.len());
    for section in &offer.sections {
        let mut accepted = accept_section(offer, section, local)?;
        if matches!(accepted, Some(Accepted { role: SectionRole::Data, .. })) && std::mem::replace(&mut has_data, true)
        {
            // One transport has one SCTP association (RFC 8841 section 10.1).
            accepted = None;
        }
        if let Some(Accepted { role: SectionRole::Publish(publish), .. }) = &mut accepted {
            if tracks < local.max_tracks {
                tracks += 1;
                publish.encodings.iter_mut().for_each(|encoding| claim(encoding, &mut ssrcs));
            } else {
                accepted = None;
            }
        }
        sections.push(accepted);
    }
    Ok(sections)
}

fn accept_section<'a>(
    offer: &'a Offer,
    section: &'a OfferedSection,
    local: &LocalParameters<'_>,
) -> Result<Option<Accepted<'a>>, NegotiationError> {
    if section.live && data::is_acceptable(section) {
        return Ok(Some(Accepted::data()));
    }
    if !section.live || section.kind.is_none() {
        return Ok(None);
    }
    check_profile(section)?;
    let mut payloads = Payloads::accept(section);
    // A section that the client sends and receives on is taken for its sending half: the server sends on slots only.
    let sends = matches!(section.direction, Direction::SendOnly | Direction::SendRecv);
    let allowed = match section.direction {
        Direction::RecvOnly => local.can_subscribe,
        Direction::Inactive => true,
        _ => section.mid.zip(section.kind).is_some_and(|(mid, kind)| {
            local.may_publish.contains(PublishHint::of_section(mid, kind, local.published).source)
        }),
    };
    if !allowed || payloads.is_empty() {
        return Ok(None);
    }
    if sends && section.kind == Some(MediaKind::Video) {
        payloads.follow(local.codecs, section.mid);
        if payloads.is_empty() {
            let (mid, required) = (section.mid_text().into(), local.codecs.names());
            return Err(NegotiationError::CodecRequired { mid, required });
        }
    }
    let flow = if sends { &Direction::SendOnly } else { &section.direction };
    let (extensions, extension_lines) = super::extmap::negotiate(offer, section, flow);
    let mut encoding_lines = Vec::new();
    let role = if sends {
        let encodings = simulcast::encodings(section, &payloads, &extensions);
        encoding_lines = encodings.attributes;
        let msid = section.attributes.value("msid").map(str::to_owned);
        SectionRole::Publish(PublishSection { encodings: encodings.declared, msid })
    } else if section.direction == Direction::RecvOnly {
        // The numbers follow once the whole offer is known to be good.
        SectionRole::Slot(SlotSection { ssrc: Ssrc(0), rtx_ssrc: None, feedback: SlotFeedback::Reports })
    } else {
        SectionRole::Inactive
    };
    Ok(Some(Accepted { role, payloads, extensions, extension_lines, encoding_lines }))
}

/// DTLS-SRTP in the spellings that RFC 9429 section 5.1.2 wants taken. Plain RTP is not among them, whatever else the
/// section says.
fn check_profile(section: &OfferedSection) -> Result<(), NegotiationError> {
    match section.profile.as_str() {
        "UDP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "TCP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVP" => Ok(()),
        "TCP/DTLS/RTP/SAVPF" | "TCP/DTLS/RTP/SAVP" | "RTP/SAVPF" | "RTP/SAVP" => Ok(()),
        other => Err(NegotiationError::InsecureProfile { mid: section.mid_text().into(), profile: other.into() }),
    }
}

/// Everything that is accepted travels over one transport.
fn check_bundle(offer: &Offer, accepted: &[Option<Accepted<'_>>]) -> Result<(), NegotiationError> {
    let alone = offer.bundle.is_empty() && offer.live().count() == 1;
    for (section, accepted) in offer.sections.iter().zip(accepted) {
        let Some(accepted) = accepted else { continue };
        if !alone && !offer.bundle.contains(&section.index) {
            return Err(NegotiationError::NotBundled { mid: section.mid_text().into() });
        }
        if accepted.role != SectionRole::Data && !section.attributes.has("rtcp-mux") {
            return Err(NegotiationError::NoRtcpMux { mid: section.mid_text().into() });
        }
    }
    Ok(())
}

/// On one transport a payload type means one codec and an id one header extension (RFC 9143 sections 9.1 and 13).
fn check_numbers(accepted: &[Option<Accepted<'_>>]) -> Result<(), NegotiationError> {
    let mut meanings = [None; 256];
    let mut kinds = [None; 256];
    for section in accepted.iter().flatten() {
        for (payload_type, meaning) in section.payloads.meanings() {
            if meanings.get_mut(usize::from(payload_type)).is_some_and(|known| *known.get_or_insert(meaning) != meaning)
            {
                return Err(NegotiationError::PayloadTypeConflict { payload_type });
            }
        }
        for (kind, id) in section.extensions.iter() {
            if kinds.get_mut(usize::from(id)).is_some_and(|known| *known.get_or_insert(kind) != kind) {
                return Err(NegotiationError::ExtensionConflict { id });
            }
        }
    }
    Ok(())
}

/// RFC 8888 is for all sections of one transport, as its section 6 demands, and for what we send. Transport-wide
/// feedback is preferred: it tells the times of arrival more precisely.
fn take_feedback(accepted: &mut [Option<Accepted<'_>>]) {
    let slots = accepted.iter().flatten().filter(|section| matches!(section.role, SectionRole::Slot(_)));
    let ccfb = slots.clone().all(|section| section.payloads.offer_ccfb() && !section.payloads.offer_transport_cc());
    for section in accepted.iter_mut().flatten() {
        let numbered = section.extensions.id(ExtensionKind::TransportCc).is_some();
        let transport_cc = numbered && section.payloads.offer_transport_cc();
        if let SectionRole::Slot(slot) = &mut section.role {
            slot.feedback = match (ccfb, transport_cc) {
                (true, _) => SlotFeedback::Ccfb,
                (false, true) => SlotFeedback::TransportCc,
                (false, false) => SlotFeedback::Reports,
            };
        }
    }
}

/// Keeps an encoding's SSRCs only if no other encoding has them.
fn claim(encoding: &mut DeclaredEncoding, ssrcs: &mut BTreeSet<Ssrc>) {
    for ssrc in [&mut encoding.ssrc, &mut encoding.rtx_ssrc] {
        if ssrc.is_some_and(|number| !ssrcs.insert(number)) {
            *ssrc = None;
        }
    }
}

fn declared_ssrcs(role: &SectionRole) -> Vec<Ssrc> {
    match role {
        SectionRole::Publish(publish) => {
            publish.encodings.iter().flat_map(|encoding| [encoding.ssrc, encoding.rtx_ssrc]).flatten().collect()
        }
        SectionRole::Slot(_) | SectionRole::Data | SectionRole::Inactive | SectionRole::Rejected => Vec::new(),
    }
}

/// The section as the caller sees it.
fn settled(section: &OfferedSection, accepted: Option<Accepted<'_>>) -> Option<Section> {
    let (index, mid, kind) = (section.index, section.mid?, section.kind);
    Some(match accepted {
        Some(Accepted { role, payloads, extensions, .. }) => {
            Section { index, mid, kind, role, extensions, codecs: payloads.codecs(), red: payloads.red() }
        }
        None => Section {
            index,
            mid,
            kind,
            role: SectionRole::Rejected,
            extensions: ExtensionMap::default(),
            codecs: Vec::new(),
            red: None,
        },
    })
}
