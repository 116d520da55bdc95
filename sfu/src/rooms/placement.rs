//! On which shard a participant is placed. A room starts on the quietest shard and stays whole while that costs little;
//! a large one spreads over all shards evenly, since its tracks cross to each of them once, whatever the number of
//! participants there.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A shard of the room takes one more member until it has this many participants more than the quietest shard: a usual
/// meeting stays whole.
const WHOLE: usize = 6;

/// How many participants each shard has.
pub(super) struct Placement {
    load: Vec<AtomicUsize>,
}

impl Placement {
    pub(super) fn new(shards: usize) -> Self {
        Placement { load: (0..shards).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Chooses the shard of a new member and counts it there; `members` are the shards of the room's other members.
    pub(super) fn place(&self, members: impl Iterator<Item = usize>) -> usize {
        let load = |shard: usize| self.load.get(shard).map_or(usize::MAX, |load| load.load(Ordering::Relaxed));
        let quietest = (0..self.load.len()).min_by_key(|shard| load(*shard)).unwrap_or(0);
        let present = members.min_by_key(|shard| load(*shard));
        let shard = present.filter(|shard| load(*shard) < load(quietest) + WHOLE).unwrap_or(quietest);
        if let Some(load) = self.load.get(shard) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        shard
    }

    /// A participant of this shard has left.
    pub(super) fn left(&self, shard: usize) {
        if let Some(load) = self.load.get(shard) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards on which a room's members end up.
    fn room(placement: &Placement, members: usize) -> Vec<usize> {
        let mut shards = Vec::new();
        for _ in 0..members {
            shards.push(placement.place(shards.clone().into_iter()));
        }
        shards
    }

    fn counts(shards: &[usize], of: usize) -> Vec<usize> {
        (0..of).map(|shard| shards.iter().filter(|s| **s == shard).count()).collect()
    }

    #[test]
    fn small_rooms_stay_whole_and_spread_over_the_shards() {
        let placement = Placement::new(3);
        for home in 0..3 {
            assert_eq!(room(&placement, 4), [home; 4]);
        }
    }

    #[test]
    fn a_large_room_uses_all_shards_evenly() {
        for shards in [1, 2, 3, 8] {
            let counts = counts(&room(&Placement::new(shards), 101), shards);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= WHOLE, "{counts:?}");
        }
    }

    #[test]
    fn who_left_makes_room() {
        let placement = Placement::new(2);
        for shard in room(&placement, 5) {
            placement.left(shard);
        }
        assert_eq!(room(&placement, 6), [0; 6]);
    }
}
