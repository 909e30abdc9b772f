//! Faults of the cluster itself. Other cases would feel them: they run alone, one after the other.

mod api_server;
mod node;
