//! Endpoints and calls of a test on one signalling shard. Sans-IO: no socket, clock or thread.

pub mod media;
