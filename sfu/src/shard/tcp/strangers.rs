//! Connections on which no ICE check has succeeded yet: anybody can make them, so their number is limited, in all and
//! for each address.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Strangers at the same time, of all shards; more are closed at once.
const MAX_STRANGERS: usize = 1024;
/// The same from one address, behind which a whole office may be.
const MAX_STRANGERS_PER_ADDRESS: usize = 64;

/// Counts strangers. Touched twice in a connection's life, never for a frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place among the strangers; given back when dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    address: IpAddr,
    strangers: Strangers,
}

impl Strangers {
    /// A place for a connection from `address`, if there is one.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Stranger> {
        let mut counts = self.0.lock();
        // Each of so few addresses counts at most 64: cheap enough for something that happens once in a connection's
        // life.
        if counts.values().sum::<usize>() >= MAX_STRANGERS {
            return None;
        }
        let count = counts.entry(address).or_default();
        if *count >= MAX_STRANGERS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Stranger { address, strangers: self.clone() })
    }

    /// Whether nobody is a stranger.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.strangers.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let strangers = Strangers::default();
        let mut held: Vec<_> = (0..MAX_STRANGERS_PER_ADDRESS).map(|_| strangers.enter(address(1)).unwrap()).collect();
        assert!(strangers.enter(address(1)).is_none());
        assert!(strangers.enter(address(2)).is_some());
        held.pop();
        assert!(strangers.enter(address(1)).is_some(), "a place that is given back is free again");
    }

    #[test]
    fn there_are_only_so_many_places_and_no_trace_of_those_who_left() {
        let strangers = Strangers::default();
        let held: Vec<_> = (0..=255)
            .flat_map(|number| {
                (0..MAX_STRANGERS_PER_ADDRESS).map_while(|_| strangers.enter(address(number))).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(held.len(), MAX_STRANGERS);
        drop(held);
        assert!(strangers.is_empty());
    }
}
