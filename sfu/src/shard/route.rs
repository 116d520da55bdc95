//! The shard's letters, with which all its user fragments begin, so that a STUN check (and a new TCP connection) names
//! its shard.

use sfu_engine::transport::ice::username_fragment;

/// Shards are written as two base-36 letters in front of every user fragment.
const PREFIX_LETTERS: usize = 2;

/// What every user fragment of a shard starts with.
pub(crate) fn prefix(shard: usize) -> String {
    let letter = |digit: usize| char::from_digit((digit % 36) as u32, 36).unwrap_or('0');
    [letter(shard / 36), letter(shard)].iter().collect()
}

/// The shard that a STUN check is for, by its user fragment. Nothing is authenticated yet.
pub(crate) fn shard_of_stun(message: &[u8]) -> Option<usize> {
    let fragment = username_fragment(message)?;
    usize::from_str_radix(fragment.get(..PREFIX_LETTERS)?, 36).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_reads_back_as_its_shard() {
        for shard in [0, 1, 35, 36, 1295] {
            assert_eq!(prefix(shard).len(), PREFIX_LETTERS);
            assert_eq!(usize::from_str_radix(&prefix(shard), 36), Ok(shard));
        }
    }
}
