//! What the cluster shows of an expansion, and what is written to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, SecurityGroupId, SubnetId};
use freeboard_kubernetes::client::{is_not_found, sentence};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Pod;
use freeboard_kubernetes::k8s_openapi::api::networking::v1::ServiceCIDR;
use freeboard_kubernetes::kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use freeboard_kubernetes::kube::{Api, Client, Error, ResourceExt};
use freeboard_kubernetes::resources::{ENIConfig, ENIConfigSpec, Expansion, ExpansionStatus, NodeAddresses};
use serde_json::json;

use super::status::Trouble;
use crate::MANAGER;

/// Pods that are read at once, where no agent of Freeboard's tells how many hold addresses.
const PAGE: u32 = 500;

/// The annotation of an ENIConfig that keeps what it said before an expansion changed it.
const BEFORE: &str = "ipam.freeboard.dev/before-expansion";

/// The API server, as far as expansions need it.
pub(crate) struct Cluster {
    client: Client,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The ENIConfigs by name, with their subnets; none where the kind is not installed.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub(crate) async fn eni_configs(&self) -> Result<BTreeMap<String, String>, Trouble> {
        let listed = match Api::<ENIConfig>::all(self.client.clone()).list(&ListParams::default()).await {
            Ok(listed) => listed.items,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(trouble("list the ENIConfigs", &error)),
        };
        Ok(listed.into_iter().filter_map(|one| Some((one.metadata.name?, one.spec.subnet))).collect())
    }

    /// Pods with an address of the block: counted where Freeboard's agents tell, otherwise only whether there is one.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub(crate) async fn pods_in(&self, block: Cidr) -> Result<u64, Trouble> {
        let agents = match Api::<NodeAddresses>::all(self.client.clone()).list(&ListParams::default()).await {
            Ok(listed) => listed.items,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(trouble("list the NodeAddresses", &error)),
        };
        let subnets = agents.into_iter().filter_map(|node| node.status).flat_map(|status| status.subnets);
        let held: u64 = subnets
            .filter(|subnet| block.contains_block(subnet.cidr))
            .map(|subnet| u64::from(subnet.held.assigned))
            .sum();
        if held > 0 { Ok(held) } else { self.any_pod_in(block).await.map(u64::from) }
    }

    async fn any_pod_in(&self, block: Cidr) -> Result<bool, Trouble> {
        let pods = Api::<Pod>::all(self.client.clone());
        let mut page = ListParams::default().fields("status.phase=Running").limit(PAGE);
        loop {
            let listed = pods.list(&page).await.map_err(|error| trouble("list the pods", &error))?;
            let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.as_deref()?.parse::<Ipv4Addr>().ok();
            if listed.items.iter().filter_map(address).any(|address| block.contains(address)) {
                return Ok(true);
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => return Ok(false),
            }
        }
    }

    /// The first IPv4 range of the cluster's services, where the API server tells it.
    pub(crate) async fn service_range(&self) -> Option<Cidr> {
        let listed = Api::<ServiceCIDR>::all(self.client.clone()).list(&ListParams::default()).await.ok()?;
        let ranges = listed.items.into_iter().filter_map(|one| one.spec?.cidrs).flatten();
        ranges.filter_map(|text| text.parse().ok()).next()
    }

    /// Names a subnet to the nodes of a zone. What was named to them before is kept on the object, for a withdrawal.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub(crate) async fn write_eni_config(
        &self,
        zone: &str,
        subnet: &SubnetId,
        security_groups: &[SecurityGroupId],
    ) -> Result<(), Trouble> {
        let spec = ENIConfigSpec {
            subnet: subnet.to_string(),
            security_groups: security_groups.iter().map(ToString::to_string).collect(),
        };
        let mut object = ENIConfig::new(zone, spec);
        if let Some(before) = self.eni_config(zone).await? {
            let kept = before.annotations().get(BEFORE).cloned();
            let is_other = before.spec.subnet != object.spec.subnet;
            let kept = kept.or_else(|| serde_json::to_string(&before.spec).ok().filter(|_| is_other));
            object.metadata.annotations = kept.map(|kept| BTreeMap::from([(BEFORE.to_owned(), kept)]));
        }
        let apply = PatchParams::apply(MANAGER).force();
        let api = Api::<ENIConfig>::all(self.client.clone());
        api.patch(zone, &apply, &Patch::Apply(&object))
            .await
            .map_err(|error| trouble("write the ENIConfig", &error))?;
        Ok(())
    }

    /// Names to the nodes of a zone what was named to them before the expansion, or nothing; unless the object names another subnet by
    /// now.
    ///
    /// # Errors
    /// When the API server refuses or does not answer, or somebody has changed the object at the same moment.
    pub(crate) async fn withdraw_eni_config(&self, zone: &str, subnet: &SubnetId) -> Result<(), Trouble> {
        let Some(object) = self.eni_config(zone).await?.filter(|object| object.spec.subnet == subnet.as_str()) else {
            return Ok(());
        };
        let api = Api::<ENIConfig>::all(self.client.clone());
        let version = object.resource_version();
        let before: Option<ENIConfigSpec> =
            object.annotations().get(BEFORE).and_then(|text| serde_json::from_str(text).ok());
        let outcome = match before {
            Some(spec) => {
                let patch = json!({
                    "metadata": {"resourceVersion": version, "annotations": {BEFORE: null}},
                    "spec": {"subnet": spec.subnet, "securityGroups": spec.security_groups},
                });
                api.patch(zone, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
            }
            None => {
                let preconditions = Some(Preconditions { resource_version: version, uid: object.uid() });
                api.delete(zone, &DeleteParams { preconditions, ..DeleteParams::default() }).await.map(drop)
            }
        };
        match outcome {
            Err(error) if is_not_found(&error) => Ok(()),
            outcome => outcome.map_err(|error| trouble("take the subnet out of the ENIConfig", &error)),
        }
    }

    async fn eni_config(&self, zone: &str) -> Result<Option<ENIConfig>, Trouble> {
        let api = Api::<ENIConfig>::all(self.client.clone());
        api.get_opt(zone).await.map_err(|error| trouble("read the ENIConfig", &error))
    }

    /// Writes the status of an expansion; says whether it is written. What is not is written with the next change.
    pub(crate) async fn write_status(&self, name: &str, status: &ExpansionStatus) -> bool {
        let api = Api::<Expansion>::all(self.client.clone());
        let patch = Patch::Merge(json!({ "status": status }));
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => true,
            Err(error) if is_not_found(&error) => false,
            Err(error) => {
                tracing::warn!(expansion = name, "the status cannot be written: {}", sentence(&error));
                false
            }
        }
    }
}

fn trouble(action: &str, error: &Error) -> Trouble {
    Trouble { sentence: format!("cannot {action}: {}", sentence(error)), is_for_people: false }
}
