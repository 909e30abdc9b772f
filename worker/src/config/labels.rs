//! `WORKER_LABELS`: `key=value` pairs with the alphabet of Kubernetes labels.

use std::collections::BTreeMap;

use super::{ConfigError, value::Reader};

const FORM: &str = "key=value pairs separated by commas, each side 1 to 253 letters, digits, '-', \
                    '_', '.' or '/', at most 32 pairs, no key twice";
const MOST: usize = 32;

pub(super) fn parse(vars: &Reader<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let error = |problem: String| ConfigError {
        variable: "WORKER_LABELS",
        problem,
        accepted: FORM,
    };
    let mut labels = BTreeMap::new();
    let Some(text) = vars.optional("WORKER_LABELS") else {
        return Ok(labels);
    };
    for pair in text.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| error("has a pair without '='".into()))?;
        if !is_side(key) || !is_side(value) {
            return Err(error(
                "has a key or value of other characters or length".into(),
            ));
        }
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(error("has a key twice".into()));
        }
    }
    if labels.len() > MOST {
        return Err(error(format!("has {} pairs", labels.len())));
    }
    Ok(labels)
}

fn is_side(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    (1..=253).contains(&text.len()) && text.bytes().all(allowed)
}
