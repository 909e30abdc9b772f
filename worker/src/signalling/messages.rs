//! What passes between the control task and the signalling shards.

use callmeter_proto::worker::{Assign, EndpointEvent, GroupPeers, OutcomeCount, SampleRow};

/// Why endpoints end before their run does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopCause {
    /// The gateway asked for it, with its reason.
    Requested(String),
    /// 60 s without a gateway: outcome TIMEOUT.
    GatewayLost,
    /// The drain deadline: outcome TIMEOUT, the run is forced.
    DrainDeadline,
}

/// From control to the shards.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A share of a group placed on this worker.
    Assign(Box<Assign>),
    /// Callers of a run start.
    Start {
        /// The run.
        run: String,
        /// The URIs its callers dial, where they depend on READY.
        peers: Vec<GroupPeers>,
    },
    /// All endpoints of a run hang up and report.
    Stop {
        /// The run.
        run: String,
        /// Why.
        cause: StopCause,
    },
}

/// From the shards to control.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// State changes of endpoints, in order.
    Events {
        /// The run.
        run: String,
        /// The changes.
        events: Vec<EndpointEvent>,
    },
    /// What the endpoints of a run measured in one second.
    Rows {
        /// The run.
        run: String,
        /// Seconds since the run's start.
        second: u32,
        /// The figures.
        rows: Vec<SampleRow>,
    },
    /// Rows that did not fit into the queue to control.
    RowsLost {
        /// The run.
        run: String,
        /// How many.
        rows: u64,
    },
    /// All endpoints of a share have ended; nothing of it follows.
    ShareEnded {
        /// The run.
        run: String,
        /// The group.
        group: String,
        /// Index of the share's first endpoint.
        first: u32,
        /// Its calls by outcome.
        calls: Vec<OutcomeCount>,
    },
}
