//! Which of several operators acts: the holder of a Lease. The holder is the pod's name, so a
//! restarted container goes on at once; a pod that dies is succeeded after [`DURATION`].

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tracing::{info, warn};

use crate::error::{Error, Result};

/// A lease that was not renewed for this long is anyone's.
pub(crate) const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long stops writing and ends.
pub(crate) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the lease is renewed or tried for.
pub(crate) const PERIOD: Duration = Duration::from_secs(2);

const NAME: &str = "callmeter-operator";

/// Until when this process may write. Shared by everything that writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// Refuses when the lease may be another's by now; asked before every write.
    pub(crate) fn check(&self) -> Result<()> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match until {
            Some(until) if Instant::now() < until => Ok(()),
            _ => Err(Error::NotLeader),
        }
    }

    pub(crate) fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// One candidate for the lease.
pub(crate) struct Elector {
    api: Api<Lease>,
    holder: String,
    leadership: Leadership,
    /// The lease as another holder last renewed it, and when this process first saw it so: clocks
    /// of other machines are not trusted.
    foreign: Option<(Option<String>, Instant)>,
}

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Create,
    Take { transitions: i32 },
    Renew,
    Wait,
}

impl Elector {
    /// A candidate of this name for the lease of a namespace.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        holder: String,
        leadership: Leadership,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            holder,
            leadership,
            foreign: None,
        }
    }

    /// Returns once the lease is held.
    pub(crate) async fn acquire(&mut self) {
        info!(holder = self.holder, "waits for the lease");
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => warn!(error = error.chain(), "cannot ask for the lease"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Renews for as long as that works; returns when the lease is lost.
    pub(crate) async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(PERIOD).await;
            match tokio::time::timeout(RENEW_DEADLINE / 2, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => warn!(error = error.chain(), "cannot renew the lease"),
                Err(_) => warn!("renewing the lease takes too long"),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return;
            }
        }
    }

    /// Gives the lease back, so that another operator need not wait for its end.
    pub(crate) async fn release(&mut self) -> Result<()> {
        self.leadership.set(None);
        let Some(mut lease) = self.get().await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.holder) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        self.put(&lease, "release the lease").await.map(drop)
    }

    /// One try to take or renew the lease; whether it is held afterwards.
    async fn attempt(&mut self) -> Result<bool> {
        // The end is counted from before the request: the server's renewal cannot be earlier.
        let asked = Instant::now();
        let found = self.get().await?;
        let claim = self.judge(found.as_ref(), asked);
        let now = Timestamp::now();
        let held = match claim {
            Claim::Wait => false,
            Claim::Create => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(NAME.to_owned()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(self.spec(now, now, 0)),
                };
                let created = self.api.create(&PostParams::default(), &lease).await;
                won(created.map(drop).map_err(Error::kube("create the lease")))?
            }
            Claim::Take { transitions } => {
                let mut lease = found.unwrap_or_default();
                lease.spec = Some(self.spec(now, now, transitions));
                won(self.put(&lease, "take the lease").await.map(drop))?
            }
            Claim::Renew => {
                let mut lease = found.unwrap_or_default();
                let spec = lease.spec.unwrap_or_default();
                let acquired = spec.acquire_time.map_or(now, |time| time.0);
                lease.spec = Some(self.spec(acquired, now, spec.lease_transitions.unwrap_or(0)));
                won(self.put(&lease, "renew the lease").await.map(drop))?
            }
        };
        self.leadership.set(held.then_some(asked + RENEW_DEADLINE));
        Ok(held)
    }

    fn judge(&mut self, lease: Option<&Lease>, now: Instant) -> Claim {
        let Some(lease) = lease else {
            return Claim::Create;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        match spec.holder_identity.as_deref() {
            Some(holder) if holder == self.holder => Claim::Renew,
            Some(holder) if !holder.is_empty() => {
                let version = &lease.metadata.resource_version;
                match &self.foreign {
                    Some((seen, since)) if seen == version => {
                        let length = spec
                            .lease_duration_seconds
                            .unwrap_or(DURATION.as_secs() as i32)
                            .clamp(1, 300);
                        if now.duration_since(*since)
                            < Duration::from_secs(length.unsigned_abs().into())
                        {
                            return Claim::Wait;
                        }
                        Claim::Take {
                            transitions: spec.lease_transitions.unwrap_or(0) + 1,
                        }
                    }
                    _ => {
                        self.foreign = Some((version.clone(), now));
                        Claim::Wait
                    }
                }
            }
            _ => Claim::Take {
                transitions: spec.lease_transitions.unwrap_or(0) + 1,
            },
        }
    }

    fn spec(&self, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(renewed)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    async fn get(&self) -> Result<Option<Lease>> {
        self.api
            .get_opt(NAME)
            .await
            .map_err(Error::kube("read the lease"))
    }

    async fn put(&self, lease: &Lease, what: &'static str) -> Result<Lease> {
        self.api
            .replace(NAME, &PostParams::default(), lease)
            .await
            .map_err(Error::kube(what))
    }
}

/// A conflict means that another candidate was faster.
fn won(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error)
            if error
                .status()
                .is_some_and(|s| s.is_conflict() || s.is_already_exists()) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elector() -> Elector {
        let (service, _handle) = tower_test::mock::pair::<
            http::Request<kube::client::Body>,
            http::Response<kube::client::Body>,
        >();
        Elector::new(
            Client::new(service, "default"),
            "default",
            "me".into(),
            Leadership::default(),
        )
    }

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(4),
                ..LeaseSpec::default()
            }),
        }
    }

    #[tokio::test]
    async fn a_lease_is_taken_only_when_its_holder_was_silent_for_its_length() {
        let mut elector = elector();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(elector.judge(None, at(0)), Claim::Create);
        assert_eq!(
            elector.judge(Some(&lease("", "1")), at(0)),
            Claim::Take { transitions: 5 }
        );
        assert_eq!(elector.judge(Some(&lease("me", "1")), at(0)), Claim::Renew);
        assert_eq!(
            elector.judge(Some(&lease("other", "2")), at(0)),
            Claim::Wait
        );
        assert_eq!(
            elector.judge(Some(&lease("other", "2")), at(14)),
            Claim::Wait
        );
        assert_eq!(
            elector.judge(Some(&lease("other", "3")), at(15)),
            Claim::Wait
        );
        assert_eq!(
            elector.judge(Some(&lease("other", "3")), at(29)),
            Claim::Wait
        );
        assert_eq!(
            elector.judge(Some(&lease("other", "3")), at(30)),
            Claim::Take { transitions: 5 }
        );
    }

    #[test]
    fn nothing_is_written_without_the_lease_or_after_its_end() {
        let leadership = Leadership::default();
        assert!(matches!(leadership.check(), Err(Error::NotLeader)));
        leadership.set(Some(Instant::now() + Duration::from_secs(60)));
        assert!(leadership.check().is_ok());
        leadership.set(Some(Instant::now()));
        assert!(matches!(leadership.check(), Err(Error::NotLeader)));
    }
}
