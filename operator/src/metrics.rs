//! Metrics of the operator. Labels are namespaces, pools and names from enums, never workers.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// All metrics; handles are cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Workers of a pool by state.
    pub(crate) pool_replicas: IntGaugeVec,
    /// Endpoints of a pool by kind.
    pub(crate) pool_endpoints: IntGaugeVec,
    /// Tokens of a pool by state.
    pub(crate) pool_tokens: IntGaugeVec,
    /// Conditions of a pool: 1 for the status it has.
    pub(crate) pool_condition: IntGaugeVec,
    /// Time of a reconcile.
    pub(crate) reconcile_duration: HistogramVec,
    /// Failed reconciles.
    pub(crate) reconcile_errors: IntCounterVec,
    /// Time from the request to drain to an empty worker.
    pub(crate) drain_duration: HistogramVec,
    /// Workers that were still busy at their deadline.
    pub(crate) drain_forced: IntCounterVec,
    /// Tokens that were refused.
    pub(crate) token_rejected: IntCounterVec,
    /// Workers whose ports were taken on every node.
    pub(crate) port_conflicts: IntCounterVec,
    /// Decisions on the number of workers.
    pub(crate) scale_decisions: IntCounterVec,
    /// Writes to the API server.
    pub(crate) api_writes: IntCounterVec,
    /// 1 while this process holds the lease.
    pub(crate) leader: IntGauge,
    /// 1 while the gateway's watches are open.
    pub(crate) gateway_connected: IntGauge,
}

impl Metrics {
    /// Registers everything; fails only if a name is given twice.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(
                Opts::new(format!("callmeter_operator_{name}"), help),
                labels,
            )?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(
                Opts::new(format!("callmeter_operator_{name}"), help),
                labels,
            )?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let histograms = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let opts = HistogramOpts::new(format!("callmeter_operator_{name}"), help)
                .buckets(buckets.to_vec());
            let metric = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let flag = |name: &str, help: &str| {
            let metric = IntGauge::new(format!("callmeter_operator_{name}"), help)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        Ok(Self {
            pool_replicas: gauges(
                "pool_replicas",
                "Workers of a pool by state.",
                &["namespace", "pool", "state"],
            )?,
            pool_endpoints: gauges(
                "pool_endpoints",
                "Endpoints of a pool by kind.",
                &["namespace", "pool", "kind"],
            )?,
            pool_tokens: gauges(
                "pool_tokens",
                "Tokens of a pool by state.",
                &["namespace", "pool", "state"],
            )?,
            pool_condition: gauges(
                "pool_condition",
                "Conditions of a pool; 1 for the status it has.",
                &["namespace", "pool", "type", "status"],
            )?,
            reconcile_duration: histograms(
                "reconcile_duration_seconds",
                "Time of a reconcile.",
                &["controller"],
                &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0],
            )?,
            reconcile_errors: counters(
                "reconcile_errors_total",
                "Failed reconciles.",
                &["controller", "kind"],
            )?,
            drain_duration: histograms(
                "drain_duration_seconds",
                "Time from the request to drain to an empty worker.",
                &["reason", "outcome"],
                &[1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0, 3600.0, 86400.0],
            )?,
            drain_forced: counters(
                "drain_forced_total",
                "Workers still busy at their deadline.",
                &["namespace", "pool"],
            )?,
            token_rejected: counters(
                "token_rejected_total",
                "Tokens that were refused.",
                &["reason"],
            )?,
            port_conflicts: counters(
                "port_conflicts_total",
                "Workers whose ports were taken on every node.",
                &["namespace", "pool"],
            )?,
            scale_decisions: counters(
                "scale_decisions_total",
                "Decisions on the number of workers.",
                &["direction", "reason"],
            )?,
            api_writes: counters(
                "api_requests_total",
                "Writes to the API server.",
                &["verb", "resource", "code"],
            )?,
            leader: flag("leader", "1 while this process holds the lease.")?,
            gateway_connected: flag(
                "gateway_connected",
                "1 while the gateway's watches are open.",
            )?,
            registry,
        })
    }

    /// In the text format of Prometheus.
    pub(crate) fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
