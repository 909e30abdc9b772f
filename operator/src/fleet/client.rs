//! Requests to the gateway's fleet API, over TLS, as the operator's service account.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use callmeter_proto::fleet::{self as pb, fleet_client::FleetClient};
use callmeter_proto::{Secret, WorkerToken};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::Index;
use crate::error::{Error, Result};

/// No request waits longer for its answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(8);
/// The kubelet renews a projected token long before its end; reading it this often is enough.
const TOKEN_AGE: Duration = Duration::from_secs(30);

/// How the fleet API is reached.
#[derive(Clone, Debug)]
pub(crate) struct FleetConfig {
    /// `https://host:port`
    pub(crate) url: String,
    /// CA certificates (PEM); absent: the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// The projected service account token.
    pub(crate) token_file: PathBuf,
}

pub(super) type Client = FleetClient<InterceptedService<Channel, Bearer>>;

/// A client, and the CA certificates it was made with.
type Connected = (Client, Option<Vec<u8>>);

/// The gateway as the controllers see it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fleet {
    config: Arc<FleetConfig>,
    client: Arc<Mutex<Option<Connected>>>,
    index: Index,
}

impl Fleet {
    pub(crate) fn new(config: FleetConfig, index: Index) -> Self {
        Self {
            config: Arc::new(config),
            client: Arc::default(),
            index,
        }
    }

    /// What the gateway reported last.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// A client; the connection is made at the first request, kept, and made anew by the channel.
    /// A changed CA file gives a new one.
    pub(super) async fn client(&self) -> Result<Client> {
        let config = &self.config;
        let ca = match &config.ca_file {
            Some(path) => Some(tokio::fs::read(path).await.map_err(|source| Error::File {
                path: path.display().to_string(),
                source,
            })?),
            None => None,
        };
        let known = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((client, with)) = known
            && with == ca
        {
            return Ok(client);
        }
        let client = connect(config, ca.as_deref())?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some((client.clone(), ca));
        Ok(client)
    }

    async fn call<T, F>(&self, what: &'static str, request: impl FnOnce(Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let client = self.client().await?;
        tokio::time::timeout(REQUEST_LIMIT, request(client))
            .await
            .unwrap_or_else(|_| {
                Err(Status::deadline_exceeded(format!(
                    "no answer within {REQUEST_LIMIT:?}"
                )))
            })
            .map(tonic::Response::into_inner)
            .map_err(Error::gateway(what))
    }

    /// Makes a worker's record; its token comes with the first answer for a key only.
    pub(crate) async fn create_worker(
        &self,
        request: pb::CreateWorkerRequest,
    ) -> Result<(String, Option<Secret>)> {
        let what = "make the worker's record at the gateway";
        let answer = self
            .call(what, |mut client| async move {
                client.create_worker(request).await
            })
            .await?;
        let token = (!answer.token.is_empty()).then(|| token_of(what, answer.token));
        Ok((id_of(what, answer.id)?, token.transpose()?))
    }

    /// Changes what a worker may bear.
    pub(crate) async fn update_worker(&self, request: pb::UpdateWorkerRequest) -> Result<()> {
        self.call(
            "change the worker's record at the gateway",
            |mut client| async move { client.update_worker(request).await },
        )
        .await
        .map(drop)
    }

    /// Ends a worker's record and token; one that is gone is no error.
    pub(crate) async fn delete_worker(&self, id: String) -> Result<()> {
        let request = pb::DeleteWorkerRequest { id };
        let answer = self
            .call(
                "delete the worker's record at the gateway",
                |mut client| async move { client.delete_worker(request).await },
            )
            .await;
        match answer {
            Err(Error::Gateway { source, .. }) if source.code() == tonic::Code::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// A new token; the old one is dead.
    pub(crate) async fn regenerate_token(&self, id: String) -> Result<Secret> {
        let request = pb::RegenerateTokenRequest { id };
        let what = "have the gateway make a new token";
        let answer = self
            .call(what, |mut client| async move {
                client.regenerate_token(request).await
            })
            .await?;
        token_of(what, answer.token)
    }

    /// No new work for this process; the answer is read after the fence holds.
    pub(crate) async fn fence(&self, request: pb::FenceRequest) -> Result<pb::FenceResponse> {
        self.call("fence the worker", |mut client| async move {
            client.fence(request).await
        })
        .await
    }

    /// Lifts a fence; a worker that has another process by now, or no fence, is no error.
    pub(crate) async fn unfence(&self, request: pb::UnfenceRequest) -> Result<()> {
        let answer = self
            .call("lift the worker's fence", |mut client| async move {
                client.unfence(request).await
            })
            .await;
        match answer {
            Err(Error::Gateway { source, .. })
                if matches!(
                    source.code(),
                    tonic::Code::NotFound | tonic::Code::FailedPrecondition
                ) =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Registers a pool as room to grow.
    pub(crate) async fn upsert_pool(&self, request: pb::UpsertPoolRequest) -> Result<()> {
        self.call(
            "register the pool at the gateway",
            |mut client| async move { client.upsert_pool(request).await },
        )
        .await
        .map(drop)
    }

    /// Ends a pool's registration.
    pub(crate) async fn delete_pool(&self, key: String) -> Result<()> {
        let request = pb::DeletePoolRequest { key };
        self.call(
            "end the pool's registration at the gateway",
            |mut client| async move { client.delete_pool(request).await },
        )
        .await
        .map(drop)
    }

    /// Submits a test; the same key gives the same run.
    pub(crate) async fn submit_run(&self, request: pb::SubmitRunRequest) -> Result<String> {
        let what = "submit the test";
        let answer = self
            .call(what, |mut client| async move {
                client.submit_run(request).await
            })
            .await?;
        id_of(what, answer.run)
    }

    /// Stops a run; one that the gateway does not know is no error.
    pub(crate) async fn stop_run(&self, run: String, reason: &str) -> Result<()> {
        let request = pb::StopRunRequest {
            run,
            reason: reason.to_owned(),
        };
        let answer = self
            .call("stop the run", |mut client| async move {
                client.stop_run(request).await
            })
            .await;
        match answer {
            Err(Error::Gateway { source, .. }) if source.code() == tonic::Code::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// The states of a run, from now on.
    pub(crate) async fn watch_run(&self, run: String) -> Result<tonic::Streaming<pb::RunState>> {
        let request = pb::WatchRunRequest { run };
        self.call("watch the run", |mut client| async move {
            client.watch_run(request).await
        })
        .await
    }
}

/// An id out of an answer; an answer without one is none.
fn id_of(what: &'static str, id: String) -> Result<String> {
    if (1..=253).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(id);
    }
    Err(Error::gateway(what)(Status::data_loss(
        "the answer holds no id; accepted: 1 to 253 printable characters",
    )))
}

/// A token out of an answer: a Secret that holds anything else would start a worker in vain.
fn token_of(what: &'static str, token: String) -> Result<Secret> {
    let token = Secret::new(token);
    match WorkerToken::parse(token.expose()) {
        Ok(_) => Ok(token),
        Err(_) => Err(Error::gateway(what)(Status::data_loss(
            "the answer holds no worker token; accepted: cmw_ and 64 lowercase hexadecimal characters",
        ))),
    }
}

fn connect(config: &FleetConfig, ca: Option<&[u8]>) -> Result<Client> {
    let invalid = |error: tonic::transport::Error| Error::InvalidSpec {
        field: "--fleet-url",
        message: format!(
            "`{}` is no address of a fleet API ({error}); accepted: https://host:port",
            config.url
        ),
    };
    let tls = match ca {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let endpoint = Endpoint::from_shared(config.url.clone())
        .map_err(invalid)?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tls_config(tls)
        .map_err(invalid)?;
    let bearer = Bearer {
        file: config.token_file.clone(),
        known: Arc::default(),
    };
    let client = FleetClient::with_interceptor(endpoint.connect_lazy(), bearer);
    Ok(client.max_decoding_message_size(MAX_ANSWER))
}

/// The largest answer: the snapshot of a fleet of many thousand workers, a few hundred bytes each.
pub(super) const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A token as it is sent, and when it was read.
type ReadToken = (MetadataValue<Ascii>, Instant);

/// Adds the service account's token to each request.
#[derive(Clone)]
pub(super) struct Bearer {
    file: PathBuf,
    known: Arc<Mutex<Option<ReadToken>>>,
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match known.as_ref() {
            Some((value, read)) if read.elapsed() < TOKEN_AGE => value.clone(),
            _ => {
                let value = read_token(&self.file)?;
                *known = Some((value.clone(), Instant::now()));
                value
            }
        };
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

fn read_token(file: &std::path::Path) -> Result<MetadataValue<Ascii>, Status> {
    // A file of about a kilobyte on a tmpfs, twice a minute: not worth a thread.
    let token = std::fs::read_to_string(file)
        .map(Secret::new)
        .map_err(|error| Status::unauthenticated(format!("read {}: {error}", file.display())))?;
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.expose().trim())
        .parse()
        .map_err(|_| Status::unauthenticated(format!("{}: is no token", file.display())))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R7
    #[test]
    fn a_token_file_is_read_and_its_text_never_shown() {
        let path =
            std::env::temp_dir().join(format!("callmeter-fleet-token-{}", std::process::id()));
        std::fs::write(&path, "eyJsecret\n").unwrap();
        let mut bearer = Bearer {
            file: path.clone(),
            known: Arc::default(),
        };
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(
            request.metadata().get("authorization").unwrap(),
            "Bearer eyJsecret"
        );
        assert!(!format!("{:?}", request.metadata()).contains("eyJsecret"));
        std::fs::remove_file(&path).unwrap();
        let refusal = read_token(&path).unwrap_err();
        assert!(
            refusal.message().contains("callmeter-fleet-token"),
            "{refusal}"
        );
    }
}
