//! The stored samples of a run, as the workers sent them.

use axum::extract::{Path, State};
use callmeter_metrics::{MetricId, by_id};
use callmeter_proto::worker::Direction;
use serde_json::{Map, Value, json};

use super::RestState;
use super::answer::{Answer, ApiError, Data};
use super::request::{Access, Parameters};
use super::runs::no_run;
use crate::store::{Role, SampleRow};

const LIMIT: u32 = 1000;
const MOST: u32 = 5000;

/// Samples of one group in the order they arrived: those after the position `after`, at most
/// `limit`. The answer's `after` is where to go on; fewer rows than the limit: that was all so far.
pub(super) async fn list(
    State(state): State<RestState>,
    access: Access,
    Path(id): Path<String>,
    mut parameters: Parameters,
) -> Answer {
    let caller = access.at_least(Role::Viewer)?;
    let group = parameters.take("group");
    let after = parameters.number("after", 0, 0, i64::MAX)?;
    let limit = parameters.number("limit", LIMIT, 1, MOST)?;
    parameters.finish()?;
    let tenant = state.store.tenant(&caller.organisation);
    let record = tenant.run(&id).await?.ok_or_else(|| no_run(&id))?;
    let groups = group_names(&record.definition);
    let Some(group) = group.filter(|group| groups.contains(group)) else {
        return Err(ApiError::invalid(format!(
            "group: accepted: a group of the run: {}",
            groups.join(", ")
        )));
    };
    let (rows, position) = state.store.read_samples(&id, &group, after, limit).await?;
    let samples: Vec<Value> = rows.iter().map(sample).collect();
    Ok(Data::of(json!({"samples": samples, "after": position})))
}

fn group_names(definition: &str) -> Vec<String> {
    let definition: Value = serde_json::from_str(definition).unwrap_or_default();
    let groups = definition["groups"].as_array();
    groups
        .into_iter()
        .flatten()
        .filter_map(|group| group["name"].as_str().map(str::to_owned))
        .collect()
}

/// Metrics by key; one of a newer catalogue than this gateway's has no key here and is left out.
fn sample(row: &SampleRow) -> Value {
    let SampleRow {
        group,
        endpoint,
        second,
        call,
        direction,
        per_call,
        generator_limited,
        delay_partial,
        values,
    } = row;
    let values: Map<String, Value> = values
        .iter()
        .filter_map(|&(id, value)| Some((by_id(MetricId(id))?.key.to_owned(), json!(value))))
        .collect();
    let direction = match Direction::try_from(*direction) {
        Ok(Direction::Send) => "send",
        Ok(Direction::Recv) => "recv",
        Ok(Direction::None | Direction::Unspecified) | Err(_) => "none",
    };
    json!({
        "group": group,
        "endpoint": endpoint,
        "second": second,
        "call": call,
        "direction": direction,
        "perCall": per_call,
        "generatorLimited": generator_limited,
        "delayPartial": delay_partial,
        "values": values,
    })
}
