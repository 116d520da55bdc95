//! RTCP that a client sends, written by hand or by `rtc-rtcp`.

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtc::shared::marshal::Marshal;
use std::collections::BTreeMap;
use std::time::Instant;

/// A report block.
pub struct Block {
    pub ssrc: u32,
    pub fraction_lost: u8,
    pub total_lost: u32,
    pub highest: u32,
    pub last_sr: u32,
    pub delay: u32,
}

pub fn receiver_report(sender: u32, blocks: Vec<Block>) -> Vec<u8> {
    let reports = blocks.into_iter().map(|block| ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        total_lost: block.total_lost,
        last_sequence_number: block.highest,
        jitter: 0,
        last_sender_report: block.last_sr,
        delay: block.delay,
    });
    ReceiverReport { ssrc: sender, reports: reports.collect(), ..ReceiverReport::default() }.marshal().unwrap().to_vec()
}

pub fn sender_report(ntp_time: u64, (ssrc, rtp_time, packets, octets): (u32, u32, u32, u32)) -> Vec<u8> {
    let report = SenderReport {
        ssrc,
        ntp_time,
        rtp_time,
        packet_count: packets,
        octet_count: octets,
        ..SenderReport::default()
    };
    report.marshal().unwrap().to_vec()
}

pub fn pli(sender: u32, media: u32) -> Vec<u8> {
    PictureLossIndication { sender_ssrc: sender, media_ssrc: media }.marshal().unwrap().to_vec()
}

pub fn nack(sender: u32, media: u32, seqs: &[u16]) -> Vec<u8> {
    let nacks = nack_pairs_from_sequence_numbers(seqs);
    TransportLayerNack { sender_ssrc: sender, media_ssrc: media, nacks }.marshal().unwrap().to_vec()
}

/// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01) about the packets from `base` to the
/// newest.
pub fn transport_feedback(
    sender: u32,
    media: u32,
    count: u8,
    origin: Instant,
    base: u64,
    arrivals: &BTreeMap<u64, Instant>,
) -> Option<Vec<u8>> {
    let (&last, _) = arrivals.range(base..).next_back()?;
    let (_, first_at) = arrivals.range(base..).next()?;
    let ticks = |at: &Instant| ((*at - origin).as_micros() / 250) as i64;
    let reference = ticks(first_at) / 256;
    let mut previous = reference * 256;
    let (mut symbols, mut deltas) = (Vec::new(), Vec::new());
    for seq in base..=last {
        let Some(at) = arrivals.get(&seq) else {
            symbols.push(0u16);
            continue;
        };
        let delta = ticks(at) - previous;
        previous = ticks(at);
        if let Ok(small) = u8::try_from(delta) {
            symbols.push(1);
            deltas.push(small);
        } else {
            symbols.push(2);
            deltas.extend(i16::try_from(delta).expect("packets within 8 s").to_be_bytes());
        }
    }
    let mut out = vec![0x8F, 205, 0, 0];
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
    out.extend((base as u16).to_be_bytes());
    out.extend((symbols.len() as u16).to_be_bytes());
    out.extend(&(reference as u32).to_be_bytes()[1..]);
    out.push(count);
    for symbols in symbols.chunks(7) {
        let bits = symbols.iter().enumerate().fold(0xC000, |bits, (i, symbol)| bits | symbol << (12 - 2 * i));
        out.extend(bits.to_be_bytes());
    }
    out.extend(deltas);
    while out.len() % 4 != 0 {
        out.push(0);
    }
    let words = (out.len() / 4 - 1) as u16;
    out[2..4].copy_from_slice(&words.to_be_bytes());
    Some(out)
}
