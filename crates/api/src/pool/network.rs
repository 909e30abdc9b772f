//! Addresses and ports of a pool's workers.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Addresses and ports.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Whether pods have an address of their own or the node's.
    #[serde(default)]
    pub mode: NetworkMode,
    /// Address SIP and RTP bind to; empty: the pod's. Set on nodes with several addresses.
    #[serde(default, rename = "bindIP")]
    #[schemars(length(max = 45), regex(pattern = r"^[0-9A-Fa-f.:]*$"))]
    pub bind_ip: String,
    /// Allows the mode `Pod` above 100 endpoints per worker.
    #[serde(default)]
    pub allow_large_pod_network: bool,
    /// Address written into SDP, behind a NAT; empty: the bound one.
    #[serde(default, rename = "sdpIP")]
    #[schemars(length(max = 45), regex(pattern = r"^[0-9A-Fa-f.:]*$"))]
    pub sdp_ip: String,
    /// Address written into Via and Contact, behind a NAT; empty: the bound one.
    #[serde(default, rename = "externalIP")]
    #[schemars(length(max = 45), regex(pattern = r"^[0-9A-Fa-f.:]*$"))]
    pub external_ip: String,
    /// The windows in which the workers' blocks of ports lie.
    #[serde(default)]
    pub ports: Ports,
}

/// Whether pods have an address of their own or the node's.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum NetworkMode {
    /// The node's above 100 endpoints per worker, else the pod's.
    #[default]
    Auto,
    /// The pod's own.
    Pod,
    /// The node's.
    HostNetwork,
}

impl NetworkMode {
    /// Name as written in a resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Pod => "Pod",
            Self::HostNetwork => "HostNetwork",
        }
    }
}

/// The windows in which the workers' blocks of ports lie; both ends are inside.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("self.rtp.start % 100 == 0 && (self.rtp.end + 1) % 100 == 0")
        .message("spec.network.ports.rtp: start at a multiple of 100 and end one below a multiple of 100"),
    validation = Rule::new("self.sip.start % 20 == 0 && (self.sip.end + 1) % 20 == 0")
        .message("spec.network.ports.sip: start at a multiple of 20 and end one below a multiple of 20"),
    validation = Rule::new("(self.rtp.end < self.sip.start || self.sip.end < self.rtp.start) && (self.rtp.end < self.health.start || self.health.end < self.rtp.start) && (self.sip.end < self.health.start || self.health.end < self.sip.start)")
        .message("spec.network.ports: the windows rtp, sip and health must not overlap"),
)]
pub struct Ports {
    /// RTP and RTCP, in granules of 100 ports.
    #[serde(default)]
    pub rtp: RtpPorts,
    /// SIP, in granules of 20 ports, one granule per worker.
    #[serde(default = "default_sip")]
    pub sip: PortRange,
    /// The health port, one per worker.
    #[serde(default = "default_health")]
    pub health: PortRange,
    /// Ports inside the SIP window that nodes use for something else.
    #[serde(default = "default_reserved")]
    #[schemars(length(max = 64), inner(range(min = 1, max = 65535)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub reserved: Vec<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            rtp: RtpPorts::default(),
            sip: default_sip(),
            health: default_health(),
            reserved: default_reserved(),
        }
    }
}

const fn default_sip() -> PortRange {
    PortRange {
        start: 5060,
        end: 6259,
    }
}

const fn default_health() -> PortRange {
    PortRange {
        start: 3030,
        end: 3129,
    }
}

// mDNS, LLMNR, Typha and Geneve.
fn default_reserved() -> Vec<u16> {
    vec![5353, 5355, 5473, 6081]
}

/// A window of RTP ports.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.start >= 1024 && self.end > self.start && self.end <= 65535")
    .message("spec.network.ports.rtp: start at or above 1024, end above start and at most 65535"))]
#[serde(rename_all = "camelCase")]
pub struct RtpPorts {
    /// First port.
    #[serde(default = "default_rtp_start")]
    #[schemars(range(min = 1, max = 65535))]
    pub start: u16,
    /// Last port.
    #[serde(default = "default_rtp_end")]
    #[schemars(range(min = 1, max = 65535))]
    pub end: u16,
    /// Ports beyond what the endpoints need, in percent, 0 to 100.
    #[serde(default = "default_headroom")]
    #[schemars(range(min = 0, max = 100))]
    pub headroom_percent: u8,
}

// Below the usual NodePort range (30000–32767) and the ephemeral range (32768–60999).
const fn default_rtp_start() -> u16 {
    10_000
}

const fn default_rtp_end() -> u16 {
    29_999
}

const fn default_headroom() -> u8 {
    10
}

impl Default for RtpPorts {
    fn default() -> Self {
        Self {
            start: default_rtp_start(),
            end: default_rtp_end(),
            headroom_percent: default_headroom(),
        }
    }
}

/// A window of ports; both ends are inside.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.start >= 1024 && self.end >= self.start && self.end <= 65535")
    .message("spec.network.ports: a window starts at or above 1024 and ends at or above its start, at most 65535"))]
pub struct PortRange {
    /// First port.
    #[schemars(range(min = 1, max = 65535))]
    pub start: u16,
    /// Last port.
    #[schemars(range(min = 1, max = 65535))]
    pub end: u16,
}
