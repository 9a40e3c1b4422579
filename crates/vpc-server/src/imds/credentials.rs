//! The role of an instance: temporary keys that the EC2 API of the same cloud accepts.

use freeboard_vpc::IamInstanceProfile;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::sigv4::AccessKey;

/// How long clients may use the keys they read before they read again.
const LIFE: SignedDuration = SignedDuration::from_hours(6);

/// The role's name: that of the profile, which an instance has one role of.
pub(super) fn role_name(profile: &IamInstanceProfile) -> &str {
    profile.arn.rsplit('/').next().unwrap_or(&profile.arn)
}

/// The body of `iam/info`.
pub(super) fn info(profile: &IamInstanceProfile, now: Timestamp) -> String {
    let body = json!({
        "Code": "Success",
        "LastUpdated": seconds(now),
        "InstanceProfileArn": profile.arn,
        "InstanceProfileId": profile.id,
    });
    format!("{body:#}")
}

/// The body of `iam/security-credentials/<role>`.
pub(super) fn security_credentials(key: &AccessKey, now: Timestamp) -> String {
    let body = json!({
        "Code": "Success",
        "LastUpdated": seconds(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret_access_key,
        "Token": key.session_token,
        "Expiration": seconds(now.checked_add(LIFE).unwrap_or(now)),
    });
    format!("{body:#}")
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
