//! What is taken off a receiver while the server cannot keep up (`engine/load.rs`). Sound is not touched.

use super::Downlink;
use crate::event::{Limit, PauseReason};

/// What a receiver is not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relief {
    /// It is sent all that its network and its tiles take.
    #[default]
    None,
    /// Of each track the smallest picture at most.
    SmallestPictures,
    /// Video is paused.
    NoPictures,
}

impl Relief {
    /// Tallest picture of a tile: the smallest one that there is fills a tile of one pixel.
    pub(super) fn max_height(self) -> u16 {
        if self == Relief::None { u16::MAX } else { 1 }
    }

    /// Why a layer is not higher that was chosen among these heights, and within the bandwidth that is left.
    pub(super) fn limit(self, chosen: Limit) -> Limit {
        if self != Relief::None && chosen == Limit::Size { Limit::ServerLoad } else { chosen }
    }

    /// Why there is no picture where not even the smallest could be chosen.
    pub(super) fn pause(self) -> PauseReason {
        if self == Relief::NoPictures { PauseReason::ServerLoad } else { PauseReason::Bandwidth }
    }
}

impl Downlink {
    /// Sets what is taken off it, and whether its link may be explored.
    pub fn relieve(&mut self, relief: Relief, may_probe: bool) {
        if std::mem::replace(&mut self.relief, relief) != relief {
            self.allocate_soon();
        }
        self.estimator.allow_probes(may_probe);
    }

    /// What is taken off it.
    pub fn relief(&self) -> Relief {
        self.relief
    }
}
