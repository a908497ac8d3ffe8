//! The only map from errors to HTTP statuses.

use crate::chain;
use crate::{
    auth::AuthError,
    boot::BootError,
    inventory::{ApplyError, ReadError, StoreError, TransactError},
    media::{ImportError, OpenFileError, UploadError},
    origin::desk::DeskError,
    power::PowerError,
    update::{ClientError, UpdatesError},
};
use bytes::Bytes;
use http::StatusCode;
use warp::reply::Response;

/// What a handler may fail with. `Display` is the sentence people read: what was tried, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    NotFound(String),
    /// There is such a path, for other methods.
    #[error("This path is for {allowed}.")]
    Method { allowed: String },
    #[error("{0}")]
    Invalid(String),
    /// Form fields and what is wrong with each.
    #[error("{}", .0.iter().map(|(_, sentence)| sentence.as_str()).collect::<Vec<_>>().join(" "))]
    Fields(Vec<(String, String)>),
    #[error("{0}")]
    Conflict(String),
    #[error("Log in first.")]
    NotLoggedIn,
    #[error("{0}")]
    BadToken(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    TooMany(String),
    #[error("The box could not do this. Nothing was changed.")]
    Store(#[source] StoreError),
    #[error("The box could not store this. Nothing was changed. Look at the space and the health of its card.")]
    Commit(#[source] std::sync::Arc<StoreError>),
    #[error("The box made a mistake here ({0}). Nothing was changed.")]
    Mistake(String),
    #[error("{0}")]
    Import(#[source] ImportError),
    #[error("{0}")]
    Update(#[from] UpdatesError),
    #[error("Power {verb} of {host}: {}.", chain(.source))]
    Power { host: String, verb: rackberry_core::power::Verb, source: PowerError },
    #[error("The box is too busy or stopping. Try again in a few seconds.")]
    Unavailable,
    #[error("{0}")]
    Damaged(#[from] crate::media::Damaged),
    #[error("The box could not read its files.")]
    File(#[source] OpenFileError),
    #[error("reading {what} failed")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The status it becomes.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Error::Invalid(_) | Error::Fields(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Conflict(_) | Error::Damaged(_) => StatusCode::CONFLICT,
            Error::NotLoggedIn | Error::BadToken(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Import(ImportError::Full { .. } | ImportError::TooLarge { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            Error::Import(ImportError::WrongDigest { .. } | ImportError::Empty | ImportError::Unpack { .. }) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Error::Import(ImportError::Io { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            Error::Update(error) => match error {
                UpdatesError::Helper(ClientError::Refused(_)) | UpdatesError::TooLarge { .. } => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                UpdatesError::NotACard | UpdatesError::NoBundle | UpdatesError::Busy => StatusCode::CONFLICT,
                UpdatesError::Full => StatusCode::INSUFFICIENT_STORAGE,
                UpdatesError::Helper(ClientError::Unreachable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
                UpdatesError::File { .. } | UpdatesError::Stick(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Error::Power { source, .. } => match source {
                PowerError::NoDriver | PowerError::Busy(_) | PowerError::Refused(_) | PowerError::StillOn => {
                    StatusCode::CONFLICT
                }
                PowerError::NoPins(_) | PowerError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
                PowerError::Gpio(_) | PowerError::Thread(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Error::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Error::Store(_) | Error::Commit(_) | Error::Mistake(_) | Error::File(_) | Error::Io { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// As an answer to a program: JSON with the sentence.
    #[must_use]
    pub fn json(&self) -> Response {
        let status = self.status();
        self.log(status);
        let fields: serde_json::Map<String, serde_json::Value> = match self {
            Error::Fields(fields) => fields.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect(),
            _ => serde_json::Map::new(),
        };
        let body = serde_json::json!({ "error": self.to_string(), "fields": fields });
        let mut response = Response::new(Bytes::from(body.to_string()).into());
        *response.status_mut() = status;
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert("www-authenticate", http::HeaderValue::from_static("Bearer"));
        }
        if let Error::Method { allowed } = self
            && let Ok(allowed) = http::HeaderValue::from_str(allowed)
        {
            response.headers_mut().insert("allow", allowed);
        }
        response
    }

    /// Logs the chain once, where the error becomes an answer.
    pub(super) fn log(&self, status: StatusCode) {
        if status.is_server_error() {
            tracing::error!(error = chain(self), "request failed");
        } else {
            tracing::debug!(error = chain(self), "request refused");
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooManyHosts { .. }
            | StoreError::NameTaken { .. }
            | StoreError::MacTaken { .. }
            | StoreError::UuidTaken { .. }
            | StoreError::AddressTaken { .. }
            | StoreError::PinTaken { .. }
            | StoreError::ImageNameTaken { .. }
            | StoreError::UserTaken { .. }
            | StoreError::LastAdmin { .. }
            | StoreError::TokenNameTaken { .. }
            | StoreError::TooManyTokens { .. }
            | StoreError::InstallActive { .. } => Error::Conflict(sentence(&error)),
            StoreError::NotAStation { .. } => Error::Invalid(sentence(&error)),
            StoreError::NotFound { .. } => Error::NotFound(sentence(&error)),
            StoreError::Sql { .. } | StoreError::Row { .. } | StoreError::Random(_) => Error::Store(error),
        }
    }
}

impl From<DeskError> for Error {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Order(error) => Error::Invalid(format!("This cannot be fetched: {}.", chain(&error))),
            DeskError::Named(_) | DeskError::Twice(_) => Error::Conflict(error.to_string()),
            DeskError::Many => Error::TooMany(error.to_string()),
            DeskError::Unknown(_) => Error::NotFound(error.to_string()),
        }
    }
}

impl From<BootError> for Error {
    fn from(error: BootError) -> Self {
        match error {
            BootError::Store { source, .. } => source.into(),
            BootError::Token { source, .. } => source.into(),
            BootError::File(error) => error.into(),
            BootError::Answer { source } => source.into(),
            BootError::Render(error) => Error::Conflict(format!("{}.", crate::chain(&error))),
            BootError::Report { source } => source.into(),
        }
    }
}

impl From<OpenFileError> for Error {
    fn from(error: OpenFileError) -> Self {
        match error {
            OpenFileError::Damaged(damaged) => Error::Damaged(damaged),
            OpenFileError::Io { .. } => Error::File(error),
        }
    }
}

impl From<ApplyError> for Error {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Rejected { source, .. } => Error::Conflict(format!("This does not fit now: {source}.")),
            ApplyError::NotFound(id) => Error::NotFound(format!("There is no install {id}.")),
            ApplyError::Store(error) => Error::Store(error),
        }
    }
}

/// An error's words as a sentence.
fn sentence(error: &StoreError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

impl<E: Into<Error>> From<TransactError<E>> for Error {
    fn from(error: TransactError<E>) -> Self {
        match error {
            TransactError::Failed(inner) => inner.into(),
            TransactError::Commit(error) => Error::Commit(error),
            TransactError::Closed => Error::Unavailable,
            TransactError::Panicked(said) => Error::Mistake(said),
        }
    }
}

impl<E: Into<Error>> From<ReadError<E>> for Error {
    fn from(error: ReadError<E>) -> Self {
        match error {
            ReadError::Failed(inner) => inner.into(),
            ReadError::Panicked(said) => Error::Mistake(said),
            ReadError::TooSlow | ReadError::Closed => Error::Unavailable,
        }
    }
}

impl From<UploadError> for Error {
    fn from(error: UploadError) -> Self {
        let sentence = error.to_string();
        match error {
            UploadError::Unknown(_) => Error::NotFound(sentence),
            UploadError::Offset { .. } | UploadError::NotWhole { .. } => Error::Conflict(sentence),
            UploadError::TooLong { .. } => Error::Invalid(sentence),
            UploadError::TooMany => Error::TooMany(sentence),
            UploadError::Import(error) => Error::Import(error),
        }
    }
}

impl From<AuthError> for Error {
    fn from(error: AuthError) -> Self {
        let sentence = error.to_string();
        match error {
            AuthError::WrongPassword { .. } | AuthError::WrongCode { .. } => Error::Forbidden(sentence),
            AuthError::WrongToken => Error::BadToken(sentence),
            AuthError::TooMany => Error::TooMany(sentence),
            AuthError::NotFirst => Error::Conflict(sentence),
            AuthError::Field(name, sentence) => Error::Fields(vec![(name.to_owned(), sentence)]),
            AuthError::Hash => Error::Mistake(sentence),
            AuthError::Store(error) => error.into(),
        }
    }
}
