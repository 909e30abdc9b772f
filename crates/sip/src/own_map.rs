//! Maps by numbers of our own.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys no peer chooses: numbers that we count or draw. What a peer can choose is kept
/// by the keyed hash of the standard library, so that nobody makes its keys collide.
pub type OwnMap<K, V> = HashMap<K, V, BuildHasherDefault<OwnHasher>>;

/// Multiplies and folds: a fraction of the cost of a keyed hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnHasher(u64);

impl Hasher for OwnHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // 2⁶⁴ divided by the golden ratio. Both halves count: a table looks at the low bits, and keys
        // may differ in the high ones only.
        let product = u128::from(self.0 ^ number) * 0x9E37_79B9_7F4A_7C15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn hash(number: u64) -> u64 {
        let mut hasher = OwnHasher::default();
        hasher.write_u64(number);
        hasher.finish()
    }

    /// The keys we have: counted ones, and counted ones in the high bits. Of 4096 in as many places
    /// random ones would fill 63 %.
    #[test]
    fn counted_keys_are_spread() {
        for shift in [0, 16, 32, 48] {
            let places: HashSet<_> = (0..4096_u64).map(|n| hash(n << shift) % 4096).collect();
            assert!(places.len() > 2400, "{shift}: {} places", places.len());
            let tops: HashSet<_> = (0..4096_u64).map(|n| hash(n << shift) >> 57).collect();
            assert_eq!(tops.len(), 128, "{shift}");
        }
    }
}
