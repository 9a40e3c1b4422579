//! Security groups: kept and referred to; their rules filter nothing here.

use freeboard_address::SecurityGroupId;
use jiff::Timestamp;

use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::model::{IpPermission, SecurityGroup};
use crate::request::{CreateSecurityGroup, DeleteSecurityGroup};

impl Cloud {
    /// CreateSecurityGroup: lets everything out and nothing in.
    ///
    /// # Errors
    /// `InvalidGroup.Duplicate`, `SecurityGroupLimitExceeded`, `InvalidParameterValue` (name), `MissingParameter`
    /// (description), `InvalidVpcID.NotFound`.
    pub fn create_security_group(
        &mut self,
        request: &CreateSecurityGroup,
        now: Timestamp,
    ) -> Result<SecurityGroup, ApiError> {
        self.handle_timeout(now);
        let (name, vpc) = (&request.group_name, &request.vpc_id);
        self.vpc(vpc)?;
        if request.description.is_empty() {
            return Err(ApiError::missing_parameter("GroupDescription"));
        }
        if name.is_empty() || name.len() > 255 || name.starts_with("sg-") {
            let expected = "Expected 1 to 255 characters that do not start with sg-.";
            return Err(ApiError::invalid_value("groupName", name, expected));
        }
        if self.security_groups.values().any(|group| group.vpc_id == *vpc && group.group_name == *name) {
            let text = format!("The security group '{name}' already exists for VPC '{vpc}'");
            return Err(ApiError::new("InvalidGroup.Duplicate", text));
        }
        let limit = self.quotas.security_groups;
        if self.security_groups.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let text = format!("The maximum number of security groups has been reached: {limit} per Region");
            return Err(ApiError::new("SecurityGroupLimitExceeded", text));
        }
        let tags = self.tags_for(&request.tag_specifications, &["security-group"])?;
        let id = SecurityGroupId::new(self.ids.next("sg"));
        let group = SecurityGroup {
            group_id: id.clone(),
            group_name: name.clone(),
            group_description: request.description.clone(),
            vpc_id: vpc.clone(),
            owner_id: self.account_id.clone(),
            security_group_arn: self.arn("security-group", id.as_str()),
            ip_permissions: Vec::new(),
            ip_permissions_egress: vec![IpPermission::everything()],
            tags,
        };
        self.security_groups.insert(id, group.clone());
        Ok(group)
    }

    /// DeleteSecurityGroup.
    ///
    /// # Errors
    /// `DependencyViolation` while an interface uses it, `CannotDelete` for a default group, `InvalidGroup.NotFound`.
    pub fn delete_security_group(&mut self, request: &DeleteSecurityGroup, now: Timestamp) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.group_id;
        let group = self.security_groups.get(id).ok_or_else(|| ApiError::group_not_found(id.as_str()))?;
        if group.group_name == "default" {
            let text = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
            return Err(ApiError::new("CannotDelete", text));
        }
        if self.interfaces.values().any(|eni| eni.groups.iter().any(|used| used.group_id == *id)) {
            let text = format!("resource {id} has a dependent object");
            return Err(ApiError::new("DependencyViolation", text));
        }
        self.security_groups.remove(id);
        Ok(())
    }
}
