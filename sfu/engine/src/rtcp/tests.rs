//! RTCP against `rtc-rtcp` as an oracle, and against packets that lie.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::write::{self, FeedbackHeader, SenderInfo};
use super::*;
use crate::units::{Bitrate, ExtSeq, RtpTime, SeqNo};
use proptest::prelude::*;
use rtc_rtcp::Packet;
use rtc_rtcp::goodbye::Goodbye as OracleGoodbye;
use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport as OracleReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport as OracleSenderReport;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtcp::transport_feedbacks::cc_feedback_report as oracle_ccfb;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use std::time::Duration;

const SENDER: Ssrc = Ssrc(0x902f_9e2e);
const MEDIA: Ssrc = Ssrc(0xbc5e_9a40);
const BLOCK: ReportBlock = ReportBlock {
    ssrc: MEDIA,
    fraction_lost: 12,
    lost: 345,
    highest_seq: 0x0001_46e1,
    jitter: 273,
    last_sr: 0x09f3_6432,
    delay_since_last_sr: 150_137,
};

/// Runs `check` on the only value in `packet`.
fn only(packet: &[u8], check: impl FnOnce(Rtcp<'_>)) {
    let mut check = Some(check);
    assert_eq!(parse(packet, |value| (check.take().expect("one value"))(value)), 0);
    assert!(check.is_none(), "no value");
}

fn marshal(packet: &dyn Packet) -> Vec<u8> {
    let mut bytes = vec![0; packet.marshal_size()];
    packet.marshal_to(&mut bytes).unwrap();
    bytes
}

/// What the oracle reads from a compound.
fn oracle(packet: &[u8]) -> Vec<Box<dyn Packet>> {
    rtc_rtcp::packet::unmarshal(&mut bytes::Bytes::copy_from_slice(packet)).unwrap()
}

fn oracle_as<T: Clone + 'static>(packet: &[u8]) -> T {
    let packets = oracle(packet);
    assert_eq!(packets.len(), 1);
    packets[0].as_any().downcast_ref::<T>().expect("the expected kind").clone()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn sender_reports_agree_with_the_oracle() {
    let info =
        SenderInfo { ssrc: SENDER, ntp: NtpTime(0xda8b_d1fc_dddd_a05a), rtp_time: RtpTime(7), packets: 8, octets: 9 };
    let packet = written(|out| write::sender_report(out, &info, &[BLOCK, BLOCK]));
    let read: OracleSenderReport = oracle_as(&packet);
    assert_eq!((read.ssrc, read.ntp_time, read.rtp_time), (SENDER.0, info.ntp.0, 7));
    assert_eq!((read.packet_count, read.octet_count, read.reports.len()), (8, 9, 2));
    only(&marshal(&read), |value| {
        let Rtcp::SenderReport(report) = value else { panic!("{value:?}") };
        assert_eq!((report.ssrc, report.ntp, report.rtp_time), (SENDER, info.ntp, RtpTime(7)));
        assert_eq!((report.packets, report.octets), (8, 9));
        assert_eq!(report.reports().collect::<Vec<_>>(), [BLOCK, BLOCK]);
    });
}

#[test]
fn receiver_reports_agree_with_the_oracle() {
    let packet = written(|out| write::receiver_report(out, SENDER, &[BLOCK]));
    let read: OracleReceiverReport = oracle_as(&packet);
    let block = ReceptionReport {
        ssrc: MEDIA.0,
        fraction_lost: 12,
        total_lost: 345,
        last_sequence_number: 0x0001_46e1,
        jitter: 273,
        last_sender_report: 0x09f3_6432,
        delay: 150_137,
    };
    assert_eq!((read.ssrc, &read.reports), (SENDER.0, &vec![block]));
    only(&marshal(&read), |value| {
        let Rtcp::ReceiverReport(report) = value else { panic!("{value:?}") };
        assert_eq!((report.ssrc, report.reports().collect::<Vec<_>>()), (SENDER, vec![BLOCK]));
    });
}

#[test]
fn a_loss_count_keeps_its_sign_and_its_24_bits() {
    for (written_as, read_as) in [(-5, -5), (0x7f_ffff, 0x7f_ffff), (i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000)] {
        let block = ReportBlock { lost: written_as, ..BLOCK };
        only(&written(|out| write::receiver_report(out, SENDER, &[block])), |value| {
            let Rtcp::ReceiverReport(report) = value else { panic!("{value:?}") };
            assert_eq!(report.reports().next(), Some(ReportBlock { lost: read_as, ..BLOCK }));
        });
    }
}

#[test]
fn a_compound_starts_with_a_report_and_a_name() {
    for cname in ["", "a", "ab", "abc", "abcd", "{9c00eb92-1afb-9d49-a47d-91f64eee69f5}"] {
        let packets = oracle(&written(|out| {
            write::receiver_report(out, SENDER, &[]);
            write::description(out, SENDER, cname);
            write::pli(out, SENDER, MEDIA);
        }));
        assert!(packets[0].as_any().is::<OracleReceiverReport>());
        let names = packets[1].as_any().downcast_ref::<SourceDescription>().unwrap();
        assert_eq!(names.chunks[0].source, SENDER.0);
        assert_eq!(names.chunks[0].items[0].text, cname.as_bytes());
        assert!(packets[2].as_any().is::<PictureLossIndication>());
    }
}

#[test]
fn keyframe_requests_agree_with_the_oracle() {
    let pli = written(|out| write::pli(out, SENDER, MEDIA));
    assert_eq!(oracle_as::<PictureLossIndication>(&pli).media_ssrc, MEDIA.0);
    only(&pli, |value| assert!(matches!(value, Rtcp::Pli { sender: SENDER, media: MEDIA })));

    let fir: FullIntraRequest = oracle_as(&written(|out| write::fir(out, SENDER, MEDIA, 42)));
    assert_eq!(fir.fir, [FirEntry { ssrc: MEDIA.0, sequence_number: 42 }]);
    only(&marshal(&fir), |value| {
        let Rtcp::Fir(fir) = value else { panic!("{value:?}") };
        assert_eq!(fir.entries().collect::<Vec<_>>(), [(MEDIA, 42)]);
    });
}

#[test]
fn goodbyes_agree_with_the_oracle() {
    let packet = written(|out| write::goodbye(out, &[SENDER, MEDIA]));
    let mut read: OracleGoodbye = oracle_as(&packet);
    assert_eq!(read.sources, [SENDER.0, MEDIA.0]);
    read.reason = bytes::Bytes::from_static(b"camera malfunction");
    only(&marshal(&read), |value| {
        let Rtcp::Goodbye(goodbye) = value else { panic!("{value:?}") };
        assert_eq!(goodbye.sources().collect::<Vec<_>>(), [SENDER, MEDIA]);
    });
}

#[test]
fn estimates_agree_with_the_oracle() {
    for bps in [0, 1, 262_143, 262_144, 1_234_567, 8_000_000_000] {
        let packet = written(|out| write::remb(out, SENDER, Bitrate::bps(bps), &[MEDIA, SENDER]));
        let read: ReceiverEstimatedMaximumBitrate = oracle_as(&packet);
        // The oracle reads zero as 2^23.
        let agree = bps == 0 || (f64::from(read.bitrate) - bps as f64).abs() <= bps as f64 / 1e5;
        assert!(agree, "{bps} was read as {}", read.bitrate);
        assert_eq!(read.ssrcs, [MEDIA.0, SENDER.0]);
        only(&packet, |value| {
            let Rtcp::Remb(remb) = value else { panic!("{value:?}") };
            assert!(remb.bitrate.as_bps() <= bps && remb.bitrate.as_bps() >= bps - bps / 100_000);
            assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [MEDIA, SENDER]);
        });
    }
}

#[test]
fn an_estimate_beyond_64_bits_is_malformed() {
    let mut packet = written(|out| write::remb(out, SENDER, Bitrate::bps(0x3_ffff), &[]));
    packet[17] |= 0xfc;
    assert_eq!(parse(&packet, |value| panic!("{value:?}")), 1);
}

#[test]
fn congestion_feedback_agrees_with_the_oracle() {
    let metric =
        |received, ecn, offset| oracle_ccfb::CcFeedbackMetricBlock { received, ecn, arrival_time_offset: offset };
    let report = oracle_ccfb::CcFeedbackReport {
        sender_ssrc: SENDER.0,
        report_blocks: vec![
            oracle_ccfb::CcFeedbackReportBlock {
                media_ssrc: MEDIA.0,
                begin_sequence: 65_535,
                metric_blocks: vec![
                    metric(true, oracle_ccfb::Ecn::Ce, 512),
                    metric(false, oracle_ccfb::Ecn::NotEct, 0),
                    metric(true, oracle_ccfb::Ecn::Ect1, 0x1fff),
                ],
            },
            oracle_ccfb::CcFeedbackReportBlock { media_ssrc: 5, begin_sequence: 9, metric_blocks: vec![] },
        ],
        report_timestamp: 0x1234,
    };
    only(&marshal(&report), |value| {
        let Rtcp::Ccfb(feedback) = value else { panic!("{value:?}") };
        assert_eq!((feedback.sender, feedback.timestamp), (SENDER, 0x1234));
        let blocks: Vec<_> = feedback.blocks().collect();
        assert_eq!((blocks.len(), blocks[0].media, blocks[1].media), (2, MEDIA, Ssrc(5)));
        let half_a_second = CcfbArrival { ecn: Ecn::CongestionExperienced, before: Some(Duration::from_millis(500)) };
        let unknown = CcfbArrival { ecn: Ecn::Capable1, before: None };
        let expected = [(SeqNo(65_535), Some(half_a_second)), (SeqNo(0), None), (SeqNo(1), Some(unknown))];
        assert_eq!(blocks[0].packets().collect::<Vec<_>>(), expected);
        assert_eq!(blocks[1].packets().count(), 0);
    });
}

#[test]
fn a_nack_longer_than_a_packet_is_continued_in_the_next() {
    let missing: Vec<_> = (0..300).map(|n| ExtSeq(0x1_fff0 + n * 40)).collect();
    let mut rest = missing.as_slice();
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let packet = written(|out| rest = write::nack(out, SENDER, MEDIA, rest));
        assert!(packet.len() <= 12 + 4 * write::MAX_NACK_PAIRS);
        only(&packet, |value| {
            let Rtcp::Nack(nack) = value else { panic!("{value:?}") };
            seen.extend(nack.seqs());
        });
    }
    assert_eq!(seen, missing.iter().map(|seq| seq.wire()).collect::<Vec<_>>());
}

#[test]
fn one_malformed_part_leaves_the_others_alone() {
    let mut packet = written(|out| write::pli(out, SENDER, MEDIA));
    // A receiver report that claims 31 blocks and has none.
    packet.extend_from_slice(&[0x80 | 31, 201, 0, 1, 0, 0, 0, 1]);
    write::fir(&mut packet, SENDER, MEDIA, 1);
    let mut kinds = Vec::new();
    let malformed = parse(&packet, |value| kinds.push(std::mem::discriminant(&value)));
    assert_eq!((malformed, kinds.len()), (1, 2));
}

#[test]
fn padding_is_cut_off_and_false_padding_is_refused() {
    let mut packet = written(|out| assert!(write::nack(out, SENDER, MEDIA, &[ExtSeq(0x1_0007)]).is_empty()));
    packet.extend_from_slice(&[0, 0, 0, 4]);
    packet[0] |= 0x20;
    packet[3] += 1;
    only(&packet, |value| {
        let Rtcp::Nack(nack) = value else { panic!("{value:?}") };
        assert_eq!(nack.seqs().collect::<Vec<_>>(), [SeqNo(7)]);
    });
    for lie in [0, 17, 255] {
        *packet.last_mut().unwrap() = lie;
        assert_eq!(parse(&packet, |value| panic!("{value:?}")), 1, "padding {lie}");
    }
}

#[test]
fn another_version_of_rtp_is_refused() {
    let mut packet = written(|out| write::pli(out, SENDER, MEDIA));
    packet[0] = 0x41;
    assert_eq!(parse(&packet, |value| panic!("{value:?}")), 1);
}

#[test]
fn seventeen_packets_in_a_row_fit_one_nack_pair() {
    let missing: Vec<_> = (0..17).map(|n| ExtSeq(0x1_0000 + n)).collect();
    assert_eq!(written(|out| assert!(write::nack(out, SENDER, MEDIA, &missing).is_empty())).len(), 16);
}

#[test]
fn unknown_kinds_are_skipped_in_silence() {
    // APP, application feedback that is not REMB, RTPFB with an unknown format, SDES.
    let mut packet = vec![0x80, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e'];
    packet.extend_from_slice(&[0x8f, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, b'N', b'O', b'P', b'E']);
    packet.extend_from_slice(&[0x9e, 205, 0, 0]);
    write::description(&mut packet, SENDER, "name");
    assert_eq!(parse(&packet, |value| panic!("{value:?}")), 0);
}

#[test]
fn feedback_claiming_65_thousand_packets_is_refused() {
    // Nine runs of 8191 lost packets each, of which `count` are meant.
    let claiming = |count: u16| {
        let mut packet = vec![0x8f, 205, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
        packet.extend_from_slice(&count.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0]);
        packet.extend([[0x1f, 0xff]; 9].concat());
        packet.extend_from_slice(&[0, 0]);
        packet
    };
    only(&claiming(8192), |value| assert!(matches!(value, Rtcp::TransportFeedback(_))));
    assert_eq!(parse(&claiming(u16::MAX), |value| panic!("{value:?}")), 1);
    // Neither can many parts of one datagram, each of which costs its sender 24 bytes.
    let (mut described, parts) = (0, [claiming(5000), claiming(5000), claiming(3192), claiming(1)].concat());
    let malformed = parse(&parts, |value| match value {
        Rtcp::TransportFeedback(feedback) => described += feedback.packets().count(),
        other => panic!("{other:?}"),
    });
    assert_eq!((described, malformed), (8192, 2));
}

#[test]
fn feedback_without_the_deltas_it_promises_is_refused() {
    let header = FeedbackHeader { sender: SENDER, media: MEDIA, base: SeqNo(0), reference: 0, number: 0 };
    let mut packet = written(|out| write::transport_feedback(out, &header, &[Some(1); 8]));
    packet.truncate(packet.len() - 4);
    packet[0] &= !0x20;
    packet[3] -= 1;
    assert_eq!(parse(&packet, |value| panic!("{value:?}")), 1);
}

#[test]
fn round_trips_survive_rounding_but_not_lies() {
    let sent = NtpTime::from_micros(5_000_000);
    let answered = NtpTime::from_micros(5_150_000);
    let rtt = round_trip(answered, sent.compact(), 65_536 / 10).unwrap();
    assert!(rtt.abs_diff(Duration::from_millis(50)) < Duration::from_micros(100), "{rtt:?}");
    assert_eq!(round_trip(sent, sent.compact(), 1), Some(Duration::ZERO));
    assert_eq!(round_trip(sent, sent.compact(), 65_536), None, "answered before it was asked");
    assert_eq!(round_trip(answered, answered.compact().wrapping_sub(61 << 16), 0), None, "more than a minute");
    assert_eq!(round_trip(answered, 0, 0), None, "nothing was echoed");
}

#[test]
fn ntp_time_keeps_its_microseconds() {
    for us in [0, 1, 999_999, 1_000_000, 3_900_000_000_123_457] {
        assert_eq!(NtpTime::from_micros(us).as_micros(), us as i64);
    }
}

fn statuses() -> impl Strategy<Value = Vec<Option<i16>>> {
    // Runs of one kind, as networks make them, so that every kind of chunk occurs.
    let run = (0..3, 1..40usize, any::<i16>(), 0..256i16)
        .prop_map(|(kind, length, large, small)| vec![[None, Some(small), Some(large)][kind as usize]; length]);
    prop::collection::vec(run, 1..12).prop_map(|runs| runs.concat())
}

proptest! {
    #[test]
    fn transport_feedback_means_the_same_to_us_and_to_the_oracle(
        statuses in statuses(), base: u16, reference in 0..0x100_0000u32, number: u8,
    ) {
        let header = FeedbackHeader { sender: SENDER, media: MEDIA, base: SeqNo(base), reference, number };
        let packet = written(|out| write::transport_feedback(out, &header, &statuses));
        let read: TransportLayerCc = oracle_as(&packet);
        prop_assert_eq!(read.base_sequence_number, base);
        prop_assert_eq!(usize::from(read.packet_status_count), statuses.len());
        prop_assert_eq!((read.reference_time, read.fb_pkt_count), (reference, number));
        let deltas: Vec<_> = read.recv_deltas.iter().map(|delta| (delta.delta / 250) as i16).collect();
        prop_assert_eq!(deltas, statuses.iter().flatten().copied().collect::<Vec<_>>());

        let mut clock = i64::from(reference) * 64_000;
        let expected: Vec<_> = statuses.iter().enumerate().map(|(index, ticks)| {
            clock += ticks.map_or(0, |ticks| i64::from(ticks) * 250);
            (SeqNo(base.wrapping_add(index as u16)), ticks.map(|_| clock))
        }).collect();
        only(&packet, |value| {
            let Rtcp::TransportFeedback(feedback) = value else { panic!("{value:?}") };
            assert_eq!(feedback.packets().collect::<Vec<_>>(), expected);
        });
    }

    #[test]
    fn nacks_mean_the_same_to_us_and_to_the_oracle(first: u16, gaps in prop::collection::vec(0..40u64, 0..200)) {
        let mut seq = ExtSeq::first(SeqNo(first));
        let mut missing = vec![seq];
        for gap in gaps {
            seq = ExtSeq(seq.0 + gap);
            missing.push(seq);
        }
        let packet = written(|out| assert!(write::nack(out, SENDER, MEDIA, &missing).is_empty()));
        missing.dedup();
        let expected: Vec<u16> = missing.iter().map(|seq| seq.wire().0).collect();
        let read: TransportLayerNack = oracle_as(&packet);
        prop_assert_eq!(read.nacks.iter().flat_map(NackPair::packet_list).collect::<Vec<_>>(), expected.clone());
        only(&packet, |value| {
            let Rtcp::Nack(nack) = value else { panic!("{value:?}") };
            assert_eq!(nack.seqs().map(|seq| seq.0).collect::<Vec<_>>(), expected);
        });
    }

    #[test]
    fn no_packet_makes_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0..32u8, kind in 192..=210u8) {
        // Random bytes rarely pass the header, so give them one that fits.
        let mut packet = vec![0x80 | count, kind, 0, (bytes.len() / 4) as u8];
        packet.extend_from_slice(&bytes);
        for start in [0, 4] {
            parse(&packet[start..], |value| match value {
                Rtcp::SenderReport(report) => drop(report.reports().count()),
                Rtcp::ReceiverReport(report) => drop(report.reports().count()),
                Rtcp::Goodbye(goodbye) => drop(goodbye.sources().count()),
                Rtcp::Nack(nack) => drop(nack.seqs().count()),
                Rtcp::Fir(fir) => drop(fir.entries().count()),
                Rtcp::Remb(remb) => drop(remb.ssrcs().count()),
                Rtcp::TransportFeedback(feedback) => assert_eq!(feedback.packets().count(), usize::from(feedback.count)),
                Rtcp::Ccfb(feedback) => drop(feedback.blocks().flat_map(|block| block.packets()).count()),
                Rtcp::Pli { .. } => {}
            });
        }
    }
}
