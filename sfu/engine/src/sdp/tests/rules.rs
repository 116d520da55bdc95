//! Rules that one small offer shows better than a browser's.

use super::*;
use crate::media::{Codec, Source, VideoFormat};

/// A small publishing offer: session lines, then an audio and a video section.
fn small() -> String {
    let session = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a v\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\na=fingerprint:";
    let digits = ["AB"; 32].join(":");
    format!(
        "{session}sha-256 {digits}\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:a\r\na=sendonly\r\na=rtcp-mux\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:v\r\na=sendonly\r\na=rtcp-mux\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    )
}

fn refused(offer: &str) -> NegotiationError {
    let error = answer(offer).unwrap_err();
    assert!(!error.hint().is_empty());
    error
}

fn encodings(offer: &str) -> Vec<DeclaredEncoding> {
    match answer(offer).unwrap().sections.pop().unwrap().role {
        SectionRole::Publish(publish) => publish.encodings,
        other => panic!("{other:?}"),
    }
}

fn rejected(offer: &str, local: &LocalParameters<'_>) -> Vec<bool> {
    let negotiated = answer_with(offer, local).unwrap();
    check_answer(offer, &negotiated);
    negotiated.sections.iter().map(|section| section.role == SectionRole::Rejected).collect()
}

#[test]
fn an_answer_says_what_a_lite_server_must_say() {
    let negotiated = answer(&small()).unwrap();
    let (session, sections) = negotiated.answer.split_once("\r\nm=").unwrap();
    for line in ["o=- 3 1 IN IP4 127.0.0.1", "a=ice-lite", "a=group:BUNDLE a v"] {
        assert!(session.lines().any(|known| known == line), "{line}");
    }
    for line in ["a=setup:passive", "a=ice-ufrag:sluice01", "a=fingerprint:sha-256 00:11:22", "a=rtcp-mux"] {
        assert_eq!(sections.lines().filter(|known| *known == line).count(), 2, "{line}");
    }
    assert!(sections.starts_with("audio 7882 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.1\r\n"));
}

#[test]
fn the_session_version_counts_answers_and_errors_change_nothing() {
    let (mut negotiation, mut rng) = (Negotiation::new(7), rng());
    let before = format!("{negotiation:?}");
    let broken = small().replace("a=rtcp-mux\r\n", "");
    negotiation.handle_offer(&broken, &local(), &mut rng).unwrap_err();
    assert_eq!(format!("{negotiation:?}"), before);
    for version in 1..4 {
        let negotiated = negotiation.handle_offer(&small(), &local(), &mut rng).unwrap();
        assert!(negotiated.answer.contains(&format!("o=- 3 {version} IN")));
    }
}

#[test]
fn what_the_whole_offer_lacks_is_an_error_with_a_code() {
    let small = small();
    let digits = small.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();
    let sha1 = format!("a=fingerprint:sha-1 {}", ["AB"; 20].join(":"));
    for (from, to, code) in [
        ("a=group:BUNDLE a v\r\n", "", "not-bundled"),
        ("a=group:BUNDLE a v\r\n", "a=group:BUNDLE a\r\n", "not-bundled"),
        ("a=rtcp-mux\r\n", "", "no-rtcp-mux"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVP", "insecure-profile"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVPF", "insecure-profile"),
        (digits.as_str(), "a=x", "missing-fingerprint"),
        (digits.as_str(), sha1.as_str(), "unsupported-fingerprint"),
        (digits.as_str(), "a=fingerprint:sha-256 AB:CD", "unsupported-fingerprint"),
        ("a=ice-ufrag:abcd\r\n", "", "missing-ice-credentials"),
        ("a=ice-pwd:0123456789012345678901", "a=ice-pwd:short", "missing-ice-credentials"),
        ("actpass", "holdconn", "unsupported-setup"),
        ("a=mid:a\r\n", "", "mid-invalid"),
        ("a=mid:a\r\n", "a=mid:seventeen-letters\r\n", "mid-invalid"),
        ("a=mid:v\r\n", "a=mid:a\r\n", "duplicate-mid"),
        ("v=0\r\n", "v=1\r\n", "offer-malformed"),
        ("m=audio 9", "m=audio 70000", "offer-malformed"),
        ("a=mid:v\r\n", "a=mid:v\rm=x\r\n", "offer-malformed"),
        ("96 97\r\n", "111 97\r\na=rtpmap:111 VP8/90000\r\n", "payload-type-conflict"),
    ] {
        let offer = small.replace(from, to);
        assert_ne!(offer, small, "{from}");
        assert_eq!(refused(&offer).code(), code, "{from} -> {to}");
    }
}

#[test]
fn one_extension_id_for_two_extensions_of_one_transport_is_an_error() {
    let (audio, video) = (small().split_once("m=video").unwrap().0.to_owned(), small());
    let video = video.split_once("m=video").unwrap().1;
    let offer = format!(
        "{}m=video{video}",
        audio.replace(
            "extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
            "extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level"
        )
    );
    assert_eq!(refused(&offer), NegotiationError::ExtensionConflict { id: 2 });
}

#[test]
fn an_error_names_the_line() {
    let offer = small().replace("a=mid:v", "mid:v");
    let line = offer.lines().position(|line| line == "mid:v").unwrap() + 1;
    assert!(matches!(refused(&offer), NegotiationError::Malformed { line: found, .. } if found.abs_diff(line) <= 1));
}

#[test]
fn permissions_and_limits_reject_single_sections() {
    let offer = fixture("chromium-156-first-stopped");
    assert_eq!(rejected(&offer, &local()), [true, false, false, false]);
    let nothing = Sources::from_iter([]);
    assert_eq!(rejected(&offer, &LocalParameters { may_publish: nothing, ..local() }), [true, true, false, false]);
    assert_eq!(rejected(&offer, &LocalParameters { can_subscribe: false, ..local() }), [true, false, true, true]);
    assert_eq!(rejected(&small(), &LocalParameters { max_tracks: 1, ..local() }), [false, true]);
    let limited = LocalParameters { max_sections: 3, ..local() };
    assert_eq!(answer_with(&offer, &limited).unwrap_err(), NegotiationError::TooManySections { limit: 3 });
}

#[test]
fn what_a_section_carries_decides_whether_it_may_be_published() {
    let with = |sources: &[Source], hints: &[PublishHint]| {
        let may_publish = sources.iter().copied().collect();
        rejected(&small(), &LocalParameters { may_publish, published: hints, ..local() })
    };
    assert_eq!(with(&[Source::Microphone], &[]), [false, true], "without a hint the video is a camera");
    assert_eq!(with(&[Source::Screen, Source::Microphone], &[]), [false, true]);
    let hint = |source| PublishHint { mid: Mid::new("v").unwrap(), source, muted: false };
    assert_eq!(with(&[Source::Screen], &[hint(Source::Screen)]), [true, false]);
    assert_eq!(with(&[Source::Camera], &[hint(Source::Screen)]), [true, true]);
    // A hint of the wrong kind says nothing.
    assert_eq!(with(&[Source::Microphone], &[hint(Source::Microphone)]), [false, true]);
}

#[test]
fn media_that_the_server_does_not_forward_is_rejected_under_its_own_name() {
    let offer = small().replace("opus/48000/2", "G722/8000") + "m=hologram 9 UDP/TLS/RTP/SAVPF 1\r\na=mid:h\r\n";
    assert_eq!(rejected(&offer, &local()), [true, false, true]);
    let answered = answer(&offer).unwrap().answer;
    assert!(answered.contains("m=hologram 0 UDP/TLS/RTP/SAVPF 1\r\n"));
    assert!(answered.contains("a=group:BUNDLE v\r\n"));
}

#[test]
fn sections_may_stop_but_not_vanish() {
    let (mut negotiation, mut rng) = (Negotiation::new(7), rng());
    negotiation.handle_offer(&small(), &local(), &mut rng).unwrap();
    let small = small().replace("BUNDLE a v", "BUNDLE a");
    let fewer = small.split_once("m=video").unwrap().0;
    let error = negotiation.handle_offer(fewer, &local(), &mut rng).unwrap_err();
    assert_eq!(error, NegotiationError::SectionsRemoved { before: 2, now: 1 });
    let stopped = small.replace("m=video 9", "m=video 0");
    let negotiated = negotiation.handle_offer(&stopped, &local(), &mut rng).unwrap();
    assert_eq!(negotiated.sections[1].role, SectionRole::Rejected);
}

#[test]
fn a_single_section_needs_no_bundle() {
    let offer = small().replace("a=group:BUNDLE a v\r\n", "");
    let offer = offer.split_once("m=video").unwrap().0;
    let negotiated = answer(offer).unwrap();
    assert!(!negotiated.answer.contains("a=group"));
    assert!(negotiated.answer.contains("a=candidate"));
}

#[test]
fn the_dtls_role_follows_the_client_and_stays_with_the_certificate() {
    let (mut negotiation, mut rng) = (Negotiation::new(7), rng());
    let mut role = |setup: &str, byte: &str| {
        let offer = small().replace("actpass", setup).replace("AB", byte);
        negotiation.handle_offer(&offer, &local(), &mut rng).unwrap().setup
    };
    assert_eq!(role("active", "AB"), Setup::Passive);
    assert_eq!(role("passive", "AB"), Setup::Active);
    assert_eq!(role("actpass", "AB"), Setup::Active, "same association");
    assert_eq!(role("actpass", "CD"), Setup::Passive, "new association");
}

#[test]
fn the_tagged_section_gives_the_transport_and_fingerprints_get_one_spelling() {
    let own = format!(
        "a=mid:a\r\na=ice-ufrag:tagged\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:SHA-256 {}\r\n",
        ["ab"; 32].join(":")
    );
    let remote = peek_transport(&small().replace("a=mid:a\r\n", &own)).unwrap();
    assert_eq!(remote.ufrag, "tagged");
    assert_eq!(remote.fingerprints, [format!("sha-256 {}", ["AB"; 32].join(":"))]);
    // The tag is the group's first, not the first m= line.
    let other = small().replace("BUNDLE a v", "BUNDLE v a").replace("a=mid:a\r\n", &own);
    assert_eq!(peek_transport(&other).unwrap().ufrag, "abcd");
}

#[test]
fn both_spellings_of_simulcast_are_read_and_answered_in_kind() {
    let rids = "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\n";
    for (offered, answered) in [
        ("send q;h;f", "recv q;h;f"),
        ("recv x send q;~h;f", "recv q;~h;f"),
        ("send q,f;h", "recv q;h"),
        (" send rid=q;h;f", " recv rid=q;h;f"),
    ] {
        let offer = format!("{}{rids}a=simulcast:{offered}\r\n", small());
        let answer = answer(&offer).unwrap().answer;
        assert!(answer.contains(&format!("a=simulcast:{answered}\r\n")), "{offered}");
        assert!(
            encodings(&offer)
                .iter()
                .all(|encoding| encoding.paused == (encoding.rid == Rid::new("h") && offered.contains('~')))
        );
    }
}

#[test]
fn more_than_three_encodings_and_undescribed_ones_are_left_out() {
    let rids = ["a", "b", "c", "d"].map(|rid| format!("a=rid:{rid} send pt=96,99;max-width=320\r\n")).concat();
    let offer = format!("{}{rids}a=simulcast:send x;a;b;c;d\r\n", small());
    let names: Vec<_> = encodings(&offer).iter().map(|encoding| encoding.rid.unwrap().to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let answer = answer(&offer).unwrap().answer;
    assert!(answer.contains("a=rid:c recv pt=96;max-width=320\r\na=simulcast:recv a;b;c\r\n"));
    assert!(!answer.contains("a=rid:d"));
}

#[test]
fn simulcast_by_ssrc_group_is_taken_too() {
    let offer = small()
        + "a=ssrc-group:SIM 1 2 3\r\na=ssrc-group:FID 1 11\r\na=ssrc-group:FID 2 12\r\na=ssrc-group:FID 3 13\r\n";
    let pairs: Vec<_> = encodings(&offer).iter().map(|e| (e.rid, e.ssrc, e.rtx_ssrc)).collect();
    assert_eq!(pairs, [1, 2, 3].map(|n| (None, Some(Ssrc(n)), Some(Ssrc(n + 10)))));
}

#[test]
fn an_ssrc_belongs_to_the_first_section_that_declares_it() {
    let offer = small().replace("a=mid:a\r\n", "a=mid:a\r\na=ssrc:5 cname:x\r\n") + "a=ssrc:5 cname:x\r\n";
    assert_eq!(encodings(&offer)[0].ssrc, None);
}

#[test]
fn slots_have_streams_of_their_own_and_retransmissions() {
    let offer = small().replace("sendonly", "recvonly");
    let negotiated = answer(&offer).unwrap();
    let SectionRole::Slot(slot) = negotiated.sections[1].role else { panic!() };
    let (ssrc, rtx) = (slot.ssrc.0, slot.rtx_ssrc.unwrap().0);
    let lines = section_lines(&negotiated.answer, 1);
    for line in [
        "a=sendonly",
        "a=msid:slot-v track-v",
        &format!("a=ssrc-group:FID {ssrc} {rtx}"),
        &format!("a=ssrc:{rtx} cname:{CNAME}"),
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    assert!(section_lines(&negotiated.answer, 0).contains(&"a=msid:slot-a track-a"));
}

#[test]
fn a_slot_keeps_its_ssrcs_while_it_is_inactive_and_gets_new_ones_after_a_stop() {
    let (mut negotiation, mut rng) = (Negotiation::new(7), rng());
    let mut video = |direction: &str, port: &str| {
        let offer = small().replace("sendonly", direction).replace("m=video 9", &format!("m=video {port}"));
        negotiation.handle_offer(&offer, &local(), &mut rng).unwrap().sections[1].role.clone()
    };
    let first = video("recvonly", "9");
    assert_eq!(video("inactive", "9"), SectionRole::Inactive);
    assert_eq!(video("recvonly", "9"), first);
    assert_eq!(video("recvonly", "0"), SectionRole::Rejected);
    assert_ne!(video("recvonly", "9"), first);
}

#[test]
fn a_lone_rid_names_the_only_encoding() {
    let offer = small() + "a=rid:x recv\r\na=rid:main send\r\n";
    assert_eq!(encodings(&offer)[0].rid, Rid::new("main"));
    let answer = answer(&offer).unwrap().answer;
    assert!(answer.contains("a=rid:main recv\r\n") && !answer.contains("a=simulcast"));
}

#[test]
fn wildcard_feedback_is_for_every_codec() {
    let offer = small() + "a=rtcp-fb:* transport-cc\r\na=rtcp-fb:96 nack rpsi\r\n";
    let negotiated = answer(&offer).unwrap();
    let feedback = negotiated.sections[1].codecs[0].feedback;
    assert_eq!(feedback, Feedback { transport_cc: true, ..Feedback::default() });
    assert_eq!(feedback_lines(&negotiated.answer), ["a=rtcp-fb:96 transport-cc"]);
}

/// The video section's feedback.
fn feedback_lines(answer: &str) -> Vec<&str> {
    section_lines(answer, 1).into_iter().filter(|line| line.starts_with("a=rtcp-fb")).collect()
}

fn slot_feedback(negotiated: &Negotiated) -> Vec<SlotFeedback> {
    let slots = negotiated.sections.iter().filter_map(|section| match &section.role {
        SectionRole::Slot(slot) => Some(slot.feedback),
        _ => None,
    });
    slots.collect()
}

#[test]
fn transport_feedback_is_expected_where_it_is_offered_with_the_extension_that_numbers_packets() {
    let slots = small().replace("sendonly", "recvonly");
    let offered = slots.clone() + "a=rtcp-fb:96 transport-cc\r\n";
    let number = "a=extmap:9 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
    let of = |offer: &str| slot_feedback(&answer(offer).unwrap());
    assert_eq!(of(&slots), [SlotFeedback::Reports; 2]);
    assert_eq!(of(&offered), [SlotFeedback::Reports; 2], "packets have no numbers");
    assert_eq!(of(&(offered + number)), [SlotFeedback::Reports, SlotFeedback::TransportCc]);
}

#[test]
fn rfc_8888_is_taken_on_slots_where_all_of_them_offer_it_and_nothing_better() {
    let audio_too = |offer: String| offer.replace("a=mid:a\r\n", "a=mid:a\r\na=rtcp-fb:* ack ccfb\r\n");
    let slots = || small().replace("sendonly", "recvonly");
    let wanted = "a=rtcp-fb:* ack ccfb\r\n";
    let taken = |offer: &str| {
        let negotiated = answer(offer).unwrap();
        let slots: Vec<bool> = slot_feedback(&negotiated).iter().map(|slot| *slot == SlotFeedback::Ccfb).collect();
        assert_eq!(feedback_lines(&negotiated.answer).contains(&"a=rtcp-fb:* ack ccfb"), slots.contains(&true));
        slots
    };
    assert_eq!(taken(&(audio_too(slots()) + wanted)), [true, true]);
    assert_eq!(taken(&(slots() + wanted)), [false, false], "the audio section does not offer it");
    assert_eq!(taken(&(audio_too(slots()) + wanted + "a=rtcp-fb:96 transport-cc\r\n")), [false, false]);
    assert_eq!(taken(&(audio_too(slots()) + "a=rtcp-fb:96 ack ccfb\r\n")), [false, false], "only the wildcard counts");
    assert_eq!(taken(&(audio_too(small()) + wanted)), [], "it is for what we send");
}

/// The video codecs of the answer's section, in its order, and that every retransmission type that is left belongs to
/// one of them.
fn answered_codecs(offer: &str, rules: &CodecRules) -> Vec<&'static str> {
    let negotiated = answer_with(offer, &LocalParameters { codecs: rules, ..local() }).unwrap();
    check_answer(offer, &negotiated);
    let video = negotiated.sections.iter().find(|section| section.kind == Some(MediaKind::Video)).unwrap();
    let mut names: Vec<_> = video.codecs.iter().map(|mapping| mapping.codec.name()).collect();
    names.dedup();
    names
}

#[test]
fn an_answer_lists_first_what_most_can_receive_then_what_the_room_prefers() {
    let offer = fixture("chromium-156-simulcast-publish");
    let rules = |list: &[VideoFormat], receivers: &[(Codec, u32)]| CodecRules {
        list: list.to_vec(),
        receivers: receivers.to_vec(),
        ..CodecRules::default()
    };
    assert_eq!(answered_codecs(&offer, &NO_RULES)[0], "VP8", "the client's order");
    let prefer = [VideoFormat::Av1, VideoFormat::H264];
    assert_eq!(answered_codecs(&offer, &rules(&prefer, &[]))[..2], ["AV1", "H264"]);
    let vp9 = Codec::Vp9 { profile: 0 };
    assert_eq!(
        answered_codecs(&offer, &rules(&prefer, &[(vp9, 2), (Codec::Av1 { profile: 0 }, 1)]))[..2],
        ["VP9", "AV1"]
    );
    let section = answer(&offer).unwrap().sections.into_iter().find(|s| s.kind == Some(MediaKind::Video)).unwrap();
    let told = CodecRules { told: vec![(section.mid, Codec::Vp8)], ..rules(&prefer, &[(vp9, 2)]) };
    assert_eq!(answered_codecs(&offer, &told)[..2], ["VP8", "VP9"], "a new offer changes nothing of what was told");
}

/// A WHIP publisher cannot follow when somebody comes who lacks its codec.
#[test]
fn who_cannot_be_told_another_codec_later_sends_one_that_every_browser_has() {
    let offer = fixture("chromium-156-simulcast-publish");
    let av1_first = offer.replace("SAVPF 96 ", "SAVPF 45 96 ").replace(" 40 45 46 ", " 40 46 ");
    let rules = |for_good, list: &[VideoFormat], receivers: &[(Codec, u32)]| CodecRules {
        list: list.to_vec(),
        receivers: receivers.to_vec(),
        for_good,
        ..CodecRules::default()
    };
    assert_eq!(answered_codecs(&av1_first, &rules(false, &[], &[]))[0], "AV1", "the client's order");
    assert_eq!(answered_codecs(&av1_first, &rules(true, &[], &[]))[0], "VP8");
    assert_eq!(answered_codecs(&av1_first, &rules(true, &[VideoFormat::Av1], &[]))[0], "AV1", "the room's wish");
    let vp9 = Codec::Vp9 { profile: 0 };
    assert_eq!(answered_codecs(&av1_first, &rules(true, &[], &[(vp9, 1)]))[0], "VP9", "what those have who are there");
}

#[test]
fn what_a_room_requires_is_all_that_is_answered_and_an_offer_without_it_is_refused() {
    let require = |list: &[VideoFormat]| CodecRules { list: list.to_vec(), required: true, ..CodecRules::default() };
    let offer = fixture("chromium-156-simulcast-publish");
    assert_eq!(answered_codecs(&offer, &require(&[VideoFormat::Vp9, VideoFormat::Vp8])), ["VP9", "VP8"]);
    let rules = require(&[VideoFormat::Av1, VideoFormat::Vp9]);
    let error = answer_with(&small(), &LocalParameters { codecs: &rules, ..local() }).unwrap_err();
    assert_eq!(error, NegotiationError::CodecRequired { mid: "v".into(), required: "AV1, VP9".into() });
    assert_eq!(error.code(), "codec-required");
    let receiving = small().replace("a=sendonly", "a=recvonly");
    assert_eq!(
        rejected(&receiving, &LocalParameters { codecs: &rules, ..local() }),
        [false, false],
        "who only receives may"
    );
}
