//! The cloud as a whole: its state, and the vocabulary every engine has (timeouts and effects).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use freeboard_address::{EniId, InstanceId, RouteTableId, SecurityGroupId, SubnetId, VpcId};
use jiff::{SignedDuration, Timestamp};

use crate::effect::CloudEffect;
use crate::error::ApiError;
use crate::front_door::FrontDoor;
use crate::ids::{GatewayId, IdGenerator, PeeringId};
use crate::limits::LimitTable;
use crate::links::Link;
use crate::metadata::MetadataHistory;
use crate::model::{
    AvailabilityZone, Instance, InternetGateway, NetworkInterface, PeeringConnection, RouteTable, SecurityGroup,
    Subnet, SubnetCidrReservation, Vpc,
};
use crate::request::{CreateNetworkInterface, RunInstances};
use crate::subnet_space::SubnetSpace;
use crate::timers::Timers;
use crate::world::{Behaviour, Quotas, Timing, UpcomingIds, WorldError};

/// One account in one region: VPCs, subnets, instances, interfaces and what belongs to them.
///
/// One method per EC2 action, with EC2's name in snake case. A method that returns an [`ApiError`] has changed nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Cloud {
    pub(crate) region: String,
    pub(crate) account_id: String,
    pub(crate) speed: f64,
    pub(crate) timing: Timing,
    pub(crate) quotas: Quotas,
    pub(crate) behaviour: Behaviour,
    pub(crate) upcoming: UpcomingIds,
    pub(crate) ids: IdGenerator,
    pub(crate) limits: Arc<LimitTable>,
    pub(crate) zones: Vec<AvailabilityZone>,
    pub(crate) vpcs: BTreeMap<VpcId, Vpc>,
    pub(crate) subnets: BTreeMap<SubnetId, SubnetRecord>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) interfaces: BTreeMap<EniId, NetworkInterface>,
    pub(crate) security_groups: BTreeMap<SecurityGroupId, SecurityGroup>,
    pub(crate) route_tables: BTreeMap<RouteTableId, RouteTable>,
    pub(crate) gateways: BTreeMap<GatewayId, InternetGateway>,
    pub(crate) peerings: BTreeMap<PeeringId, PeeringConnection>,
    /// The links that machines have, or are about to get.
    pub(crate) links: BTreeMap<EniId, Link>,
    /// Interfaces that the fault `fill_subnet` made.
    pub(crate) foreign: BTreeSet<EniId>,
    pub(crate) create_tokens: BTreeMap<String, Remembered<CreateNetworkInterface, EniId>>,
    pub(crate) launch_tokens: BTreeMap<String, Remembered<RunInstances, String>>,
    pub(crate) metadata: BTreeMap<InstanceId, MetadataHistory>,
    /// Instances whose metadata may have changed in the current step.
    pub(crate) touched: BTreeSet<InstanceId>,
    pub(crate) timers: Timers,
    pub(crate) effects: VecDeque<CloudEffect>,
    pub(crate) front_door: FrontDoor,
}

/// A subnet and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubnetRecord {
    /// As described, except for the count of available addresses, which is filled in when it is shown.
    pub(crate) subnet: Subnet,
    pub(crate) space: SubnetSpace,
    pub(crate) reservations: Vec<SubnetCidrReservation>,
}

impl SubnetRecord {
    /// The subnet with its count of available addresses.
    pub(crate) fn shown(&self) -> Subnet {
        Subnet { available_ip_address_count: self.space.available(), ..self.subnet.clone() }
    }
}

/// A request that was made with a client token, and what it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered<Request, Made> {
    pub(crate) request: Request,
    pub(crate) made: Made,
}

impl Cloud {
    /// When to call [`Cloud::handle_timeout`], and for what reason.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        self.timers.next()
    }

    /// The next thing for the hypervisor to do, in order.
    pub fn poll_effect(&mut self) -> Option<CloudEffect> {
        self.effects.pop_front()
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The account.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// How many times faster than configured the cloud is.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The network limits of all instance types.
    #[must_use]
    pub fn limits(&self) -> &LimitTable {
        &self.limits
    }

    /// Makes the cloud so many times faster than configured, for what starts from now on.
    ///
    /// # Errors
    /// [`WorldError::OutOfRange`] unless above 0 and at most 1,000,000.
    pub fn set_speed(&mut self, speed: f64) -> Result<(), WorldError> {
        crate::world::check_speed(speed)?;
        self.speed = speed;
        Ok(())
    }

    /// How long `seconds` of the world file take at the current speed.
    pub(crate) fn lasting(&self, seconds: f64) -> SignedDuration {
        duration_of(seconds / self.speed)
    }

    pub(crate) fn vpc(&self, id: &VpcId) -> Result<&Vpc, ApiError> {
        self.vpcs.get(id).ok_or_else(|| ApiError::vpc_not_found(id.as_str()))
    }

    pub(crate) fn subnet(&self, id: &SubnetId) -> Result<&SubnetRecord, ApiError> {
        self.subnets.get(id).ok_or_else(|| ApiError::subnet_not_found(id.as_str()))
    }

    pub(crate) fn instance(&self, id: &InstanceId) -> Result<&Instance, ApiError> {
        self.instances.get(id).ok_or_else(|| ApiError::instance_not_found(id.as_str()))
    }

    pub(crate) fn interface(&self, id: &EniId) -> Result<&NetworkInterface, ApiError> {
        self.interfaces.get(id).ok_or_else(|| ApiError::interface_not_found(id.as_str()))
    }

    pub(crate) fn interface_mut(&mut self, id: &EniId) -> Result<&mut NetworkInterface, ApiError> {
        self.interfaces.get_mut(id).ok_or_else(|| ApiError::interface_not_found(id.as_str()))
    }

    /// The interfaces of an instance, by card and device index.
    pub(crate) fn interfaces_of(&self, instance: &InstanceId) -> Vec<&NetworkInterface> {
        let mut found: Vec<&NetworkInterface> =
            self.interfaces.values().filter(|eni| eni.instance_id() == Some(instance)).collect();
        found.sort_by_key(|eni| eni.attachment.as_ref().map(|a| (a.network_card_index, a.device_index)));
        found
    }

    /// The instance with its interfaces, as the Describe actions show it.
    pub(crate) fn shown_instance(&self, instance: &Instance) -> Instance {
        let network_interfaces = self.interfaces_of(&instance.instance_id).into_iter().cloned().collect();
        Instance { network_interfaces, ..instance.clone() }
    }

    /// The ARN of a resource of this account.
    pub(crate) fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:ec2:{}:{}:{kind}/{id}", self.region, self.account_id)
    }

    /// Ends a step: brings the metadata of every touched instance up to date.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        for instance in std::mem::take(&mut self.touched) {
            self.refresh_metadata(&instance, now);
        }
    }

    /// Marks every instance of a VPC as touched.
    pub(crate) fn touch_vpc(&mut self, vpc: &VpcId) {
        let inside = self.instances.values().filter(|instance| instance.vpc_id.as_ref() == Some(vpc));
        self.touched.extend(inside.map(|instance| instance.instance_id.clone()));
    }
}

/// Seconds as a duration, rounded to microseconds.
pub(crate) fn duration_of(seconds: f64) -> SignedDuration {
    // The cast saturates, and every length of time is checked when it comes in.
    SignedDuration::from_micros((seconds * 1e6).round() as i64)
}

/// `now` plus a duration; the end of time at most.
pub(crate) fn after(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}
