//! The dependency descriptor (AV1 RTP specification, appendix A): which layer a frame belongs to, on which frames it
//! depends, and which decode targets need it. Any codec can carry it.
//!
//! The structure comes with key frames and tells what the templates mean that other frames name. The uplink reads each
//! packet's descriptor once; the downlink changes frame number and active decode targets in place ([`rewrite`]). Every
//! length is checked, and every count is bounded: hostile bytes give `None`.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use write::{rewrite, write};

/// Decode targets that a structure can have.
pub const MAX_TARGETS: usize = 32;
/// Templates that a structure can have: ids have six bits.
pub const MAX_TEMPLATES: usize = 64;
/// Frames that one frame can refer to. AV1 has seven references, VP9 three and the layer below.
pub const MAX_REFERENCES: usize = 8;

/// What a decode target needs of a frame (decode target indication).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// The target does not need the frame.
    NotPresent,
    /// It shows the frame, and no later frame of the target refers to it.
    Discardable,
    /// From this frame on the target can be decoded, whatever came of it before.
    Switch,
    /// It needs the frame.
    Required,
}

/// How far back the frames are that a frame refers to, in frame numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    differences: [u16; MAX_REFERENCES],
    len: u8,
}

impl References {
    /// Adds one; false where there is no place for it.
    pub fn push(&mut self, difference: u16) -> bool {
        let Some(place) = self.differences.get_mut(usize::from(self.len)) else { return false };
        *place = difference;
        self.len += 1;
        true
    }

    /// The differences, each at least 1.
    pub fn as_slice(&self) -> &[u16] {
        self.differences.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What a template says about frames, or the descriptor about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Spatial layer, 0 to 3.
    pub spatial: u8,
    /// Temporal layer, 0 to 7.
    pub temporal: u8,
    /// The frames it refers to.
    pub references: References,
    /// One for each decode target.
    indications: [Indication; MAX_TARGETS],
    /// For each chain, how far back its last frame is; 0 where there is none.
    chains: [u8; MAX_TARGETS],
}

impl Frame {
    /// What decode target `target` needs of it.
    pub fn indication(&self, target: usize) -> Indication {
        self.indications.get(target).copied().unwrap_or(Indication::NotPresent)
    }
}

/// The template dependency structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Id of the first template.
    id_offset: u8,
    targets: u8,
    /// At least one, at most [`MAX_TEMPLATES`].
    templates: Vec<Frame>,
    chains: u8,
    /// By decode target, the chain that protects it.
    protected_by: [u8; MAX_TARGETS],
    /// Picture size of each spatial layer; empty where not told.
    resolutions: Vec<(u16, u16)>,
}

impl Structure {
    /// How many decode targets it has, 1 to 32.
    pub fn targets(&self) -> usize {
        usize::from(self.targets)
    }

    /// Picture size of a spatial layer in pixels, where told.
    pub fn resolution(&self, spatial: u8) -> Option<(u16, u16)> {
        self.resolutions.get(usize::from(spatial)).copied()
    }

    /// The chain that protects a decode target, where there are chains.
    pub fn protected_by(&self, target: usize) -> Option<usize> {
        let chain = self.protected_by.get(target).filter(|_| self.chains > 0 && target < self.targets())?;
        Some(usize::from(*chain))
    }

    /// Highest spatial and temporal layer of each decode target (section A.8.3).
    pub fn layers(&self) -> TargetLayers {
        let mut layers = TargetLayers { targets: self.targets, ..TargetLayers::default() };
        for target in 0..self.targets() {
            let frames = self.templates.iter().filter(|t| t.indication(target) != Indication::NotPresent);
            let highest = frames.fold((0, 0), |(s, t), frame| (frame.spatial.max(s), frame.temporal.max(t)));
            layers.set(target, highest);
        }
        layers
    }

    /// Every decode target.
    fn all_targets(&self) -> u32 {
        u32::MAX >> (MAX_TARGETS - self.targets().clamp(1, MAX_TARGETS))
    }

    fn template(&self, id: u8) -> Option<&Frame> {
        let index = (id + MAX_TEMPLATES as u8 - self.id_offset) % MAX_TEMPLATES as u8;
        self.templates.get(usize::from(index))
    }
}

/// The layers of a structure's decode targets, in a form that every packet can carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetLayers {
    /// Four bits for each target: spatial, temporal. Temporal layers above 3 count as 3. Of bytes, as they need no
    /// alignment.
    packed: [u8; MAX_TARGETS / 2],
    targets: u8,
}

impl TargetLayers {
    /// How many decode targets there are.
    pub fn len(&self) -> usize {
        usize::from(self.targets)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.targets == 0
    }

    /// Bit mask of the decode targets that lie within these layers.
    pub fn within(&self, spatial: u8, temporal: u8) -> u32 {
        let targets = (0..self.len()).filter(|target| {
            let (s, t) = self.get(*target);
            s <= spatial && t <= temporal
        });
        targets.fold(0, |mask, target| mask | 1 << target)
    }

    /// Whether any decode target of a spatial layer above the frame's needs the frame.
    pub fn needed_above(&self, frame: &Frame) -> bool {
        let mut above = (0..self.len()).filter(|target| self.get(*target).0 > frame.spatial);
        above.any(|target| frame.indication(target) != Indication::NotPresent)
    }

    fn get(&self, target: usize) -> (u8, u8) {
        let bits = self.packed.get(target / 2).map_or(0, |pair| pair >> (target % 2 * 4));
        (bits >> 2 & 3, bits & 3)
    }

    fn set(&mut self, target: usize, (spatial, temporal): (u8, u8)) {
        if let Some(pair) = self.packed.get_mut(target / 2) {
            *pair |= (spatial.min(3) << 2 | temporal.min(3)) << (target % 2 * 4);
        }
    }
}

/// One packet's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// First packet of its frame.
    pub starts_frame: bool,
    /// Last packet of its frame.
    pub ends_frame: bool,
    /// Template that the frame names.
    pub template_id: u8,
    /// Counts the frames of all layers, modulo 2^16.
    pub frame_number: u16,
    /// A new structure, on key frames and where it changes.
    pub structure: Option<Box<Structure>>,
    /// Decode targets that the sender goes on with, where that is told.
    pub active_targets: Option<u32>,
    /// What holds for the frame: its template's fields, or its own.
    pub frame: Frame,
    /// Where in the descriptor the mask of active decode targets stands or would stand, in bits from the start.
    pub mask_at: u16,
}
