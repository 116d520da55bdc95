//! What a WHIP publisher shows: its offer cannot say, so its URL does.

use crate::auth::Grants;
use crate::protocol::{PublishedSection, Source};
use serde::Deserialize;

/// `?source=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Shown {
    /// Video of a camera, sound of a microphone.
    #[default]
    Camera,
    /// Video of a screen, and its sound.
    Screen,
}

impl Shown {
    fn video(self) -> Source {
        match self {
            Shown::Camera => Source::Camera,
            Shown::Screen => Source::Screen,
        }
    }

    fn audio(self) -> Source {
        match self {
            Shown::Camera => Source::Microphone,
            Shown::Screen => Source::ScreenAudio,
        }
    }

    /// Whether any of it may be published.
    pub(super) fn is_granted(self, grants: &Grants) -> bool {
        grants.may_publish(self.video()) || grants.may_publish(self.audio())
    }

    /// For who may not.
    pub(super) fn publishing(self) -> &'static str {
        match self {
            Shown::Camera => "publish a camera or a microphone",
            Shown::Screen => "publish a screen",
        }
    }

    /// What the sections of an offer carry that have a mid (RFC 9725 wants each to have one). Those that only receive
    /// are refused by the room.
    pub(super) fn sections(self, offer: &str) -> Vec<PublishedSection> {
        let sections = offer.split("\nm=").skip(1);
        let published = sections.filter_map(|section| {
            let source = match section.split(' ').next()? {
                "audio" => self.audio(),
                "video" => self.video(),
                _ => return None,
            };
            // The last line of a section has lost its LF, so `lines` leaves it its CR.
            let mut lines = section.lines().map(str::trim_end);
            let sends = lines.clone().any(|line| matches!(line, "a=sendonly" | "a=sendrecv"));
            let mid = lines.find_map(|line| line.strip_prefix("a=mid:")).filter(|_| sends)?;
            Some(PublishedSection { mid: mid.to_owned(), source, muted: false })
        });
        published.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sending_section_has_a_source_and_others_have_none() {
        let offer = "v=0\r\na=mid:session\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n\
                     m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendrecv\r\na=mid:v1\r\n\
                     m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=recvonly\r\na=mid:2\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:3\r\n";
        for (shown, audio, video) in
            [(Shown::Camera, Source::Microphone, Source::Camera), (Shown::Screen, Source::ScreenAudio, Source::Screen)]
        {
            let section = |mid: &str, source| PublishedSection { mid: mid.to_owned(), source, muted: false };
            assert_eq!(shown.sections(offer), [section("0", audio), section("v1", video)]);
        }
    }
}
