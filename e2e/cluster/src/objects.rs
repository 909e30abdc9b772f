//! What the cluster carries from the start: DNS, a storage class, volumes.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::layout::{DNS_SERVICE_IP, NODES, Node, SYSTEM_TAINT};
use crate::{image, kubectl};

const COREDNS: &str = include_str!("../manifests/coredns.yaml");
const STORAGE_CLASS: &str = "callmeter-local";

/// All objects, as YAML documents for one `kubectl apply`.
pub(crate) fn manifests() -> Result<String> {
    let mut documents = COREDNS
        .replace("${IMAGE}", &image::coredns_image()?)
        .replace("${SERVICE_IP}", DNS_SERVICE_IP)
        .replace("${SYSTEM_TAINT}", SYSTEM_TAINT);
    let volumes = NODES
        .iter()
        .flat_map(|node| (1..=node.volumes).map(move |i| volume(node, i)));
    for object in std::iter::once(storage_class()).chain(volumes) {
        write!(documents, "\n---\n{object}")?;
    }
    Ok(documents)
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

fn volume_name(node: &Node, index: usize) -> String {
    format!("{}-{index:02}", node.name)
}

fn volume(node: &Node, index: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(node, index)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "10Gi"},
            "local": {"path": node.volume_dir(index)},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "volumeMode": "Filesystem",
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]},
            ]}]}},
        },
    })
}

/// Empties the volumes whose claim is gone and offers them again; how many there were.
pub(crate) fn recycle_volumes() -> Result<usize> {
    let volumes = kubectl::get(&["persistentvolumes"])?;
    let items = volumes["items"].as_array().map_or(&[][..], Vec::as_slice);
    let released: Vec<_> = items
        .iter()
        .filter(|volume| volume["status"]["phase"] == "Released")
        .filter_map(|volume| volume["metadata"]["name"].as_str())
        .collect();
    let mut recycled = 0;
    for node in &NODES {
        for index in 1..=node.volumes {
            let name = volume_name(node, index);
            if !released.contains(&name.as_str()) {
                continue;
            }
            renew(&node.volume_dir(index))?;
            let release = json!([{"op": "remove", "path": "/spec/claimRef"}]);
            kubectl::patch(&["persistentvolume", &name], &release)?;
            recycled += 1;
        }
    }
    Ok(recycled)
}

fn renew(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir)
        .and_then(|()| fs::create_dir(dir))
        .with_context(|| format!("empty {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_bound_to_the_node_that_has_its_folder() {
        let object = volume(&NODES[1], 3);
        assert_eq!(
            object["spec"]["local"]["path"],
            json!(NODES[1].volume_dir(3))
        );
        let term = &object["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0];
        assert_eq!(term["matchExpressions"][0]["values"], json!(["worker-1"]));
    }

    #[test]
    fn every_placeholder_is_filled() {
        let text = manifests().unwrap();
        assert!(!text.contains("${"), "{text}");
    }
}
