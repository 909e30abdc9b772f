//! Endpoints and calls of tests on one signalling shard, over callmeter-sip's user agent.
//!
//! Sans-IO: no socket, clock, thread or randomness of its own. [`Engine`] states the contract;
//! [`Assign`] is what it is given, [`Output`] what it wants done, [`media`] its dealings with the
//! media threads.

mod assign;
mod call;
mod endpoint;
mod engine;
mod event;
mod line;
mod load;
pub mod media;
mod relay;
mod rows;
mod scenario;
mod share;
mod timers;

pub use callmeter_metrics::{MetricId, RowDirection};
pub use callmeter_sip::{
    Credentials, Flow, Host, Listener, LocalId, OwnMap, Password, Refresher, Reliable,
    SessionTimer, SessionTimerMode, Transport,
};

pub use assign::{
    Account, Assign, Audio, CallPlan, Dtmf, Header, Invalid, Located, Registrar, Role, ShareId,
};
pub use engine::{Engine, EngineConfig, EngineError, Held, HostFigures};
pub use event::{
    EndpointEvent, MetricValue, NoAddress, Outcome, Output, Phase, SampleRow, ShareTotals, What,
};
pub use load::{ArrivalPoint, Arrivals, ConcurrencyPoint, Levels, Load};
pub use scenario::{Action, Scenario, Step, When};
