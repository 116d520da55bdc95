//! Which packets a slot gets: the encoding and the temporal layers that flow, and when they change.
//!
//! Sees the packets of the encoding that flows in the publisher's order.

use crate::ids::EncodingIndex;
use crate::media::FrameMeta;

/// An encoding and the highest temporal layer of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which encoding.
    pub encoding: EncodingIndex,
    /// Highest temporal layer; without effect where the encoding has none.
    pub temporal: u8,
}

/// What is wanted and what flows.
#[derive(Debug, Default)]
pub(super) struct Selector {
    target: Option<Target>,
    /// `temporal` is the limit in force, which can lag behind the target's.
    current: Option<Target>,
}

impl Selector {
    pub(super) fn set_target(&mut self, target: Option<Target>) {
        self.target = target;
        if target.is_none() {
            self.current = None;
        }
    }

    pub(super) fn target(&self) -> Option<Target> {
        self.target
    }

    pub(super) fn current(&self) -> Option<Target> {
        self.current
    }

    /// The encoding that is to flow as soon as it can be started.
    pub(super) fn waits_for(&self) -> Option<EncodingIndex> {
        let wanted = self.target?.encoding;
        (self.current.map(|current| current.encoding) != Some(wanted)).then_some(wanted)
    }

    /// A keyframe of the wanted encoding begins.
    pub(super) fn start(&mut self) {
        self.current = self.target;
    }

    /// What flowed is gone; the target stays.
    pub(super) fn stop(&mut self) {
        self.current = None;
    }

    /// Whether the next packet of the encoding that flows is to be sent. Changes the temporal limit at the start of a frame.
    pub(super) fn admit(&mut self, frame: &FrameMeta) -> bool {
        let Some(mut current) = self.current else { return false };
        if frame.starts_frame {
            current.temporal = self.next_limit(current, frame);
            self.current = Some(current);
        }
        frame.temporal <= current.temporal
    }

    fn next_limit(&self, current: Target, frame: &FrameMeta) -> u8 {
        let limit = current.temporal;
        let wanted = match self.target {
            Some(target) if target.encoding == current.encoding => target.temporal,
            // Congestion will not wait for the lower encoding's keyframe.
            Some(target) if target.encoding < current.encoding => 0,
            _ => limit,
        };
        // A layer is added where its sync frame frees it from what was not sent, and only on top of the one below: other
        // frames of a layer may lean on every layer under it.
        let climbs = frame.layer_sync && limit.checked_add(1) == Some(frame.temporal);
        if frame.keyframe || wanted < limit {
            wanted
        } else if climbs && frame.temporal <= wanted {
            frame.temporal
        } else {
            limit
        }
    }
}
