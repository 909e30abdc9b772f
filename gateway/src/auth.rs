//! Who calls: API keys for people and programs, ServiceAccount tokens for the operator.

mod review;

use callmeter_proto::Secret;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::keys::{NoRandomness, Pepper};
use crate::sessions::unix_ms;
use crate::store::{ApiKey, DEFAULT_ORGANISATION, Role, Store, StoreError};
use crate::token::{ApiKeyText, bearer};

pub use review::{AUDIENCE, Reviewer};

/// A caller whose identity is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Organisation whose data it may see.
    pub organisation: String,
    /// What it may do.
    pub role: Role,
    /// Who it is, for records and logs: the key's name or the ServiceAccount.
    pub name: String,
}

/// Why a caller is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No credentials, or none that are known.
    #[error("Invalid or expired API key")]
    InvalidKey,
    /// The identity is proven and may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The identity cannot be checked now.
    #[error("{0}")]
    Unavailable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an API key cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeKeyError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks callers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Auth {
    store: Store,
    pepper: Pepper,
    reviewer: Option<Reviewer>,
}

impl Auth {
    /// Without a reviewer only API keys are accepted.
    pub fn new(store: Store, pepper: Pepper, reviewer: Option<Reviewer>) -> Self {
        Self {
            store,
            pepper,
            reviewer,
        }
    }

    /// The caller behind the value of an `authorization` header with an API key.
    pub async fn api_caller(&self, header: Option<&[u8]>) -> Result<Caller, AuthError> {
        let secret = bearer(header).ok_or(AuthError::InvalidKey)?;
        let key = ApiKeyText::parse(secret.expose()).ok_or(AuthError::InvalidKey)?;
        let key = self
            .store
            .api_key(&self.pepper.hash(key.expose()))
            .await?
            .ok_or(AuthError::InvalidKey)?;
        Ok(Caller {
            organisation: key.organisation,
            role: key.role,
            name: format!("key {}", key.name),
        })
    }

    /// The caller of the fleet API: an allowed ServiceAccount, or an API key of role admin.
    pub async fn fleet_caller(&self, metadata: &MetadataMap) -> Result<Caller, AuthError> {
        let header = metadata
            .get("authorization")
            .map(tonic::metadata::MetadataValue::as_encoded_bytes);
        let secret = bearer(header).ok_or(AuthError::InvalidKey)?;
        if secret.expose().starts_with(ApiKeyText::PREFIX) {
            let caller = self.api_caller(header).await?;
            if caller.role < Role::Admin {
                let (name, role) = (caller.name, caller.role);
                return Err(AuthError::Forbidden(format!(
                    "{name} has role {role}; accepted: admin or owner"
                )));
            }
            return Ok(caller);
        }
        let reviewer = self.reviewer.as_ref().ok_or(AuthError::InvalidKey)?;
        let name = reviewer.review(&secret).await?;
        Ok(Caller {
            organisation: DEFAULT_ORGANISATION.to_owned(),
            role: Role::Admin,
            name,
        })
    }

    /// Makes an API key; its text is shown once, by the caller.
    pub async fn make_key(
        &self,
        organisation: &str,
        name: &str,
        role: Role,
    ) -> Result<(ApiKey, Secret), MakeKeyError> {
        let text = ApiKeyText::mint()?;
        let key = ApiKey {
            id: uuid::Uuid::new_v4().to_string(),
            organisation: organisation.to_owned(),
            name: name.to_owned(),
            role,
            created_ms: unix_ms(),
        };
        self.store
            .tenant(organisation)
            .insert_api_key(&key, &self.pepper.hash(text.expose()))
            .await?;
        Ok((key, Secret::new(text.expose())))
    }
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        let code = match &error {
            AuthError::InvalidKey => Code::Unauthenticated,
            AuthError::Forbidden(_) => Code::PermissionDenied,
            AuthError::Unavailable(_) | AuthError::Store(_) => Code::Unavailable,
        };
        if let AuthError::Store(failed) = &error {
            tracing::error!(error = failed as &dyn std::error::Error, "the store failed");
        }
        let accepted = match &error {
            AuthError::InvalidKey => {
                "authorization: not accepted; accepted: a ServiceAccount token with audience callmeter-gateway \
                 of --fleet-subjects, or an API key (cmk_…) of role admin"
                    .to_owned()
            }
            other => other.to_string(),
        };
        Self::new(code, accepted)
    }
}
