//! Reading descriptors (section A.8.2).

use super::{Descriptor, Frame, Indication, MAX_TARGETS, MAX_TEMPLATES, References, Structure};
use crate::rtp::bits::BitReader;

/// Bytes of the mandatory fields; a longer descriptor has the others.
const MANDATORY_BYTES: usize = 3;

impl Descriptor {
    /// Reads a descriptor. `known` is the structure that holds until the descriptor brings another. `None` where it is
    /// malformed, or names a template that the structure does not have: then the key frame with the structure has not
    /// come yet.
    pub fn parse(bytes: &[u8], known: Option<&Structure>) -> Option<Descriptor> {
        let mut bits = BitReader::new(bytes);
        let (starts_frame, ends_frame) = (bits.flag()?, bits.flag()?);
        let template_id = bits.byte(6)?;
        let frame_number = bits.read(16)? as u16;
        let mut flags = [false; 5];
        if bytes.len() > MANDATORY_BYTES {
            for flag in &mut flags {
                *flag = bits.flag()?;
            }
        }
        let [has_structure, has_active, own_indications, own_references, own_chains] = flags;
        let structure = if has_structure { Some(Box::new(structure(&mut bits)?)) } else { None };
        let holds = structure.as_deref().or(known)?;
        let mask_at = u16::try_from(bits.position()).ok()?;
        let active = if has_active { Some(bits.read(u32::from(holds.targets))?) } else { None };
        let active_targets = active.or_else(|| has_structure.then(|| holds.all_targets()));

        let mut frame = *holds.template(template_id)?;
        if own_indications {
            frame.indications = indications(&mut bits, holds.targets())?;
        }
        if own_references {
            frame.references = own(&mut bits)?;
        }
        if own_chains {
            for difference in frame.chains.iter_mut().take(usize::from(holds.chains)) {
                *difference = bits.byte(8)?;
            }
        }
        Some(Descriptor {
            starts_frame,
            ends_frame,
            template_id,
            frame_number,
            structure,
            active_targets,
            frame,
            mask_at,
        })
    }
}

fn structure(bits: &mut BitReader<'_>) -> Option<Structure> {
    let id_offset = bits.byte(6)?;
    let targets = bits.byte(5)? + 1;
    let mut templates = layers(bits)?;
    for template in &mut templates {
        template.indications = indications(bits, usize::from(targets))?;
    }
    for template in &mut templates {
        while bits.flag()? {
            template.references.push(bits.read(4)? as u16 + 1).then_some(())?;
        }
    }
    let mut protected_by = [0; MAX_TARGETS];
    let chains = bits.non_symmetric(u32::from(targets) + 1)? as u8;
    if chains > 0 {
        for chain in protected_by.iter_mut().take(usize::from(targets)) {
            *chain = bits.non_symmetric(u32::from(chains))? as u8;
        }
        for template in &mut templates {
            for difference in template.chains.iter_mut().take(usize::from(chains)) {
                *difference = bits.byte(4)?;
            }
        }
    }
    let mut resolutions = Vec::new();
    if bits.flag()? {
        // Layers only go up from template to template.
        let highest = templates.last()?.spatial;
        for _ in 0..=highest {
            let (width, height) = (bits.read(16)?.checked_add(1)?, bits.read(16)?.checked_add(1)?);
            // 65536 has no u16, and nobody's picture is that large.
            resolutions.push((u16::try_from(width).ok()?, u16::try_from(height).ok()?));
        }
    }
    Some(Structure { id_offset, targets, templates, chains, protected_by, resolutions })
}

/// The templates with their layers.
fn layers(bits: &mut BitReader<'_>) -> Option<Vec<Frame>> {
    let mut templates: Vec<Frame> = Vec::new();
    let (mut spatial, mut temporal) = (0u8, 0u8);
    loop {
        if templates.len() == MAX_TEMPLATES || spatial > 3 || temporal > 7 {
            return None;
        }
        templates.push(Frame {
            spatial,
            temporal,
            references: References::default(),
            indications: [Indication::NotPresent; MAX_TARGETS],
            chains: [0; MAX_TARGETS],
        });
        match bits.read(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => return Some(templates),
        }
    }
}

fn indications(bits: &mut BitReader<'_>, targets: usize) -> Option<[Indication; MAX_TARGETS]> {
    let mut all = [Indication::NotPresent; MAX_TARGETS];
    for indication in all.iter_mut().take(targets) {
        *indication = match bits.read(2)? {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        };
    }
    Some(all)
}

/// References of one frame: each says of how many nibbles it is.
fn own(bits: &mut BitReader<'_>) -> Option<References> {
    let mut references = References::default();
    loop {
        let nibbles = bits.read(2)?;
        if nibbles == 0 {
            return Some(references);
        }
        references.push(bits.read(4 * nibbles)? as u16 + 1).then_some(())?;
    }
}
