//! Who this process is, for the Hello of every stream.

use callmeter_proto::{
    PROTOCOL_VERSION,
    worker::{Hello, HostFacts},
};

use crate::config::PodFacts;

/// What a Hello says about this process; fixed for its life.
#[derive(Debug, Clone)]
pub struct Identity {
    /// 128 random bits.
    pub instance: [u8; 16],
    /// The rest of the Hello; its `resume` is filled in per stream.
    pub hello: Hello,
}

impl Identity {
    /// A process that speaks this build's protocol.
    pub fn new(instance: [u8; 16], hello: Hello) -> Self {
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            software_version: env!("CARGO_PKG_VERSION").into(),
            instance_id: instance.to_vec(),
            ..hello
        };
        Self { instance, hello }
    }

    /// The facts of the host as the environment gives them.
    pub fn host(pod: &PodFacts, hostname: String) -> HostFacts {
        HostFacts {
            hostname,
            pod_namespace: pod.namespace.clone(),
            pod_name: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            node_name: pod.node.clone(),
        }
    }
}
