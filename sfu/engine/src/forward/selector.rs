//! Which packets a slot gets: the encoding and the layers that flow, and when they change. One selector for all codecs:
//! it knows frames by their layers and, where the codec tells, by the frames that they refer to.
//!
//! It is given the packets of the encoding that flows, in the publisher's order. A frame that refers to a frame which
//! was not sent is not sent either, whatever its layer.

use super::dropped::Dropped;
use crate::ids::EncodingIndex;
use crate::media::{FrameMeta, PacketMeta};
use crate::units::RtpTime;

/// Spatial layers that a payload can name.
const SPATIAL_LAYERS: usize = 8;

/// An encoding, and a spatial and a temporal layer of it. A receiver that is given this layer is given those below it
/// too. The higher layer is the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// Which encoding.
    pub encoding: EncodingIndex,
    /// Spatial layer; 0 where the encoding has none.
    pub spatial: u8,
    /// Temporal layer; without effect where the encoding has none.
    pub temporal: u8,
}

/// What is wanted and what flows.
#[derive(Debug, Default)]
pub(super) struct Selector {
    /// The highest layer that is wished for.
    target: Option<Layer>,
    /// The highest layer that flows, which can lag behind the target.
    current: Option<Layer>,
    /// The picture that the last decision was about.
    picture: Option<RtpTime>,
    /// By spatial layer, whether a frame of its base temporal layer was left out since the last key picture: then the
    /// layer cannot be gone on with.
    broken: [bool; SPATIAL_LAYERS],
    dropped: Dropped,
}

impl Selector {
    pub(super) fn set_target(&mut self, target: Option<Layer>) {
        self.target = target;
        if target.is_none() {
            self.current = None;
        }
    }

    pub(super) fn target(&self) -> Option<Layer> {
        self.target
    }

    pub(super) fn current(&self) -> Option<Layer> {
        self.current
    }

    /// The encoding that is to flow as soon as it can be started, or whose spatial layers change with its next
    /// key frame.
    pub(super) fn waits_for(&self) -> Option<EncodingIndex> {
        let wanted = self.target?;
        let flows = self.current.is_some_and(|current| {
            current.encoding == wanted.encoding && wanted.spatial <= current.spatial && !self.is_broken(wanted.spatial)
        });
        (!flows).then_some(wanted.encoding)
    }

    /// A key frame of the wanted encoding begins.
    pub(super) fn start(&mut self, frame: &FrameMeta) {
        self.current = self.target;
        self.picture = None;
        self.dropped = Dropped::before(frame.dependencies.map_or(0, |of| of.number));
    }

    /// The encoding that flowed is gone; the target stays.
    pub(super) fn stop(&mut self) {
        self.current = None;
    }

    /// Whether the next packet of the encoding that flows is to be sent. Changes the limits at the start of a picture.
    pub(super) fn admit(&mut self, meta: &PacketMeta) -> bool {
        let Some(mut current) = self.current else { return false };
        let frame = &meta.frame;
        if frame.starts_frame && (frame.keyframe || self.picture != Some(meta.timestamp)) {
            self.picture = Some(meta.timestamp);
            current = self.next_limits(current, frame);
            self.current = Some(current);
        }
        let sent = self.decide(current, frame);
        if frame.temporal == 0
            && let Some(broken) = self.broken.get_mut(usize::from(frame.spatial))
        {
            *broken |= !sent;
        }
        sent
    }

    /// The same for a packet that comes late; `max_layer` is the highest layer that the slot takes at its position.
    pub(super) fn admit_late(&mut self, max_layer: Layer, frame: &FrameMeta) -> bool {
        self.decide(max_layer, frame)
    }

    /// Whether a frame is sent where the slot takes no layer above `max_layer`. Remembers a frame that is not.
    fn decide(&mut self, max_layer: Layer, frame: &FrameMeta) -> bool {
        let taken = frame.spatial <= max_layer.spatial && frame.temporal <= max_layer.temporal;
        let needed = frame.spatial == max_layer.spatial || !frame.unneeded_above;
        let Some(dependencies) = &frame.dependencies else { return taken && needed };
        let sent = taken && needed && self.dropped.allow(dependencies);
        self.dropped.note(dependencies.number, !sent);
        sent
    }

    fn next_limits(&mut self, current: Layer, frame: &FrameMeta) -> Layer {
        let target = self.target.filter(|target| target.encoding == current.encoding);
        if frame.keyframe {
            self.broken = [false; SPATIAL_LAYERS];
            if let Some(target) = target {
                return target;
            }
        }
        let limit = current.temporal;
        let (spatial, wanted) = match (target, self.target) {
            // A lower spatial layer is taken at once where its frames have been sent all along.
            (Some(target), _) if target.spatial < current.spatial && !self.is_broken(target.spatial) => {
                (target.spatial, target.temporal)
            }
            // Congestion will not wait for a key frame, of the lower encoding or of a layer that cannot be gone on
            // with.
            (Some(target), _) if target.spatial < current.spatial => (current.spatial, 0),
            (Some(target), _) => (current.spatial, target.temporal),
            (None, Some(target)) if target.encoding < current.encoding => (current.spatial, 0),
            (None, _) => (current.spatial, limit),
        };
        // A layer is added where its sync frame frees it from what was not sent, and only on top of the one below:
        // other frames of a layer may lean on every layer under it.
        let climbs = frame.layer_sync && limit.checked_add(1) == Some(frame.temporal);
        let temporal = if frame.keyframe || wanted < limit {
            wanted
        } else if climbs && frame.temporal <= wanted {
            frame.temporal
        } else {
            limit
        };
        Layer { spatial, temporal, ..current }
    }

    fn is_broken(&self, spatial: u8) -> bool {
        self.broken.get(usize::from(spatial)).is_none_or(|broken| *broken)
    }
}
