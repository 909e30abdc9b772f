//! Between a run and its rows: what is stored at every step, and how a run goes on after a restart
//! of the gateway.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use callmeter_api::calltest::{CallTestSpec, RunPhase};
use callmeter_proto::worker::{ToWorker, to_worker};
use prost::Message as _;
use zeroize::Zeroizing;

use super::assign::READY_WITHIN;
use super::state::{Endpoint, Link, PlacedShare, Run, RunIdentity, Stage, Waiting};
use crate::definition::{self, InlineAccounts};
use crate::keys::SealKey;
use crate::session::Now;
use crate::store::{EndpointRow, LinkRow, RunProgress, RunRecord, ShareRow, StoredOutcome};

/// Everything stored of a run that is not over.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// Its row.
    pub record: RunRecord,
    /// Where it is placed.
    pub shares: Vec<ShareRow>,
    /// Its messages.
    pub links: Vec<LinkRow>,
    /// State of its endpoints.
    pub endpoints: Vec<EndpointRow>,
    /// Its outcomes; call 0 ends an endpoint.
    pub outcomes: Vec<StoredOutcome>,
}

/// Why a stored run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The definition is of another version.
    #[error("its definition cannot be read: {0}")]
    Definition(String),
    /// The messages to its workers or its accounts cannot be opened.
    #[error("its sealed data cannot be opened")]
    Sealed,
}

/// Accounts given with a definition, back from their sealed form.
pub(super) fn unseal_accounts(
    sealed: Option<&[u8]>,
    seal: &SealKey,
) -> Result<InlineAccounts, RestoreError> {
    let Some(sealed) = sealed else {
        return Ok(InlineAccounts::default());
    };
    let text = seal.unseal(sealed).map_err(|_| RestoreError::Sealed)?;
    let text = std::str::from_utf8(&text).map_err(|_| RestoreError::Sealed)?;
    InlineAccounts::from_sealed_form(text).ok_or(RestoreError::Sealed)
}

/// The definition of a stored run.
pub(crate) fn definition_of(
    record: &RunRecord,
    inline: &InlineAccounts,
) -> Result<definition::ValidatedTest, RestoreError> {
    let spec: CallTestSpec = serde_json::from_str(&record.definition)
        .map_err(|e| RestoreError::Definition(e.to_string()))?;
    definition::validate(&spec, inline, &record.namespace)
        .map_err(|e| RestoreError::Definition(e.to_string()))
}

impl Run {
    /// A run as it was stored; waits begin again, so that workers have their time to come back.
    pub fn restore(stored: StoredRun, seal: &SealKey, now: Now) -> Result<Self, RestoreError> {
        let StoredRun {
            record,
            shares,
            links,
            endpoints,
            outcomes,
        } = stored;
        let inline = unseal_accounts(record.accounts.as_deref(), seal)?;
        let test = definition_of(&record, &inline)?;
        let identity = RunIdentity {
            id: record.id,
            organisation: record.organisation,
            project: record.project,
            namespace: record.namespace,
            name: record.name,
            created_ms: record.created_ms,
        };
        let mut run = Self::new(identity, test, now);
        let waited =
            Duration::from_millis(now.unix_ms.saturating_sub(record.created_ms).max(0) as u64);
        run.since = now.instant.checked_sub(waited).unwrap_or(now.instant);
        run.reason = record.reason;
        run.started_ms = record.started_ms;
        run.ended_ms = record.ended_ms;
        run.failed = record.failed;
        run.stopped = record.stopped;
        // Those of the definition are there already.
        let warnings: Vec<String> = serde_json::from_str(&record.warnings).unwrap_or_default();
        for warning in warnings {
            if !run.warnings.contains(&warning) {
                run.warnings.push(warning);
            }
        }
        run.partial = serde_json::from_str(&record.partial_reasons).unwrap_or_default();
        let index = |name: &str| run.test.groups.iter().position(|g| g.name == name);
        let place = |share: ShareRow| {
            Some(PlacedShare {
                group: index(&share.group)?,
                worker: share.worker,
                worker_name: share.worker_name,
                first: share.first,
                count: share.count,
            })
        };
        run.shares = shares.into_iter().filter_map(place).collect();
        run.links = links
            .into_iter()
            .map(|row| Ok((row.worker, open_link(&row, seal)?)))
            .collect::<Result<BTreeMap<_, _>, RestoreError>>()?;
        let mut states: Vec<Vec<Endpoint>> = run.endpoints.clone();
        for row in endpoints {
            let state = index(&row.group).and_then(|g| states[g].get_mut(row.endpoint as usize));
            if let Some(state) = state {
                *state = row.state;
            }
        }
        for outcome in outcomes.iter().filter(|o| o.row.call == 0) {
            let state = index(&outcome.group)
                .and_then(|g| states[g].get_mut(outcome.row.endpoint as usize));
            if let Some(state) = state {
                state.ended = Some(outcome.row.outcome);
            }
        }
        run.endpoints = states;
        let status = RunPhase::parse(&record.status).unwrap_or_default();
        run.stage = run.stage_of(&record.stage, status, now);
        Ok(run)
    }

    fn stage_of(&self, stage: &str, status: RunPhase, now: Now) -> Stage {
        let until = |wait: Duration| now.instant + wait;
        match stage {
            "callees" => Stage::Callees {
                until: until(READY_WITHIN),
            },
            "callers" => Stage::Callers {
                until: until(READY_WITHIN),
            },
            "started" => Stage::Started {
                until: self.end_deadline(now),
            },
            "stopping" => Stage::Stopping {
                until: until(super::machine::STOP_WITHIN),
            },
            "over" => Stage::Over(status),
            _ => Stage::Waiting(Waiting {
                accepted: status != RunPhase::Pending,
                ..Waiting::default()
            }),
        }
    }

    /// When a started run is stopped if it does not end by itself; counted from its start, and at
    /// least as long as a lost worker needs to be given up.
    fn end_deadline(&self, now: Now) -> Instant {
        let gone = now
            .unix_ms
            .saturating_sub(self.started_ms.unwrap_or(now.unix_ms))
            .max(0) as u64;
        let left = self
            .test
            .duration
            .saturating_sub(Duration::from_millis(gone));
        now.instant + left + super::machine::REPORT_WITHIN
    }

    /// What is stored of it.
    pub fn progress(&self, seal: &SealKey) -> Result<RunProgress, crate::keys::NoRandomness> {
        let links = self.links.iter().map(|(&worker, link)| {
            Ok(LinkRow {
                worker,
                instance: link.instance,
                next_seq: link.next_seq,
                ended: link.ended,
                lost_ms: link.lost_ms,
                messages: seal.seal(&messages_of(link))?,
                applied: link.applied,
            })
        });
        let share = |s: &PlacedShare| ShareRow {
            group: self.test.groups[s.group].name.clone(),
            worker: s.worker,
            worker_name: s.worker_name.clone(),
            first: s.first,
            count: s.count,
        };
        // Until it is dispatched, a placement is no more than a reservation in memory.
        let placed = !matches!(self.stage, Stage::Waiting(_) | Stage::Preparing);
        Ok(RunProgress {
            status: self.status().as_str(),
            stage: match self.stage {
                Stage::Waiting(_) | Stage::Preparing => "waiting",
                Stage::Callees { .. } => "callees",
                Stage::Callers { .. } => "callers",
                Stage::Started { .. } => "started",
                Stage::Stopping { .. } => "stopping",
                Stage::Over(_) => "over",
            },
            reason: self.reason.clone(),
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            partial_reasons: serde_json::to_string(&self.partial).unwrap_or_default(),
            warnings: serde_json::to_string(&self.warnings).unwrap_or_default(),
            failed: self.failed.clone(),
            stopped: self.stopped.clone(),
            shares: if placed {
                self.shares.iter().map(share).collect()
            } else {
                Vec::new()
            },
            links: if placed {
                links.collect::<Result<_, _>>()?
            } else {
                Vec::new()
            },
        })
    }

    /// Workers that carry a part of it and the processes that do.
    pub fn carriers(
        &self,
    ) -> impl Iterator<Item = (crate::link::WorkerId, crate::link::InstanceId)> {
        self.links
            .iter()
            .filter(|(_, link)| !link.is_over())
            .map(|(id, link)| (*id, link.instance))
    }
}

/// Unconfirmed messages, then the shares held back: those have no number yet.
fn messages_of(link: &Link) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    for message in &link.outbox {
        bytes.extend_from_slice(&Zeroizing::new(message.encode_length_delimited_to_vec()));
    }
    for assign in &link.held {
        let message = ToWorker {
            message: Some(to_worker::Message::Assign(assign.clone())),
        };
        bytes.extend_from_slice(&Zeroizing::new(message.encode_length_delimited_to_vec()));
    }
    bytes
}

fn open_link(row: &LinkRow, seal: &SealKey) -> Result<Link, RestoreError> {
    // Of a run that is over nothing is kept.
    let bytes = match row.messages.as_slice() {
        [] => Zeroizing::new(Vec::new()),
        sealed => seal.unseal(sealed).map_err(|_| RestoreError::Sealed)?,
    };
    let mut rest = &bytes[..];
    let mut outbox = VecDeque::new();
    let mut held = Vec::new();
    while !rest.is_empty() {
        let message =
            ToWorker::decode_length_delimited(&mut rest).map_err(|_| RestoreError::Sealed)?;
        match message.message {
            Some(to_worker::Message::Assign(assign)) if assign.seq == 0 => held.push(assign),
            _ => outbox.push_back(message),
        }
    }
    Ok(Link {
        instance: row.instance,
        next_seq: row.next_seq,
        outbox,
        held,
        applied: row.applied,
        ended: row.ended,
        lost_ms: row.lost_ms,
    })
}
