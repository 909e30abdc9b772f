//! The workers as others see them: read by anyone, written by the task alone.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use crate::link::{WorkerId, WorkerInfo};

#[derive(Debug)]
pub(super) struct Directory {
    rows: RwLock<HashMap<WorkerId, Arc<WorkerInfo>>>,
    version: watch::Sender<u64>,
}

impl Directory {
    pub(super) fn new(rows: impl IntoIterator<Item = Arc<WorkerInfo>>) -> Self {
        let rows = rows.into_iter().map(|info| (info.id, info)).collect();
        Self {
            rows: RwLock::new(rows),
            version: watch::Sender::new(0),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, HashMap<WorkerId, Arc<WorkerInfo>>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, info: Arc<WorkerInfo>) {
        self.rows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(info.id, info);
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn remove(&self, id: WorkerId) {
        self.rows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        self.version.send_modify(|version| *version += 1);
    }
}
