//! Offers as Chrome writes them, and what the harness reads of the answers.

use sfu_engine::media::MediaKind;

/// Header extension ids, the same in every section.
pub mod ext {
    pub const AUDIO_LEVEL: u8 = 1;
    pub const ABS_SEND_TIME: u8 = 2;
    pub const TRANSPORT_CC: u8 = 3;
    pub const MID: u8 = 4;
    pub const RID: u8 = 10;
    pub const REPAIRED_RID: u8 = 11;

    /// Of frames, with the id at clients with even numbers and at the others.
    pub const OF_FRAMES: [(&str, u8, u8); 4] = [
        ("urn:3gpp:video-orientation", 5, 12),
        ("http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", 6, 13),
        ("http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time", 7, 14),
        ("http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00", 8, 9),
    ];

    /// The ids at a client.
    pub fn of_frames(client: u64) -> [u8; 4] {
        OF_FRAMES.map(|(_, even, odd)| if client.is_multiple_of(2) { even } else { odd })
    }
}

/// The section of data channels, the first one.
pub const DATA_MID: &str = "data";

/// Payload types.
pub const OPUS: u8 = 111;
pub const RED: u8 = 63;
pub const VP8: u8 = 96;
pub const VP8_RTX: u8 = 97;
pub const VP9: u8 = 98;
pub const VP9_RTX: u8 = 99;
pub const H264: u8 = 100;
pub const H264_RTX: u8 = 101;

/// One m= section of an offer.
#[derive(Clone, Debug)]
pub struct OfferedSection {
    pub mid: String,
    pub kind: MediaKind,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends these rids; none for one encoding without a name, whose source is then declared.
    Send {
        rids: Vec<&'static str>,
        ssrc: u32,
        rtx_ssrc: u32,
    },
    Receive,
    Stopped,
}

#[allow(clippy::too_many_arguments)]
pub fn offer(
    client: u64,
    ufrag: &str,
    pwd: &str,
    fingerprint: &str,
    version: u64,
    sections: &[OfferedSection],
    data: bool,
    red: bool,
) -> String {
    let media = sections.iter().filter(|s| s.role != Role::Stopped).map(|s| s.mid.as_str());
    let live: Vec<&str> = data.then_some(DATA_MID).into_iter().chain(media).collect();
    let mut out = format!("v=0\r\no=- 4711 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    out += &format!("a=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n", live.join(" "));
    if data {
        out += "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n";
        out += &format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=fingerprint:{fingerprint}\r\na=setup:actpass\r\n");
        out += &format!("a=mid:{DATA_MID}\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n");
    }
    for section in sections {
        write_section(&mut out, section, client, ufrag, pwd, fingerprint, red);
    }
    out
}

fn write_section(
    out: &mut String,
    section: &OfferedSection,
    client: u64,
    ufrag: &str,
    pwd: &str,
    fingerprint: &str,
    red: bool,
) {
    let mut line = |text: String| {
        out.push_str(&text);
        out.push_str("\r\n");
    };
    let port = if section.role == Role::Stopped { 0 } else { 9 };
    match section.kind {
        MediaKind::Audio if red => line(format!("m=audio {port} UDP/TLS/RTP/SAVPF {OPUS} {RED}")),
        MediaKind::Audio => line(format!("m=audio {port} UDP/TLS/RTP/SAVPF {OPUS}")),
        MediaKind::Video => {
            line(format!("m=video {port} UDP/TLS/RTP/SAVPF {VP8} {VP8_RTX} {VP9} {VP9_RTX} {H264} {H264_RTX}"))
        }
    }
    line("c=IN IP4 0.0.0.0".into());
    line("a=rtcp:9 IN IP4 0.0.0.0".into());
    if section.role != Role::Stopped {
        line(format!("a=ice-ufrag:{ufrag}"));
        line(format!("a=ice-pwd:{pwd}"));
        line("a=ice-options:trickle".into());
        line(format!("a=fingerprint:{fingerprint}"));
        line("a=setup:actpass".into());
    }
    line(format!("a=mid:{}", section.mid));
    if section.kind == MediaKind::Audio {
        line(format!("a=extmap:{} urn:ietf:params:rtp-hdrext:ssrc-audio-level", ext::AUDIO_LEVEL));
    }
    line(format!("a=extmap:{} http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", ext::ABS_SEND_TIME));
    line(format!(
        "a=extmap:{} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        ext::TRANSPORT_CC
    ));
    line(format!("a=extmap:{} urn:ietf:params:rtp-hdrext:sdes:mid", ext::MID));
    if section.kind == MediaKind::Video {
        line(format!("a=extmap:{} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", ext::RID));
        line(format!("a=extmap:{} urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", ext::REPAIRED_RID));
        for ((uri, ..), id) in ext::OF_FRAMES.iter().zip(ext::of_frames(client)) {
            line(format!("a=extmap:{id} {uri}"));
        }
    }
    match &section.role {
        Role::Send { .. } => {
            line("a=sendonly".into());
            line(format!("a=msid:stream track-{}", section.mid));
        }
        Role::Receive => line("a=recvonly".into()),
        Role::Stopped => line("a=inactive".into()),
    }
    line("a=rtcp-mux".into());
    line("a=rtcp-rsize".into());
    match section.kind {
        MediaKind::Audio => {
            line(format!("a=rtpmap:{OPUS} opus/48000/2"));
            line(format!("a=rtcp-fb:{OPUS} transport-cc"));
            if red {
                line(format!("a=rtpmap:{RED} red/48000/2"));
                line(format!("a=fmtp:{RED} {OPUS}/{OPUS}"));
            }
            line(format!("a=fmtp:{OPUS} minptime=10;useinbandfec=1"));
        }
        MediaKind::Video => {
            line(format!("a=rtpmap:{VP8} VP8/90000"));
            line(format!("a=rtpmap:{VP9} VP9/90000"));
            line(format!("a=fmtp:{VP9} profile-id=0"));
            line(format!("a=rtpmap:{H264} H264/90000"));
            line(format!("a=fmtp:{H264} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"));
            for (codec, rtx) in [(VP8, VP8_RTX), (VP9, VP9_RTX), (H264, H264_RTX)] {
                for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
                    line(format!("a=rtcp-fb:{codec} {feedback}"));
                }
                line(format!("a=rtpmap:{rtx} rtx/90000"));
                line(format!("a=fmtp:{rtx} apt={codec}"));
            }
        }
    }
    if let Role::Send { rids, ssrc, rtx_ssrc } = &section.role {
        for rid in rids {
            line(format!("a=rid:{rid} send"));
        }
        if !rids.is_empty() {
            line(format!("a=simulcast:send {}", rids.join(";")));
        } else {
            if section.kind == MediaKind::Video {
                line(format!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
                line(format!("a=ssrc:{rtx_ssrc} cname:client"));
            }
            line(format!("a=ssrc:{ssrc} cname:client"));
        }
    }
}

/// What an answer says.
#[derive(Debug)]
pub struct Answer {
    pub ufrag: String,
    pub pwd: String,
    pub sections: Vec<AnsweredSection>,
}

#[derive(Debug, Default)]
pub struct AnsweredSection {
    pub mid: String,
    pub port: u16,
    pub direction: String,
    /// The slot's source and that of its retransmissions, where declared.
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
}

pub fn read_answer(text: &str) -> Answer {
    let mut answer = Answer { ufrag: String::new(), pwd: String::new(), sections: Vec::new() };
    for line in text.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            let port = media.split(' ').nth(1).unwrap().parse().unwrap();
            answer.sections.push(AnsweredSection { port, ..AnsweredSection::default() });
        }
        if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
            answer.ufrag = ufrag.into();
        }
        if let Some(pwd) = line.strip_prefix("a=ice-pwd:") {
            answer.pwd = pwd.into();
        }
        let Some(section) = answer.sections.last_mut() else { continue };
        if let Some(mid) = line.strip_prefix("a=mid:") {
            section.mid = mid.into();
        }
        if ["a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv"].contains(&line) {
            section.direction = line[2..].into();
        }
        if let Some(group) = line.strip_prefix("a=ssrc-group:FID ") {
            let mut numbers = group.split(' ').map(|n| n.parse().unwrap());
            (section.ssrc, section.rtx_ssrc) = (numbers.next(), numbers.next());
        }
        if let Some(source) = line.strip_prefix("a=ssrc:") {
            section.ssrc = section.ssrc.or(source.split(' ').next().map(|n| n.parse().unwrap()));
        }
    }
    answer
}
