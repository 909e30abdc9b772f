//! Runs: submit, follow, stop, results.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use callmeter_proto::{Secret, fleet};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::RestState;
use super::answer::{Answer, ApiError, Data};
use super::request::{Access, Body, Page, Parameters};
use crate::definition::{self, Format};
use crate::link::{RunError, SubmitRun};
use crate::results::LiveFigures;
use crate::store::{Role, RunRecord};
use crate::timestamp;

/// A comment on an idle event stream, so that proxies keep it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Stop {
    #[serde(default)]
    reason: Option<String>,
}

pub(super) async fn list(State(state): State<RestState>, access: Access, page: Page) -> Answer {
    let caller = access.at_least(Role::Viewer)?;
    let tenant = state.store.tenant(&caller.organisation);
    let (runs, total) = tenant.runs(page.per_page, page.offset()).await?;
    let rows: Vec<Value> = runs.iter().map(row).collect();
    Ok(Data::page(rows, page.page, page.per_page, total))
}

/// The body is a test definition, YAML or JSON by its content type; answers at once, PENDING.
pub(super) async fn submit(
    State(state): State<RestState>,
    access: Access,
    mut parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let caller = access.at_least(Role::Tester)?;
    let name = parameters.take("name");
    let project = parameters.take("project").unwrap_or_default();
    let key = parameters.take("key").unwrap_or_default();
    parameters.finish()?;
    let text =
        std::str::from_utf8(&body.0).map_err(|_| ApiError::invalid("body: is not UTF-8 text"))?;
    let document = definition::read(text, format_of(&headers)?)
        .map_err(|e| ApiError::invalid(e.to_string()))?;
    let name = name.or(document.name).unwrap_or_default();
    for (field, text) in [("name", &name), ("key", &key)] {
        if text.len() > 253 || text.chars().any(char::is_control) {
            let message = format!("{field}: accepted: at most 253 printable characters");
            return Err(ApiError::invalid(message));
        }
    }
    let request = SubmitRun {
        organisation: caller.organisation.clone(),
        // Kept apart from the keys of other kinds of submitters.
        key: if key.is_empty() {
            key
        } else {
            format!("rest/{key}")
        },
        project,
        namespace: String::new(),
        name,
        definition_json: Secret::new(document.definition.to_string()),
    };
    let id = state.runs.submit(request).await?;
    let record = state.store.tenant(&caller.organisation).run(&id).await?;
    record
        .as_ref()
        .map(|r| Data::made(row(r)))
        .ok_or_else(|| no_run(&id))
}

pub(super) async fn show(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
) -> Answer {
    let caller = access.at_least(Role::Viewer)?;
    let record = state
        .store
        .tenant(&caller.organisation)
        .run(&id)
        .await?
        .ok_or_else(|| no_run(&id))?;
    let now = state.runs.watch(&caller.organisation, &id).await?;
    let mut shown = row(&record);
    if let (Some(fields), Value::Object(progress)) =
        (shown.as_object_mut(), progress(&now.borrow()))
    {
        fields.extend(progress);
    }
    Ok(Data::of(shown))
}

pub(super) async fn stop(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let caller = access.at_least(Role::Tester)?;
    let Stop { reason } = body.json()?;
    let reason = reason.unwrap_or_else(|| format!("asked by {}", caller.name));
    if reason.len() > 253 || reason.chars().any(char::is_control) {
        return Err(ApiError::invalid(
            "reason: accepted: at most 253 printable characters",
        ));
    }
    state.runs.stop(&caller.organisation, &id, &reason).await?;
    Ok(Data::of(json!({"id": id})))
}

/// The report of a run that is over.
pub(super) async fn results(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
) -> Answer {
    let caller = access.at_least(Role::Viewer)?;
    let record = state
        .store
        .tenant(&caller.organisation)
        .run(&id)
        .await?
        .ok_or_else(|| no_run(&id))?;
    let report = record
        .summary
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    report.map(Data::of).ok_or_else(|| {
        let status = &record.status;
        ApiError::conflict(format!(
            "run {id} is {status} and has no report; accepted: a run that is over"
        ))
    })
}

/// Progress and the figures of the last second: once, or as they change with
/// `Accept: text/event-stream`, to the end of the run.
pub(super) async fn live(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let caller = access.at_least(Role::Viewer)?;
    let organisation = caller.organisation.clone();
    let states = state.runs.watch(&organisation, &id).await?;
    let key = (organisation, id);
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if !accepts.contains("text/event-stream") {
        let shown = live_row(&states.borrow(), state.live.borrow().get(&key));
        return Ok(Data::of(shown).into_response());
    }
    let follow = Follow {
        states,
        live: state.live,
        key,
        first: true,
    };
    let events = futures::stream::unfold(follow, async |mut follow| {
        let shown = follow.next().await?;
        let event = Event::default().event("state").data(shown.to_string());
        Some((Ok::<_, Infallible>(event), follow))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

/// A run that is followed.
struct Follow {
    states: watch::Receiver<fleet::RunState>,
    live: crate::run::service::Live,
    key: (String, String),
    first: bool,
}

impl Follow {
    /// The next state; none: the run is over and its last state was told.
    async fn next(&mut self) -> Option<Value> {
        if !std::mem::take(&mut self.first) {
            // An error means that the run let go of its followers after the last state.
            self.states.changed().await.ok()?;
        }
        let state = self.states.borrow_and_update().clone();
        Some(live_row(&state, self.live.borrow().get(&self.key)))
    }
}

fn live_row(state: &fleet::RunState, live: Option<&LiveFigures>) -> Value {
    let mut shown = progress(state);
    if let (Some(fields), Some(live)) = (shown.as_object_mut(), live) {
        fields.insert("live".to_owned(), json!(live));
    }
    shown
}

fn format_of(headers: &HeaderMap) -> Result<Format, ApiError> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map(|v| v.to_str().unwrap_or_default());
    let kind = given.map(|text| text.split(';').next().unwrap_or_default().trim());
    match kind {
        Some("application/json") => Ok(Format::Json),
        // YAML holds JSON.
        None | Some("application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml") => {
            Ok(Format::Yaml)
        }
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            Err(ApiError::invalid(format!(
                "Content-Type: \"{shown}\"; accepted: application/json, application/yaml"
            )))
        }
    }
}

pub(super) fn no_run(id: &str) -> ApiError {
    RunError::no_run(id).into()
}

fn row(record: &RunRecord) -> Value {
    let RunRecord {
        id,
        organisation: _,
        project,
        namespace,
        name,
        definition,
        accounts: _,
        status,
        stage: _,
        reason,
        created_ms,
        started_ms,
        ended_ms,
        partial_reasons,
        warnings,
        failed: _,
        stopped: _,
        summary: _,
        verdict,
    } = record;
    let partial: Value = serde_json::from_str(partial_reasons).unwrap_or_default();
    json!({
        "id": id,
        "project": project,
        "namespace": namespace,
        "name": name,
        "definition": serde_json::from_str::<Value>(definition).unwrap_or_default(),
        "status": status,
        "reason": reason,
        "partial": partial.as_array().is_some_and(|reasons| !reasons.is_empty()),
        "partialReasons": partial,
        "warnings": serde_json::from_str::<Value>(warnings).unwrap_or_default(),
        "verdict": verdict,
        "createdAt": timestamp::text(*created_ms),
        "startedAt": started_ms.map(timestamp::text),
        "endedAt": ended_ms.map(timestamp::text),
    })
}

/// How far a run is.
fn progress(state: &fleet::RunState) -> Value {
    let fleet::RunState {
        run,
        status,
        reason,
        queue_position,
        missing_endpoints,
        groups,
        partial,
        partial_reasons,
        expects,
        verdict,
        started_unix_ms,
        ended_unix_ms,
        warnings,
    } = state;
    let time = |ms: i64| (ms > 0).then(|| timestamp::text(ms));
    let partial_row = |r: &fleet::PartialReason| {
        json!({"worker": r.worker, "group": r.group, "endpoints": r.endpoints, "cause": r.cause,
            "since": timestamp::text(r.since_unix_ms)})
    };
    let expect_row = |e: &fleet::ExpectResult| json!({"metric": e.metric, "stat": e.stat, "bound": e.bound, "measured": e.measured, "passed": e.passed});
    json!({
        "id": run,
        "status": status,
        "reason": reason,
        "queue": (*queue_position > 0)
            .then(|| json!({"position": queue_position, "missingEndpoints": missing_endpoints})),
        "groups": groups.iter().map(group_row).collect::<Vec<_>>(),
        "partial": partial,
        "partialReasons": partial_reasons.iter().map(partial_row).collect::<Vec<_>>(),
        "warnings": warnings,
        "expects": expects.iter().map(expect_row).collect::<Vec<_>>(),
        "verdict": verdict,
        "startedAt": time(*started_unix_ms),
        "endedAt": time(*ended_unix_ms),
    })
}

fn group_row(group: &fleet::GroupState) -> Value {
    let fleet::GroupState {
        group,
        endpoints,
        ready,
        in_call,
        ended,
        calls,
        calls_succeeded,
        mos,
        jitter_ms,
        loss_percent,
        setup_ms,
        workers,
    } = group;
    json!({
        "name": group,
        "endpoints": endpoints,
        "ready": ready,
        "inCall": in_call,
        "ended": ended,
        "calls": calls,
        "callsSucceeded": calls_succeeded,
        "mos": mos,
        "jitterMs": jitter_ms,
        "lossPercent": loss_percent,
        "setupMs": setup_ms,
        "workers": workers,
    })
}
