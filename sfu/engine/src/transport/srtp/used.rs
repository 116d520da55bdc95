//! The packet indexes that a sender has used, for each of its SSRCs: one used twice is a nonce used twice.
//!
//! A table of its own and not a hash map: SSRCs are random numbers of ours, so that their low bits name the place, and
//! what a packet needs is found in one line of memory, which can be fetched ahead. It is looked into for each packet,
//! and has left the cache by the next picture.

use super::replay::ReplayWindow;
use prefetch::fetch;

/// SSRCs that one sender may ever use.
pub(super) const MAX_SOURCES: usize = 4096;
/// Late packets are sent within the last `64 * WORDS` numbers of their source: twice what a forwarder remembers.
const WORDS: usize = 16;
/// Places to begin with: as many as a receiver of one camera and one microphone needs.
const FIRST_PLACES: usize = 4;

/// Indexes used lately by each SSRC; older ones count as used. Nothing is ever forgotten while the keys live:
/// forgetting a rollover counter would use a nonce twice.
pub(super) struct UsedIndexes {
    /// A power of two. A source is at the place that its low bits name, or at the first behind it that was free.
    places: Box<[Place]>,
    count: usize,
}

/// Aligned so that all but the window's older words are in one line.
#[derive(Clone, Default)]
#[repr(C, align(32))]
struct Place {
    ssrc: u32,
    is_taken: bool,
    window: ReplayWindow<WORDS>,
}

impl UsedIndexes {
    pub(super) fn new() -> UsedIndexes {
        UsedIndexes { places: vec![Place::default(); FIRST_PLACES].into(), count: 0 }
    }

    /// Has fetched what is known of an SSRC, also where it is beside its place because that was taken.
    pub(super) fn prefetch(&self, ssrc: u32) {
        let home = self.home(ssrc);
        let places = [home, (home + 1) & self.places.len().saturating_sub(1)];
        places.into_iter().filter_map(|at| self.places.get(at)).for_each(|place| fetch(&place.ssrc));
    }

    /// The indexes used by an SSRC.
    pub(super) fn get_mut(&mut self, ssrc: u32) -> Option<&mut ReplayWindow<WORDS>> {
        let place = self.place_mut(ssrc)?;
        place.is_taken.then_some(&mut place.window)
    }

    /// The first index of an SSRC that has none yet. `None` where there are too many of them.
    pub(super) fn begin(&mut self, ssrc: u32, index: u64) -> Option<()> {
        if self.count >= MAX_SOURCES {
            return None;
        }
        if (self.count + 1) * 4 > self.places.len() * 3 {
            let longer = vec![Place::default(); self.places.len() * 2].into();
            for old in std::mem::replace(&mut self.places, longer).into_iter().filter(|place| place.is_taken) {
                if let Some(place) = self.place_mut(old.ssrc) {
                    *place = old;
                }
            }
        }
        *self.place_mut(ssrc)? = Place { ssrc, is_taken: true, window: ReplayWindow::starting_at(index) };
        self.count += 1;
        Some(())
    }

    /// Where an SSRC is, or else would be.
    fn place_mut(&mut self, ssrc: u32) -> Option<&mut Place> {
        let (home, last) = (self.home(ssrc), self.places.len().checked_sub(1)?);
        let mut places = (0..=last).map(|step| (home + step) & last);
        let is_its = |at: &usize| self.places.get(*at).is_some_and(|place| !place.is_taken || place.ssrc == ssrc);
        let at = places.find(is_its)?;
        self.places.get_mut(at)
    }

    fn home(&self, ssrc: u32) -> usize {
        ssrc as usize & self.places.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha12Rng;

    #[test]
    fn each_source_keeps_its_own_index_however_many_share_a_place() {
        let mut rng = ChaCha12Rng::seed_from_u64(3);
        let mut used = UsedIndexes::new();
        // The low bits of the first ones are all the same, and those of the last wrap around.
        let sources: Vec<u32> = (0..40).map(|n| n << 20 | 5).chain((0..200).map(|_| rng.random())).collect();
        let sources: Vec<u32> = sources.into_iter().chain((0..10).map(|n| n << 20 | 0xfffff)).collect();
        for (n, ssrc) in sources.iter().enumerate() {
            assert!(used.get_mut(*ssrc).is_none(), "{ssrc:#x}");
            used.begin(*ssrc, n as u64).unwrap();
            for (m, ssrc) in sources.iter().enumerate().take(n + 1) {
                assert_eq!(used.get_mut(*ssrc).unwrap().highest(), m as u64);
            }
        }
    }
}
