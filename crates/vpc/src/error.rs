//! What EC2 answers when it refuses: code, text and HTTP status, exactly as its clients match them.

use std::net::Ipv4Addr;

use freeboard_address::Cidr;
use serde::Serialize;

/// A refusal of an EC2 action. Nothing has changed when an action returns one.
///
/// Codes, texts and statuses follow the service (`cloud-rules.md` A.3 and A.8); a text that the service's reference leaves
/// free is our own and quotes the offending value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// EC2's error code, for example `InsufficientFreeAddressesInSubnet`.
    pub code: String,
    /// The text for a person.
    pub message: String,
    /// The HTTP status the answer carries.
    pub http_status: u16,
}

impl ApiError {
    /// A refusal with this code and text; the HTTP status follows from the code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        let http_status = http_status_of(&code);
        Self { code, message: message.into(), http_status }
    }

    /// A parameter whose value cannot be read or is not allowed; `reason` is a sentence, or empty.
    #[must_use]
    pub fn invalid_value(parameter: &str, value: &str, reason: &str) -> Self {
        let message = format!("Value ({value}) for parameter {parameter} is invalid. {reason}");
        Self::new("InvalidParameterValue", message.trim_end())
    }

    /// `InvalidParameterValue` with a text of its own.
    pub fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// Parameters that exclude each other, or one that needs another.
    pub fn invalid_combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// A required parameter is missing.
    #[must_use]
    pub fn missing_parameter(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    /// A parameter that the action does not know.
    #[must_use]
    pub fn unknown_parameter(parameter: &str) -> Self {
        Self::new("UnknownParameter", format!("The parameter {parameter} is not recognized"))
    }

    /// An action that does not exist.
    #[must_use]
    pub fn invalid_action(action: &str) -> Self {
        Self::new("InvalidAction", format!("The action {action} is not valid for this web service."))
    }

    /// The answer to `DryRun=true` when the call would be allowed (HTTP 412).
    #[must_use]
    pub fn dry_run() -> Self {
        Self::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    }

    /// The caller's budget for this action is used up (HTTP 503).
    #[must_use]
    pub fn request_limit_exceeded() -> Self {
        Self::new("RequestLimitExceeded", "Request limit exceeded.")
    }

    /// The subnet has too few free addresses, as Assign and Create by count say it.
    #[must_use]
    pub fn insufficient_free_addresses() -> Self {
        Self::new(
            "InsufficientFreeAddressesInSubnet",
            "The specified subnet does not have enough free addresses to satisfy the request.",
        )
    }

    /// The subnet has no aligned free /28 left: it is fragmented, or full.
    #[must_use]
    pub fn insufficient_cidr_blocks() -> Self {
        Self::new(
            "InsufficientCidrBlocks",
            "The specified subnet does not have enough free cidr blocks to satisfy the request.",
        )
    }

    /// The instance type's limit of addresses per interface would be passed.
    #[must_use]
    pub fn private_address_limit() -> Self {
        Self::new("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
    }

    /// An address that lies outside the interface's subnet.
    #[must_use]
    pub fn outside_subnet(address: Ipv4Addr, subnet: Cidr) -> Self {
        Self::invalid_parameter(format!("Address {address} does not fall within the subnet's address range {subnet}"))
    }

    pub(crate) fn dependency_violation(kind: &str, id: &str) -> Self {
        Self::new("DependencyViolation", format!("The {kind} '{id}' has dependencies and cannot be deleted."))
    }

    pub(crate) fn vpc_not_found(id: &str) -> Self {
        not_found(id, "vpc-", "InvalidVpcID", &format!("The vpc ID '{id}' does not exist"))
    }

    pub(crate) fn subnet_not_found(id: &str) -> Self {
        not_found(id, "subnet-", "InvalidSubnetID", &format!("The subnet ID '{id}' does not exist"))
    }

    pub(crate) fn instance_not_found(id: &str) -> Self {
        not_found(id, "i-", "InvalidInstanceID", &format!("The instance ID '{id}' does not exist"))
    }

    pub(crate) fn interface_not_found(id: &str) -> Self {
        let text = format!("The networkInterface ID '{id}' does not exist");
        not_found(id, "eni-", "InvalidNetworkInterfaceID", &text)
    }

    pub(crate) fn attachment_not_found(id: &str) -> Self {
        let text = format!("The network interface attachment ID '{id}' does not exist");
        not_found(id, "eni-attach-", "InvalidAttachmentID", &text)
    }

    pub(crate) fn group_not_found(id: &str) -> Self {
        Self::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
    }

    pub(crate) fn route_table_not_found(id: &str) -> Self {
        not_found(id, "rtb-", "InvalidRouteTableID", &format!("The routeTable ID '{id}' does not exist"))
    }

    pub(crate) fn peering_not_found(id: &str) -> Self {
        let text = format!("The vpcPeeringConnection ID '{id}' does not exist");
        not_found(id, "pcx-", "InvalidVpcPeeringConnectionID", &text)
    }

    pub(crate) fn gateway_not_found(id: &str) -> Self {
        let text = format!("The internetGateway ID '{id}' does not exist");
        not_found(id, "igw-", "InvalidInternetGatewayID", &text)
    }
}

/// `NotFound` for an id of the right form, `Malformed` for anything else.
fn not_found(id: &str, prefix: &str, family: &str, text: &str) -> ApiError {
    let digits = id.strip_prefix(prefix).unwrap_or_default();
    let well_formed = matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if well_formed {
        ApiError::new(format!("{family}.NotFound"), text)
    } else {
        let expected = format!("(expecting \"{prefix}...\")");
        ApiError::new(format!("{family}.Malformed"), format!("Invalid id: \"{id}\" {expected}"))
    }
}

fn http_status_of(code: &str) -> u16 {
    match code {
        "AuthFailure" => 401,
        "UnauthorizedOperation" => 403,
        "DryRunOperation" => 412,
        "InternalError" | "InternalFailure" | "InsufficientInstanceCapacity" => 500,
        "RequestLimitExceeded" | "EC2ThrottledException" | "Unavailable" | "ServiceUnavailable" => 503,
        _ => 400,
    }
}

/// Reads a CIDR parameter as EC2 does: host bits are cleared silently.
///
/// # Errors
/// `InvalidParameterValue` that quotes the text and names the parameter.
pub fn parse_cidr(parameter: &str, text: &str) -> Result<Cidr, ApiError> {
    Cidr::parse_clearing_host_bits(text)
        .map_err(|_| ApiError::invalid_value(parameter, text, "This is not a valid CIDR block."))
}

/// Reads an IPv4 address parameter.
///
/// # Errors
/// `InvalidParameterValue` that quotes the text and names the parameter.
pub fn parse_address(parameter: &str, text: &str) -> Result<Ipv4Addr, ApiError> {
    text.parse().map_err(|_| ApiError::invalid_value(parameter, text, "This is not a valid IPv4 address."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_status_follows_from_the_code() {
        assert_eq!(ApiError::request_limit_exceeded().http_status, 503);
        assert_eq!(ApiError::dry_run().http_status, 412);
        assert_eq!(ApiError::insufficient_cidr_blocks().http_status, 400);
        assert_eq!(ApiError::new("InternalError", "").http_status, 500);
    }

    #[test]
    fn an_id_that_cannot_exist_is_malformed_and_one_that_could_is_not_found() {
        assert_eq!(ApiError::subnet_not_found("subnet-0123456789abcdef0").code, "InvalidSubnetID.NotFound");
        assert_eq!(ApiError::subnet_not_found("subnet-12345678").code, "InvalidSubnetID.NotFound");
        for bad in ["", "subnet-", "vpc-12345678", "subnet-xyz45678", "subnet-123"] {
            let error = ApiError::subnet_not_found(bad);
            assert_eq!(error.code, "InvalidSubnetID.Malformed", "{bad}");
            assert!(error.message.contains(bad));
        }
    }

    #[test]
    fn a_bad_cidr_or_address_is_quoted() {
        let error = parse_cidr("cidrBlock", "10.0.0.0").unwrap_err();
        assert_eq!(
            error.message,
            "Value (10.0.0.0) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        );
        assert_eq!(parse_cidr("cidrBlock", "100.68.0.18/18").unwrap().to_string(), "100.68.0.0/18");
        assert!(parse_address("privateIpAddress", "10.0.0.256").unwrap_err().message.contains("10.0.0.256"));
    }
}
