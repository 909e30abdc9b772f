//! An observer of pods: which ones there were, from when to when, and which token each held.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::case::Case;

/// What was seen of the pods of workers.
#[derive(Debug, Default)]
struct Seen {
    /// Pods there are, by the Secret of their token.
    holders: BTreeMap<String, BTreeSet<String>>,
    /// Pods there have been, by the same.
    all: BTreeMap<String, BTreeSet<String>>,
    /// Tokens that two pods held at a time, told in words.
    shared: Vec<String>,
}

/// Watches the pods of a namespace through the API server, from its start to its drop.
#[derive(Debug)]
pub struct PodWatch {
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

impl PodWatch {
    /// Starts to watch the workers' pods of the case's namespace.
    pub fn start(case: &Case) -> Result<Self> {
        let mut child = case
            .cluster
            .kubectl()
            .into_std()
            .args(["--namespace", &case.namespace, "get", "pods"])
            .args(["--selector=callmeter.io/pool", "--output=json"])
            .args(["--watch", "--output-watch-events"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start kubectl")?;
        let stdout = child.stdout.take().context("no output of kubectl")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            let events = serde_json::Deserializer::from_reader(BufReader::new(stdout));
            for event in events.into_iter::<Value>() {
                let Ok(event) = event else { return };
                told.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(&event);
            }
        });
        Ok(Self { child, seen })
    }

    /// Every time two pods held one token at once, in words; empty: never.
    pub fn shared_tokens(&self) -> Vec<String> {
        self.with(|seen| seen.shared.clone())
    }

    /// How many pods there have been for the token in a Secret.
    pub fn pods_of(&self, secret: &str) -> usize {
        self.with(|seen| seen.all.get(secret).map_or(0, BTreeSet::len))
    }

    /// How many pods there have been.
    pub fn pods(&self) -> usize {
        self.with(|seen| seen.all.values().map(BTreeSet::len).sum())
    }

    fn with<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    fn take(&mut self, event: &Value) {
        let pod = &event["object"];
        let (Some(name), Some(uid)) = (
            pod["metadata"]["name"].as_str(),
            pod["metadata"]["uid"].as_str(),
        ) else {
            return;
        };
        let Some(secret) = token_secret(pod) else {
            return;
        };
        let holders = self.holders.entry(secret.to_owned()).or_default();
        if event["type"] == "DELETED" {
            holders.remove(uid);
            return;
        }
        self.all
            .entry(secret.to_owned())
            .or_default()
            .insert(uid.to_owned());
        if holders.insert(uid.to_owned()) && holders.len() > 1 {
            let both: Vec<_> = holders.iter().cloned().collect();
            self.shared
                .push(format!("{secret}: {} ({name})", both.join(" and ")));
        }
    }
}

/// The Secret that a pod's token comes from.
fn token_secret(pod: &Value) -> Option<&str> {
    let containers = pod["spec"]["containers"].as_array()?;
    let mut variables = containers.iter().filter_map(|c| c["env"].as_array());
    let token = variables.find_map(|env| env.iter().find(|v| v["name"] == "WORKER_TOKEN"))?;
    token["valueFrom"]["secretKeyRef"]["name"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, uid: &str, secret: &str) -> Value {
        json!({"type": kind, "object": {
            "metadata": {"name": "w", "uid": uid},
            "spec": {"containers": [{"env": [{"name": "WORKER_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}]}]},
        }})
    }

    #[test]
    fn two_pods_of_one_token_are_found_and_successors_are_not_two() {
        let mut seen = Seen::default();
        for (kind, uid) in [
            ("ADDED", "1"),
            ("MODIFIED", "1"),
            ("DELETED", "1"),
            ("ADDED", "2"),
        ] {
            seen.take(&event(kind, uid, "a"));
        }
        seen.take(&event("ADDED", "3", "b"));
        assert_eq!(seen.shared, Vec::<String>::new());
        assert_eq!(seen.all["a"].len(), 2);
        seen.take(&event("ADDED", "4", "a"));
        assert_eq!(seen.shared, ["a: 2 and 4 (w)"]);
    }
}
