//! Which of the last frames were not sent.

use crate::media::Dependencies;

/// Frames that are remembered. VP9 refers back 127 pictures of eight layers at most.
const FRAMES: u64 = 1024;
const WORD: u64 = 64;

/// The frames of a run that were left out, by frame number. Frames that never came count as sent: they may come yet.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// The run's first frame: nothing before it was sent.
    first: u64,
    newest: u64,
    bits: [u64; (FRAMES / WORD) as usize],
}

impl Dropped {
    /// A run that starts with frame `first`.
    pub(super) fn before(first: u64) -> Self {
        Dropped { first, newest: first, ..Dropped::default() }
    }

    /// Whether a frame may be sent: neither was it left out, nor any that it refers to.
    pub(super) fn allow(&self, frame: &Dependencies) -> bool {
        let reference = |difference: &u16| frame.number.checked_sub(u64::from(*difference));
        let sent = |number: Option<u64>| number.is_some_and(|number| !self.contains(number));
        sent(Some(frame.number)) && frame.references.as_slice().iter().map(reference).all(sent)
    }

    /// Notes a decision.
    pub(super) fn note(&mut self, number: u64, dropped: bool) {
        if number > self.newest {
            // Places are used again: those of the frames passed now must be empty.
            let steps = (number - self.newest).min(FRAMES);
            for passed in number + 1 - steps..=number {
                self.set(passed, false);
            }
            self.newest = number;
        }
        if dropped && self.newest - number < FRAMES {
            self.set(number, true);
        }
    }

    fn contains(&self, number: u64) -> bool {
        if number < self.first {
            return true;
        }
        match self.newest.checked_sub(number) {
            None => false,
            Some(age) if age >= FRAMES => true,
            Some(_) => self.bits.get(word(number)).is_some_and(|word| word >> (number % WORD) & 1 == 1),
        }
    }

    fn set(&mut self, number: u64, dropped: bool) {
        let Some(word) = self.bits.get_mut(word(number)) else { return };
        let bit = 1 << (number % WORD);
        *word = if dropped { *word | bit } else { *word & !bit };
    }
}

fn word(number: u64) -> usize {
    (number % FRAMES / WORD) as usize
}
