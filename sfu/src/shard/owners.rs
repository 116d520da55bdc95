//! Whose a UDP tuple is. The kernel spreads clients over the shards' sockets by a hash, so most of a client's datagrams
//! reach a shard that does not own it.
//!
//! A STUN check names its shard itself, by its user fragment. For all else the shard that validated a tuple tells the
//! others, on a queue that loses nothing: a client whose tuple the others do not know is cut off for good.

use super::route;
use sfu_engine::Tuple;
use std::collections::HashMap;

/// What a shard tells all others about a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerNews {
    tuple: Tuple,
    /// Who speaks.
    shard: usize,
    /// Whether the tuple is the speaker's from now on, or no longer.
    owned: bool,
}

/// What one shard knows of who owns which tuple. Only authenticated tuples enter, a few for each participant.
#[derive(Debug)]
pub(super) struct Owners {
    own: usize,
    shards: usize,
    foreign: HashMap<Tuple, usize>,
}

impl Owners {
    /// What shard `own` of so many knows in the beginning: nothing.
    pub(super) fn new(own: usize, shards: usize) -> Self {
        Owners { own, shards, foreign: HashMap::new() }
    }

    /// The other shard that a datagram belongs to, or `None` if it is ours or nobody's.
    pub(super) fn other_owner(&self, tuple: &Tuple, datagram: &[u8]) -> Option<usize> {
        if self.shards == 1 {
            return None;
        }
        // STUN begins with a byte below 4 (RFC 7983).
        let owner = match datagram.first() {
            Some(0..=3) => route::shard_of_stun(datagram),
            _ => self.foreign.get(tuple).copied(),
        };
        owner.filter(|owner| *owner != self.own && *owner < self.shards)
    }

    /// We validated a tuple. Returns what the others must be told.
    pub(super) fn claim(&mut self, tuple: Tuple) -> OwnerNews {
        self.foreign.remove(&tuple);
        OwnerNews { tuple, shard: self.own, owned: true }
    }

    /// We forgot a tuple. Returns what the others must be told.
    pub(super) fn release(&self, tuple: Tuple) -> OwnerNews {
        OwnerNews { tuple, shard: self.own, owned: false }
    }

    /// Takes what another shard tells. Returns a tuple that our engine must forget if it has it: the client's address
    /// is somebody else's now.
    pub(super) fn take(&mut self, news: OwnerNews) -> Option<Tuple> {
        if news.owned {
            self.foreign.insert(news.tuple, news.shard);
            return Some(news.tuple);
        }
        // A claim of a third shard may have come first.
        if self.foreign.get(&news.tuple) == Some(&news.shard) {
            self.foreign.remove(&news.tuple);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_engine::Protocol;

    const RTP: &[u8] = &[128, 0, 0, 0];

    fn tuple(port: u16) -> Tuple {
        Tuple {
            protocol: Protocol::Udp,
            local: ([192, 0, 2, 1], 7882).into(),
            remote: ([198, 51, 100, 1], port).into(),
        }
    }

    /// Three shards of which one speaks; the two others listen.
    fn three() -> [Owners; 3] {
        [0, 1, 2].map(|own| Owners::new(own, 3))
    }

    #[test]
    fn media_goes_to_the_shard_that_claimed_the_tuple_until_it_releases_it() {
        let [mut a, mut b, _] = three();
        assert_eq!(b.other_owner(&tuple(1), RTP), None);
        assert_eq!(b.take(a.claim(tuple(1))), Some(tuple(1)));
        assert_eq!(b.other_owner(&tuple(1), RTP), Some(0));
        assert_eq!(b.other_owner(&tuple(2), RTP), None);
        assert_eq!(b.take(a.release(tuple(1))), None);
        assert_eq!(b.other_owner(&tuple(1), RTP), None);
    }

    #[test]
    fn a_late_release_does_not_undo_the_claim_of_another_shard() {
        let [mut a, mut b, mut c] = three();
        c.take(a.claim(tuple(1)));
        let claim = b.claim(tuple(1));
        c.take(claim);
        assert_eq!(a.take(claim), Some(tuple(1)), "a's engine must forget the tuple");
        c.take(a.release(tuple(1)));
        assert_eq!(c.other_owner(&tuple(1), RTP), Some(1));
        assert_eq!(a.other_owner(&tuple(1), RTP), Some(1));
    }

    #[test]
    fn a_tuple_that_was_foreign_is_ours_once_we_validate_it() {
        let [mut a, mut b, _] = three();
        b.take(a.claim(tuple(1)));
        a.take(b.claim(tuple(1)));
        assert_eq!(b.other_owner(&tuple(1), RTP), None);
        assert_eq!(a.other_owner(&tuple(1), RTP), Some(1));
    }

    #[test]
    fn a_check_names_its_shard_and_only_shards_that_exist_count() {
        let owners = Owners::new(1, 3);
        let check = |shard: usize| {
            // A binding request whose one attribute is USERNAME (RFC 8489 section 14.3).
            let username = format!("{}abcdef:xyz", route::prefix(shard));
            let mut message = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
            message.extend([7; 12]);
            message.extend([0, 6, 0, username.len() as u8]);
            message.extend(username.as_bytes());
            message
        };
        assert_eq!(check(0).len(), 36);
        assert_eq!(owners.other_owner(&tuple(1), &check(2)), Some(2));
        assert_eq!(owners.other_owner(&tuple(1), &check(1)), None);
        assert_eq!(owners.other_owner(&tuple(1), &check(3)), None);
        assert_eq!(Owners::new(0, 1).other_owner(&tuple(1), &check(2)), None);
    }
}
