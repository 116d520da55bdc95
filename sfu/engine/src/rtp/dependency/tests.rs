#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proptest::strategy::Just;

fn indication() -> impl Strategy<Value = Indication> {
    prop_oneof![
        Just(Indication::NotPresent),
        Just(Indication::Discardable),
        Just(Indication::Switch),
        Just(Indication::Required)
    ]
}

fn references(max: u16) -> impl Strategy<Value = References> {
    proptest::collection::vec(1..=max, 0..=MAX_REFERENCES).prop_map(|differences| {
        let mut references = References::default();
        differences.into_iter().for_each(|difference| assert!(references.push(difference)));
        references
    })
}

fn frame(targets: usize, chains: usize, max_reference: u16, max_chain: u8) -> impl Strategy<Value = Frame> {
    let indications = proptest::collection::vec(indication(), targets);
    let chains = proptest::collection::vec(0..=max_chain, chains);
    (indications, references(max_reference), chains).prop_map(|(list, references, differences)| {
        let mut indications = [Indication::NotPresent; MAX_TARGETS];
        indications[..list.len()].copy_from_slice(&list);
        let mut chains = [0; MAX_TARGETS];
        chains[..differences.len()].copy_from_slice(&differences);
        Frame { spatial: 0, temporal: 0, references, indications, chains }
    })
}

/// Steps from template to template: same layer, next temporal, next spatial.
fn with_layers(mut templates: Vec<Frame>, steps: &[u8]) -> Vec<Frame> {
    let (mut spatial, mut temporal) = (0, 0);
    for (template, step) in templates.iter_mut().zip(std::iter::once(&0).chain(steps)) {
        match step {
            1 if temporal < 7 => temporal += 1,
            2 if spatial < 3 => (spatial, temporal) = (spatial + 1, 0),
            _ => {}
        }
        (template.spatial, template.temporal) = (spatial, temporal);
    }
    templates
}

fn structure() -> impl Strategy<Value = Structure> {
    (1..=MAX_TARGETS, 1..=20usize, 0u8..64, any::<bool>())
        .prop_flat_map(|(targets, templates, id_offset, sized)| {
            (Just(targets), Just(id_offset), Just(sized), 0..=targets.min(9), Just(templates))
        })
        .prop_flat_map(|(targets, id_offset, sized, chains, templates)| {
            let frames = proptest::collection::vec(frame(targets, chains, 16, 15), templates);
            let steps = proptest::collection::vec(0u8..3, templates);
            let protected = proptest::collection::vec(0..chains.max(1) as u8, if chains > 0 { targets } else { 0 });
            let sizes = proptest::collection::vec((1u16.., 1u16..), 4);
            (frames, steps, protected, sizes).prop_map(move |(frames, steps, protected, sizes)| {
                let templates = with_layers(frames, &steps);
                let highest = usize::from(templates.last().unwrap().spatial);
                let mut protected_by = [0; MAX_TARGETS];
                protected_by[..protected.len()].copy_from_slice(&protected);
                Structure {
                    id_offset,
                    targets: targets as u8,
                    templates,
                    chains: chains as u8,
                    protected_by,
                    resolutions: if sized { sizes[..=highest].to_vec() } else { vec![] },
                }
            })
        })
}

/// A structure, and a descriptor that follows it or brings it.
fn descriptor() -> impl Strategy<Value = (Structure, Descriptor)> {
    structure().prop_flat_map(|structure| {
        let (targets, chains) = (structure.targets(), usize::from(structure.chains));
        let own = frame(targets, chains, 4096, 255);
        let mask = any::<u32>().prop_map({
            let all = structure.all_targets();
            move |mask| mask & all
        });
        let parts = (any::<(bool, bool, bool, u16)>(), any::<u8>(), own, any::<[bool; 3]>());
        (Just(structure), parts, proptest::option::of(mask)).prop_map(|(structure, parts, mask)| {
            let ((starts_frame, ends_frame, brings, frame_number), index, own, [a, b, c]) = parts;
            let index = index % structure.templates.len() as u8;
            let mut frame = structure.templates[usize::from(index)];
            if a {
                frame.indications = own.indications;
            }
            if b {
                frame.references = own.references;
            }
            if c {
                frame.chains = own.chains;
            }
            let descriptor = Descriptor {
                starts_frame,
                ends_frame,
                template_id: (structure.id_offset + index) % 64,
                frame_number,
                active_targets: if brings { Some(mask.unwrap_or(structure.all_targets())) } else { mask },
                structure: brings.then(|| Box::new(structure.clone())),
                frame,
                mask_at: 0,
            };
            (structure, descriptor)
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((structure, descriptor) in descriptor()) {
        let known = descriptor.structure.is_none().then_some(&structure);
        let bytes = write(&descriptor, known).unwrap();
        let read = Descriptor::parse(&bytes, known).unwrap();
        prop_assert_eq!(Descriptor { mask_at: 0, ..read }, descriptor);
    }

    #[test]
    fn a_rewritten_descriptor_differs_in_number_and_mask_only((structure, descriptor) in descriptor(), number: u16, mask: u32) {
        let known = descriptor.structure.is_none().then_some(&structure);
        let bytes = write(&descriptor, known).unwrap();
        let before = Descriptor::parse(&bytes, known).unwrap();
        let mut out = vec![1, 2, 3];
        prop_assert!(rewrite(&bytes, number, None, &mut out));
        let renumbered = Descriptor { frame_number: number, ..before.clone() };
        prop_assert_eq!(Descriptor::parse(&out, known), Some(renumbered.clone()));

        let mask = mask & structure.all_targets();
        prop_assert!(rewrite(&bytes, number, Some((before.mask_at, structure.targets(), mask)), &mut out));
        let after = Descriptor::parse(&out, known).unwrap();
        // A short descriptor gets the flags that the mask needs.
        prop_assert_eq!(after.clone(), Descriptor { active_targets: Some(mask), mask_at: after.mask_at, ..renumbered });
    }

    #[test]
    fn a_cut_off_descriptor_is_malformed_or_another_one((structure, descriptor) in descriptor(), cut in 0usize..200) {
        let known = descriptor.structure.is_none().then_some(&structure);
        let bytes = write(&descriptor, known).unwrap();
        let short = &bytes[..cut.min(bytes.len() - 1)];
        if descriptor.structure.is_some() {
            prop_assert_eq!(Descriptor::parse(short, None), None);
        } else {
            let _ = Descriptor::parse(short, known);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..255), known in proptest::option::of(structure()), mask: u32, at: u16) {
        if let Some(read) = Descriptor::parse(&bytes, known.as_ref()) {
            prop_assert!(read.frame.references.as_slice().iter().all(|difference| *difference > 0));
            if let Some(structure) = &read.structure {
                prop_assert!((1..=MAX_TARGETS).contains(&structure.layers().len()));
                let again = write(&read, known.as_ref()).unwrap();
                let back = Descriptor::parse(&again, known.as_ref()).unwrap();
                prop_assert_eq!(back.frame, read.frame);
                prop_assert_eq!(back.structure, read.structure);
            }
        }
        rewrite(&bytes, 7, Some((at, 32, mask)), &mut vec![]);
    }

    #[test]
    fn a_descriptor_that_starts_a_structure_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 4..255)) {
        bytes[3] |= 0x80;
        let _ = Descriptor::parse(&bytes, None);
    }
}

#[test]
fn a_template_that_the_structure_lacks_is_refused() {
    // Start of frame, template 0, number 1, and a structure that ends after its first template.
    let mut bits = crate::rtp::bits::BitWriter::default();
    bits.write(0b1100_0000, 8);
    bits.write(1, 16);
    bits.write(0b1_0000, 5);
    bits.write(0, 6); // template_id_offset
    bits.write(0, 5); // one decode target
    bits.write(3, 2); // one template
    bits.write(2, 2); // switch
    bits.write(0, 1); // no reference
    bits.write(0, 1); // no chain: ns(2)
    bits.write(1, 1); // sizes
    bits.write(639, 16);
    bits.write(359, 16);
    let read = Descriptor::parse(bits.bytes(), None).unwrap();
    let structure = read.structure.unwrap();
    assert_eq!((structure.targets(), structure.resolution(0)), (1, Some((640, 360))));
    assert_eq!((read.active_targets, read.frame.indication(0)), (Some(1), Indication::Switch));
    assert!(Descriptor::parse(&[0xC0, 0, 2], Some(&structure)).is_some());
    assert_eq!(Descriptor::parse(&[0xC1, 0, 2], Some(&structure)), None);
    assert_eq!(Descriptor::parse(&[0xC0, 0, 2], None), None, "no structure yet");
}

#[test]
fn too_many_templates_and_references_are_refused() {
    let start = |bits: &mut crate::rtp::bits::BitWriter| {
        bits.write(0b1100_0000, 8);
        bits.write(1, 16);
        bits.write(0b1_0000, 5);
        bits.write(0, 11);
    };
    let mut bits = crate::rtp::bits::BitWriter::default();
    start(&mut bits);
    (0..64).for_each(|_| bits.write(0, 2));
    bits.write(u32::MAX, 32);
    (0..20).for_each(|_| bits.write(0, 32));
    assert_eq!(Descriptor::parse(bits.bytes(), None), None, "65 templates");

    for (count, allowed) in [(MAX_REFERENCES, true), (MAX_REFERENCES + 1, false)] {
        let mut bits = crate::rtp::bits::BitWriter::default();
        start(&mut bits);
        bits.write(3, 2);
        bits.write(3, 2);
        (0..count).for_each(|_| bits.write(0b1_0000, 5));
        bits.write(0, 1);
        bits.write(0, 2); // no chain, no size
        assert_eq!(Descriptor::parse(bits.bytes(), None).is_some(), allowed, "{count} references");
    }
}

#[test]
fn targets_have_the_layers_of_the_frames_that_they_need() {
    use Indication::{Discardable, NotPresent, Required, Switch};
    let frame = |spatial, temporal, needs: [Indication; 3]| {
        let mut indications = [NotPresent; MAX_TARGETS];
        indications[..3].copy_from_slice(&needs);
        Frame { spatial, temporal, references: References::default(), indications, chains: [0; MAX_TARGETS] }
    };
    // Two spatial layers, of which the upper needs the lower in key frames only.
    let templates = vec![
        frame(0, 0, [Switch, Switch, Switch]),
        frame(0, 0, [Switch, Switch, NotPresent]),
        frame(0, 1, [NotPresent, Discardable, NotPresent]),
        frame(1, 0, [NotPresent, NotPresent, Required]),
    ];
    let structure = Structure {
        id_offset: 0,
        targets: 3,
        templates,
        chains: 0,
        protected_by: [0; MAX_TARGETS],
        resolutions: vec![],
    };
    let layers = structure.layers();
    assert_eq!([layers.within(0, 0), layers.within(0, 3), layers.within(3, 3)], [0b001, 0b011, 0b111]);
    assert!(layers.needed_above(&structure.templates[0]));
    assert!(!layers.needed_above(&structure.templates[1]));
}
