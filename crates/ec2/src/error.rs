//! What EC2's errors mean: one table by action, code and message.

use std::fmt;

use crate::action::Action;

/// What a failed call means for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// The subnet has too few free addresses for the request.
    SubnetShort,
    /// The subnet has no aligned free /28; it may have free addresses.
    NoFreePrefix,
    /// The interface holds as many addresses as its type allows.
    AddressLimit,
    /// The instance has as many interfaces as its type allows.
    AttachmentLimit,
    /// Too many calls: by the cloud's count, or by the client's own budget.
    Throttled,
    /// The caller may not make the call, or has no valid credentials.
    NotAuthorized,
    /// The object does not exist (any more), or is not known everywhere yet (cloud-rules B.8).
    NotFound,
    /// The object is still used by something.
    InUse,
    /// The request contradicts the present state: an overlap, a taken device index, an address that is assigned already.
    Conflict,
    /// The request left and no conclusive answer came back: the effect may have happened. Look before acting again.
    Uncertain,
    /// The service could not be reached, failed, or had no time; nothing happened.
    Unavailable,
    /// The request itself is wrong.
    Invalid,
    /// Anything else; the code says what.
    Other,
}

impl ErrorClass {
    /// Every class, for metric labels.
    pub const ALL: [Self; 13] = [
        Self::SubnetShort,
        Self::NoFreePrefix,
        Self::AddressLimit,
        Self::AttachmentLimit,
        Self::Throttled,
        Self::NotAuthorized,
        Self::NotFound,
        Self::InUse,
        Self::Conflict,
        Self::Uncertain,
        Self::Unavailable,
        Self::Invalid,
        Self::Other,
    ];

    /// The word for it, in snake case, for metric labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubnetShort => "subnet_short",
            Self::NoFreePrefix => "no_free_prefix",
            Self::AddressLimit => "address_limit",
            Self::AttachmentLimit => "attachment_limit",
            Self::Throttled => "throttled",
            Self::NotAuthorized => "not_authorized",
            Self::NotFound => "not_found",
            Self::InUse => "in_use",
            Self::Conflict => "conflict",
            Self::Uncertain => "uncertain",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Ec2Error {
    /// The action.
    pub action: Action,
    /// What it means.
    pub class: ErrorClass,
    /// The code as EC2 gave it, or one of [`crate::Ec2Error`]'s own: `ConnectionFailed`, `AnswerLost`, `DeadlineExceeded`,
    /// `UnreadableAnswer`, `ClientBudgetExhausted`, `CredentialsMissing`, `CredentialsUnavailable`, `RequestNotBuilt`,
    /// `HttpStatus`.
    pub code: String,
    /// The message as EC2 gave it, or what happened on the way.
    pub message: String,
    /// The id under which AWS can find the request.
    pub request_id: Option<String>,
    /// The HTTP status of the last answer, when there was one.
    pub http_status: Option<u16>,
    /// How many requests were sent.
    pub attempts: u32,
}

impl fmt::Display for Ec2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ec2:{} failed: {}: {} [{}", self.action, self.code, self.message, self.class)?;
        if let Some(status) = self.http_status {
            write!(f, ", HTTP {status}")?;
        }
        if let Some(request_id) = &self.request_id {
            write!(f, ", request {request_id}")?;
        }
        if self.attempts > 1 {
            write!(f, ", after {} requests", self.attempts)?;
        }
        write!(f, "]")
    }
}

impl Ec2Error {
    /// An error that arose on this side of the wire.
    pub(crate) fn local(action: Action, class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            action,
            class,
            code: code.to_owned(),
            message: message.into(),
            request_id: None,
            http_status: None,
            attempts: 0,
        }
    }
}

/// How a row of the table names a code.
#[derive(Clone, Copy, Debug)]
enum Code {
    Is(&'static str),
    EndsWith(&'static str),
}

impl Code {
    fn matches(self, code: &str) -> bool {
        match self {
            Self::Is(text) => code == text,
            Self::EndsWith(text) => code.ends_with(text),
        }
    }
}

/// One row: the first that matches decides.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Only for this action, if given.
    action: Option<Action>,
    code: Code,
    /// Only for messages that contain this, if given.
    message: Option<&'static str>,
    class: ErrorClass,
}

const fn code(text: &'static str, class: ErrorClass) -> Row {
    Row { action: None, code: Code::Is(text), message: None, class }
}

const fn suffix(text: &'static str, class: ErrorClass) -> Row {
    Row { action: None, code: Code::EndsWith(text), message: None, class }
}

const fn saying(text: &'static str, message: &'static str, class: ErrorClass) -> Row {
    Row { action: None, code: Code::Is(text), message: Some(message), class }
}

/// Codes and texts: cloud-rules A.3 and A.8, aws-vpc-cni §4.7 (each there with the issue or reference page it was read in).
const TABLE: &[Row] = &[
    // Shortage. The second text comes with an all-purpose code; the Amazon VPC CNI does not recognise it (its issue 3105).
    code("InsufficientFreeAddressesInSubnet", ErrorClass::SubnetShort),
    saying("InvalidParameterValue", "sufficient free", ErrorClass::SubnetShort),
    code("InsufficientCidrBlocks", ErrorClass::NoFreePrefix),
    code("PrivateIpAddressLimitExceeded", ErrorClass::AddressLimit),
    code("InvalidInterface.IpAddressLimitExceeded", ErrorClass::AddressLimit),
    code("AttachmentLimitExceeded", ErrorClass::AttachmentLimit),
    // Rates: the throttling codes of botocore's retry table.
    code("RequestLimitExceeded", ErrorClass::Throttled),
    code("EC2ThrottledException", ErrorClass::Throttled),
    code("Throttling", ErrorClass::Throttled),
    code("ThrottlingException", ErrorClass::Throttled),
    code("ThrottledException", ErrorClass::Throttled),
    code("RequestThrottled", ErrorClass::Throttled),
    code("RequestThrottledException", ErrorClass::Throttled),
    code("TooManyRequestsException", ErrorClass::Throttled),
    code("PriorRequestNotComplete", ErrorClass::Throttled),
    code("BandwidthLimitExceeded", ErrorClass::Throttled),
    code("SlowDown", ErrorClass::Throttled),
    // Authority.
    code("UnauthorizedOperation", ErrorClass::NotAuthorized),
    code("AuthFailure", ErrorClass::NotAuthorized),
    code("AccessDenied", ErrorClass::NotAuthorized),
    code("AccessDeniedException", ErrorClass::NotAuthorized),
    code("OptInRequired", ErrorClass::NotAuthorized),
    code("InvalidClientTokenId", ErrorClass::NotAuthorized),
    code("MissingAuthenticationToken", ErrorClass::NotAuthorized),
    code("IncompleteSignature", ErrorClass::NotAuthorized),
    code("SignatureDoesNotMatch", ErrorClass::NotAuthorized),
    code("RequestExpired", ErrorClass::NotAuthorized),
    code("ExpiredToken", ErrorClass::NotAuthorized),
    code("ExpiredTokenException", ErrorClass::NotAuthorized),
    saying("OperationNotPermitted", "not allowed to manage", ErrorClass::NotAuthorized),
    code("OperationNotPermitted", ErrorClass::Invalid),
    // Use.
    Row {
        action: Some(Action::DeleteNetworkInterface),
        code: Code::Is("InvalidParameterValue"),
        message: Some("currently in use"),
        class: ErrorClass::InUse,
    },
    code("InvalidNetworkInterface.InUse", ErrorClass::InUse),
    code("InvalidCidrBlock.InUse", ErrorClass::InUse),
    code("DependencyViolation", ErrorClass::InUse),
    // State.
    saying("InvalidParameterValue", "already has an interface attached at device index", ErrorClass::Conflict),
    saying("InvalidParameterValue", "has overlap with existing reserved CIDR block", ErrorClass::Conflict),
    code("InvalidIPAddress.InUse", ErrorClass::Conflict),
    code("Resource.AlreadyAssigned", ErrorClass::Conflict),
    code("Resource.AlreadyAssociated", ErrorClass::Conflict),
    code("InvalidSubnet.Conflict", ErrorClass::Conflict),
    code("InvalidVpc.Conflict", ErrorClass::Conflict),
    code("CidrConflict", ErrorClass::Conflict),
    code("IncorrectState", ErrorClass::Conflict),
    suffix(".IncorrectState", ErrorClass::Conflict),
    code("IncorrectInstanceState", ErrorClass::Conflict),
    code("IdempotentParameterMismatch", ErrorClass::Conflict),
    code("IdempotentInstanceTerminated", ErrorClass::Conflict),
    code("ConcurrentTagAccess", ErrorClass::Conflict),
    // Absence.
    Row {
        action: Some(Action::UnassignPrivateIpAddresses),
        code: Code::Is("InvalidParameterValue"),
        message: Some("are not assigned to interface"),
        class: ErrorClass::NotFound,
    },
    suffix(".NotFound", ErrorClass::NotFound),
    code("InvalidID", ErrorClass::NotFound),
    // The service itself.
    code("InternalError", ErrorClass::Unavailable),
    code("InternalFailure", ErrorClass::Unavailable),
    code("Unavailable", ErrorClass::Unavailable),
    code("ServiceUnavailable", ErrorClass::Unavailable),
    // Form and range.
    suffix(".Malformed", ErrorClass::Invalid),
    suffix(".Range", ErrorClass::Invalid),
    code("InvalidVpcRange", ErrorClass::Invalid),
    code("InvalidAction", ErrorClass::Invalid),
    code("InvalidFilter", ErrorClass::Invalid),
    code("InvalidInstanceType", ErrorClass::Invalid),
    code("InvalidNextToken", ErrorClass::Invalid),
    code("InvalidPaginationToken", ErrorClass::Invalid),
    code("InvalidParameter", ErrorClass::Invalid),
    code("InvalidParameterCombination", ErrorClass::Invalid),
    code("InvalidParameterValue", ErrorClass::Invalid),
    code("InvalidParameterDependency", ErrorClass::Invalid),
    code("MalformedQueryString", ErrorClass::Invalid),
    code("MissingAction", ErrorClass::Invalid),
    code("MissingParameter", ErrorClass::Invalid),
    code("UnknownParameter", ErrorClass::Invalid),
    code("ValidationError", ErrorClass::Invalid),
];

/// What an error answer means, by its action, code and message.
#[must_use]
pub fn classify(action: Action, error_code: &str, message: &str) -> ErrorClass {
    TABLE
        .iter()
        .find(|row| {
            row.action.is_none_or(|only| only == action)
                && row.code.matches(error_code)
                && row.message.is_none_or(|part| message.contains(part))
        })
        .map_or(ErrorClass::Other, |row| row.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of the live service, of issues and of the reference, with the class they must get.
    const TEXTS: &[(Action, &str, &str, ErrorClass)] = &[
        (
            Action::AssignPrivateIpAddresses,
            "InsufficientFreeAddressesInSubnet",
            "The specified subnet does not have enough free addresses to satisfy the request.",
            ErrorClass::SubnetShort,
        ),
        (
            Action::CreateNetworkInterface,
            "InvalidParameterValue",
            "There aren't sufficient free Ipv4 addresses or prefixes",
            ErrorClass::SubnetShort,
        ),
        (
            Action::AttachNetworkInterface,
            "InvalidParameterValue",
            "There aren't sufficient free Ipv4 addresses or prefixes",
            ErrorClass::SubnetShort,
        ),
        (
            Action::AssignPrivateIpAddresses,
            "InsufficientCidrBlocks",
            "The specified subnet does not have enough free cidr blocks to satisfy the request.",
            ErrorClass::NoFreePrefix,
        ),
        (
            Action::AssignPrivateIpAddresses,
            "PrivateIpAddressLimitExceeded",
            "Number of private addresses will exceed limit.",
            ErrorClass::AddressLimit,
        ),
        (
            Action::AttachNetworkInterface,
            "AttachmentLimitExceeded",
            "Interface count 4 exceeds the limit for t3.medium",
            ErrorClass::AttachmentLimit,
        ),
        (
            Action::AttachNetworkInterface,
            "InvalidParameterValue",
            "Instance 'i-1' already has an interface attached at device index '1'.",
            ErrorClass::Conflict,
        ),
        (
            Action::DeleteNetworkInterface,
            "InvalidParameterValue",
            "Network interface 'eni-1' is currently in use.",
            ErrorClass::InUse,
        ),
        (
            Action::AttachNetworkInterface,
            "InvalidParameterValue",
            "Network interface 'eni-1' is currently in use.",
            ErrorClass::Invalid,
        ),
        (
            Action::DetachNetworkInterface,
            "OperationNotPermitted",
            "You are not allowed to manage 'ela-attach' attachments.",
            ErrorClass::NotAuthorized,
        ),
        (
            Action::DetachNetworkInterface,
            "OperationNotPermitted",
            "The network interface at device index 0 and networkCard index 0 cannot be detached.",
            ErrorClass::Invalid,
        ),
        (
            Action::DescribeNetworkInterfaces,
            "InvalidNetworkInterfaceID.NotFound",
            "The networkInterface ID 'eni-1' does not exist",
            ErrorClass::NotFound,
        ),
        (
            Action::DetachNetworkInterface,
            "InvalidAttachmentID.NotFound",
            "The network interface attachment ID 'x' does not exist",
            ErrorClass::NotFound,
        ),
        (
            Action::UnassignPrivateIpAddresses,
            "InvalidParameterValue",
            "Some of the specified addresses are not assigned to interface eni-1",
            ErrorClass::NotFound,
        ),
        (
            Action::DeleteSubnet,
            "DependencyViolation",
            "The subnet 'subnet-1' has dependencies and cannot be deleted.",
            ErrorClass::InUse,
        ),
        (
            Action::DisassociateVpcCidrBlock,
            "InvalidCidrBlock.InUse",
            "The vpc vpc-1 currently has a subnet within CIDR block 10.2.0.0/16",
            ErrorClass::InUse,
        ),
        (
            Action::CreateSubnet,
            "InvalidSubnet.Conflict",
            "The CIDR '10.0.0.0/24' conflicts with another subnet",
            ErrorClass::Conflict,
        ),
        (Action::CreateSubnet, "InvalidSubnet.Range", "The CIDR '192.168.1.0/24' is invalid.", ErrorClass::Invalid),
        (
            Action::AssociateVpcCidrBlock,
            "CidrLimitExceeded",
            "This network vpc-1 has met its maximum number of allowed CIDRs: 5",
            ErrorClass::Other,
        ),
        (Action::DescribeVpcs, "RequestLimitExceeded", "Request limit exceeded.", ErrorClass::Throttled),
        (
            Action::DescribeVpcs,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
            ErrorClass::NotAuthorized,
        ),
        (Action::DescribeVpcs, "InvalidSubnetID.Malformed", "", ErrorClass::Invalid),
        (Action::RunInstances, "InsufficientInstanceCapacity", "", ErrorClass::Other),
        (Action::DescribeVpcs, "InternalError", "", ErrorClass::Unavailable),
        (Action::DescribeVpcs, "SomethingNew", "", ErrorClass::Other),
    ];

    #[test]
    fn the_live_service_s_texts_get_their_class() {
        for (action, code, message, class) in TEXTS {
            assert_eq!(classify(*action, code, message), *class, "{action} {code} {message}");
        }
    }

    #[test]
    fn no_row_of_the_table_is_hidden_by_an_earlier_one() {
        for (index, row) in TABLE.iter().enumerate() {
            let action = row.action.unwrap_or(Action::DescribeVpcs);
            let text = match row.code {
                Code::Is(text) => text.to_owned(),
                Code::EndsWith(text) => format!("InvalidSample{text}"),
            };
            let hit = TABLE.iter().position(|other| {
                other.action.is_none_or(|only| only == action)
                    && other.code.matches(&text)
                    && other.message.is_none_or(|part| row.message.is_some_and(|message| message.contains(part)))
            });
            assert_eq!(hit, Some(index), "{row:?}");
        }
    }

    #[test]
    fn a_message_names_action_code_cause_and_request() {
        let error = Ec2Error {
            action: Action::AssignPrivateIpAddresses,
            class: ErrorClass::SubnetShort,
            code: "InsufficientFreeAddressesInSubnet".to_owned(),
            message: "The specified subnet does not have enough free addresses to satisfy the request.".to_owned(),
            request_id: Some("r-1".to_owned()),
            http_status: Some(400),
            attempts: 1,
        };
        assert_eq!(
            error.to_string(),
            "ec2:AssignPrivateIpAddresses failed: InsufficientFreeAddressesInSubnet: The specified subnet does not have \
             enough free addresses to satisfy the request. [subnet_short, HTTP 400, request r-1]"
        );
    }
}
