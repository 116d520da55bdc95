//! Data channel sections (RFC 8841): which are accepted, and what an answer says in them.

use super::answer::attribute;
use super::offer::OfferedSection;
use crate::data::frame::MAX_FRAME;
use rtc_sdp::description::common::Attribute;

/// The one format that there is (RFC 8841 section 4.3).
pub(super) const FORMAT: &str = "webrtc-datachannel";
/// Our SCTP port. It means nothing inside of DTLS, but it must be said.
const SCTP_PORT: u16 = 5000;

/// Whether a section is for data channels as browsers know them, and takes frames of our size.
pub(super) fn is_acceptable(section: &OfferedSection) -> bool {
    let size = section.attributes.value("max-message-size").map(|size| size.trim().parse::<u64>());
    // Without the attribute it is 64 KiB, and 0 is any size (section 6.1).
    let takes_frames = size.is_none_or(|size| size.is_ok_and(|size| size == 0 || size >= MAX_FRAME as u64));
    let port = section.attributes.value("sctp-port").and_then(|port| port.trim().parse::<u16>().ok());
    section.media == "application"
        && matches!(section.profile.as_str(), "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP")
        && section.formats.iter().any(|format| format == FORMAT)
        && port.is_some_and(|port| port != 0)
        && takes_frames
}

/// What an accepted section says beside the transport.
pub(super) fn lines() -> [Attribute; 2] {
    [attribute("sctp-port", SCTP_PORT.to_string()), attribute("max-message-size", MAX_FRAME.to_string())]
}
