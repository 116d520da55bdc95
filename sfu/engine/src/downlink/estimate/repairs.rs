//! Whether the receiver ever acknowledges what comes on the retransmission source.
//!
//! Firefox sometimes does not, for a whole session: media that reaches it before its own description took effect makes it forget that
//! source (seen in one of eight joins on loopback, Firefox 153). Padding goes there, so that no probe can succeed, and its loss says nothing
//! about the network.

/// So many packets of that source lost, and none arrived, is no accident.
const ENOUGH: u32 = 8;

/// What became of the packets of the retransmission source.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    heard: bool,
    lost: u32,
}

impl Repairs {
    /// One has arrived.
    pub(super) fn on_arrived(&mut self) {
        self.heard = true;
    }

    /// One is reported lost. True where that settles that none will arrive.
    pub(super) fn on_lost(&mut self) -> bool {
        self.lost = self.lost.saturating_add(1);
        !self.heard && self.lost == ENOUGH
    }

    /// The receiver has no ear for them.
    pub(super) fn are_unheard(&self) -> bool {
        !self.heard && self.lost >= ENOUGH
    }
}
