//! Workers: their records and tokens (R59–R72).

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::RestState;
use super::answer::{Answer, ApiError, Data};
use super::request::{Access, Body, Page, Parameters};
use crate::auth::Caller;
use crate::link::{Load, WorkerId, WorkerInfo};
use crate::sessions::CreateWorker;
use crate::store::Role;
use crate::timestamp;

#[derive(Deserialize)]
struct Create {
    name: String,
    capacity: u32,
    #[serde(default)]
    project: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

pub(super) async fn list(State(state): State<RestState>, access: Access, page: Page) -> Answer {
    let caller = access.at_least(Role::Viewer)?;
    let workers = state.sessions.workers_of(&caller.organisation);
    let rows: Vec<Value> = workers.iter().map(|worker| row(worker, &state)).collect();
    Ok(page.of(&rows))
}

/// Answers with the token, this once (R60).
pub(super) async fn create(State(state): State<RestState>, access: Access, body: Body) -> Answer {
    let caller = access.at_least(Role::Admin)?;
    let Create {
        name,
        capacity,
        project,
        labels,
    } = body.json()?;
    let request = CreateWorker {
        organisation: caller.organisation.clone(),
        project,
        key: String::new(),
        name,
        capacity,
        labels,
        created_by: caller.name.clone(),
    };
    let created = state.sessions.create_worker(request).await?;
    let worker = state.sessions.worker_of(&caller.organisation, created.id)?;
    let mut shown = row(&worker, &state);
    if let (Some(fields), Some(token)) = (shown.as_object_mut(), &created.token) {
        fields.insert("token".to_owned(), token.expose().into());
    }
    Ok(Data::made(shown))
}

pub(super) async fn show(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
) -> Answer {
    let caller = access.at_least(Role::Viewer)?;
    let worker = state
        .sessions
        .worker_of(&caller.organisation, worker_id(&id)?)?;
    Ok(Data::of(row(&worker, &state)))
}

/// Ends a record and its token. A worker that carries endpoints is kept unless `force=true`.
pub(super) async fn delete(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
    mut parameters: Parameters,
) -> Answer {
    let caller = access.at_least(Role::Admin)?;
    let force = match parameters.take("force").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::invalid("force: accepted: true or false")),
    };
    parameters.finish()?;
    let id = worker_id(&id)?;
    let worker = state.sessions.worker_of(&caller.organisation, id)?;
    let Load { active, reserved } = load(&state, id);
    if active + reserved > 0 && !force {
        let name = &worker.name;
        let message = format!(
            "worker {name} carries {active} endpoints and {reserved} are reserved on it; \
             accepted: when it is idle, or force=true, which ends them"
        );
        return Err(ApiError::conflict(message));
    }
    state
        .sessions
        .delete_worker(&caller.organisation, id)
        .await?;
    Ok(Data::of(json!({"id": id.to_string()})))
}

/// The old token dies at once; the new one is in this answer only (R64–R66).
pub(super) async fn regenerate(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
) -> Answer {
    let caller = access.at_least(Role::Admin)?;
    let id = worker_id(&id)?;
    let token = state
        .sessions
        .regenerate_token(&caller.organisation, id)
        .await?;
    Ok(Data::of(
        json!({"id": id.to_string(), "token": token.expose()}),
    ))
}

pub(super) async fn disable(state: State<RestState>, access: Access, id: Path<String>) -> Answer {
    set_disabled(state, access.at_least(Role::Admin)?, id, true).await
}

pub(super) async fn enable(state: State<RestState>, access: Access, id: Path<String>) -> Answer {
    set_disabled(state, access.at_least(Role::Admin)?, id, false).await
}

/// R72
async fn set_disabled(
    State(state): State<RestState>,
    caller: &Caller,
    Path(id): Path<String>,
    disabled: bool,
) -> Answer {
    let id = worker_id(&id)?;
    state
        .sessions
        .set_disabled(&caller.organisation, id, disabled)
        .await?;
    let worker = state.sessions.worker_of(&caller.organisation, id)?;
    Ok(Data::of(row(&worker, &state)))
}

fn worker_id(text: &str) -> Result<WorkerId, ApiError> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
        ApiError::not_found(format!(
            "worker: \"{shown}\" does not exist; accepted: the id of a worker of this organisation"
        ))
    })
}

fn load(state: &RestState, id: WorkerId) -> Load {
    state
        .runs
        .loads()
        .borrow()
        .get(&id)
        .copied()
        .unwrap_or_default()
}

/// Everything but the token, which nobody can read again.
fn row(worker: &WorkerInfo, state: &RestState) -> Value {
    let WorkerInfo {
        id,
        key: _,
        name,
        organisation: _,
        project,
        region,
        pool,
        labels,
        configured_capacity,
        effective_capacity,
        status,
        connected,
        disabled,
        fenced,
        fence,
        instance,
        host,
        last_refusal,
        vitals,
        last_seen_unix_ms,
        created_unix_ms,
    } = worker;
    let Load { active, reserved } = load(state, *id);
    let time = |ms: i64| (ms > 0).then(|| timestamp::text(ms));
    json!({
        "id": id.to_string(),
        "name": name,
        "project": project,
        "region": region,
        "pool": pool,
        "labels": labels,
        "status": status.as_str(),
        "connected": connected,
        "disabled": disabled,
        "draining": fenced,
        "drain": fence.as_ref().map(|f| json!({
            "reason": f.reason,
            "endsAt": f.deadline_unix_ms.map(timestamp::text),
        })),
        "capacity": {
            "configured": configured_capacity,
            "effective": effective_capacity,
            "active": active,
            "reserved": reserved,
        },
        "instance": instance.map(|i| i.to_string()),
        "host": host,
        "lastRefusal": last_refusal.as_ref().map(|r| json!({
            "reason": r.reason.message(),
            "podUid": r.pod_uid,
            "at": timestamp::text(r.at_unix_ms),
        })),
        "vitals": vitals.as_ref().map(|v| json!({
            "activeEndpoints": v.active_endpoints,
            "unhealthyReason": v.unhealthy_reason,
            "cpuPercent": v.cpu_percent,
            "txLatenessP99Ms": v.tx_lateness_p99_ms,
            "memoryMb": v.memory_mb,
        })),
        "lastSeenAt": time(*last_seen_unix_ms),
        "createdAt": time(*created_unix_ms),
    })
}
