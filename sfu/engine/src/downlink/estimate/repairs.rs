//! Whether the receiver ever acknowledges what comes on a source of retransmissions.
//!
//! Firefox sometimes does not, for a whole session: media that reaches it before its own description took effect makes
//! it forget that source (seen in one of eight joins on loopback, Firefox 153). Padding that goes there is lost, which
//! says nothing about the network, and no probe made of it succeeds: then it goes on the source of the media.

use super::feedback::RepairSource;

/// So many packets of a source lost, and none ever arrived, is no accident.
const ENOUGH: u32 = 8;
/// Nor are so many in a row where some did.
const ENOUGH_AGAIN: u32 = 50;

/// What became of the packets of each source of retransmissions.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    heard: bool,
    /// Since one arrived.
    lost: u32,
}

impl Repairs {
    /// One has arrived.
    pub(super) fn on_arrived(&mut self, source: RepairSource) {
        if let Some(source) = self.source(source) {
            *source = Source { heard: true, lost: 0 };
        }
    }

    /// One is reported lost. True where that settles that none will arrive.
    pub(super) fn on_lost(&mut self, source: RepairSource) -> bool {
        let Some(source) = self.source(source) else { return false };
        source.lost = source.lost.saturating_add(1);
        source.lost == source.enough()
    }

    /// The receiver has no ear for them.
    pub(super) fn are_unheard(&self, source: RepairSource) -> bool {
        self.sources.get(source.index()).is_some_and(|source| source.lost >= source.enough())
    }

    fn source(&mut self, source: RepairSource) -> Option<&mut Source> {
        let index = source.index();
        if self.sources.len() <= index {
            self.sources.resize(index + 1, Source::default());
        }
        self.sources.get_mut(index)
    }
}

impl Source {
    fn enough(&self) -> u32 {
        if self.heard { ENOUGH_AGAIN } else { ENOUGH }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_may_be_unheard_beside_another_and_is_heard_again_when_something_arrives() {
        let (deaf, good) = (RepairSource::of(3), RepairSource::of(0));
        let mut repairs = Repairs::default();
        for n in 1..=60 {
            repairs.on_arrived(good);
            assert_eq!(repairs.on_lost(deaf), n == 8);
            assert_eq!((repairs.are_unheard(deaf), repairs.are_unheard(good)), (n >= 8, false));
        }
        repairs.on_arrived(deaf);
        for n in 1..=60 {
            assert_eq!(repairs.are_unheard(deaf), n > 50, "an outage");
            assert_eq!(repairs.on_lost(deaf), n == 50);
        }
    }

    #[test]
    fn sources_beyond_what_can_be_told_apart_are_one() {
        assert_eq!(RepairSource::of(254), RepairSource::of(1000));
        assert_ne!(RepairSource::of(253), RepairSource::of(254));
    }
}
