//! Replay protection (RFC 3711 section 3.3.2) and the estimate of a packet's index (section 3.3.1).

/// Which indexes were seen, over the last `64 * WORDS` of them.
pub(super) struct ReplayWindow<const WORDS: usize> {
    highest: u64,
    /// A ring: the bit of an index is its value modulo the window's size.
    seen: [u64; WORDS],
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const SIZE: u64 = 64 * WORDS as u64;

    /// A window that has seen `index` and nothing else.
    pub(super) fn starting_at(index: u64) -> ReplayWindow<WORDS> {
        let mut window = ReplayWindow { highest: index, seen: [0; WORDS] };
        window.mark(index);
        window
    }

    /// The highest index accepted so far.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// True where `index` was not seen and is not older than the window.
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let (word, bit) = Self::place(index);
        self.highest - index < Self::SIZE && self.seen.get(word).is_some_and(|seen| seen & bit == 0)
    }

    /// Records `index`, for which [`Self::is_fresh`] said true and which has authenticated.
    pub(super) fn accept(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= Self::SIZE {
                self.seen = [0; WORDS];
            } else {
                (self.highest + 1..index).for_each(|skipped| self.clear(skipped));
            }
            self.highest = index;
        }
        self.mark(index);
    }

    fn mark(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }

    fn clear(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen &= !bit;
        }
    }

    fn place(index: u64) -> (usize, u64) {
        let position = index % Self::SIZE;
        ((position / 64) as usize, 1 << (position % 64))
    }
}

/// The 48-bit index that `sequence` most likely stands for, given the highest index seen: the one closest to it (RFC 3711
/// section 3.3.1). Before the first rollover there is no earlier cycle, so a sequence number far above is taken as it is.
pub(super) fn estimate_index(highest: u64, sequence: u16) -> u64 {
    const HALF: i32 = 1 << 15;
    let (rollover, last) = (highest >> 16, i32::from(highest as u16));
    let rollover = if last < HALF && i32::from(sequence) - last > HALF {
        rollover.saturating_sub(1)
    } else if last >= HALF && last - HALF > i32::from(sequence) {
        rollover + 1
    } else {
        rollover
    };
    (rollover & 0xffff_ffff) << 16 | u64::from(sequence)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_index_follows_the_sequence_number_across_the_wrap_both_ways() {
        assert_eq!(estimate_index(0xffff, 0), 0x1_0000);
        assert_eq!(estimate_index(0x1_0000, 0xffff), 0xffff);
        assert_eq!(estimate_index(0x5_8000, 0x7fff), 0x5_7fff);
        assert_eq!(estimate_index(0x5_8000, 0), 0x5_0000);
        assert_eq!(estimate_index(0x5_8001, 0), 0x6_0000);
        assert_eq!(estimate_index(0x5_7fff, 0xffff), 0x5_ffff);
        assert_eq!(estimate_index(0x5_7ffe, 0xffff), 0x4_ffff);
        assert_eq!(estimate_index(0x5_9000, 0x0fff), 0x6_0fff);
    }

    #[test]
    fn in_the_first_cycle_there_is_nothing_before_it() {
        assert_eq!(estimate_index(10, 65_530), 65_530);
    }

    proptest! {
        /// The ring of bits agrees with a set that forgets what is older than the window.
        #[test]
        fn a_window_accepts_each_recent_index_once(steps in prop::collection::vec(-200_i64..150, 1..400)) {
            let mut window = ReplayWindow::<2>::starting_at(1000);
            let mut seen = HashSet::from([1000_u64]);
            let mut highest = 1000_u64;
            for step in steps {
                let index = highest.saturating_add_signed(step);
                let fresh = index + 128 > highest && !seen.contains(&index);
                prop_assert_eq!(window.is_fresh(index), fresh);
                if fresh {
                    window.accept(index);
                    seen.insert(index);
                    highest = highest.max(index);
                }
            }
        }
    }
}
