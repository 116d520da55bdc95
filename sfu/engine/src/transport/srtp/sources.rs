//! What is remembered for each synchronisation source, bounded: the source unused for longest makes room for a new one.

use rustc_hash::FxHashMap;

/// At most `LIMIT` states by SSRC. Only authenticated packets may insert or touch one.
pub(super) struct Sources<S, const LIMIT: usize> {
    states: FxHashMap<u32, Entry<S>>,
    /// Counts uses, so that each entry's is unique and the oldest is well defined.
    clock: u64,
}

struct Entry<S> {
    state: S,
    last_used: u64,
}

impl<S, const LIMIT: usize> Sources<S, LIMIT> {
    pub(super) fn new() -> Sources<S, LIMIT> {
        Sources { states: FxHashMap::default(), clock: 0 }
    }

    /// The state of `ssrc`, without counting as a use.
    pub(super) fn get(&self, ssrc: u32) -> Option<&S> {
        self.states.get(&ssrc).map(|entry| &entry.state)
    }

    /// Changes the state of `ssrc` by `update`, or keeps what `create` makes for a new source.
    pub(super) fn upsert(&mut self, ssrc: u32, update: impl FnOnce(&mut S), create: impl FnOnce() -> S) {
        self.clock += 1;
        if let Some(entry) = self.states.get_mut(&ssrc) {
            entry.last_used = self.clock;
            update(&mut entry.state);
            return;
        }
        if self.states.len() >= LIMIT
            && let Some(oldest) = self.states.iter().min_by_key(|(_, entry)| entry.last_used).map(|(ssrc, _)| *ssrc)
        {
            self.states.remove(&oldest);
        }
        self.states.insert(ssrc, Entry { state: create(), last_used: self.clock });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }
}
