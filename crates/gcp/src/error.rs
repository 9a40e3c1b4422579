//! What Google answers when it refuses: status, reason, HTTP code and text, as its clients match them.

use std::fmt;

/// A refusal of a call. Nothing has changed when a call returns one.
///
/// Texts follow the services where they are known (`cloud-rules.md` E); the others are our own and quote the offending value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of refusal it is.
    pub status: Status,
    /// The text for a person.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A value cannot be read, or is not allowed.
    InvalidArgument,
    /// A value is missing.
    Required,
    /// The call is right and the state of the cloud forbids it now.
    FailedPrecondition,
    /// The resource is needed by another one.
    ResourceInUse,
    /// The fingerprint is not the resource's latest.
    ConditionNotMet,
    /// The etag is not the resource's latest.
    Aborted,
    /// There is no such resource, or no such path.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A range has no block left, said without figures.
    IpSpaceExhausted,
    /// A range has no block left, said with the range.
    IpSpaceExhaustedWithDetails,
    /// The address or block is held by another resource.
    IpInUse,
    /// Too much of a limited thing.
    QuotaExceeded,
    /// The path exists and does not take this method.
    MethodNotAllowed,
}

impl Status {
    /// The HTTP code.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument
            | Self::Required
            | Self::FailedPrecondition
            | Self::ResourceInUse
            | Self::IpSpaceExhausted
            | Self::IpSpaceExhaustedWithDetails
            | Self::IpInUse => 400,
            Self::QuotaExceeded => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Aborted | Self::AlreadyExists => 409,
            Self::ConditionNotMet => 412,
        }
    }

    /// The canonical name (`google.rpc.Code`), which the container API puts into `error.status`.
    #[must_use]
    pub fn canonical_name(self) -> &'static str {
        match self {
            Self::InvalidArgument | Self::Required => "INVALID_ARGUMENT",
            Self::FailedPrecondition | Self::ResourceInUse | Self::ConditionNotMet | Self::IpInUse => {
                "FAILED_PRECONDITION"
            }
            Self::Aborted => "ABORTED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::IpSpaceExhausted | Self::IpSpaceExhaustedWithDetails | Self::QuotaExceeded => "RESOURCE_EXHAUSTED",
            Self::MethodNotAllowed => "UNIMPLEMENTED",
        }
    }

    /// The number of the canonical name, as a `google.rpc.Status` of the container API carries it.
    #[must_use]
    pub fn canonical_code(self) -> u8 {
        match self.canonical_name() {
            "INVALID_ARGUMENT" => 3,
            "NOT_FOUND" => 5,
            "ALREADY_EXISTS" => 6,
            "RESOURCE_EXHAUSTED" => 8,
            "FAILED_PRECONDITION" => 9,
            "ABORTED" => 10,
            _ => 12,
        }
    }

    /// The reason, which the compute API puts into `error.errors[].reason`, and into the error code of an operation.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid",
            Self::Required => "required",
            Self::FailedPrecondition => "failedPrecondition",
            Self::ResourceInUse => "resourceInUseByAnotherResource",
            Self::ConditionNotMet => "conditionNotMet",
            Self::Aborted => "aborted",
            Self::NotFound => "notFound",
            Self::AlreadyExists => "alreadyExists",
            Self::IpSpaceExhausted => "IP_SPACE_EXHAUSTED",
            Self::IpSpaceExhaustedWithDetails => "IP_SPACE_EXHAUSTED_WITH_DETAILS",
            Self::IpInUse => "IP_IN_USE_BY_ANOTHER_RESOURCE",
            Self::QuotaExceeded => "quotaExceeded",
            Self::MethodNotAllowed => "httpMethodNotAllowed",
        }
    }
}

impl ApiError {
    /// A refusal of this kind with this text.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A field whose value cannot be read or is not allowed; `reason` is a sentence.
    pub fn invalid_field(field: &str, value: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::new(Status::InvalidArgument, format!("Invalid value for field '{field}': '{value}'. {reason}"))
    }

    /// An argument that is not allowed, in words of its own.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// Values that make no IPv4 block.
    #[must_use]
    pub fn invalid_range(error: &freeboard_address::CidrError) -> Self {
        Self::invalid(error.to_string())
    }

    /// A field that must be given.
    pub fn required(field: &str) -> Self {
        Self::new(Status::Required, format!("Required field '{field}' not specified"))
    }

    /// A call that the present state forbids.
    pub fn failed_precondition(message: impl Into<String>) -> Self {
        Self::new(Status::FailedPrecondition, message)
    }

    /// A compute resource that is not there.
    #[must_use]
    pub fn not_found(path: &str) -> Self {
        Self::new(Status::NotFound, format!("The resource '{path}' was not found"))
    }

    /// A container resource that is not there.
    #[must_use]
    pub fn container_not_found(path: &str) -> Self {
        Self::new(Status::NotFound, format!("Not found: {path}."))
    }

    /// A resource whose name is taken.
    #[must_use]
    pub fn already_exists(path: &str) -> Self {
        Self::new(Status::AlreadyExists, format!("The resource '{path}' already exists"))
    }

    /// A fingerprint that is not the latest; compute's own words.
    #[must_use]
    pub fn stale_fingerprint(given: &str) -> Self {
        Self::new(
            Status::ConditionNotMet,
            format!(
                "Invalid fingerprint '{given}': the resource has changed since. Read it again and repeat the change."
            ),
        )
    }
}
