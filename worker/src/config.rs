//! The worker's settings: environment variables and nothing else (R1).
//!
//! [`Config::from_vars`] is a pure function of the variables; what needs the host (the outbound
//! address, the CA file) is read afterwards. An empty variable counts as unset.

mod address;
mod labels;
mod value;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

pub use address::{Addresses, DetectError, detect_outbound};
use callmeter_proto::WorkerToken;
pub use value::{GatewayAddress, LogFormat, PortRange};

/// The variables of a process, by name.
pub type Vars = BTreeMap<String, String>;

/// A variable that is missing, malformed, out of range or contradicts another one.
///
/// The message names the variable and what is accepted. It shows a value that was read as a number,
/// an address or a duration and is out of range or contradicts another one; never one that could
/// not be read, since a token may stand in the wrong variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}; accepted: {accepted}")]
pub struct ConfigError {
    /// The environment variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// The form that is accepted.
    pub accepted: &'static str,
}

/// Everything a worker process is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// `WORKER_TOKEN`
    pub token: WorkerToken,
    /// `CLOUD_URL`
    pub gateway: GatewayAddress,
    /// `CLOUD_CA_FILE`: a PEM bundle trusted instead of the system's store.
    pub ca_file: Option<PathBuf>,
    /// `WORKER_NAME`; none: the name of the worker's record holds (R9).
    pub name: Option<String>,
    /// `LOG_LEVEL`, default info (R10).
    pub log_level: tracing::Level,
    /// `LOG_FORMAT`, default json (R11).
    pub log_format: LogFormat,
    /// `HEALTH_PORT`, default 3030 (R12).
    pub health_port: u16,
    /// `SIP_IP`, `MEDIA_IP`, `SDP_IP`, `EXTERNAL_IP` as given.
    pub addresses: GivenAddresses,
    /// `SIP_PORT_START` to `SIP_PORT_END`, default 5060 to 5080 (R17, R18).
    pub sip_ports: PortRange,
    /// `SIP_DNS_SERVER`; none: the system's resolver.
    pub sip_dns_server: Option<SocketAddr>,
    /// `RTP_PORT_MIN` to `RTP_PORT_MAX`, default 10000 to 65535 (R22, R23).
    pub rtp_ports: PortRange,
    /// `POD_NAMESPACE`, `POD_NAME`, `POD_UID`, `NODE_NAME`, where the process has them.
    pub pod: PodFacts,
    /// `WORKER_LABELS`
    pub labels: BTreeMap<String, String>,
    /// `DRAIN_TIMEOUT`, default 20 minutes.
    pub drain_timeout: Duration,
}

/// The address variables as given; see [`Addresses::resolve`] for what follows from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenAddresses {
    /// `SIP_IP`
    pub sip: Option<IpAddr>,
    /// `MEDIA_IP`
    pub media: Option<IpAddr>,
    /// `SDP_IP`
    pub sdp: Option<IpAddr>,
    /// `EXTERNAL_IP`
    pub external: Option<IpAddr>,
}

/// Where the process runs, as the pod's downward API tells it; empty outside Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// `POD_NAMESPACE`
    pub namespace: String,
    /// `POD_NAME`
    pub name: String,
    /// `POD_UID`
    pub uid: String,
    /// `NODE_NAME`
    pub node: String,
}

impl Config {
    /// Ports an audio endpoint takes: RTP and RTCP (R25).
    pub const PORTS_PER_ENDPOINT: u32 = 2;

    /// Reads and checks all variables; the first one that is wrong is the error.
    pub fn from_vars(vars: &Vars) -> Result<Self, ConfigError> {
        let vars = value::Reader::new(vars);
        let token = value::token(&vars)?;
        let gateway = value::gateway(&vars)?;
        let ca_file = vars.optional("CLOUD_CA_FILE").map(PathBuf::from);
        let name = value::name(&vars)?;
        let log_level = value::log_level(&vars)?;
        let log_format = value::log_format(&vars)?;
        let health_port = value::port(&vars, "HEALTH_PORT", 3030)?;
        let addresses = address::given(&vars)?;
        let sip_ports = value::ports(&vars, ("SIP_PORT_START", 5060), ("SIP_PORT_END", 5080), 1)?;
        let rtp_ports = value::ports(&vars, ("RTP_PORT_MIN", 10_000), ("RTP_PORT_MAX", 65_535), 2)?;
        // The default RTP range holds most custom SIP ports; only two ranges a person chose can
        // contradict each other, since a taken port is skipped anyway.
        let rtp_chosen = ["RTP_PORT_MIN", "RTP_PORT_MAX"]
            .iter()
            .any(|v| vars.optional(v).is_some());
        if rtp_chosen && rtp_ports.overlaps(sip_ports) {
            return Err(ConfigError {
                variable: "RTP_PORT_MIN",
                problem: format!(
                    "to RTP_PORT_MAX ({rtp_ports}) overlaps SIP_PORT_START to SIP_PORT_END \
                     ({sip_ports})"
                ),
                accepted: "two ranges that share no port",
            });
        }
        Ok(Self {
            token,
            gateway,
            ca_file,
            name,
            log_level,
            log_format,
            health_port,
            addresses,
            sip_ports,
            sip_dns_server: address::server(&vars, "SIP_DNS_SERVER", 53)?,
            rtp_ports,
            pod: PodFacts {
                namespace: vars.kubernetes_name("POD_NAMESPACE")?,
                name: vars.kubernetes_name("POD_NAME")?,
                uid: vars.kubernetes_name("POD_UID")?,
                node: vars.kubernetes_name("NODE_NAME")?,
            },
            labels: labels::parse(&vars)?,
            drain_timeout: value::drain_timeout(&vars)?,
        })
    }

    /// Audio endpoints the RTP range can hold at once: an even port and the one after it each.
    pub fn endpoints_by_ports(&self) -> u32 {
        self.rtp_ports.even_pairs()
    }
}

#[cfg(test)]
mod tests;
