//! What handlers take from a request: who calls, which page, which body.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{ApiError, Data};
use super::{MAX_BODY, RestState};
use crate::auth::Caller;
use crate::definition;
use crate::store::Role;

const PER_PAGE: u32 = 25;
const MOST_PER_PAGE: u32 = 200;

/// A caller whose API key is known; what it may do is asked with [`Access::at_least`].
#[derive(Debug)]
pub(super) struct Access(Caller);

impl Access {
    /// The caller, if its role includes this one.
    pub(super) fn at_least(&self, role: Role) -> Result<&Caller, ApiError> {
        let Self(caller) = self;
        if caller.role < role {
            let have = caller.role;
            return Err(ApiError::forbidden(format!(
                "role: {have}; accepted: {role} or above"
            )));
        }
        Ok(caller)
    }
}

impl FromRequestParts<RestState> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, ApiError> {
        let header = parts
            .headers
            .get(header::AUTHORIZATION)
            .map(header::HeaderValue::as_bytes);
        Ok(Self(state.auth.api_caller(header).await?))
    }
}

/// Query parameters; each handler takes those it knows and refuses the rest.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Takes a parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let shown: String = name.chars().take(64).collect();
                Err(ApiError::invalid(format!("{shown}: is no known parameter")))
            }
        }
    }

    /// Takes a number between `least` and `most`.
    pub(super) fn number<T>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> Result<T, ApiError>
    where
        T: Copy + FromStr + PartialOrd + Display,
    {
        let Some(text) = self.take(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            ApiError::invalid(format!("{name}: \"{shown}\"; accepted: {least} to {most}"))
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Ok(Query(pairs)) = query else {
            return Err(ApiError::invalid(
                "query: accepted: name=value pairs, URL-encoded",
            ));
        };
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(ApiError::invalid(format!("{shown}: is given twice")));
            }
            parameters.insert(name, value);
        }
        Ok(Self(parameters))
    }
}

/// One page of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) page: u32,
    pub(super) per_page: u32,
}

impl Page {
    /// Entries before this page.
    pub(super) fn offset(self) -> u32 {
        (self.page - 1).saturating_mul(self.per_page)
    }

    /// This page of a whole list.
    pub(super) fn of<T: Serialize>(self, rows: &[T]) -> Data {
        let from = rows.len().min(self.offset() as usize);
        let to = rows.len().min(from + self.per_page as usize);
        Data::page(&rows[from..to], self.page, self.per_page, rows.len() as u64)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let mut parameters = Parameters::from_request_parts(parts, state).await?;
        let page = parameters.number("page", 1, 1, u32::MAX)?;
        let per_page = parameters.number("perPage", PER_PAGE, 1, MOST_PER_PAGE)?;
        parameters.finish()?;
        Ok(Self { page, per_page })
    }
}

/// A body of bounded size.
#[derive(Debug)]
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Bytes::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejected: BytesRejection| {
                if rejected.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    ApiError::too_large(MAX_BODY)
                } else {
                    ApiError::invalid("body: could not be read to its end")
                }
            })
    }
}

impl Body {
    /// A JSON object; an empty body is an empty object. Unknown fields are refused by name.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let bytes = if self.0.is_empty() {
            b"{}"
        } else {
            &self.0[..]
        };
        let value = definition::plain_json(bytes)
            .map_err(|message| ApiError::invalid(format!("body: {message}")))?;
        definition::typed(value, "").map_err(|wrong| {
            let problems = wrong.problems().iter().map(|problem| {
                let field = Some(problem.field.as_str()).filter(|field| !field.is_empty());
                format!("{}: {}", field.unwrap_or("body"), problem.message)
            });
            ApiError::invalid(problems.collect::<Vec<_>>().join("; "))
        })
    }
}
