//! Carrying out what the rules want: what is stored comes before what others are told.

use std::sync::Arc;

use callmeter_proto::worker::{Fence, ToWorker, Unfence, to_worker};
use tokio::sync::oneshot;

use super::actor::{Actor, Confirmed, Reply};
use super::{FenceAnswer, SessionsError, now};
use crate::link::{InstanceId, SessionEvent, WorkerId};
use crate::session::Output;
use crate::store::{StoreError, StoredFence};

impl Actor {
    pub(super) async fn fence(
        &mut self,
        id: WorkerId,
        instance: InstanceId,
        reason: &str,
        ends_in_ms: Option<u64>,
        reply: Reply<Result<FenceAnswer, SessionsError>>,
    ) {
        match self.registry.fence(now(), id, instance, reason, ends_in_ms) {
            Ok(_) => {
                self.fence_reply = Some(reply);
                if let Err(failed) = self.settle().await
                    && let Some(reply) = self.fence_reply.take()
                {
                    let _ = reply.send(Err(failed.into()));
                }
            }
            Err(refused) => {
                let _ = reply.send(Err(SessionsError::fence(refused, id, instance)));
            }
        }
    }

    pub(super) async fn confirm(&mut self, confirmed: Confirmed) {
        let Confirmed {
            id,
            seq,
            load,
            reply,
        } = confirmed;
        let answer = match load {
            Some(load) => {
                self.registry.confirm_fence(id, seq);
                let _ = self.settle().await;
                Ok(FenceAnswer { seq, load })
            }
            None => Err(SessionsError::Stopping),
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    /// Carries out what the rules want. The first failure of the store is told, and the rest is
    /// carried out all the same: the state in memory is the stricter one.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        let mut result = Ok(());
        while let Some(output) = self.registry.poll_output() {
            let stored = match output {
                Output::StoreSession(session) => self.store.put_session(&session).await,
                Output::EndSession {
                    worker,
                    epoch,
                    last_seen_ms,
                } => {
                    tracing::info!(%worker, epoch, "worker disconnected");
                    self.store.end_session(worker, epoch, last_seen_ms).await
                }
                Output::StoreFence { worker, seq, fence } => {
                    self.log_fence(worker, seq, fence.as_ref());
                    self.store.set_fence(worker, seq, fence.as_ref()).await
                }
                Output::StoreRefusal { worker, refusal } => {
                    self.store.set_refusal(worker, &refusal).await
                }
                told => {
                    self.tell(told, result.is_ok()).await;
                    Ok(())
                }
            };
            if let Err(failed) = stored {
                tracing::error!(
                    error = &failed as &dyn std::error::Error,
                    "the store failed"
                );
                result = result.and(Err(failed));
            }
        }
        result
    }

    fn log_fence(&self, id: WorkerId, fence: u64, set: Option<&StoredFence>) {
        let name = self.registry.info(id).map(|info| info.name.clone());
        let Some(StoredFence {
            instance,
            reason,
            deadline_unix_ms,
        }) = set
        else {
            tracing::info!(worker = %id, name, fence, "fence lifted");
            return;
        };
        tracing::info!(
            worker = %id, name, %instance, fence, reason, deadline_unix_ms, "worker fenced"
        );
    }

    pub(super) async fn tell(&mut self, output: Output, stored: bool) {
        match output {
            Output::SendFence {
                worker,
                epoch,
                fence,
                sent_unix_ms,
            } => {
                let ends_in_ms = fence
                    .deadline_unix_ms
                    .map(|at| at.saturating_sub(sent_unix_ms).max(0) as u64);
                let fence = Fence {
                    reason: fence.reason,
                    ends_in_ms,
                    fence_seq: fence.seq,
                };
                self.connections
                    .send_on(worker, epoch, message(to_worker::Message::Fence(fence)));
            }
            Output::SendUnfence { worker, epoch, seq } => {
                let unfence = Unfence { fence_seq: seq };
                self.connections.send_on(
                    worker,
                    epoch,
                    message(to_worker::Message::Unfence(unfence)),
                );
            }
            Output::Close {
                worker,
                epoch,
                reason,
            } => self.connections.close(worker, epoch, Some(reason)),
            Output::Changed(info) => {
                self.directory.put(Arc::clone(&info));
                self.emit(SessionEvent::Changed { worker: info }).await;
            }
            Output::Updated(info) => self.directory.put(info),
            Output::Fenced { worker, seq } if stored => self.read_load(worker, seq).await,
            Output::Lost { worker, instance } => {
                // Of a deleted record nothing is missed.
                if self.registry.record(worker).is_some() {
                    tracing::warn!(%worker, %instance, "worker process lost");
                }
                self.emit(SessionEvent::Lost {
                    worker_id: worker,
                    instance,
                })
                .await;
            }
            Output::Removed { worker } => self.directory.remove(worker),
            // Stored by `settle`, or a fence that is not: it is not confirmed.
            Output::StoreSession(_)
            | Output::EndSession { .. }
            | Output::StoreFence { .. }
            | Output::StoreRefusal { .. }
            | Output::Fenced { .. } => {}
        }
    }

    pub(super) async fn read_load(&mut self, id: WorkerId, seq: u64) {
        let (answer, load) = oneshot::channel();
        self.emit(SessionEvent::ReadLoad {
            worker_id: id,
            reply: answer,
        })
        .await;
        let reply = self.fence_reply.take();
        self.confirmations.spawn(async move {
            Confirmed {
                id,
                seq,
                load: load.await.ok(),
                reply,
            }
        });
    }

    pub(super) async fn emit(&self, event: SessionEvent) {
        // The run layer ends only when the gateway does.
        let _ = self.events.send(event).await;
    }
}

fn message(message: to_worker::Message) -> ToWorker {
    ToWorker {
        message: Some(message),
    }
}
