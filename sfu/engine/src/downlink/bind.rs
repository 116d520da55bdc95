//! Which track goes behind which slot: the best-ranked tracks get the slots there are, and a track that has one keeps
//! it.

/// A track that a receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<K> {
    /// The track.
    pub track: K,
    /// Larger is served first; among equals a track that has a slot keeps it, then the earlier one in the list wins.
    pub rank: u8,
}

/// What to change so that the slots carry the best of the wanted tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<K> {
    /// Slots to empty, before anything is bound.
    pub unbind: Vec<usize>,
    /// Slot and track to put there.
    pub bind: Vec<(usize, K)>,
    /// Wanted tracks that got no slot.
    pub missing: usize,
}

/// Plans the slots of one media kind. `slots` holds the track behind each, `None` for an empty one.
pub fn plan<K: Copy + Eq>(slots: &[Option<K>], wanted: &[Wanted<K>]) -> Plan<K> {
    let bound = |track: K| slots.contains(&Some(track));
    let mut ranked: Vec<Wanted<K>> = wanted.to_vec();
    ranked.sort_by_key(|w| std::cmp::Reverse((w.rank, bound(w.track))));
    let missing = ranked.len().saturating_sub(slots.len());
    ranked.truncate(slots.len());

    let keeps = |slot: &Option<K>| slot.is_some_and(|track| ranked.iter().any(|w| w.track == track));
    let unbind = slots.iter().enumerate().filter(|(_, s)| s.is_some() && !keeps(s)).map(|(index, _)| index).collect();
    let free = slots.iter().enumerate().filter(|(_, s)| !keeps(s)).map(|(index, _)| index);
    let newcomers = ranked.iter().map(|w| w.track).filter(|track| !bound(*track));
    Plan { unbind, bind: free.zip(newcomers).collect(), missing }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    fn wanted(list: &[(char, u8)]) -> Vec<Wanted<char>> {
        list.iter().map(|&(track, rank)| Wanted { track, rank }).collect()
    }

    #[test]
    fn tracks_fill_free_slots_in_order() {
        let plan = plan(&[None, None, None], &wanted(&[('a', 1), ('b', 1)]));
        assert_eq!(plan, Plan { unbind: vec![], bind: vec![(0, 'a'), (1, 'b')], missing: 0 });
    }

    #[test]
    fn a_better_track_takes_the_slot_of_a_worse_one() {
        let plan = plan(&[Some('a'), Some('b')], &wanted(&[('a', 0), ('b', 1), ('c', 2)]));
        assert_eq!(plan, Plan { unbind: vec![0], bind: vec![(0, 'c')], missing: 1 });
    }

    #[test]
    fn among_equals_the_bound_track_stays() {
        let plan = plan(&[Some('b')], &wanted(&[('a', 1), ('b', 1)]));
        assert_eq!(plan, Plan { unbind: vec![], bind: vec![], missing: 1 });
    }

    #[test]
    fn a_track_nobody_wants_frees_its_slot() {
        let plan = plan(&[Some('a'), Some('b')], &wanted(&[('b', 1)]));
        assert_eq!(plan, Plan { unbind: vec![0], bind: vec![], missing: 0 });
    }

    proptest! {
        #[test]
        fn every_slot_is_used_once_and_planning_again_changes_nothing(
            slots in proptest::collection::vec(proptest::option::of(0u8..12), 0..8),
            ranks in proptest::collection::vec(0u8..4, 0..12),
        ) {
            let mut slots = slots;
            for index in 1..slots.len() {
                if slots[..index].contains(&slots[index]) {
                    slots[index] = None;
                }
            }
            let wanted: Vec<_> = ranks.iter().enumerate().map(|(t, &rank)| Wanted { track: t as u8, rank }).collect();
            let first = plan(&slots, &wanted);
            for index in &first.unbind {
                slots[*index] = None;
            }
            for (index, track) in &first.bind {
                prop_assert_eq!(slots[*index], None);
                prop_assert!(!slots.contains(&Some(*track)));
                slots[*index] = Some(*track);
            }
            let carried = slots.iter().flatten().count();
            prop_assert_eq!(carried, wanted.len().min(slots.len()));
            prop_assert_eq!(first.missing, wanted.len() - carried);
            let again = plan(&slots, &wanted);
            prop_assert!(again.bind.is_empty() && again.unbind.is_empty());
        }
    }
}
