//! Errors with stable codes.

use crate::view::Problem;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use polity_ledger::Inadmissible;
use polity_replica::{AdmitError, Refusal};
use polity_types::wire::DecodeError;

/// What a client did wrong, or why the node cannot answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Status of the answer.
    pub status: StatusCode,
    /// Stable code.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// Any error.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// The request makes no sense.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// What is asked for does not exist.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// The path exists, the method does not.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not take that method",
        )
    }

    fn unavailable(code: &'static str, message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// The node has not recovered yet.
    pub fn not_ready() -> Self {
        Self::unavailable("not_ready", "the node is starting; try again in a moment")
    }

    /// The node cannot reach a quorum.
    pub fn no_quorum() -> Self {
        Self::unavailable(
            "no_quorum",
            "the node is not linked to a quorum; try another node",
        )
    }

    /// Too much at once.
    pub fn busy() -> Self {
        Self::unavailable(
            "busy",
            "too many requests are in progress; try again in a moment",
        )
    }

    /// The node stops.
    pub fn stopping() -> Self {
        Self::unavailable("stopping", "the node is stopping; try another node")
    }

    /// The index or the journal does not answer.
    pub fn storage(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request cannot be answered");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "storage",
            "the node cannot read its own data; its log says why",
        )
    }

    /// The same as a value in a list.
    pub fn problem(&self) -> Problem {
        Problem {
            code: self.code.to_owned(),
            message: self.message.clone(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem())).into_response()
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad("bad_query", rejection.body_text())
    }
}

impl From<AdmitError> for ApiError {
    fn from(error: AdmitError) -> Self {
        let (status, code) = match error {
            AdmitError::Decode(DecodeError::TooLong { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "transaction_too_large")
            }
            AdmitError::Decode(_) => (StatusCode::BAD_REQUEST, "malformed_transaction"),
            AdmitError::WrongChain => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_chain"),
            AdmitError::BelowFloor => (StatusCode::UNPROCESSABLE_ENTITY, "weak_key"),
            AdmitError::Signature(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_signature"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::Inadmissible(reason) => match reason {
                Inadmissible::WrongChain => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_chain"),
                Inadmissible::Expired => (StatusCode::UNPROCESSABLE_ENTITY, "expired"),
                Inadmissible::TooFar => (StatusCode::UNPROCESSABLE_ENTITY, "valid_too_long"),
                Inadmissible::IdInWindow => (StatusCode::CONFLICT, "already_decided"),
                Inadmissible::DuplicateInBlock => (StatusCode::CONFLICT, "already_waiting"),
                Inadmissible::CannotPayFee => (StatusCode::UNPROCESSABLE_ENTITY, "cannot_pay_fee"),
            },
            Refusal::UnknownKey => (StatusCode::FORBIDDEN, "unknown_key"),
            Refusal::AccountFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "account_full"),
            Refusal::PoolFull => (StatusCode::SERVICE_UNAVAILABLE, "pool_full"),
        };
        Self::new(status, code, refusal.to_string())
    }
}
