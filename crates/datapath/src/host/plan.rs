//! The difference between the node's network as it should be and as it is.

use std::collections::BTreeSet;
use std::fmt;

use freeboard_address::{Cidr, MacAddress};

use super::{DesiredHost, ObservedHost, SecondaryInterface};
use crate::names::{
    EXTERNAL_SERVICE_PRIORITY, FROM_INTERFACE_PRIORITY, FROM_POD_PRIORITY, MAIN_TABLE, MARK_PRIORITY, TO_POD_PRIORITY,
};
use crate::netlink::{InterfaceAddress, Link, Request, Route, Rule, RuleSelector, Scope};
use crate::pod::{everything, pod_rules};

/// One change of the kernel's state.
#[derive(Clone, Debug)]
pub enum Change {
    /// A request to route netlink.
    Netlink(Request),
    /// A kernel setting.
    Setting {
        /// Its path under /proc/sys.
        name: String,
        /// Its new value.
        value: String,
    },
}

/// What is to be done, in order. Empty when everything is right.
#[derive(Clone, Debug, Default)]
pub struct HostPlan {
    /// The changes.
    pub changes: Vec<Change>,
    /// Hardware addresses of network interfaces whose link does not exist yet; the rest of the plan leaves them out.
    pub missing_links: Vec<MacAddress>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netlink(request) => request.fmt(f),
            Self::Setting { name, value } => write!(f, "set the kernel setting {name} to {value}"),
        }
    }
}

impl HostPlan {
    /// Whether the kernel has everything as desired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.missing_links.is_empty()
    }

    fn request(&mut self, request: Request) {
        self.changes.push(Change::Netlink(request));
    }
}

/// What must change so that the kernel has `desired`. What comes is added before what it replaces goes.
#[must_use]
pub fn plan(desired: &DesiredHost, observed: &ObservedHost) -> HostPlan {
    let mut plan = HostPlan::default();
    plan_primary(desired, observed, &mut plan);
    for secondary in &desired.secondaries {
        match observed.link_by_mac(secondary.mac) {
            Some(link) => plan_secondary(secondary, link, observed, &mut plan),
            None => plan.missing_links.push(secondary.mac),
        }
    }
    plan_pod_routes(desired, observed, &mut plan);
    plan_rules(desired, observed, &mut plan);
    plan
}

fn plan_primary(desired: &DesiredHost, observed: &ObservedHost, plan: &mut HostPlan) {
    let Some(link) = observed.link_by_mac(desired.primary.mac) else {
        plan.missing_links.push(desired.primary.mac);
        return;
    };
    plan_link(link, desired.primary.mtu_bytes, plan);
    // Answers to pods may come back by another interface than the one by which the pod is reached: loose filter.
    let settings = [(format!("net/ipv4/conf/{}/rp_filter", link.name), "2"), ("net/ipv4/ip_forward".to_owned(), "1")];
    for (name, value) in settings {
        if observed.settings.get(&name).is_some_and(|current| current != value) {
            plan.changes.push(Change::Setting { name, value: value.to_owned() });
        }
    }
}

fn plan_link(link: &Link, mtu_bytes: u32, plan: &mut HostPlan) {
    let mtu = (link.mtu_bytes != mtu_bytes).then_some(mtu_bytes);
    if !link.is_up || mtu.is_some() {
        plan.request(Request::SetLinkUp { index: link.index, mtu_bytes: mtu });
    }
}

fn plan_secondary(secondary: &SecondaryInterface, link: &Link, observed: &ObservedHost, plan: &mut HostPlan) {
    plan_link(link, secondary.mtu_bytes, plan);
    plan_address(secondary, link, observed, plan);
    for route in secondary_routes(secondary, link.index) {
        let table = observed.routes.get(&secondary.table);
        if !table.is_some_and(|routes| routes.contains(&route)) {
            plan.request(Request::ReplaceRoute(route));
        }
    }
    // Pods' traffic takes the interface's own table; a connected route in main would catch the primary interface's.
    for route in observed.main_routes() {
        if route.destination == secondary.subnet && route.interface == Some(link.index) {
            plan.request(Request::DeleteRoute(route.clone()));
        }
    }
}

fn plan_address(secondary: &SecondaryInterface, link: &Link, observed: &ObservedHost, plan: &mut HostPlan) {
    let wanted = InterfaceAddress {
        interface: link.index,
        address: secondary.address,
        prefix_length: secondary.subnet.length(),
        connected_route: false,
    };
    let is_wanted = |a: &InterfaceAddress| a.address == wanted.address && a.prefix_length == wanted.prefix_length;
    let present: Vec<&InterfaceAddress> = observed.addresses.iter().filter(|a| a.interface == link.index).collect();
    // A secondary address of the kernel's goes with its primary one, so strangers go before ours comes.
    for stranger in present.iter().filter(|address| !is_wanted(address)) {
        plan.request(Request::DeleteAddress((*stranger).clone()));
    }
    if !present.iter().any(|address| is_wanted(address)) {
        plan.request(Request::AddAddress(wanted));
    }
}

fn secondary_routes(secondary: &SecondaryInterface, interface: u32) -> Vec<Route> {
    let router = secondary.subnet.nth(1).unwrap_or(secondary.subnet.network());
    let to_router = Route { table: secondary.table, ..Route::on_link(Cidr::host(router), interface) };
    let everywhere = Route {
        table: secondary.table,
        destination: everything(),
        gateway: Some(router),
        interface: Some(interface),
        scope: Scope::Universe,
    };
    vec![to_router, everywhere]
}

fn plan_pod_routes(desired: &DesiredHost, observed: &ObservedHost, plan: &mut HostPlan) {
    for pod in &desired.pods {
        let Some(link) = observed.links.iter().find(|link| link.name == pod.host_interface) else { continue };
        let route = Route::on_link(Cidr::host(pod.address), link.index);
        if !observed.main_routes().any(|found| *found == route) {
            plan.request(Request::ReplaceRoute(route));
        }
    }
}

fn plan_rules(desired: &DesiredHost, observed: &ObservedHost, plan: &mut HostPlan) {
    let wanted = desired_rules(desired);
    let mut seen = BTreeSet::new();
    let mut surplus = Vec::new();
    for rule in &observed.rules {
        if wanted.contains(rule) {
            seen.insert(rule);
        } else if is_ours_to_remove(rule, desired, observed) {
            surplus.push(Request::DeleteRule(RuleSelector::from(rule)));
        }
    }
    for rule in wanted.iter().filter(|rule| !seen.contains(rule)) {
        plan.request(Request::AddRule(rule.clone()));
    }
    for request in surplus {
        plan.request(request);
    }
}

fn desired_rules(desired: &DesiredHost) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    rules.extend(desired.pods.iter().flat_map(|pod| pod_rules(pod.address, pod.table)));
    rules.extend(
        desired.secondaries.iter().map(|s| Rule::from_block(Cidr::host(s.address), s.table, FROM_INTERFACE_PRIORITY)),
    );
    rules.extend(desired.external_service_cidrs.iter().map(|block| {
        // The kernel has no "to 0.0.0.0/0" selector: such a rule has none at all.
        let to = (block.length() > 0).then_some(*block);
        Rule { to, ..Rule::to_block(*block, MAIN_TABLE, EXTERNAL_SERVICE_PRIORITY) }
    }));
    rules.extend(desired.mark.map(|mark| Rule {
        priority: MARK_PRIORITY,
        from: None,
        to: None,
        mark: Some((mark, mark)),
        input_interface: None,
        table: MAIN_TABLE,
    }));
    rules
}

/// Whether a rule that is not desired is one that Freeboard or the Amazon VPC CNI made and that nothing needs any more.
fn is_ours_to_remove(rule: &Rule, desired: &DesiredHost, observed: &ObservedHost) -> bool {
    if rule.input_interface.is_some() {
        return false;
    }
    let host = |block: Option<Cidr>| block.filter(|block| block.length() == 32).map(Cidr::network);
    match rule.priority {
        MARK_PRIORITY => {
            let whole_bit = rule.mark.is_some_and(|(value, mask)| value == mask);
            whole_bit && rule.table == MAIN_TABLE && rule.from.is_none() && rule.to.is_none()
        }
        EXTERNAL_SERVICE_PRIORITY => rule.table == MAIN_TABLE && rule.from.is_none() && rule.mark.is_none(),
        FROM_INTERFACE_PRIORITY => host(rule.from).is_some_and(|address| {
            let is_ours = desired.secondaries.iter().any(|secondary| secondary.address == address);
            is_ours || !observed.addresses.iter().any(|found| found.address == address)
        }),
        TO_POD_PRIORITY | FROM_POD_PRIORITY => {
            let Some(address) = host(rule.from).or(host(rule.to)) else { return false };
            let is_a_pods = desired.pods.iter().any(|pod| pod.address == address);
            let has_route = observed.main_routes().any(|route| route.destination == Cidr::host(address));
            is_a_pods || (desired.remove_orphans && !has_route)
        }
        _ => false,
    }
}
