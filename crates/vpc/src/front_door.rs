//! The front door: what a request meets before its action is carried out.

use std::time::Duration;

use freeboard_address::{EniId, InstanceId, SubnetId};
use jiff::{SignedDuration, Timestamp};

use crate::addressing::{PrimaryWish, Purpose};
use crate::cloud::{Cloud, after, duration_of};
use crate::effect::CloudEffect;
use crate::error::ApiError;
use crate::faults::{Admission, Call, Fault, FaultError, Outcome};
use crate::filters::matches;
use crate::interfaces::InterfaceSpec;
use crate::model::InstanceState;
use crate::request::AddressWish;
use crate::throttle::Buckets;
use crate::world::Throttling;

/// The longest time a fault may last: a year.
const LONGEST_SECONDS: f64 = 31_536_000.0;

/// Request limits and the faults that requests meet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FrontDoor {
    throttling: Throttling,
    buckets: Buckets,
    throttles: Vec<Lasting>,
    delays: Vec<Lasting>,
    errors: Vec<Counted>,
    lost_answers: Vec<Counted>,
    never_attach: u32,
}

/// Something that holds for an action until a time.
#[derive(Clone, Debug, PartialEq)]
struct Lasting {
    action: String,
    until: Timestamp,
    delay: SignedDuration,
}

/// Something that holds for the next calls of an action.
#[derive(Clone, Debug, PartialEq)]
struct Counted {
    action: String,
    left: u32,
    error: Option<ApiError>,
}

impl FrontDoor {
    /// A door with these request limits and no faults.
    pub(crate) fn new(throttling: Throttling) -> Self {
        Self { throttling, ..Self::default() }
    }

    /// Whether the next attachment never completes; takes one of those that do not.
    pub(crate) fn take_never_attach(&mut self) -> bool {
        let taken = self.never_attach > 0;
        self.never_attach = self.never_attach.saturating_sub(1);
        taken
    }

    fn outcome(&mut self, call: &Call<'_>, now: Timestamp) -> Outcome {
        let throttled = self.throttles.iter().any(|fault| now < fault.until && matches(&fault.action, call.action));
        if throttled || !self.buckets.take(&self.throttling, call, now) {
            return Outcome::Refuse(ApiError::request_limit_exceeded());
        }
        if let Some(error) = take_counted(&mut self.errors, call.action).and_then(|fault| fault.error) {
            return Outcome::Refuse(error);
        }
        if take_counted(&mut self.lost_answers, call.action).is_some() {
            return Outcome::ProceedThenLoseAnswer;
        }
        Outcome::Proceed
    }
}

fn take_counted(faults: &mut Vec<Counted>, action: &str) -> Option<Counted> {
    let place = faults.iter().position(|fault| matches(&fault.action, action))?;
    let fault = faults.get_mut(place)?;
    fault.left = fault.left.saturating_sub(1);
    let taken = fault.clone();
    faults.retain(|fault| fault.left > 0);
    Some(taken)
}

impl Cloud {
    /// The verdict on a request before it is carried out; takes its tokens. The shell obeys it.
    pub fn admit(&mut self, call: &Call<'_>, now: Timestamp) -> Admission {
        self.handle_timeout(now);
        let latency = self.lasting(self.timing.api_latency_milliseconds / 1_000.0);
        let current = self.front_door.delays.iter().filter(|fault| now < fault.until);
        let slowed = current.filter(|fault| matches(&fault.action, call.action)).map(|fault| fault.delay);
        let delay = slowed.fold(latency, SignedDuration::saturating_add);
        let delay = Duration::try_from(delay).unwrap_or(Duration::ZERO);
        Admission { delay, outcome: self.front_door.outcome(call, now) }
    }

    /// Makes something go wrong from now on. Times of faults are not divided by the cloud's speed.
    ///
    /// # Errors
    /// [`FaultError`] when it names something that does not exist or makes no sense.
    pub fn inject(&mut self, fault: &Fault, now: Timestamp) -> Result<(), FaultError> {
        self.check_fault(fault)?;
        let door = &mut self.front_door;
        match fault {
            Fault::Throttle { action, seconds } => {
                let until = after(now, duration_of(*seconds));
                door.throttles.push(Lasting { action: action.clone(), until, delay: SignedDuration::ZERO });
            }
            Fault::Delay { action, delay_seconds, seconds } => {
                let until = seconds.map_or(Timestamp::MAX, |seconds| after(now, duration_of(seconds)));
                let delay = duration_of(*delay_seconds);
                door.delays.push(Lasting { action: action.clone(), until, delay });
            }
            Fault::Error { action, code, message, count } if *count > 0 => {
                let error = Some(ApiError::new(code.clone(), message.clone()));
                door.errors.push(Counted { action: action.clone(), left: *count, error });
            }
            Fault::LoseAnswer { action, count } if *count > 0 => {
                door.lost_answers.push(Counted { action: action.clone(), left: *count, error: None });
            }
            Fault::Error { .. } | Fault::LoseAnswer { .. } => {}
            Fault::StaleMetadata { instance, seconds } => {
                let until = after(now, duration_of(*seconds));
                self.metadata.entry(instance.clone()).or_default().freeze(now, until);
            }
            Fault::NeverAttach { count } => door.never_attach = door.never_attach.saturating_add(*count),
            Fault::RemoveInterface { interface } => self.remove_behind_our_back(interface),
            Fault::FillSubnet { subnet, take, leave_free } => {
                self.fill_subnet(subnet, *take, leave_free.unwrap_or(0), now);
            }
            Fault::ReleaseSubnet { subnet } => self.release_subnet(subnet),
        }
        self.settle(now);
        Ok(())
    }

    /// Ends every fault that is still at work: at the front door, of metadata, and attachments that would never complete.
    /// What faults have done (removed interfaces, filled subnets) stays.
    pub fn clear_faults(&mut self, now: Timestamp) {
        self.handle_timeout(now);
        let door = &mut self.front_door;
        door.throttles.clear();
        door.delays.clear();
        door.errors.clear();
        door.lost_answers.clear();
        door.never_attach = 0;
        for history in self.metadata.values_mut() {
            history.thaw();
        }
    }

    /// Whether a fault makes sense in this cloud, without injecting it.
    pub(crate) fn check_fault(&self, fault: &Fault) -> Result<(), FaultError> {
        let length = |name, seconds: f64| {
            let sensible = seconds.is_finite() && (0.0..=LONGEST_SECONDS).contains(&seconds);
            if sensible { Ok(()) } else { Err(FaultError::Seconds { name, value: seconds.to_string() }) }
        };
        let subnet_exists =
            |subnet: &SubnetId| self.subnets.get(subnet).map(|_| ()).ok_or_else(|| FaultError::Subnet(subnet.clone()));
        match fault {
            Fault::Throttle { seconds, .. } => length("seconds", *seconds),
            Fault::Delay { delay_seconds, seconds, .. } => {
                length("delay_seconds", *delay_seconds)?;
                length("seconds", seconds.unwrap_or(0.0))
            }
            Fault::StaleMetadata { instance, seconds } => {
                length("seconds", *seconds)?;
                let alive = self.instances.get(instance).is_some_and(|i| i.state != InstanceState::Terminated);
                if alive { Ok(()) } else { Err(FaultError::Instance(instance.clone())) }
            }
            Fault::RemoveInterface { interface } => self.check_removal(interface),
            Fault::FillSubnet { subnet, take, leave_free } => {
                subnet_exists(subnet)?;
                let one = take.is_some() != leave_free.is_some();
                if one { Ok(()) } else { Err(FaultError::FillHow(subnet.clone())) }
            }
            Fault::ReleaseSubnet { subnet } => subnet_exists(subnet),
            Fault::Error { .. } | Fault::LoseAnswer { .. } | Fault::NeverAttach { .. } => Ok(()),
        }
    }

    fn check_removal(&self, id: &EniId) -> Result<(), FaultError> {
        let interface = self.interfaces.get(id).ok_or_else(|| FaultError::Interface(id.clone()))?;
        let first = interface.attachment.as_ref().filter(|a| a.device_index == 0 && a.network_card_index == 0);
        match first.and_then(|attachment| attachment.instance_id.clone()) {
            Some(instance) => Err(FaultError::PrimaryInterface(id.clone(), instance)),
            None => Ok(()),
        }
    }

    fn remove_behind_our_back(&mut self, id: &EniId) {
        let linked = self.links.contains_key(id);
        let Some(interface) = self.forget_interface(id) else { return };
        let instance: Option<InstanceId> = interface.instance_id().cloned();
        if let Some(instance) = instance {
            self.touched.insert(instance.clone());
            if linked {
                let mac = interface.mac_address;
                self.effects.push_back(CloudEffect::InterfaceDetached { instance, eni: id.clone(), mac });
            }
        }
    }

    fn fill_subnet(&mut self, subnet: &SubnetId, take: Option<u32>, leave_free: u32, now: Timestamp) {
        let Some(record) = self.subnets.get(subnet) else { return };
        let open = u32::try_from(record.space.open_addresses()).unwrap_or(u32::MAX);
        let vpc = record.subnet.vpc_id.clone();
        let count = take.unwrap_or(open.saturating_sub(leave_free)).min(open);
        let groups = self.resolve_groups(&vpc, &[]).unwrap_or_default();
        for _ in 0..count {
            let spec = InterfaceSpec {
                description: "Another consumer of this subnet".to_owned(),
                groups: groups.clone(),
                requester: Some("amazon-elb".to_owned()),
                ..InterfaceSpec::default()
            };
            let granted = self.grant_in(subnet, PrimaryWish::Any, &AddressWish::default(), Purpose::Create);
            let Ok(eni) = granted.and_then(|granted| self.add_interface(subnet, spec, granted)) else { return };
            self.attach_to_service(&eni, now);
            self.foreign.insert(eni);
        }
    }

    fn release_subnet(&mut self, subnet: &SubnetId) {
        let in_subnet = |id: &&EniId| self.interfaces.get(*id).is_some_and(|eni| eni.subnet_id == *subnet);
        let going: Vec<EniId> = self.foreign.iter().filter(in_subnet).cloned().collect();
        for eni in going {
            self.forget_interface(&eni);
        }
    }
}
