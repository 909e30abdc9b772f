//! Labels, annotations, finalizers and names that are part of the contract.

/// API group of the resources.
pub const GROUP: &str = "callmeter.io";

/// Label of workers and pods: name of their pool.
pub const POOL: &str = "callmeter.io/pool";
/// Label of pods: name of their worker.
pub const WORKER: &str = "callmeter.io/worker";
/// Label of workers and pods: hash of the template they were made from.
pub const REVISION: &str = "callmeter.io/revision";
/// Label of workers with a minted token: the slot of the pool that the name is derived from.
pub const SLOT: &str = "callmeter.io/slot";
/// Recommended label: name of the application.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Recommended label: who manages the object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] and of the operator's events.
pub const OPERATOR: &str = "callmeter-operator";
/// Value of [`APP_NAME`] of workers' pods.
pub const WORKER_APP: &str = "callmeter-worker";

/// Annotation of a worker: `true` ends its drain now.
pub const FORCE_DRAIN: &str = "callmeter.io/force-drain";
/// Annotation of a `CallTest`: any value stops the run without deleting the resource.
pub const STOP: &str = "callmeter.io/stop";
/// Annotation of a pod: Cluster Autoscaler may evict it.
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
/// Annotation of a pod: Karpenter must not disrupt it.
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";

/// Finalizer of a worker: it is drained and its record deleted before the object goes.
pub const DRAIN_FINALIZER: &str = "callmeter.io/drain";
/// Finalizer of a pool: its registration at the gateway ends before the object goes.
pub const POOL_FINALIZER: &str = "callmeter.io/pool";
/// Finalizer of a `CallTest`: its run is stopped before the object goes.
pub const RUN_FINALIZER: &str = "callmeter.io/run";

/// Name of the `ConfigMap` with the gateway's CA that the operator keeps in each pool's namespace.
pub const GATEWAY_CA: &str = "callmeter-gateway-ca";
/// Key of that `ConfigMap`.
pub const CA_KEY: &str = "ca.crt";
/// Key of a Secret that the operator writes a minted token to.
pub const TOKEN_KEY: &str = "token";
