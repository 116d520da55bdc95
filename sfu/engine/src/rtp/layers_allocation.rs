//! Video layers allocation (video-layers-allocation00 of libwebrtc): what a publisher is about to send of each layer of
//! each encoding.
//!
//! Read by the uplink: target rates stand in for measured ones while an encoding is young, sizes for those of a key
//! frame that nobody could read. Whether an encoding flows is left to its packets, since those under way outlast the
//! word that it stops. Never passed on: it tells of all that the publisher sends, which is not what a receiver gets,
//! and nobody but a server asks for it.

use crate::rtp::bits::BitReader;
use crate::units::Bitrate;

/// RTP streams, spatial layers and temporal layers that it can name, each.
const MOST: usize = 4;

/// The layers of all encodings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayersAllocation {
    streams: [StreamAllocation; MOST],
    count: usize,
}

/// The layers of one encoding, by spatial layer; `None` where that one is not sent.
pub type StreamAllocation = [Option<AllocatedLayer>; MOST];

/// One spatial layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatedLayer {
    /// What it takes to receive it up to each temporal layer, with all layers that it needs.
    rates: [Bitrate; MOST],
    /// How many temporal layers it has, at least 1.
    temporal_layers: usize,
    /// Width, height and frames per second, where told.
    picture: Option<(u16, u16, u8)>,
}

impl AllocatedLayer {
    /// What it takes with all temporal layers.
    pub fn rate(&self) -> Bitrate {
        self.rates.get(self.temporal_layers.saturating_sub(1)).copied().unwrap_or(Bitrate::ZERO)
    }

    /// Width and height in pixels, where told.
    pub fn size(&self) -> Option<(u16, u16)> {
        self.picture.map(|(width, height, _)| (width, height))
    }

    /// Frames per second at most, where told.
    pub fn frame_rate(&self) -> Option<u8> {
        self.picture.map(|(_, _, rate)| rate)
    }
}

impl LayersAllocation {
    /// Reads the element; `None` where it is malformed.
    pub fn parse(bytes: &[u8]) -> Option<LayersAllocation> {
        let mut found = LayersAllocation::default();
        if bytes == [0] {
            // Nothing is sent at all.
            return Some(found);
        }
        let mut bits = BitReader::new(bytes);
        bits.read(2)?; // the stream that carries the element
        found.count = bits.read(2)? as usize + 1;
        let shared = bits.read(4)?;
        let mut masks = [0; MOST];
        for mask in masks.iter_mut().take(found.count) {
            *mask = if shared == 0 { bits.read(4)? } else { shared };
        }
        align(&mut bits)?;
        for (stream, mask) in found.streams.iter_mut().zip(masks) {
            for (_, layer) in stream.iter_mut().enumerate().filter(|(spatial, _)| mask >> spatial & 1 == 1) {
                let temporal_layers = bits.read(2)? as usize + 1;
                *layer = Some(AllocatedLayer { temporal_layers, ..AllocatedLayer::default() });
            }
        }
        align(&mut bits)?;
        for layer in found.layers_mut() {
            for rate in layer.rates.iter_mut().take(layer.temporal_layers) {
                *rate = Bitrate::bps(u64::from(leb128(&mut bits)?).saturating_mul(1000));
            }
        }
        if bits.position() / 8 == bytes.len() {
            return Some(found);
        }
        for layer in found.layers_mut() {
            let mut less_one = || Some((bits.read(16)? as u16).saturating_add(1));
            let (width, height) = (less_one()?, less_one()?);
            layer.picture = Some((width, height, bits.byte(8)?));
        }
        Some(found)
    }

    /// By encoding, in the order of the offer.
    pub fn streams(&self) -> &[StreamAllocation] {
        self.streams.get(..self.count).unwrap_or_default()
    }

    fn layers_mut(&mut self) -> impl Iterator<Item = &mut AllocatedLayer> {
        self.streams.iter_mut().flatten().flatten()
    }
}

/// Passes over the bits that fill the last byte.
fn align(bits: &mut BitReader<'_>) -> Option<()> {
    let over = bits.position() % 8;
    bits.read(if over == 0 { 0 } else { 8 - over as u32 }).map(drop)
}

/// A number of at most 32 bits, seven a byte, lowest first (AV1 section 4.10.5).
fn leb128(bits: &mut BitReader<'_>) -> Option<u32> {
    let mut value = 0u64;
    for place in 0..5 {
        let byte = bits.read(8)?;
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn simulcast_with_sizes_is_read() {
        // The second of three streams carries it; each has one spatial layer, with two temporal layers.
        let mut bytes = vec![0b0110_0001, 0b0101_0100, 50, 100, 0xAC, 0x02, 0x90, 0x03, 200, 10, 0xDC, 0x0B];
        for (width, height) in [(319u16, 179u16), (639, 359), (1279, 719)] {
            bytes.extend(width.to_be_bytes());
            bytes.extend(height.to_be_bytes());
            bytes.push(30);
        }
        let read = LayersAllocation::parse(&bytes).unwrap();
        let top: Vec<_> = read.streams().iter().map(|stream| stream[0].unwrap()).collect();
        assert_eq!(top.iter().map(|layer| layer.rate().as_bps() / 1000).collect::<Vec<_>>(), [100, 400, 1500]);
        assert_eq!(top.iter().map(|layer| layer.size().unwrap().1).collect::<Vec<_>>(), [180, 360, 720]);
        assert!(top.iter().all(|layer| layer.frame_rate() == Some(30)));
        assert!(read.streams().iter().all(|stream| stream[1..].iter().all(Option::is_none)));
    }

    #[test]
    fn streams_that_are_off_have_no_layers() {
        // Two streams with masks of their own: the first is off, the second has the layers 0 and 2.
        let read = LayersAllocation::parse(&[0b0001_0000, 0b0000_0101, 0b0001_0000, 7, 8, 9]).unwrap();
        assert_eq!(read.streams()[0], [None; MOST]);
        let [base, middle, top, _] = read.streams()[1];
        assert_eq!((base.unwrap().rate(), middle), (Bitrate::bps(7000), None));
        assert_eq!((top.unwrap().rate(), top.unwrap().size()), (Bitrate::bps(9000), None));
        assert_eq!(LayersAllocation::parse(&[0]).unwrap().streams().len(), 0, "nothing is sent");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_is_cut_off_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(read) = LayersAllocation::parse(&bytes) {
                prop_assert!(read.streams().len() <= MOST);
                let told = read.streams().iter().flatten().flatten().filter(|layer| layer.size().is_some()).count();
                let all = read.streams().iter().flatten().flatten().count();
                prop_assert!(told == 0 || told == all);
                // A single 0 is whole: nothing is sent.
                prop_assert!(all == 0 || bytes[0] == 0 || LayersAllocation::parse(&bytes[..1]).is_none());
            }
        }
    }
}
