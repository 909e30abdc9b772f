//! Host names for the engine, resolved by the system outside the shards.

use std::{net::IpAddr, sync::Arc, time::Duration};

use callmeter_engine::ShareId;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::handle::{ShardHandle, ShardInput};

/// No answer after this counts as none; the engine waits a little longer.
const DEADLINE: Duration = Duration::from_secs(4);
/// Look-ups under way at the same time.
const PARALLEL: usize = 32;
/// Look-ups that may wait for the resolver.
pub(super) const QUEUE: usize = 4096;

/// A name a share needs.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) share: ShareId,
    pub(super) host: String,
}

/// Answers questions until their queue closes, with addresses of the IP version of `own`.
pub(super) async fn run(mut questions: mpsc::Receiver<Question>, shard: ShardHandle, own: IpAddr) {
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let mut tasks = JoinSet::new();
    while let Some(question) = questions.recv().await {
        while tasks.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let shard = shard.clone();
        tasks.spawn(async move {
            let Question { share, host } = question;
            let found = lookup(&host, own).await;
            if let Err(reason) = &found {
                tracing::warn!(host, reason, "name not resolved");
            }
            shard
                .send(ShardInput::Resolved { share, host, found })
                .await;
            drop(slot);
        });
    }
}

/// The first address of the wanted IP version in the resolver's order.
async fn lookup(host: &str, own: IpAddr) -> Result<IpAddr, String> {
    let found = tokio::time::timeout(DEADLINE, tokio::net::lookup_host((host, 0)))
        .await
        .map_err(|_| format!("{host}: no answer within {DEADLINE:?}"))?
        .map_err(|error| format!("{host}: {error}"))?;
    let mut addresses = found.map(|address| address.ip());
    addresses
        .find(|address| address.is_ipv4() == own.is_ipv4())
        .ok_or_else(|| format!("{host}: no address of the IP version of SIP_IP"))
}
