//! Hash of what a worker's pod is made from.

use callmeter_api::pool::{Capacity, Gateway, Network, PodTemplate};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Raised when the same fields hash differently on purpose; never for a new operator version.
const HASH_VERSION: u32 = 1;

/// Hash of the fields of a pool that a running worker cannot change to, 10 hexadecimal characters.
/// Port windows are left out, since each worker records its own block, and so is what is applied in
/// place.
pub(crate) fn of(
    template: &PodTemplate,
    capacity: Capacity,
    network: &Network,
    gateway: &Gateway,
) -> String {
    let Network {
        mode,
        bind_ip,
        allow_large_pod_network: _,
        sdp_ip,
        external_ip,
        ports: _,
    } = network;
    let input = json!({
        "hashVersion": HASH_VERSION,
        "template": template,
        "capacity": capacity,
        "network": [mode.as_str(), bind_ip, sdp_ip, external_ip],
        "gateway": gateway,
    });
    let mut text = String::new();
    canonical(&input, &mut text);
    let hash = Sha256::digest(text.as_bytes());
    let bits = hash
        .iter()
        .take(5)
        .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    format!("{bits:010x}")
}

/// JSON with the keys of every object sorted.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<_> = fields.keys().collect();
            keys.sort();
            out.push('{');
            for key in keys {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(&fields[key.as_str()], out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use callmeter_api::pool::{LogLevel, Media, NetworkMode};

    use super::*;

    const CAPACITY: Capacity = Capacity {
        endpoints_per_worker: 25,
        media: Media::Audio,
    };

    fn hash(template: &PodTemplate, capacity: Capacity, network: &Network) -> String {
        of(template, capacity, network, &Gateway::default())
    }

    /// A changed value here replaces every worker of every fleet at the next release.
    #[test]
    fn the_hash_of_a_default_template_stays() {
        assert_eq!(
            hash(&PodTemplate::default(), CAPACITY, &Network::default()),
            "44a5409d55"
        );
    }

    #[test]
    fn what_a_worker_runs_with_changes_it_and_what_it_does_not_keeps_it() {
        let base = hash(&PodTemplate::default(), CAPACITY, &Network::default());
        let mut template = PodTemplate::default();
        template.log.level = LogLevel::Debug;
        assert_ne!(hash(&template, CAPACITY, &Network::default()), base);
        let larger = Capacity {
            endpoints_per_worker: 26,
            ..CAPACITY
        };
        assert_ne!(
            hash(&PodTemplate::default(), larger, &Network::default()),
            base
        );
        let host = Network {
            mode: NetworkMode::HostNetwork,
            ..Network::default()
        };
        assert_ne!(hash(&PodTemplate::default(), CAPACITY, &host), base);
        let mut windows = Network::default();
        windows.ports.rtp.start = 20_000;
        assert_eq!(hash(&PodTemplate::default(), CAPACITY, &windows), base);
    }
}
