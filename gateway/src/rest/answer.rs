//! Envelopes and refusals.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::auth::AuthError;
use crate::link::RunError;
use crate::sessions::SessionsError;
use crate::store::StoreError;

/// What a handler answers.
pub(super) type Answer = Result<Data, ApiError>;

/// `data` of an envelope.
#[derive(Debug)]
pub(super) struct Data {
    status: StatusCode,
    content: Content,
}

/// The envelope without its request id; [`envelope`] adds it.
#[derive(Debug, Clone)]
struct Content {
    body: Map<String, Value>,
    pagination: Option<Value>,
}

/// A refusal.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Data {
    /// Any value.
    pub(super) fn of(value: impl Serialize) -> Self {
        Self::with(StatusCode::OK, value, None)
    }

    /// Something was made.
    pub(super) fn made(value: impl Serialize) -> Self {
        Self::with(StatusCode::CREATED, value, None)
    }

    /// One page of a list of `total` entries.
    pub(super) fn page(rows: impl Serialize, page: u32, per_page: u32, total: u64) -> Self {
        let pages = total.div_ceil(u64::from(per_page.max(1)));
        let pagination =
            json!({"page": page, "perPage": per_page, "total": total, "totalPages": pages});
        Self::with(StatusCode::OK, rows, Some(pagination))
    }

    fn with(status: StatusCode, value: impl Serialize, pagination: Option<Value>) -> Self {
        // Our own types serialise: their maps have text keys and their numbers are finite or null.
        let data = serde_json::to_value(value).unwrap_or(Value::Null);
        let body = Map::from_iter([("data".to_owned(), data)]);
        Self {
            status,
            content: Content { body, pagination },
        }
    }
}

impl IntoResponse for Data {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self.content);
        response
    }
}

impl ApiError {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "VALIDATION_ERROR",
            message: message.into(),
        }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "NOT_FOUND",
            message: message.into(),
        }
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            code: "CONFLICT",
            message: message.into(),
        }
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: "FORBIDDEN",
            message: message.into(),
        }
    }

    pub(super) fn method_not_allowed() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "METHOD_NOT_ALLOWED",
            message: "method: not accepted here; the Allow header tells which are".to_owned(),
        }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "PAYLOAD_TOO_LARGE",
            message: format!("body: too large; accepted: at most {limit} bytes"),
        }
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "UNAVAILABLE",
            message: message.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code, "message": self.message});
        let body = Map::from_iter([("error".to_owned(), error)]);
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Content {
            body,
            pagination: None,
        });
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        Self::unavailable("the database does not answer; try again")
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::InvalidKey => Self {
                status: StatusCode::UNAUTHORIZED,
                code: "UNAUTHORIZED",
                message: error.to_string(),
            },
            AuthError::Forbidden(message) => Self::forbidden(message),
            AuthError::Unavailable(message) => Self::unavailable(message),
            AuthError::Store(error) => error.into(),
        }
    }
}

impl From<SessionsError> for ApiError {
    fn from(error: SessionsError) -> Self {
        match error {
            SessionsError::NoWorker(_) => Self::not_found(error.to_string()),
            SessionsError::Invalid { .. } => Self::invalid(error.to_string()),
            SessionsError::OtherInstance { .. } => Self::conflict(error.to_string()),
            SessionsError::Store(error) => error.into(),
            SessionsError::Random(_) | SessionsError::Stopping => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Invalid(message) => Self::invalid(message),
            RunError::NoRun(_) => Self::not_found(error.to_string()),
            RunError::Unavailable(message) => Self::unavailable(message),
        }
    }
}

/// Puts the envelope around what a handler answered.
pub(super) async fn envelope(mut response: Response) -> Response {
    let Some(Content {
        mut body,
        pagination,
    }) = response.extensions_mut().remove()
    else {
        return response;
    };
    let mut meta = Map::from_iter([("requestId".to_owned(), Uuid::new_v4().to_string().into())]);
    if let Some(pagination) = pagination {
        meta.insert("pagination".to_owned(), pagination);
    }
    body.insert("meta".to_owned(), Value::Object(meta));
    let (parts, _) = response.into_parts();
    let mut enveloped = (parts.status, Json(Value::Object(body))).into_response();
    // `Allow` of a refused method.
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH {
            enveloped.headers_mut().insert(name, value.clone());
        }
    }
    enveloped
}
