//! ServiceAccount tokens, judged by the API server.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use callmeter_proto::Secret;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{Api, PostParams};
use ring::digest::{SHA256, digest};
use tokio::time::timeout;

use super::AuthError;

/// Audience a token must be made for.
pub const AUDIENCE: &str = "callmeter-gateway";
/// How long a judgement holds.
const CACHED_FOR: Duration = Duration::from_secs(60);
/// Judgements remembered; beyond that all are asked anew.
const CACHED: usize = 1024;
/// How long the API server may take.
const REVIEW_WITHIN: Duration = Duration::from_secs(5);

/// User names by digest of their token, with the time of the judgement.
type Judged = HashMap<Vec<u8>, (Instant, String)>;

/// Judges ServiceAccount tokens by TokenReview; cheap to clone.
#[derive(Clone)]
pub struct Reviewer {
    client: kube::Client,
    subjects: Arc<[String]>,
    cache: Arc<Mutex<Judged>>,
}

impl Reviewer {
    /// Accepts tokens of these user names (`system:serviceaccount:namespace:name`) only.
    pub fn new(client: kube::Client, subjects: Vec<String>) -> Self {
        Self {
            client,
            subjects: subjects.into(),
            cache: Arc::default(),
        }
    }

    /// The user name behind a token.
    pub(super) async fn review(&self, token: &Secret) -> Result<String, AuthError> {
        let digest = digest(&SHA256, token.expose().as_bytes()).as_ref().to_vec();
        if let Some(user) = self.cached(&digest) {
            return Ok(user);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.expose().to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = timeout(REVIEW_WITHIN, api.create(&PostParams::default(), &review)).await;
        let status = match answer {
            Ok(Ok(answer)) => answer.status.unwrap_or_default(),
            Ok(Err(failed)) => {
                tracing::warn!(
                    error = &failed as &dyn std::error::Error,
                    "TokenReview failed"
                );
                return Err(AuthError::Unavailable(
                    "the API server cannot check the token now".into(),
                ));
            }
            Err(_) => {
                return Err(AuthError::Unavailable(
                    "the API server did not check the token within 5 s".into(),
                ));
            }
        };
        let user = judge(&status, &self.subjects)?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert(digest, (Instant::now(), user.clone()));
        Ok(user)
    }

    fn cached(&self, digest: &[u8]) -> Option<String> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, user) = cache.get(digest)?;
        if at.elapsed() < CACHED_FOR {
            return Some(user.clone());
        }
        cache.remove(digest);
        None
    }
}

impl fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviewer")
            .field("subjects", &self.subjects)
            .finish_non_exhaustive()
    }
}

/// Authenticated, made for us, and on the list: all three.
fn judge(status: &TokenReviewStatus, subjects: &[String]) -> Result<String, AuthError> {
    let for_us = status
        .audiences
        .iter()
        .flatten()
        .any(|audience| audience == AUDIENCE);
    let user = status
        .user
        .as_ref()
        .and_then(|user| user.username.clone())
        .unwrap_or_default();
    if status.authenticated != Some(true) || !for_us {
        return Err(AuthError::InvalidKey);
    }
    if !subjects.contains(&user) {
        let accepted = subjects.join(", ");
        return Err(AuthError::Forbidden(format!(
            "\"{user}\" is not in --fleet-subjects; accepted: {accepted}"
        )));
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    #[test]
    fn a_token_must_be_authenticated_made_for_us_and_of_a_listed_subject() {
        let operator = "system:serviceaccount:cm:operator";
        let subjects = [operator.to_owned()];
        let status = |authenticated, audience: &str, user: &str| TokenReviewStatus {
            authenticated,
            audiences: Some(vec![audience.to_owned()]),
            user: Some(UserInfo {
                username: Some(user.to_owned()),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        };
        assert_eq!(
            judge(&status(Some(true), AUDIENCE, operator), &subjects).unwrap(),
            operator
        );
        for refused in [
            status(Some(false), AUDIENCE, operator),
            status(None, AUDIENCE, operator),
            status(Some(true), "https://kubernetes.default.svc", operator),
            TokenReviewStatus {
                audiences: None,
                ..status(Some(true), AUDIENCE, operator)
            },
        ] {
            assert!(
                matches!(judge(&refused, &subjects), Err(AuthError::InvalidKey)),
                "{refused:?}"
            );
        }
        let other = judge(
            &status(Some(true), AUDIENCE, "system:serviceaccount:cm:default"),
            &subjects,
        );
        assert!(matches!(other, Err(AuthError::Forbidden(_))));
    }
}
