//! Records of workers: stored first, then made known to the rules.

use std::collections::BTreeMap;

use super::actor::Actor;
use super::{CreateWorker, SessionsError, now};
use crate::link::WorkerId;
use crate::store::NewWorker;

impl Actor {
    pub(super) async fn create(
        &mut self,
        request: CreateWorker,
        token_hash: [u8; 32],
    ) -> Result<(WorkerId, bool), SessionsError> {
        let CreateWorker {
            organisation,
            project,
            key,
            name,
            capacity,
            labels,
            created_by,
        } = request;
        let tenant = self.store.tenant(&organisation);
        if !key.is_empty()
            && let Some(existing) = tenant.worker_by_key(&key).await?
        {
            return Ok((existing.id, false));
        }
        let id = WorkerId::random();
        let created_ms = now().unix_ms;
        let new = NewWorker {
            id,
            project,
            key,
            name,
            capacity,
            labels,
            token_hash,
            created_by,
            created_ms,
        };
        let record = tenant.insert_worker(&new).await?;
        tracing::info!(worker = %id, name = new.name, project = new.project, by = new.created_by, "worker created");
        self.registry.insert(record);
        self.settle().await?;
        Ok((id, true))
    }

    pub(super) async fn update(
        &mut self,
        id: WorkerId,
        capacity: u32,
        labels: BTreeMap<String, String>,
    ) -> Result<(), SessionsError> {
        let same = |r: &crate::store::WorkerRecord| r.capacity == capacity && r.labels == labels;
        if self.registry.record(id).is_some_and(same) {
            return Ok(());
        }
        self.store.set_capacity(id, capacity, &labels).await?;
        tracing::info!(worker = %id, capacity, "worker updated");
        self.registry.update(id, capacity, labels);
        Ok(self.settle().await?)
    }

    pub(super) async fn delete(&mut self, id: WorkerId) -> Result<(), SessionsError> {
        self.store.delete_worker(id).await?;
        tracing::info!(worker = %id, "worker deleted");
        self.registry.remove(now(), id);
        Ok(self.settle().await?)
    }

    pub(super) async fn regenerate(
        &mut self,
        id: WorkerId,
        token_hash: [u8; 32],
    ) -> Result<(), SessionsError> {
        self.store.set_token(id, &token_hash).await?;
        tracing::info!(worker = %id, "token regenerated");
        self.registry.token_replaced(now(), id, token_hash);
        Ok(self.settle().await?)
    }

    pub(super) async fn set_disabled(
        &mut self,
        id: WorkerId,
        disabled: bool,
    ) -> Result<(), SessionsError> {
        if self
            .registry
            .record(id)
            .is_some_and(|record| record.disabled == disabled)
        {
            return Ok(());
        }
        self.store.set_disabled(id, disabled).await?;
        tracing::info!(worker = %id, disabled, "worker disabled or enabled");
        self.registry.set_disabled(now(), id, disabled);
        Ok(self.settle().await?)
    }
}
