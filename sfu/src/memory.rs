//! Memory that was freed goes back to the system.
//!
//! The C library keeps what is freed between two blocks that are in use. What handshakes, session descriptions and
//! rings that grew leave behind that way is a seventh of a participant in a room of ten (see docs/performance.md).

use std::time::Duration;

/// How often it is worth looking for: joins leave most of it. A call of [`give_back`] takes 0.1 to 1 ms with a hundred
/// participants; a thread that allocates meanwhile may wait for it.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// Gives whole pages that are free to the system. Does nothing where the C library is not glibc: others do so by
/// themselves.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and may be called by any thread at any time (malloc_trim(3): MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Bytes of this process that are in memory.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
    }

    #[test]
    fn what_was_freed_between_blocks_in_use_goes_back() {
        const BLOCK: usize = 32 * 1024;
        const BLOCKS: usize = 2000;
        let mut blocks: Vec<Option<Vec<u8>>> = (0..BLOCKS).map(|_| Some(vec![1; BLOCK])).collect();
        blocks.iter_mut().step_by(2).for_each(|block| *block = None);
        let kept = resident();
        give_back();
        let given_back = kept.saturating_sub(resident());
        assert!(given_back > BLOCKS / 2 * BLOCK / 2, "{given_back} bytes");
        assert!(blocks.into_iter().flatten().all(|block| block == [1; BLOCK]));
    }
}
