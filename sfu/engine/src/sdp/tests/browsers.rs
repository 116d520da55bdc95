//! Answers to the offers of real clients.

use super::*;
use crate::media::Codec;

fn publish(section: &Section) -> &PublishSection {
    match &section.role {
        SectionRole::Publish(publish) => publish,
        other => panic!("{}: {other:?}", section.mid),
    }
}

fn slot(section: &Section) -> SlotSection {
    match section.role {
        SectionRole::Slot(slot) => slot,
        ref other => panic!("{}: {other:?}", section.mid),
    }
}

fn rids(section: &Section) -> Vec<String> {
    publish(section).encodings.iter().filter_map(|encoding| Some(encoding.rid?.to_string())).collect()
}

/// Answers offers of one peer connection, one after the other.
fn answer_all(names: &[&str]) -> Vec<Negotiated> {
    let (mut negotiation, mut rng) = (Negotiation::new(7), rng());
    let mut handle = |name: &&str| {
        let offer = fixture(name);
        let negotiated = negotiation.handle_offer(&offer, &local(), &mut rng).unwrap();
        check_answer(&offer, &negotiated);
        negotiated
    };
    names.iter().map(&mut handle).collect()
}

#[test]
fn every_answer_has_the_sections_of_its_offer() {
    for (name, offer) in fixtures() {
        match answer(&offer) {
            Ok(negotiated) => check_answer(&offer, &negotiated),
            Err(error) => {
                assert!(name.ends_with("all-stopped"), "{name}: {error}");
                assert_eq!(error, NegotiationError::NothingOffered);
            }
        }
    }
}

#[test]
fn chromium_simulcast_is_taken_by_rid() {
    let negotiated = answer(&fixture("chromium-156-call")).unwrap();
    let [audio, video, slots @ ..] = negotiated.sections.as_slice() else { panic!() };
    assert_eq!(publish(audio).encodings.len(), 1);
    assert!(publish(audio).encodings[0].ssrc.is_some());
    assert_eq!(audio.red, Some(PayloadType(63)));
    assert_eq!(audio.extensions.id(ExtensionKind::AudioLevel), Some(1));
    assert_eq!(rids(video), ["q", "h", "f"]);
    assert!(publish(video).encodings.iter().all(|encoding| encoding.ssrc.is_none() && !encoding.paused));
    assert_eq!(video.extensions.id(ExtensionKind::Rid), Some(10));
    assert_eq!(video.extensions.id(ExtensionKind::RepairedRid), Some(11));
    assert!(video.extensions.two_byte_allowed());
    let lines = section_lines(&negotiated.answer, 1);
    for line in ["a=rid:q recv", "a=rid:h recv", "a=rid:f recv", "a=simulcast:recv q;h;f", "a=recvonly"] {
        assert!(lines.contains(&line), "{line}");
    }
    // 2 audio and 3 video slots, the video ones with rid and repaired-rid too.
    assert_eq!(slots.len(), 5);
    for section in slots {
        let video = section.kind == Some(MediaKind::Video);
        assert_eq!(slot(section).rtx_ssrc.is_some(), video);
        assert_eq!(section.extensions.id(ExtensionKind::RepairedRid).is_some(), video);
        assert!(section.extensions.id(ExtensionKind::Mid).is_some());
    }
}

#[test]
fn chromium_codecs_keep_their_order_parameters_and_feedback() {
    let negotiated = answer(&fixture("chromium-156-simulcast-publish")).unwrap();
    let video = &negotiated.sections[1];
    let first = video.codecs[0];
    assert_eq!((first.codec, first.payload_type, first.rtx), (Codec::Vp8, PayloadType(96), Some(PayloadType(97))));
    let all = Feedback { nack: true, pli: true, fir: true, transport_cc: true, remb: true };
    assert_eq!(first.feedback, all);
    let payload_types: Vec<u8> = video.codecs.iter().map(|mapping| mapping.payload_type.0).collect();
    assert_eq!(payload_types, [96, 102, 104, 108, 114, 116, 39, 45, 98, 100]);
    assert_eq!(video.codecs[3].codec, Codec::H264 { profile: 0x42e0, packetization_mode: 1 });
    let media = &parse(&negotiated.answer).media_descriptions[1];
    assert_eq!(
        media.media_name.formats.join(" "),
        "96 97 102 103 104 107 108 109 114 115 116 117 39 40 45 46 98 99 100 101"
    );
    let lines = section_lines(&negotiated.answer, 1);
    assert!(lines.contains(&"a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"));
    assert!(lines.contains(&"a=fmtp:97 apt=96"));
    let svc = video.codecs[7..].iter().map(|mapping| mapping.codec);
    let expected = [Codec::Av1 { profile: 0 }, Codec::Vp9 { profile: 0 }, Codec::Vp9 { profile: 2 }];
    assert!(svc.eq(expected));
    assert!(!negotiated.answer.contains("ulpfec"));
}

#[test]
fn a_client_that_prefers_h264_or_red_keeps_its_preference() {
    let h264 = answer(&fixture("chromium-156-h264-first")).unwrap();
    for section in h264.sections.iter().filter(|section| section.kind == Some(MediaKind::Video)) {
        assert!(matches!(section.codecs[0].codec, Codec::H264 { .. }));
    }
    let red = answer(&fixture("chromium-156-red-first")).unwrap();
    assert_eq!(red.sections[0].red, Some(PayloadType(63)));
    assert_eq!(parse(&red.answer).media_descriptions[0].media_name.formats, ["63", "111"]);
}

#[test]
fn firefox_simulcast_comes_with_the_ssrcs_that_its_order_gives() {
    let offer = fixture("firefox-153-simulcast-publish");
    let negotiated = answer(&offer).unwrap();
    let video = &negotiated.sections[1];
    assert_eq!(rids(video), ["q", "h", "f"]);
    let groups: Vec<String> = publish(video)
        .encodings
        .iter()
        .map(|encoding| format!("a=ssrc-group:FID {} {}", encoding.ssrc.unwrap().0, encoding.rtx_ssrc.unwrap().0))
        .collect();
    let offered: Vec<&str> = offer.lines().filter(|line| line.starts_with("a=ssrc-group")).collect();
    assert_eq!(groups, offered);
}

#[test]
fn firefox_extensions_keep_their_directions() {
    let negotiated = answer(&fixture("firefox-153-simulcast-publish")).unwrap();
    let video = &negotiated.sections[1];
    // Offered `6/recvonly` on a section that only sends: not for us. Offered `9/sendonly`: we receive it.
    assert_eq!(video.extensions.id(ExtensionKind::PlayoutDelay), None);
    assert_eq!(video.extensions.id(ExtensionKind::Rid), Some(9));
    let lines = section_lines(&negotiated.answer, 1);
    assert!(lines.contains(&"a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"));
    assert!(lines.contains(&"a=extmap-allow-mixed"), "media level, as offered");
    let slots = answer(&fixture("firefox-153-slots-only")).unwrap();
    assert_eq!(slots.sections[1].extensions.id(ExtensionKind::PlayoutDelay), Some(6));
}

#[test]
fn bundle_only_sections_with_port_0_are_in_use() {
    let negotiated = answer(&fixture("firefox-153-max-bundle")).unwrap();
    assert!(negotiated.sections.iter().all(|section| section.role != SectionRole::Rejected));
    assert!(negotiated.answer.contains("a=group:BUNDLE 0 1 2 3 4\r\n"));
}

#[test]
fn slots_keep_their_ssrcs_through_restarts_stops_and_recycling() {
    for browser in ["chromium-156", "firefox-153"] {
        let names = ["call", "ice-restart", "stopped", "recycled", "inactive", "all-stopped"];
        let names = names.map(|name| format!("{browser}-{name}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let [call, restart, stopped, recycled, inactive, all_stopped] = answer_all(&names).try_into().unwrap();
        let find = |negotiated: &Negotiated, mid: &str| {
            negotiated.sections.iter().find(|section| section.mid.as_str() == mid).cloned()
        };
        for mid in ["2", "3", "4", "6"] {
            let first = slot(&find(&call, mid).unwrap());
            for later in [&restart, &stopped, &recycled, &inactive] {
                assert_eq!(slot(&find(later, mid).unwrap()), first, "{browser} {mid}");
            }
        }
        assert_ne!(call.remote.ufrag, restart.remote.ufrag);
        assert_eq!(call.remote.fingerprints, restart.remote.fingerprints);
        // Sections 1 (video) and 5 (slot) stop, then sections 7 and 8 take their places.
        assert_eq!(find(&stopped, "1").unwrap().role, SectionRole::Rejected);
        assert_eq!(find(&stopped, "5").unwrap().role, SectionRole::Rejected);
        assert_eq!(rids(&recycled.sections[1]), ["q", "h", "f"]);
        assert_eq!(recycled.sections[1].mid.as_str(), "7");
        assert_eq!(find(&recycled, "1").map(|section| section.index), None);
        assert_ne!(slot(&recycled.sections[5]), slot(&call.sections[5]));
        assert_eq!(find(&inactive, "0").unwrap().role, SectionRole::Inactive);
        // Nothing is left, and the transport is the one before.
        assert!(all_stopped.sections.iter().all(|section| section.role == SectionRole::Rejected));
        assert_eq!(all_stopped.remote, inactive.remote);
        assert!(!all_stopped.answer.contains("a=group"));
    }
}

#[test]
fn a_stopped_or_refused_first_section_leaves_the_bundle_to_the_next() {
    for browser in ["chromium-156", "firefox-153"] {
        let stopped = answer(&fixture(&format!("{browser}-first-stopped"))).unwrap();
        assert!(stopped.answer.contains("a=group:BUNDLE 1 2 3\r\n"));
        assert!(section_lines(&stopped.answer, 1).contains(&"a=end-of-candidates"));
        let refused = fixture(&format!("{browser}-data-channel")).replace("webrtc-datachannel", "something");
        let refused = answer(&refused).unwrap();
        assert_eq!(refused.sections[0].role, SectionRole::Rejected);
        assert!(refused.answer.contains("\r\nm=application 0 UDP/DTLS/SCTP something\r\n"));
        assert!(refused.answer.contains("a=group:BUNDLE 1 2 3 4\r\n"));
    }
}

#[test]
fn data_channels_are_answered_with_our_port_and_size_of_frames() {
    for browser in ["chromium-156", "firefox-153"] {
        let data = answer(&fixture(&format!("{browser}-data-channel"))).unwrap();
        assert_eq!(data.sections[0].role, SectionRole::Data);
        assert!(data.answer.contains("a=group:BUNDLE 0 1 2 3 4\r\n"), "{}", data.answer);
        let lines = section_lines(&data.answer, 0);
        assert!(data.answer.contains("\r\nm=application 7882 UDP/DTLS/SCTP webrtc-datachannel\r\n"), "{}", data.answer);
        for line in ["a=sctp-port:5000", "a=max-message-size:16384", "a=setup:passive", "a=end-of-candidates"] {
            assert!(lines.contains(&line), "{line}: {lines:?}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("a=rtcp") || line.starts_with("a=send")), "{lines:?}");
        let only = answer(&fixture(&format!("{browser}-data-channel-only"))).unwrap();
        assert_eq!(only.sections[0].role, SectionRole::Data);
    }
}

#[test]
fn a_data_section_that_cannot_work_is_rejected_and_a_second_one_too() {
    let offer = fixture("chromium-156-data-channel");
    for (good, bad) in [
        ("a=sctp-port:5000\r\n", ""),
        ("a=sctp-port:5000", "a=sctp-port:0"),
        ("a=max-message-size:262144", "a=max-message-size:1000"),
        ("UDP/DTLS/SCTP webrtc-datachannel", "UDP/DTLS/SCTP something"),
    ] {
        let negotiated = answer(&offer.replace(good, bad)).unwrap();
        assert_eq!(negotiated.sections[0].role, SectionRole::Rejected, "{bad:?}");
        assert!(negotiated.answer.contains("a=group:BUNDLE 1 2 3 4\r\n"));
    }
    let (before, data) = offer.split_at(offer.find("m=application").unwrap());
    let (data, rest) = data.split_at(data.find("m=audio").unwrap());
    let second = data.replace("a=mid:0", "a=mid:9");
    let twice =
        format!("{before}{data}{rest}{second}").replace("a=group:BUNDLE 0 1 2 3 4", "a=group:BUNDLE 0 1 2 3 4 9");
    let negotiated = answer(&twice).unwrap();
    let roles: Vec<_> = negotiated.sections.iter().map(|section| &section.role).collect();
    assert_eq!((roles[0], roles.last().copied()), (&SectionRole::Data, Some(&SectionRole::Rejected)));
}

#[test]
fn a_section_for_both_directions_is_taken_for_the_half_that_the_client_sends() {
    for (name, index) in [("chromium-156-sendrecv", 1), ("firefox-153-sendrecv", 1), ("safari", 1)] {
        let negotiated = answer(&fixture(name)).unwrap();
        let encodings = &publish(&negotiated.sections[index]).encodings;
        assert_eq!(encodings.len(), 1, "{name}");
        assert!(encodings[0].ssrc.is_some() && encodings[0].rtx_ssrc.is_some(), "{name}");
        assert!(section_lines(&negotiated.answer, index).contains(&"a=recvonly"));
    }
}

#[test]
fn whip_encoders_are_answered() {
    let obs = answer(&fixture("obs-style")).unwrap();
    assert_eq!(obs.remote.ufrag, "Bk3T", "from the session level");
    assert_eq!(publish(&obs.sections[1]).encodings[0].ssrc, Some(Ssrc(1_777_225_913)));
    assert_eq!(obs.sections[1].codecs[0].rtx, None);

    let gstreamer = answer(&fixture("gstreamer-style")).unwrap();
    let [video, audio] = gstreamer.sections.as_slice() else { panic!() };
    assert_eq!(publish(video).encodings[0].rtx_ssrc, Some(Ssrc(3_180_271_530)));
    assert_eq!(video.codecs[0].codec, Codec::H264 { profile: 0x42e0, packetization_mode: 1 });
    assert_eq!(video.codecs.len(), 1);
    assert_eq!(audio.codecs[0].codec, Codec::Opus, "encoding names have no case");
}

#[test]
fn an_rtc_client_takes_the_answer_to_its_offer() {
    use rtc::peer_connection::RTCPeerConnectionBuilder;
    use rtc::peer_connection::configuration::media_engine::MediaEngine;
    use rtc::peer_connection::sdp::RTCSessionDescription;
    use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
    use std::time::Instant;

    let mut media_engine = MediaEngine::default();
    media_engine.register_default_codecs().unwrap();
    let now = Instant::now();
    let mut client = RTCPeerConnectionBuilder::new().with_media_engine(media_engine).build(now).unwrap();
    client.add_transceiver_from_kind(RtpCodecKind::Audio, None).unwrap();
    client.add_transceiver_from_kind(RtpCodecKind::Video, None).unwrap();
    let offer = client.create_offer(None).unwrap();
    client.set_local_description(now, offer.clone()).unwrap();
    let negotiated = answer(&offer.sdp).unwrap();
    check_answer(&offer.sdp, &negotiated);
    assert!(negotiated.sections.iter().all(|section| slot(section).ssrc != Ssrc(0)));
    client.set_remote_description(now, RTCSessionDescription::answer(negotiated.answer).unwrap()).unwrap();
}
