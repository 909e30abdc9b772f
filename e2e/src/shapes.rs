//! The objects cases apply, and questions they ask of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::case::Case;
use crate::wait::{eventually, eventually_some};

/// Operator and gateway run on the node that workers stay off, where there is one.
pub fn on_system_node() -> Value {
    let place = json!({
        "tolerations": [{"key": "callmeter.io/system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "preference": {"matchExpressions": [
                {"key": "callmeter.io/role", "operator": "In", "values": ["system"]},
            ]},
        }]}},
    });
    json!({"operator": place, "gateway": place})
}

/// A pool whose pods fit a small node: `capacity` endpoints per worker, spread over the nodes.
/// `more` is merged into its spec.
pub fn pool(name: &str, capacity: u32, more: &Value) -> Value {
    let mut spec = json!({
        "capacity": {"endpointsPerWorker": capacity},
        "template": {
            "resources": {
                "requests": {"cpu": "100m", "memory": "96Mi"},
                "limits": {"cpu": "1", "memory": "256Mi"},
            },
            "log": {"level": "debug"},
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"callmeter.io/pool": name}},
            }],
        },
        "drain": {"timeout": "5m", "quietPeriod": "1s"},
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({
        "apiVersion": "callmeter.io/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// A test of `endpoints` callers and as many answerers on one pool, without a SIP server.
pub fn direct_test(name: &str, pool: &str, endpoints: u32, duration: &str, call: &str) -> Value {
    json!({
        "apiVersion": "callmeter.io/v1alpha1",
        "kind": "CallTest",
        "metadata": {"name": name},
        "spec": {
            "duration": duration,
            "queueTimeout": "3m",
            "groups": [
                {
                    "name": "answerers",
                    "endpoints": endpoints,
                    "placement": {"pool": pool},
                    "role": "callee",
                    "call": {"ringFor": "500ms"},
                },
                {
                    "name": "callers",
                    "endpoints": endpoints,
                    "placement": {"pool": pool},
                    "role": "caller",
                    "target": {"group": "answerers"},
                    "call": {"duration": call, "repeat": false},
                },
            ],
            "expect": [{"metric": "call_success_rate", "min": 100}],
        },
    })
}

/// `True`, `False` or `Unknown` of a condition, with its reason and message; `None` if not set.
pub fn condition(object: &Value, kind: &str) -> Option<(String, String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

impl Case {
    /// Names of the pool's workers whose phase is `Online`.
    pub async fn online_workers(&self, pool: &str) -> Result<Vec<String>> {
        Ok(self
            .workers(pool)
            .await?
            .iter()
            .filter(|w| w["status"]["phase"] == "Online")
            .filter_map(|w| w["metadata"]["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// The pool's `CallMeterWorker` objects.
    pub async fn workers(&self, pool: &str) -> Result<Vec<Value>> {
        let all = self.objects("callmeterworkers").await?;
        Ok(all
            .into_iter()
            .filter(|w| w["metadata"]["labels"]["callmeter.io/pool"] == pool)
            .collect())
    }

    /// Waits until exactly `count` workers of the pool are online and no other worker exists.
    pub async fn await_online(&self, pool: &str, count: usize, deadline: Duration) -> Result<()> {
        let what = format!("{count} workers of {pool} online and no others");
        eventually(&what, deadline, || async {
            let (online, all) = (
                self.online_workers(pool).await?.len(),
                self.workers(pool).await?.len(),
            );
            let seen = format!("{online} online of {all}");
            Ok((online != count || all != count).then_some(seen))
        })
        .await
    }

    /// Waits until a test's phase is one of `phases`; answers with the object.
    pub async fn await_phase(
        &self,
        test: &str,
        phases: &[&str],
        deadline: Duration,
    ) -> Result<Value> {
        let what = format!("test {test} to be {}", phases.join(" or "));
        eventually_some(&what, deadline, || async {
            let found = self
                .object("calltest", test)
                .await?
                .context("no such test")?;
            let phase = found["status"]["phase"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if phases.contains(&phase.as_str()) {
                return Ok(Some(found));
            }
            let over = ["COMPLETED", "FAILED", "CANNOT_RUN_FOR_NOW"].contains(&phase.as_str());
            anyhow::ensure!(!over, "the test ended as {phase}: {}", found["status"]);
            anyhow::bail!("phase {phase:?}")
        })
        .await
    }

    /// Titles of the columns of `kubectl get KIND --output=wide` that no row fills.
    pub async fn empty_columns(&self, kind: &str) -> Result<Vec<String>> {
        let table = self.kubectl(&["get", kind, "--output=wide"]).await?;
        Ok(empty_columns(&table))
    }

    /// Waits until `endpoints` endpoints of a test are in a call; answers with its run's id.
    pub async fn await_in_call(&self, test: &str, endpoints: u64) -> Result<String> {
        let what = format!("{endpoints} endpoints of {test} to be in a call");
        eventually_some(&what, Duration::from_secs(60), || async {
            let found = self
                .object("calltest", test)
                .await?
                .context("no such test")?;
            let status = &found["status"];
            let groups = status["groups"].as_array();
            let in_call: u64 = groups.map_or(0, |groups| {
                groups.iter().filter_map(|g| g["inCall"].as_u64()).sum()
            });
            anyhow::ensure!(in_call >= endpoints, "{status}");
            Ok(status["run"].as_str().map(str::to_owned))
        })
        .await
    }

    /// UID and number of container restarts of each pod of the pool's workers, by name.
    pub async fn worker_pods(&self, pool: &str) -> Result<BTreeMap<String, (String, u64)>> {
        let pods = self.objects("pods").await?;
        let of_pool = pods
            .iter()
            .filter(|p| p["metadata"]["labels"]["callmeter.io/pool"] == pool);
        Ok(of_pool
            .filter_map(|pod| {
                let text = |field: &str| pod["metadata"][field].as_str().map(str::to_owned);
                let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
                Some((text("name")?, (text("uid")?, restarts.unwrap_or(0))))
            })
            .collect())
    }
}

/// kubectl pads each column to its widest cell: a title stands where its cells begin.
fn empty_columns(table: &str) -> Vec<String> {
    let header = table.lines().next().unwrap_or_default();
    let starts: Vec<usize> = header
        .char_indices()
        .filter(|&(i, c)| c != ' ' && (i == 0 || header[..i].ends_with("   ")))
        .map(|(i, _)| i)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let columns = starts.iter().copied().zip(ends);
    columns
        .filter_map(|(start, end)| {
            let cell = |line: &str| {
                let end = end.min(line.len());
                line.get(start..end).unwrap_or_default().trim().to_owned()
            };
            let rows = table.lines().skip(1);
            let filled = rows.map(cell).any(|text| !["", "<none>"].contains(&&*text));
            (!filled).then(|| cell(header))
        })
        .collect()
}

/// The test ended as asked: its verdict is `Passed` and nothing of it is missing.
pub fn passed_whole(test: &Value) -> Result<()> {
    let status = &test["status"];
    anyhow::ensure!(status["verdict"] == "Passed", "not passed: {status}");
    anyhow::ensure!(status["partial"] != true, "partial: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_a_cell_are_named() {
        let table = "NAME   DESIRED   READY   REASON   AGE\n\
                     fra    2                          3s\n\
                     ams    1         <none>           3s\n";
        assert_eq!(empty_columns(table), ["READY", "REASON"]);
        assert_eq!(empty_columns(""), Vec::<String>::new());
    }
}
