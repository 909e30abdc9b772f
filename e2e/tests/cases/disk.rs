//! (i) The gateway's disk is full while a run is on: a clear error, no run is reported as complete,
//! and it goes on by itself once there is room again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callmeter_e2e::{
    Case, Nodes, direct_test, eventually, on_system_node, passed_whole, pool, run_bare,
};
use serde_json::{Value, json};
use tokio::process::Command;

const START: Duration = Duration::from_secs(180);
const VOLUME_MIB: u32 = 24;

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_reported_complete() -> Result<()> {
    run_bare("disk", |case| async move {
        if Nodes::of(&case.cluster).is_none() {
            eprintln!("not run: a small disk needs a node of our own");
            return Ok(());
        }
        let disk = SmallVolume::make(&case).await?;
        let result = full_disk(&case, &disk).await;
        case.kubectl(&[
            "delete",
            "persistentvolume",
            &case.namespace,
            "--wait=false",
        ])
        .await?;
        result
    })
    .await
}

async fn full_disk(case: &Case, disk: &SmallVolume) -> Result<()> {
    let mut values = on_system_node();
    values["gateway"]["persistence"] = json!({"enabled": true, "existingClaim": "small"});
    case.install(values).await?;
    case.apply(&pool("fra", 2, &json!({"replicas": 2}))).await?;
    case.await_online("fra", 2, START).await?;
    case.apply(&direct_test("calls", "fra", 2, "40s", "30s"))
        .await?;
    case.await_phase("calls", &["RUNNING"], START).await?;
    case.await_in_call("calls", 4).await?;

    disk.fill().await?;
    let named = "the disk of the data directory /var/lib/callmeter is full";
    eventually("the gateway to name the full disk", START, || async {
        let mut said = case.gateway_log().await.unwrap_or_default();
        let before = ["logs", "callmeter-gateway-0", "--previous", "--tail=-1"];
        said += &case.kubectl(&before).await.unwrap_or_default();
        Ok((!said.contains(named)).then(|| last_lines(&said)))
    })
    .await?;
    // Long enough for the run to be over at its workers: the claim is that nothing says so.
    let over = tokio::time::Instant::now() + Duration::from_secs(45);
    while tokio::time::Instant::now() < over {
        let test = case.object("calltest", "calls").await?.context("no test")?;
        ensure!(
            test["status"]["phase"] != "COMPLETED",
            "complete on a full disk: {}",
            test["status"]
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    disk.clear()?;
    case.await_online("fra", 2, Duration::from_secs(120))
        .await?;
    let done = case
        .await_phase("calls", &["COMPLETED", "FAILED"], Duration::from_secs(120))
        .await?;
    // Whole if the workers could hold on, partial if they were left alone too long; never a lie.
    let status = &done["status"];
    let honest = status["partial"] == true && status["verdict"] != "Passed"
        || status["partial"] != true && status["verdict"] == "Passed";
    ensure!(honest, "{status}");
    case.apply(&direct_test("again", "fra", 1, "8s", "3s"))
        .await?;
    case.await_phase("again", &["RUNNING", "COMPLETED"], START)
        .await?;
    let again = case.await_phase("again", &["COMPLETED"], START).await?;
    passed_whole(&again)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    format!("{lines:?}")
}

/// A volume of its own on the node `system`, on a file system of a few MiB in memory.
struct SmallVolume {
    folder: PathBuf,
    case: String,
}

impl SmallVolume {
    async fn make(case: &Case) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("{}-volume", case.namespace));
        std::fs::create_dir_all(&folder)?;
        let size = format!("size={VOLUME_MIB}m,mode=0777");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&folder)
            .status()
            .await?;
        ensure!(mounted.success(), "mount: {mounted}");
        let made = Self {
            folder,
            case: case.namespace.clone(),
        };
        for object in made.objects() {
            case.apply(&object).await?;
        }
        Ok(made)
    }

    fn objects(&self) -> [Value; 2] {
        let storage = format!("{VOLUME_MIB}Mi");
        [
            json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": self.case, "labels": {"callmeter.io/e2e": "true"}},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": storage},
                    "local": {"path": self.folder},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "",
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["system"]},
                    ]}]}},
                },
            }),
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "small"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "",
                    "volumeName": self.case,
                    "resources": {"requests": {"storage": storage}},
                },
            }),
        ]
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves no byte free, also after the gateway has folded its log back.
    async fn fill(&self) -> Result<()> {
        let filler = self.filler();
        let text = filler.to_str().context("a path in UTF-8")?;
        // dd ends with an error when the disk is full: that is what it is for.
        Command::new("dd")
            .args(["if=/dev/zero", &format!("of={text}"), "bs=4096"])
            .stderr(std::process::Stdio::null())
            .status()
            .await?;
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("remove the filler")
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let folder: &Path = &self.folder;
        // Detached now, gone when the pod is: a gateway that still ends may hold it open.
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(folder)
            .status();
        let _ = std::fs::remove_dir(folder);
    }
}
