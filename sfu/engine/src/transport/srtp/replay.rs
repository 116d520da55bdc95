//! Replay protection (RFC 3711 section 3.3.2) and the estimate of a packet's index (section 3.3.1).

/// Which indexes were seen, over the last `64 * WORDS` of them.
#[derive(Clone)]
#[repr(C)]
pub(super) struct ReplayWindow<const WORDS: usize> {
    highest: u64,
    /// The bits of the highest index and the others of its word, beside it: a packet in order needs no other line of
    /// memory.
    newest: u64,
    /// A ring of the words before: a word's place is its number modulo `WORDS`.
    seen: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        ReplayWindow { highest: 0, newest: 0, seen: [0; WORDS] }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const SIZE: u64 = 64 * WORDS as u64;

    /// A window that has seen `index` and nothing else.
    pub(super) fn starting_at(index: u64) -> ReplayWindow<WORDS> {
        ReplayWindow { highest: index, newest: bit(index), seen: [0; WORDS] }
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
        let word =
            if word(index) == word(self.highest) { Some(&self.newest) } else { self.seen.get(Self::place(index)) };
        self.highest - index < Self::SIZE && word.is_some_and(|word| word & bit(index) == 0)
    }

    /// Records `index`, for which [`Self::is_fresh`] said true and which has authenticated.
    pub(super) fn accept(&mut self, index: u64) {
        if word(index) == word(self.highest) {
            self.newest |= bit(index);
        } else if index > self.highest {
            self.set(self.highest, self.newest);
            // What was in the places of the words between is older than the window.
            let from = word(index).saturating_sub(WORDS as u64).max(word(self.highest) + 1);
            (from..word(index)).for_each(|skipped| self.set(skipped * 64, 0));
            self.newest = bit(index);
        } else if let Some(seen) = self.seen.get_mut(Self::place(index)) {
            *seen |= bit(index);
        }
        self.highest = self.highest.max(index);
    }

    fn set(&mut self, index: u64, bits: u64) {
        if let Some(seen) = self.seen.get_mut(Self::place(index)) {
            *seen = bits;
        }
    }

    fn place(index: u64) -> usize {
        (word(index) % WORDS as u64) as usize
    }
}

fn word(index: u64) -> u64 {
    index / 64
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

/// The 48-bit index that `sequence` most likely stands for, given the highest index seen: the one closest to it (RFC
/// 3711 section 3.3.1). Before the first rollover there is no earlier cycle, so a sequence number far above is taken as
/// it is.
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
        fn a_window_accepts_each_recent_index_once(steps in prop::collection::vec(prop_oneof![9 => -200_i64..150, 1 => 0..600_i64], 1..400)) {
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
