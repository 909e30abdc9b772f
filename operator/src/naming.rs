//! Names that follow from what they name, so that a crash between making and recording an object
//! cannot make a second one.

use callmeter_api::pool::TokenSecretRef;
use sha2::{Digest as _, Sha256};

/// RFC 4648 §6, lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// 40 bits of the hash as 8 characters. Parts are separated by a byte that no part contains.
fn suffix(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let bits = hash
        .finalize()
        .iter()
        .take(5)
        .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    (0..8)
        .rev()
        .map(|i| char::from(BASE32[(bits >> (5 * i)) as usize & 31]))
        .collect()
}

/// Name of the worker that holds an existing token.
pub(crate) fn worker_of_secret(namespace: &str, pool: &str, token: &TokenSecretRef) -> String {
    format!("{pool}-{}", suffix(&[namespace, &token.name, &token.key]))
}

/// Name of the worker in one slot of a pool that has its tokens minted.
pub(crate) fn worker_of_slot(pool: &str, pool_uid: &str, slot: u32) -> String {
    format!("{pool}-{}", suffix(&[pool_uid, &slot.to_string()]))
}

/// Name of the Secret of a worker whose token was minted.
pub(crate) fn token_secret(worker: &str) -> String {
    format!("{worker}-token")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(name: &str, key: &str) -> TokenSecretRef {
        TokenSecretRef {
            name: name.into(),
            key: key.into(),
        }
    }

    #[test]
    fn a_name_is_fixed_for_its_token() {
        let name = worker_of_secret("demo", "fra", &token("cmw-1", "token"));
        assert_eq!(
            name,
            worker_of_secret("demo", "fra", &token("cmw-1", "token"))
        );
        assert_eq!(name, "fra-46rv7qah");
        assert_ne!(
            name,
            worker_of_secret("demo", "fra", &token("cmw-1", "other"))
        );
        assert_ne!(
            name,
            worker_of_secret("prod", "fra", &token("cmw-1", "token"))
        );
        assert_ne!(
            worker_of_secret("demo", "fra", &token("ab", "c")),
            worker_of_secret("demo", "fra", &token("a", "bc"))
        );
    }

    proptest! {
        #[test]
        fn names_are_labels(pool in "[a-z][a-z0-9-]{0,48}[a-z0-9]", slot in 0_u32..100_000) {
            let name = worker_of_slot(&pool, "0b7c", slot);
            prop_assert!(name.len() <= 63);
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        }
    }
}
