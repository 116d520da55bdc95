//! The offers that a simulated client makes, worded as Chromium's are, and what it reads of the answers.

use crate::scenario::{Codec, Feedback};
use sfu_engine::units::Ssrc;
use std::fmt::Write;
use std::net::SocketAddr;

/// Payload types, the same in every offer.
pub mod payload {
    /// Opus.
    pub const OPUS: u8 = 111;
    /// Opus with repetitions of older packets (RFC 2198).
    pub const RED: u8 = 63;
    /// VP8 and its retransmissions.
    pub const VP8: (u8, u8) = (96, 97);
    /// H.264 and its retransmissions.
    pub const H264: (u8, u8) = (102, 103);
    /// VP9 and its retransmissions.
    pub const VP9: (u8, u8) = (98, 99);
    /// AV1 and its retransmissions.
    pub const AV1: (u8, u8) = (45, 46);
    /// Every payload type of retransmissions.
    pub const RTX: [u8; 4] = [VP8.1, H264.1, VP9.1, AV1.1];
}

/// Header extension ids, the same in every offer.
pub(crate) mod extension {
    /// RFC 6464.
    pub(crate) const AUDIO_LEVEL: u8 = 1;
    /// Send time.
    pub(crate) const ABS_SEND_TIME: u8 = 2;
    /// Transport-wide sequence number.
    pub(crate) const TRANSPORT_CC: u8 = 3;
    /// RFC 9143.
    pub(crate) const MID: u8 = 4;
    /// RFC 8852.
    pub(crate) const RID: u8 = 10;
    /// RFC 8852, on retransmissions.
    pub(crate) const REPAIRED_RID: u8 = 11;
}

/// How a video codec is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VideoFormat {
    /// Name in `a=rtpmap`.
    pub name: &'static str,
    /// Payload types of media and retransmissions.
    pub payload: (u8, u8),
    /// Parameters of `a=fmtp`.
    pub parameters: Option<&'static str>,
}

/// RFC 7741.
pub(crate) const VP8: VideoFormat = VideoFormat { name: "VP8", payload: payload::VP8, parameters: None };
/// RFC 6184.
pub(crate) const H264: VideoFormat = VideoFormat {
    name: "H264",
    payload: payload::H264,
    parameters: Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
};
/// RFC 9628.
pub(crate) const VP9: VideoFormat =
    VideoFormat { name: "VP9", payload: payload::VP9, parameters: Some("profile-id=0") };
/// AV1 RTP specification.
pub(crate) const AV1: VideoFormat =
    VideoFormat { name: "AV1", payload: payload::AV1, parameters: Some("level-idx=5;profile=0;tier=0") };

/// What a client that publishes with `codec` offers, the preferred one first.
pub(crate) fn formats(codec: Codec) -> [VideoFormat; 2] {
    match codec {
        Codec::Vp8 => [VP8, H264],
        Codec::H264 => [H264, VP8],
    }
}

/// What is offered of codecs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codecs<'a> {
    /// Those of video.
    pub video: &'a [VideoFormat],
    /// Opus with repetitions, behind Opus alone.
    pub red: bool,
    /// How arrivals are reported.
    pub feedback: Feedback,
}

/// One m= section of an offer. Its mid is its place.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Audio or video.
    pub audio: bool,
    /// What is sent on it; `None` for a section to receive on.
    pub send: Option<Sending>,
}

/// What a section sends.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// The encodings' rids, lowest first; empty where there is one without.
    pub rids: Vec<String>,
    /// SSRC and that of its retransmissions, declared where there are no rids.
    pub ssrcs: (Ssrc, Option<Ssrc>),
}

/// What an offer says about its transport.
#[derive(Clone, Debug)]
pub(crate) struct LocalTransport {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Value of `a=fingerprint`.
    pub fingerprint: String,
}

/// Writes an offer.
pub(crate) fn offer(sections: &[Section], transport: &LocalTransport, codecs: Codecs<'_>) -> String {
    let mut sdp = String::from("v=0\r\no=- 8037537629084944661 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    (0..sections.len()).for_each(|mid| line(&mut sdp, format_args!(" {mid}")));
    sdp.push_str("\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n");
    for (mid, section) in sections.iter().enumerate() {
        write_section(&mut sdp, mid, section, transport, codecs);
    }
    sdp
}

fn write_section(
    sdp: &mut String,
    mid: usize,
    section: &Section,
    transport: &LocalTransport,
    Codecs { video, red, feedback }: Codecs<'_>,
) {
    let LocalTransport { ufrag, pwd, fingerprint } = transport;
    let direction = if section.send.is_some() { "sendonly" } else { "recvonly" };
    let (kind, formats) = if section.audio {
        let red = if red { format!(" {}", payload::RED) } else { String::new() };
        ("audio", format!("{}{red}", payload::OPUS))
    } else {
        let types = video.iter().map(|VideoFormat { payload: (media, rtx), .. }| format!("{media} {rtx}"));
        ("video", types.collect::<Vec<_>>().join(" "))
    };
    line(
        sdp,
        format_args!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=ice-options:trickle\r\na=fingerprint:{fingerprint}\r\n\
             a=setup:actpass\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
        ),
    );
    line(sdp, format_args!("a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"));
    line(sdp, format_args!("a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"));
    if feedback == Feedback::TransportCc || (feedback == Feedback::Rfc8888 && section.send.is_some()) {
        line(
            sdp,
            format_args!("a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"),
        );
    }
    if feedback == Feedback::Rfc8888 && section.send.is_none() {
        line(sdp, format_args!("a=rtcp-fb:* ack ccfb\r\n"));
    }
    if section.audio {
        line(
            sdp,
            format_args!("a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtpmap:111 opus/48000/2\r\n"),
        );
        write_feedback(sdp, payload::OPUS, section, feedback);
        line(sdp, format_args!("a=fmtp:111 minptime=10;useinbandfec=1\r\n"));
        if red {
            line(sdp, format_args!("a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"));
        }
    } else {
        line(sdp, format_args!("a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"));
        line(sdp, format_args!("a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n"));
        video.iter().for_each(|format| write_video_format(sdp, format, section, feedback));
    }
    if let Some(sending) = &section.send {
        write_sources(sdp, mid, sending);
    }
}

fn write_video_format(sdp: &mut String, format: &VideoFormat, section: &Section, feedback: Feedback) {
    let VideoFormat { name, payload: (media, rtx), parameters } = *format;
    line(sdp, format_args!("a=rtpmap:{media} {name}/90000\r\n"));
    write_feedback(sdp, media, section, feedback);
    line(sdp, format_args!("a=rtcp-fb:{media} ccm fir\r\na=rtcp-fb:{media} nack\r\na=rtcp-fb:{media} nack pli\r\n"));
    if let Some(parameters) = parameters {
        line(sdp, format_args!("a=fmtp:{media} {parameters}\r\n"));
    }
    line(sdp, format_args!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={media}\r\n"));
}

/// RFC 8888 is offered for what is received; what is sent is reported by transport-wide numbers all the same.
fn write_feedback(sdp: &mut String, format: u8, section: &Section, feedback: Feedback) {
    let kinds: &[&str] = match feedback {
        Feedback::TransportCc => &["goog-remb", "transport-cc"],
        Feedback::Rfc8888 if section.send.is_some() => &["transport-cc"],
        Feedback::Rfc8888 => &[],
        Feedback::Remb => &["goog-remb"],
    };
    kinds.iter().for_each(|kind| line(sdp, format_args!("a=rtcp-fb:{format} {kind}\r\n")));
}

fn write_sources(sdp: &mut String, mid: usize, sending: &Sending) {
    line(sdp, format_args!("a=msid:stream track-{mid}\r\n"));
    if sending.rids.is_empty() {
        let (media, rtx) = sending.ssrcs;
        if let Some(rtx) = rtx {
            line(sdp, format_args!("a=ssrc-group:FID {} {}\r\na=ssrc:{} cname:client\r\n", media.0, rtx.0, rtx.0));
        }
        line(sdp, format_args!("a=ssrc:{} cname:client\r\n", media.0));
        return;
    }
    sending.rids.iter().for_each(|rid| line(sdp, format_args!("a=rid:{rid} send\r\n")));
    line(sdp, format_args!("a=simulcast:send {}\r\n", sending.rids.join(";")));
}

fn line(sdp: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = sdp.write_fmt(text);
}

/// What a client reads of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The server's ICE user fragment.
    pub ufrag: String,
    /// Its ICE password.
    pub pwd: String,
    /// Value of `a=fingerprint`.
    pub fingerprint: String,
    /// The server begins the DTLS handshake.
    pub active: bool,
    /// Its UDP candidates, in order.
    pub candidates: Vec<SocketAddr>,
    /// The sections in order.
    pub sections: Vec<AnsweredSection>,
}

/// A section of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnsweredSection {
    /// Not rejected.
    pub accepted: bool,
    /// The server sends under this SSRC.
    pub ssrc: Option<Ssrc>,
    /// And its retransmissions under this one.
    pub rtx_ssrc: Option<Ssrc>,
    /// Transport-wide feedback is wanted.
    pub transport_cc: bool,
    /// RFC 8888 feedback is wanted.
    pub ccfb: bool,
}

impl Answer {
    /// Reads an answer.
    pub(crate) fn parse(sdp: &str) -> Answer {
        let mut answer = Answer::default();
        for line in sdp.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                let accepted = media.split(' ').nth(1).is_some_and(|port| port != "0");
                answer.sections.push(AnsweredSection { accepted, ..AnsweredSection::default() });
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match key {
                "ice-ufrag" => answer.ufrag = value.into(),
                "ice-pwd" => answer.pwd = value.into(),
                "fingerprint" => answer.fingerprint = value.into(),
                "setup" => answer.active = value == "active",
                "candidate" => answer.candidates.extend(read_candidate(value)),
                _ => {}
            }
            let Some(section) = answer.sections.last_mut() else { continue };
            match key {
                "ssrc-group" => section.rtx_ssrc = value.split(' ').nth(2).and_then(read_ssrc),
                "ssrc" if section.ssrc.is_none() => {
                    section.ssrc = value.split(' ').next().and_then(read_ssrc);
                }
                "rtcp-fb" => {
                    section.transport_cc |= value.ends_with(" transport-cc");
                    section.ccfb |= value.ends_with(" ack ccfb");
                }
                _ => {}
            }
        }
        answer
    }
}

/// The address of a UDP candidate (RFC 8839 section 5.1).
fn read_candidate(value: &str) -> Option<SocketAddr> {
    let mut fields = value.split(' ').skip(2);
    let udp = fields.next()?.eq_ignore_ascii_case("udp");
    let (ip, port) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    udp.then_some(SocketAddr::new(ip, port))
}

fn read_ssrc(text: &str) -> Option<Ssrc> {
    text.parse().ok().map(Ssrc)
}
