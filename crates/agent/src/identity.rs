//! Who this instance is, from the metadata service; asked until it answers.

use std::time::Duration;

use freeboard_address::{Cidr, MacAddress, SecurityGroupId};
use freeboard_ec2::{ConfigError, ImdsClient, ImdsConfig, ImdsError, InstanceIdentity, InterfaceMetadata};

/// The pause after the metadata service did not answer.
const RETRY: Duration = Duration::from_secs(2);

/// The metadata service, and what this instance is by it.
#[derive(Clone, Debug)]
pub struct Metadata {
    client: ImdsClient,
    /// The instance.
    pub identity: InstanceIdentity,
    /// Its primary interface.
    pub primary: InterfaceMetadata,
}

impl Metadata {
    /// Reads who this instance is. A service that does not answer is asked again and again: without it nothing can be done, and
    /// it comes back.
    ///
    /// # Errors
    /// When the endpoint's URL cannot be used.
    pub async fn read(config: ImdsConfig) -> Result<Self, ConfigError> {
        let client = ImdsClient::new(config)?;
        loop {
            match identify(&client).await {
                Ok((identity, primary)) => return Ok(Self { client, identity, primary }),
                Err(error) => tracing::error!(%error, "cannot read who this instance is; trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The hardware address of the primary interface.
    #[must_use]
    pub fn primary_mac(&self) -> MacAddress {
        self.identity.primary_mac
    }

    /// The VPC's CIDR blocks as they are now, the primary one first.
    ///
    /// # Errors
    /// When the service does not answer.
    pub async fn vpc_cidrs(&self) -> Result<Vec<Cidr>, ImdsError> {
        self.client.vpc_ipv4_cidrs(self.primary_mac()).await
    }

    /// The security groups of the primary interface as they are now; a new interface gets the same.
    ///
    /// # Errors
    /// When the service does not answer.
    pub async fn groups(&self) -> Result<Vec<SecurityGroupId>, ImdsError> {
        let path = format!("network/interfaces/macs/{}/security-group-ids", self.primary_mac());
        let text = self.client.get(&path).await?.unwrap_or_default();
        Ok(text.split_ascii_whitespace().map(SecurityGroupId::new).collect())
    }
}

async fn identify(client: &ImdsClient) -> Result<(InstanceIdentity, InterfaceMetadata), ImdsError> {
    let identity = client.instance_identity().await?;
    let missing = || ImdsError::Missing { path: format!("network/interfaces/macs/{}/", identity.primary_mac) };
    let primary = client.interface(identity.primary_mac).await?.ok_or_else(missing)?;
    Ok((identity, primary))
}
