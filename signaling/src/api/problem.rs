//! Errors of the admin API: problem details for HTTP (RFC 9457).

use crate::auth::TokenError;
use crate::error::ServiceError;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was refused (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem; the fragment is `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// For programs: the same codes as in the rooms protocol.
    pub code: &'static str,
    /// What to do about it.
    pub hint: String,
}

impl Problem {
    pub(super) fn new(status: u16, code: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem {
            kind: format!("/api/v1/docs#{code}"),
            title: code.replace('-', " "),
            status,
            detail: detail.into(),
            code,
            hint: hint.into(),
        }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Problem {
        Problem::new(error.http_status(), error.code(), error.to_string(), error.hint())
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Problem {
        ServiceError::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
