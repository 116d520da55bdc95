//! Writing descriptors (section A.8.2), and changing what a receiver must see differently.

use super::{Descriptor, Frame, Structure};
use crate::rtp::bits::{BitReader, BitWriter};

/// Bits before the flags of the extended fields.
const MANDATORY_BITS: usize = 24;
/// Bits up to the first of the extended fields.
const EXTENDED_FROM: usize = MANDATORY_BITS + 5;

/// Writes a descriptor whose template `known` has, or the structure that it brings. Fields of the frame that the
/// template has too are left out. `None` where neither has the template.
pub fn write(descriptor: &Descriptor, known: Option<&Structure>) -> Option<Vec<u8>> {
    let holds = descriptor.structure.as_deref().or(known)?;
    let (frame, template) = (&descriptor.frame, holds.template(descriptor.template_id)?);
    let targets = holds.targets();
    let told = if descriptor.structure.is_some() { Some(holds.all_targets()) } else { None };
    let active = descriptor.active_targets.filter(|active| Some(*active) != told);
    let own_indications = frame.indications != template.indications;
    let own_references = frame.references != template.references;
    let own_chains = frame.chains != template.chains;

    let mut bits = BitWriter::default();
    bits.flag(descriptor.starts_frame);
    bits.flag(descriptor.ends_frame);
    bits.write(descriptor.template_id.into(), 6);
    bits.write(descriptor.frame_number.into(), 16);
    let flags = [descriptor.structure.is_some(), active.is_some(), own_indications, own_references, own_chains];
    if flags.contains(&true) {
        flags.into_iter().for_each(|flag| bits.flag(flag));
    }
    if let Some(structure) = &descriptor.structure {
        write_structure(&mut bits, structure);
    }
    if let Some(active) = active {
        bits.write(active, targets as u32);
    }
    if own_indications {
        write_indications(&mut bits, frame, targets);
    }
    if own_references {
        for difference in frame.references.as_slice().iter().map(|difference| u32::from(difference - 1)) {
            let nibbles = (32 - difference.leading_zeros()).div_ceil(4).clamp(1, 3);
            bits.write(nibbles, 2);
            bits.write(difference, 4 * nibbles);
        }
        bits.write(0, 2);
    }
    if own_chains {
        for difference in frame.chains.iter().take(usize::from(holds.chains)) {
            bits.write((*difference).into(), 8);
        }
    }
    Some(bits.into_bytes())
}

/// Writes to `out` a copy of the descriptor `bytes` with another frame number and, where `active` says so, a mask of
/// active decode targets: its place in bits as [`Descriptor::mask_at`] gives it, how many targets there are, and the
/// mask. False where `bytes` are too short.
pub fn rewrite(bytes: &[u8], frame_number: u16, active: Option<(u16, usize, u32)>, out: &mut Vec<u8>) -> bool {
    out.clear();
    let [high, low] = frame_number.to_be_bytes();
    let Some(([first, _, _], rest)) = bytes.split_first_chunk::<3>() else { return false };
    let Some((at, targets, mask)) = active else {
        out.extend([*first, high, low]);
        out.extend_from_slice(rest);
        return true;
    };
    let mut from = BitReader::new(bytes);
    let mut to = BitWriter::reusing(std::mem::take(out));
    let extended = !rest.is_empty();
    to.write(u32::from_be_bytes([0, *first, high, low]), MANDATORY_BITS as u32);
    let read = from.read(MANDATORY_BITS as u32);
    let flags = if extended { from.byte(5) } else { Some(0) };
    let (Some(_), Some(flags)) = (read, flags) else { return false };
    to.write(u32::from(flags | ACTIVE_PRESENT), 5);
    for _ in EXTENDED_FROM..usize::from(at) {
        let Some(bit) = from.flag() else { return false };
        to.flag(bit);
    }
    if flags & ACTIVE_PRESENT != 0 && from.read(targets as u32).is_none() {
        return false;
    }
    to.write(mask, targets as u32);
    // What follows are the frame's own fields, and bits that fill the last byte.
    if extended {
        while let Some(bit) = from.flag() {
            to.flag(bit);
        }
    }
    *out = to.into_bytes();
    true
}

/// Of the five flags.
const ACTIVE_PRESENT: u8 = 0b0_1000;

fn write_structure(bits: &mut BitWriter, structure: &Structure) {
    bits.write(structure.id_offset.into(), 6);
    bits.write(u32::from(structure.targets) - 1, 5);
    for pair in structure.templates.windows(2) {
        let [one, next] = pair else { continue };
        let step = match (next.spatial > one.spatial, next.temporal > one.temporal) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        bits.write(step, 2);
    }
    bits.write(3, 2);
    for template in &structure.templates {
        write_indications(bits, template, structure.targets());
    }
    for template in &structure.templates {
        for difference in template.references.as_slice() {
            bits.flag(true);
            bits.write(u32::from(difference - 1), 4);
        }
        bits.flag(false);
    }
    bits.non_symmetric(structure.chains.into(), u32::from(structure.targets) + 1);
    if structure.chains > 0 {
        for chain in structure.protected_by.iter().take(structure.targets()) {
            bits.non_symmetric((*chain).into(), structure.chains.into());
        }
        for template in &structure.templates {
            for difference in template.chains.iter().take(usize::from(structure.chains)) {
                bits.write((*difference).into(), 4);
            }
        }
    }
    bits.flag(!structure.resolutions.is_empty());
    for (width, height) in &structure.resolutions {
        bits.write(u32::from(*width) - 1, 16);
        bits.write(u32::from(*height) - 1, 16);
    }
}

fn write_indications(bits: &mut BitWriter, frame: &Frame, targets: usize) {
    for indication in frame.indications.iter().take(targets) {
        bits.write(*indication as u32, 2);
    }
}
