//! Bringing the cluster up, from nothing or from whatever is left of it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::component::Component;
use crate::layout::{self, NODES};
use crate::machine::Machine;
use crate::process::wait_until;
use crate::progress::Progress;
use crate::{
    control_plane, down, image, kubectl, load, network, node, objects, pki, status, tools,
};

/// How long the API server, a containerd and the nodes may each take; a loaded machine needs
/// several times what an idle one does.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Brings everything up that is not; the caller holds the cluster's lock.
pub(crate) fn up() -> Result<()> {
    let progress = Progress::new();
    build(&progress)?;
    // What must be compiled first is not part of how long the cluster takes.
    let progress = Progress::new();
    let (pause, coredns) = image::system_images(&progress)?;
    if Machine::saved()?.is_none() || !network::is_complete() {
        down::clean()?;
        create(&progress)?;
    }
    // Also on a cluster that runs, so that a changed configuration reaches what is restarted.
    pki::ensure()?;
    control_plane::prepare()?;
    for node in &NODES {
        network::set_link(node, true)?;
        node::prepare(node)?;
    }
    let (etcd, api) = (control_plane::etcd()?, control_plane::api_server()?);
    let containerds = NODES
        .iter()
        .map(node::containerd)
        .collect::<Result<Vec<_>>>()?;
    start([&etcd, &api].into_iter().chain(&containerds), &progress)?;
    for (node, containerd) in NODES.iter().zip(&containerds) {
        containerd.await_ready(READY_LIMIT, || node::containerd_answers(node))?;
    }
    progress.step("every containerd answers");
    for node in &NODES {
        let archives = [pause.path.as_path(), coredns.path.as_path()];
        let wanted = if node.role == "system" {
            &archives[..]
        } else {
            &archives[..1]
        };
        load::load(wanted, &[node], &progress)?;
    }
    api.await_ready(READY_LIMIT, || {
        alive(&[&etcd])?;
        kubectl::api_is_ready()
    })?;
    progress.step("the API server is ready");
    let mut rest = vec![
        control_plane::controller_manager()?,
        control_plane::scheduler()?,
    ];
    for node in &NODES {
        rest.extend([node::kubelet(node)?, node::kube_proxy(node)?]);
    }
    start(&rest, &progress)?;
    kubectl::apply(&objects::manifests()?)?;
    let all: Vec<_> = [&etcd, &api]
        .into_iter()
        .chain(&containerds)
        .chain(&rest)
        .collect();
    await_nodes(&all)?;
    progress.step("every node is Ready");
    for node in &NODES {
        node::kube_proxy(node)?
            .await_ready(READY_LIMIT, || Ok(node::kube_proxy_is_synced(node)))?;
    }
    await_dns(&all)?;
    progress.step("Services are routed and DNS is available");
    let recycled = objects::recycle_volumes()?;
    if recycled > 0 {
        progress.step(&format!(
            "{recycled} released volume(s) are available again"
        ));
    }
    alive(&all)?;
    progress.step(&format!(
        "up; KUBECONFIG={}",
        layout::kubeconfig().display()
    ));
    Ok(())
}

/// Builds the programs and the cluster's own images.
pub(crate) fn build(progress: &Progress) -> Result<()> {
    let did = tools::build(progress)?;
    image::system_images(progress)?;
    if did {
        progress.step("every program is built");
    }
    Ok(())
}

fn create(progress: &Progress) -> Result<()> {
    let logs = layout::logs();
    if logs.exists() {
        fs::remove_dir_all(&logs).with_context(|| format!("remove {}", logs.display()))?;
    }
    for dir in [logs, layout::state().join("shims")] {
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    }
    Machine::observe()?.save()?;
    network::create()?;
    progress.step("namespaces, links and routes are there");
    Ok(())
}

fn start<'a>(
    components: impl IntoIterator<Item = &'a Component>,
    progress: &Progress,
) -> Result<()> {
    let mut started = Vec::new();
    for component in components {
        if component.ensure()? {
            started.push(component.name.as_str());
        }
    }
    if !started.is_empty() {
        progress.step(&format!("started {}", started.join(", ")));
    }
    Ok(())
}

fn alive(components: &[&Component]) -> Result<()> {
    match components
        .iter()
        .find(|component| component.pid().is_none())
    {
        Some(ended) => Err(ended.failure("it ended")),
        None => Ok(()),
    }
}

/// Waits until the API server says yes. A question it does not answer means not yet: the limit's
/// error then tells why.
fn await_answer(
    what: &str,
    components: &[&Component],
    mut ask: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let mut unanswered = None;
    let waited = wait_until(what, READY_LIMIT, || {
        alive(components)?;
        match ask() {
            Ok(yes) => {
                unanswered = None;
                Ok(yes)
            }
            Err(error) => {
                unanswered = Some(error);
                Ok(false)
            }
        }
    });
    match unanswered {
        Some(last) if waited.is_err() => waited.with_context(|| format!("{last:#}")),
        _ => waited,
    }
}

fn await_nodes(components: &[&Component]) -> Result<()> {
    let mut ready = Vec::new();
    let waited = await_answer("every node is Ready", components, || {
        ready = kubectl::ready_nodes()?;
        Ok(NODES
            .iter()
            .all(|node| ready.iter().any(|name| name == node.name)))
    });
    waited.or_else(|error| {
        alive(components)?;
        let late = NODES
            .iter()
            .find(|node| !ready.iter().any(|name| name == node.name));
        let kubelet = late.map(node::kubelet).transpose()?;
        Err(kubelet.map_or_else(
            || anyhow!("{error:#}"),
            |kubelet| {
                kubelet.failure(&format!(
                    "its node is not Ready within the limit ({error:#})"
                ))
            },
        ))
    })
}

fn await_dns(components: &[&Component]) -> Result<()> {
    let waited = await_answer(
        "the coredns Deployment is available",
        components,
        status::dns_is_available,
    );
    waited.with_context(|| {
        let events =
            kubectl::describe(&["--namespace=kube-system", "pods", "-l", "k8s-app=kube-dns"]);
        format!(
            "DNS failed\n{}",
            events.unwrap_or_else(|error| format!("{error:#}"))
        )
    })
}
