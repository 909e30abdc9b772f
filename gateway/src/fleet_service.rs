//! `callmeter.fleet.v1`: what an operator of a fleet asks of the gateway.

mod check;
mod rows;
mod watch;

use callmeter_proto::Secret;
use callmeter_proto::fleet::fleet_server::{Fleet, FleetServer};
use callmeter_proto::fleet::{
    CreateWorkerRequest, CreateWorkerResponse, DeletePoolRequest, DeletePoolResponse,
    DeleteWorkerRequest, DeleteWorkerResponse, FenceRequest, FenceResponse, RegenerateTokenRequest,
    RegenerateTokenResponse, RunState, SetDisabledRequest, SetDisabledResponse, StopRunRequest,
    StopRunResponse, SubmitRunRequest, SubmitRunResponse, UnfenceRequest, UnfenceResponse,
    UpdateWorkerRequest, UpdateWorkerResponse, UpsertPoolRequest, UpsertPoolResponse,
    WatchDemandRequest, WatchDemandResponse, WatchRunRequest, WatchWorkersRequest,
    WatchWorkersResponse,
};
use futures::Stream;
use std::pin::Pin;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::auth::{Auth, Caller};
use crate::link::{InstanceId, PoolRegistration, RunError, RunHandle, SubmitRun, WorkerId};
use crate::sessions::{CreateWorker, Sessions, SessionsError, check_labels};

/// The largest request: a test definition.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

type Answer<T> = Result<Response<T>, Status>;
type Watch<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The fleet API.
#[derive(Debug)]
pub struct FleetService {
    auth: Auth,
    sessions: Sessions,
    runs: RunHandle,
    shutdown: CancellationToken,
}

impl FleetService {
    /// Watches end when `shutdown` is cancelled.
    pub fn new(
        auth: Auth,
        sessions: Sessions,
        runs: RunHandle,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            auth,
            sessions,
            runs,
            shutdown,
        }
    }

    /// The service with its limits.
    pub fn into_server(self) -> FleetServer<Self> {
        FleetServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }

    async fn caller<T>(&self, request: Request<T>) -> Result<(Caller, T), Status> {
        let caller = self.auth.fleet_caller(request.metadata()).await?;
        Ok((caller, request.into_inner()))
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    type WatchWorkersStream = Watch<WatchWorkersResponse>;
    type WatchDemandStream = Watch<WatchDemandResponse>;
    type WatchRunStream = Watch<RunState>;

    async fn create_worker(
        &self,
        request: Request<CreateWorkerRequest>,
    ) -> Answer<CreateWorkerResponse> {
        let (caller, request) = self.caller(request).await?;
        let CreateWorkerRequest {
            key,
            project,
            name,
            capacity,
            labels,
        } = request;
        check::key(&key, "worker", "resource")?;
        let Caller {
            organisation,
            role: _,
            name: created_by,
        } = caller;
        let labels = labels.into_iter().collect();
        let create = CreateWorker {
            organisation,
            project,
            key,
            name,
            capacity,
            labels,
            created_by,
        };
        let created = self.sessions.create_worker(create).await?;
        let token = created
            .token
            .map(|token| token.expose().to_owned())
            .unwrap_or_default();
        Ok(Response::new(CreateWorkerResponse {
            id: created.id.to_string(),
            token,
        }))
    }

    async fn update_worker(
        &self,
        request: Request<UpdateWorkerRequest>,
    ) -> Answer<UpdateWorkerResponse> {
        let (
            caller,
            UpdateWorkerRequest {
                id,
                capacity,
                labels,
            },
        ) = self.caller(request).await?;
        let labels = labels.into_iter().collect();
        self.sessions
            .update_worker(&caller.organisation, worker_id(&id)?, capacity, labels)
            .await?;
        Ok(Response::new(UpdateWorkerResponse {}))
    }

    async fn delete_worker(
        &self,
        request: Request<DeleteWorkerRequest>,
    ) -> Answer<DeleteWorkerResponse> {
        let (caller, DeleteWorkerRequest { id }) = self.caller(request).await?;
        self.sessions
            .delete_worker(&caller.organisation, worker_id(&id)?)
            .await?;
        Ok(Response::new(DeleteWorkerResponse {}))
    }

    async fn regenerate_token(
        &self,
        request: Request<RegenerateTokenRequest>,
    ) -> Answer<RegenerateTokenResponse> {
        let (caller, RegenerateTokenRequest { id }) = self.caller(request).await?;
        let token = self
            .sessions
            .regenerate_token(&caller.organisation, worker_id(&id)?)
            .await?;
        Ok(Response::new(RegenerateTokenResponse {
            token: token.expose().to_owned(),
        }))
    }

    async fn set_disabled(
        &self,
        request: Request<SetDisabledRequest>,
    ) -> Answer<SetDisabledResponse> {
        let (caller, SetDisabledRequest { id, disabled }) = self.caller(request).await?;
        self.sessions
            .set_disabled(&caller.organisation, worker_id(&id)?, disabled)
            .await?;
        Ok(Response::new(SetDisabledResponse {}))
    }

    async fn fence(&self, request: Request<FenceRequest>) -> Answer<FenceResponse> {
        let (
            caller,
            FenceRequest {
                id,
                instance,
                reason,
                ends_in_ms,
            },
        ) = self.caller(request).await?;
        let (id, instance) = (worker_id(&id)?, instance_id(&instance)?);
        check::text("reason", &reason)?;
        let answer = self
            .sessions
            .fence(&caller.organisation, id, instance, reason, ends_in_ms)
            .await?;
        Ok(Response::new(FenceResponse {
            fence_seq: answer.seq,
            active_endpoints: answer.load.active,
            reserved_endpoints: answer.load.reserved,
        }))
    }

    async fn unfence(&self, request: Request<UnfenceRequest>) -> Answer<UnfenceResponse> {
        let (caller, UnfenceRequest { id, instance }) = self.caller(request).await?;
        self.sessions
            .unfence(
                &caller.organisation,
                worker_id(&id)?,
                instance_id(&instance)?,
            )
            .await?;
        Ok(Response::new(UnfenceResponse {}))
    }

    async fn upsert_pool(&self, request: Request<UpsertPoolRequest>) -> Answer<UpsertPoolResponse> {
        let (caller, request) = self.caller(request).await?;
        let UpsertPoolRequest {
            key,
            project,
            region,
            labels,
            endpoints_per_worker,
            max_workers,
            live_workers,
        } = request;
        check::pool("key", &key)?;
        check::text("region", &region)?;
        check::count("endpoints_per_worker", endpoints_per_worker, 1)?;
        check::count("max_workers", max_workers, 0)?;
        check::count("live_workers", live_workers, 0)?;
        let labels = labels.into_iter().collect();
        check_labels(&labels)?;
        let pool = PoolRegistration {
            organisation: caller.organisation,
            key,
            project,
            region,
            labels,
            endpoints_per_worker,
            max_workers,
            live_workers,
        };
        self.runs.upsert_pool(pool).await?;
        Ok(Response::new(UpsertPoolResponse {}))
    }

    async fn delete_pool(&self, request: Request<DeletePoolRequest>) -> Answer<DeletePoolResponse> {
        let (caller, DeletePoolRequest { key }) = self.caller(request).await?;
        check::pool("key", &key)?;
        self.runs.delete_pool(&caller.organisation, &key).await?;
        Ok(Response::new(DeletePoolResponse {}))
    }

    async fn watch_workers(
        &self,
        request: Request<WatchWorkersRequest>,
    ) -> Answer<Self::WatchWorkersStream> {
        let (caller, WatchWorkersRequest { selector }) = self.caller(request).await?;
        let selector = selector.into_iter().collect();
        check_labels(&selector)?;
        let rows = rows::WorkerRows::new(self.sessions.clone(), caller.organisation, selector);
        Ok(Response::new(watch::workers(
            rows,
            self.sessions.changes(),
            self.runs.loads(),
            self.shutdown.clone(),
        )))
    }

    async fn watch_demand(
        &self,
        request: Request<WatchDemandRequest>,
    ) -> Answer<Self::WatchDemandStream> {
        let (caller, WatchDemandRequest { pools }) = self.caller(request).await?;
        for (index, key) in pools.iter().enumerate() {
            check::pool(&format!("pools[{index}]"), key)?;
        }
        let demand = self.runs.demand();
        Ok(Response::new(watch::demand(
            caller.organisation,
            pools,
            demand,
            self.shutdown.clone(),
        )))
    }

    async fn submit_run(&self, request: Request<SubmitRunRequest>) -> Answer<SubmitRunResponse> {
        let (caller, request) = self.caller(request).await?;
        let SubmitRunRequest {
            key,
            project,
            namespace,
            name,
            definition_json,
        } = request;
        check::key(&key, "run", "CallTest")?;
        check::namespace(&namespace)?;
        check::text("name", &name)?;
        let organisation = caller.organisation;
        let submit = SubmitRun {
            organisation,
            key,
            project,
            namespace,
            name,
            definition_json: Secret::new(definition_json),
        };
        let run = self.runs.submit(submit).await?;
        Ok(Response::new(SubmitRunResponse { run }))
    }

    async fn stop_run(&self, request: Request<StopRunRequest>) -> Answer<StopRunResponse> {
        let (caller, StopRunRequest { run, reason }) = self.caller(request).await?;
        check::run(&run)?;
        check::text("reason", &reason)?;
        self.runs.stop(&caller.organisation, &run, &reason).await?;
        Ok(Response::new(StopRunResponse {}))
    }

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Answer<Self::WatchRunStream> {
        let (caller, WatchRunRequest { run }) = self.caller(request).await?;
        check::run(&run)?;
        let states = self.runs.watch(&caller.organisation, &run).await?;
        Ok(Response::new(watch::run(states, self.shutdown.clone())))
    }
}

fn worker_id(text: &str) -> Result<WorkerId, Status> {
    text.parse().map_err(|_| {
        Status::invalid_argument(format!(
            "id: \"{text:.64}\"; accepted: the id CreateWorker answered with"
        ))
    })
}

fn instance_id(bytes: &[u8]) -> Result<InstanceId, Status> {
    bytes.try_into().map(InstanceId).map_err(|_| {
        Status::invalid_argument(format!(
            "instance: {} bytes; accepted: 16 bytes",
            bytes.len()
        ))
    })
}

impl From<SessionsError> for Status {
    fn from(error: SessionsError) -> Self {
        let code = match &error {
            SessionsError::NoWorker(_) => Code::NotFound,
            SessionsError::Invalid { .. } => Code::InvalidArgument,
            SessionsError::OtherInstance { .. } => Code::FailedPrecondition,
            SessionsError::Store(failed) => {
                tracing::error!(error = failed as &dyn std::error::Error, "the store failed");
                Code::Unavailable
            }
            SessionsError::Random(_) | SessionsError::Stopping => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RunError> for Status {
    fn from(error: RunError) -> Self {
        let code = match &error {
            RunError::Invalid(_) => Code::InvalidArgument,
            RunError::NoRun(_) => Code::NotFound,
            RunError::Unavailable(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
