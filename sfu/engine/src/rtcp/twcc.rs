//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1): read and written.

use crate::byte_reader::ByteReader;
use crate::units::{SeqNo, Ssrc};

/// Packets that the feedback of one datagram may describe: several seconds of the fastest sender. It bounds the work
/// that a lie costs: a chunk of two bytes can describe 8191 packets.
pub(super) const MAX_STATUSES: u16 = 8192;
/// One tick of an arrival delta, in microseconds.
pub(super) const DELTA_US: i64 = 250;
/// One tick of the reference time, in microseconds.
pub(super) const REFERENCE_US: i64 = 64_000;
/// Longest run that one chunk can say.
const MAX_RUN: usize = 0x1fff;

/// One feedback packet: for consecutive transport-wide sequence numbers, which packets arrived, and when.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    /// The SSRC of the reporting side.
    pub sender: Ssrc,
    /// Any one of the sources covered.
    pub media: Ssrc,
    /// First sequence number covered.
    pub base: SeqNo,
    /// How many are covered.
    pub count: u16,
    /// Counts feedback packets, to see lost ones; wraps.
    pub feedback_number: u8,
    /// The receiver's clock that the arrivals stand on, in microseconds; wraps after 2^24 times 64 ms (12 days).
    pub reference_us: i64,
    chunks: &'a [[u8; 2]],
    deltas: ByteReader<'a>,
}

impl<'a> TransportFeedback<'a> {
    /// Reads feedback about `most` packets at most.
    pub(super) fn read(mut body: ByteReader<'a>, most: u16) -> Option<Self> {
        let (sender, media) = (Ssrc(body.u32()?), Ssrc(body.u32()?));
        let (base, count) = (SeqNo(body.u16()?), body.u16()?);
        let (reference, feedback_number) = (body.u24()?, body.u8()?);
        if count == 0 || count > most {
            return None;
        }
        let chunks = chunks_for(body, usize::from(count))?;
        body.bytes(chunks.len() * 2)?;
        let feedback = TransportFeedback {
            sender,
            media,
            base,
            count,
            feedback_number,
            reference_us: i64::from(reference) * REFERENCE_US,
            chunks,
            deltas: body,
        };
        let delta_bytes = feedback.symbols().try_fold(0, |sum, symbol| Some(sum + symbol.delta_bytes()?))?;
        (delta_bytes <= body.rest().len()).then_some(feedback)
    }

    /// Every packet covered, in order: its number and, where it arrived, when, in microseconds of the clock of
    /// `reference_us`.
    pub fn packets(&self) -> impl Iterator<Item = (SeqNo, Option<i64>)> + use<'a> {
        let mut seq = self.base.0;
        let mut clock = self.reference_us;
        let mut deltas = self.deltas;
        self.symbols().map(move |symbol| {
            let this = SeqNo(seq);
            seq = seq.wrapping_add(1);
            let ticks = match symbol {
                Symbol::Small => deltas.u8().map(i64::from),
                Symbol::Large => deltas.u16().map(|ticks| i64::from(ticks as i16)),
                Symbol::Lost | Symbol::Reserved => None,
            };
            clock += ticks.unwrap_or(0) * DELTA_US;
            (this, ticks.map(|_| clock))
        })
    }

    fn symbols(&self) -> impl Iterator<Item = Symbol> + use<'a> {
        self.chunks.iter().flat_map(|chunk| Chunk::from(*chunk).symbols()).take(usize::from(self.count))
    }
}

/// The chunks that together cover `count` packets; `None` where there are not enough.
fn chunks_for(body: ByteReader<'_>, count: usize) -> Option<&[[u8; 2]]> {
    let chunks = body.rest().as_chunks().0;
    let mut covered = 0;
    let needed = chunks.iter().take_while(|chunk| {
        let more = covered < count;
        covered += Chunk::from(**chunk).len();
        more
    });
    let needed = needed.count();
    let chunks = chunks.get(..needed)?;
    (chunks.iter().map(|chunk| Chunk::from(*chunk).len()).sum::<usize>() >= count).then_some(chunks)
}

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    /// Not received.
    Lost,
    /// Received, with a delta of 8 bits without sign.
    Small,
    /// Received, with a delta of 16 bits with sign.
    Large,
    /// Says nothing that anyone defined.
    Reserved,
}

impl Symbol {
    fn from_bits(bits: u16) -> Symbol {
        match bits & 3 {
            0 => Symbol::Lost,
            1 => Symbol::Small,
            2 => Symbol::Large,
            _ => Symbol::Reserved,
        }
    }

    /// How a delta in ticks is written.
    fn of(status: &Option<i16>) -> Symbol {
        match status {
            None => Symbol::Lost,
            Some(0..=255) => Symbol::Small,
            Some(_) => Symbol::Large,
        }
    }

    /// Bytes of its delta; `None` for the reserved symbol.
    fn delta_bytes(self) -> Option<usize> {
        match self {
            Symbol::Lost => Some(0),
            Symbol::Small => Some(1),
            Symbol::Large => Some(2),
            Symbol::Reserved => None,
        }
    }
}

/// A packet status chunk.
#[derive(Clone, Copy)]
enum Chunk {
    /// A run of one symbol, with its length.
    Run(Symbol, u16),
    /// 14 symbols of one bit: lost or small.
    OneBit(u16),
    /// 7 symbols of two bits.
    TwoBit(u16),
}

impl From<[u8; 2]> for Chunk {
    fn from(bytes: [u8; 2]) -> Chunk {
        let word = u16::from_be_bytes(bytes);
        match word >> 14 {
            0 | 1 => Chunk::Run(Symbol::from_bits(word >> 13), word & 0x1fff),
            2 => Chunk::OneBit(word),
            _ => Chunk::TwoBit(word),
        }
    }
}

impl Chunk {
    fn len(self) -> usize {
        match self {
            Chunk::Run(_, count) => usize::from(count),
            Chunk::OneBit(_) => 14,
            Chunk::TwoBit(_) => 7,
        }
    }

    fn symbols(self) -> impl Iterator<Item = Symbol> {
        (0..self.len()).map(move |index| match self {
            Chunk::Run(symbol, _) => symbol,
            Chunk::OneBit(word) => Symbol::from_bits(word >> (13 - index) & 1),
            Chunk::TwoBit(word) => Symbol::from_bits(word >> (12 - 2 * index)),
        })
    }
}

/// Writes the chunks and then the deltas of `statuses`: for every packet its arrival delta in ticks, `None` where it is
/// lost.
pub(super) fn write_statuses(out: &mut Vec<u8>, statuses: &[Option<i16>]) {
    let mut rest = statuses;
    while !rest.is_empty() {
        let (word, covered) = next_chunk(rest);
        out.extend_from_slice(&word.to_be_bytes());
        rest = rest.get(covered..).unwrap_or_default();
    }
    for ticks in statuses.iter().flatten() {
        match u8::try_from(*ticks) {
            Ok(small) => out.push(small),
            Err(_) => out.extend_from_slice(&ticks.to_be_bytes()),
        }
    }
}

/// The chunk that says most about the start of `statuses`, and how many it covers.
fn next_chunk(statuses: &[Option<i16>]) -> (u16, usize) {
    let first = statuses.first().map_or(Symbol::Lost, Symbol::of);
    let run = statuses.iter().take(MAX_RUN).take_while(|status| Symbol::of(status) == first).count();
    let one_bit = statuses.iter().take(14).take_while(|status| Symbol::of(status) != Symbol::Large).count();
    let wanted = statuses.len();
    if run >= one_bit.max(7) || run == wanted {
        ((first as u16) << 13 | run as u16, run)
    } else if one_bit >= wanted.min(14) {
        (pack(0x8000, 1, 14, statuses), wanted.min(14))
    } else {
        (pack(0xc000, 2, 7, statuses), wanted.min(7))
    }
}

/// Symbols of `width` bits from the high end of the 14 that follow the chunk's kind.
fn pack(kind: u16, width: usize, count: usize, statuses: &[Option<i16>]) -> u16 {
    statuses
        .iter()
        .take(count)
        .enumerate()
        .fold(kind, |word, (index, status)| word | (Symbol::of(status) as u16) << (14 - width * (index + 1)))
}
