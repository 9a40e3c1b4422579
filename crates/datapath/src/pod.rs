//! One pod's link to its node: a veth pair, a route and policy rules, by the names and numbers of the Amazon VPC CNI.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use freeboard_address::{Cidr, MacAddress};
use nix::errno::Errno;

use crate::names::{FROM_POD_PRIORITY, MAIN_TABLE, TO_POD_PRIORITY, check_interface_name};
use crate::netlink::{
    InterfaceAddress, Link, Neighbour, Outcome, Request, Route, RouteSocket, Rule, RuleSelector, Scope, Veth, VethEnd,
};
use crate::{DatapathError, HostPort, NetworkNamespace, host_ports, sysctl};

/// The next hop inside every pod; nobody has this address, a permanent neighbour entry stands for it.
const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// More rules than this for one address are a fault elsewhere; each round deletes one on either side.
const STALE_RULE_ROUNDS: u32 = 64;

/// The network of one pod, as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// Name of the veth end on the host ([`crate::names::host_interface`]).
    pub host_interface: String,
    /// Name of the veth end in the pod, CNI_IFNAME.
    pub pod_interface: String,
    /// Where the pod's network namespace is pinned.
    pub namespace: PathBuf,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The routing table of the network interface that holds the address ([`crate::names::interface_table`]).
    pub table: u32,
    /// Largest packet, in bytes.
    pub mtu_bytes: u32,
    /// Hardware address of the host end: random, unicast, locally administered.
    pub host_mac: MacAddress,
    /// Hardware address of the pod's end, likewise.
    pub pod_mac: MacAddress,
    /// Ports of the node that lead to the pod.
    pub host_ports: Vec<HostPort>,
}

/// What may be left of a pod's network on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRemains {
    /// Name of the veth end on the host; none when it is not known.
    pub host_interface: Option<String>,
    /// Addresses whose rules, /32 route and host ports go.
    pub addresses: Vec<Ipv4Addr>,
}

impl PodNetwork {
    /// Makes the veth pair, addresses, routes and rules. Whatever is left of an earlier pod with this address or this host
    /// interface is removed first. When a step fails, what was made is removed again.
    ///
    /// # Errors
    /// The step that failed; [`DatapathError::NoNamespace`] before anything is changed when the sandbox is gone.
    pub fn set_up(&self) -> Result<(), DatapathError> {
        check_interface_name("host interface name", &self.host_interface)?;
        check_interface_name("pod interface name", &self.pod_interface)?;
        let namespace = NetworkNamespace::open(&self.namespace)?;
        let mut pod = RouteSocket::open_in(&namespace)?;
        let mut host = RouteSocket::open()?;
        self.check_name_is_free(&mut pod, &mut host)?;
        let made = self.make(&mut host, &mut pod, &namespace);
        if made.is_err() {
            // The first failure is the one to report; what cannot be removed now is removed before the address is given again.
            let _ = remove(&mut host, &self.remains());
        }
        made
    }

    /// What [`Self::set_up`] leaves on the host.
    #[must_use]
    pub fn remains(&self) -> PodRemains {
        PodRemains { host_interface: Some(self.host_interface.clone()), addresses: vec![self.address] }
    }

    /// Compares the kernel with what [`Self::set_up`] makes; the hardware addresses are not compared.
    ///
    /// # Errors
    /// Every difference, as [`DatapathError::Missing`]; or the failure to look.
    pub fn check(&self) -> Result<(), DatapathError> {
        let namespace = NetworkNamespace::open(&self.namespace)?;
        let mut missing = Vec::new();
        let host_mac = self.check_host(&mut RouteSocket::open()?, &mut missing)?;
        self.check_pod(&mut RouteSocket::open_in(&namespace)?, host_mac, &mut missing)?;
        DatapathError::collected(missing.into_iter().map(DatapathError::Missing).collect())
    }

    fn make(
        &self,
        host: &mut RouteSocket,
        pod: &mut RouteSocket,
        namespace: &NetworkNamespace,
    ) -> Result<(), DatapathError> {
        let link = self.make_link(host, namespace)?;
        let peer = link.peer_index.ok_or_else(|| DatapathError::NoLink(self.pod_interface.clone()))?;
        self.prepare_host_link()?;
        pod.execute(&self.pod_requests(peer))?;
        host.execute(&self.host_requests(link.index))?;
        if self.host_ports.is_empty() {
            return host_ports::close(&[self.address]);
        }
        host_ports::open(self.address, &self.host_interface, &self.host_ports)
    }

    /// The sandbox may have such an interface only from an earlier attachment of ours; that one goes with its host end.
    fn check_name_is_free(&self, pod: &mut RouteSocket, host: &mut RouteSocket) -> Result<(), DatapathError> {
        let Some(inner) = pod.link(&self.pod_interface)? else { return Ok(()) };
        if host.link(&self.host_interface)?.is_some_and(|outer| is_pair(&inner, &outer)) {
            return Ok(());
        }
        Err(DatapathError::BadValue {
            what: "pod interface name",
            value: self.pod_interface.clone(),
            expected: "a name that the sandbox does not have yet",
        })
    }

    /// Clears the way and makes the pair, in one batch: the usual pod finds nothing to clear.
    fn make_link(&self, host: &mut RouteSocket, namespace: &NetworkNamespace) -> Result<Link, DatapathError> {
        let clear = clearing_requests(&self.remains());
        let mut requests = clear.clone();
        requests.push(Request::AddVeth(Veth {
            near: VethEnd { name: self.host_interface.clone(), mac: self.host_mac, namespace: None },
            far: VethEnd {
                name: self.pod_interface.clone(),
                mac: self.pod_mac,
                namespace: Some(namespace.file().clone()),
            },
            mtu_bytes: self.mtu_bytes,
        }));
        requests.push(Request::GetLink(self.host_interface.clone()));
        let outcomes = host.execute(&requests)?;
        if removed_rule(&clear, &outcomes) {
            remove_rules(host, self.address)?;
        }
        match outcomes.into_iter().next_back() {
            Some(Outcome::Link(link)) => Ok(link),
            _ => Err(DatapathError::NoLink(self.host_interface.clone())),
        }
    }

    /// The settings of the Amazon VPC CNI for the host end, before it is up.
    fn prepare_host_link(&self) -> Result<(), DatapathError> {
        for (setting, value) in [("accept_ra", "0"), ("accept_redirects", "1"), ("forwarding", "0")] {
            sysctl::ensure(&format!("net/ipv6/conf/{}/{setting}", self.host_interface), value)?;
        }
        Ok(())
    }

    fn pod_requests(&self, interface: u32) -> Vec<Request> {
        vec![
            Request::SetLinkUp { index: interface, mtu_bytes: None },
            Request::AddAddress(self.pod_address(interface)),
            Request::ReplaceRoute(Self::gateway_route(interface)),
            Request::ReplaceRoute(Self::default_route(interface)),
            Request::ReplaceNeighbour(Neighbour { interface, address: POD_GATEWAY, mac: self.host_mac }),
        ]
    }

    fn host_requests(&self, interface: u32) -> Vec<Request> {
        let mut requests = vec![
            Request::SetLinkUp { index: interface, mtu_bytes: None },
            Request::ReplaceRoute(Route::on_link(Cidr::host(self.address), interface)),
        ];
        requests.extend(pod_rules(self.address, self.table).into_iter().map(Request::AddRule));
        requests
    }

    fn pod_address(&self, interface: u32) -> InterfaceAddress {
        InterfaceAddress { interface, address: self.address, prefix_length: 32, connected_route: true }
    }

    fn gateway_route(interface: u32) -> Route {
        Route::on_link(Cidr::host(POD_GATEWAY), interface)
    }

    fn default_route(interface: u32) -> Route {
        Route {
            table: MAIN_TABLE,
            destination: everything(),
            gateway: Some(POD_GATEWAY),
            interface: Some(interface),
            scope: Scope::Universe,
        }
    }

    fn check_host(
        &self,
        host: &mut RouteSocket,
        missing: &mut Vec<String>,
    ) -> Result<Option<MacAddress>, DatapathError> {
        let link = host.link(&self.host_interface)?;
        match &link {
            None => missing.push(format!("link {} on the host", self.host_interface)),
            Some(link) if !link.is_up => missing.push(format!("link {} being up", self.host_interface)),
            Some(_) => {}
        }
        let route = host.routes(MAIN_TABLE)?.into_iter().find(|route| {
            route.destination == Cidr::host(self.address) && route.interface == link.as_ref().map(|l| l.index)
        });
        if route.is_none() {
            missing.push(format!("route {}/32 to link {}", self.address, self.host_interface));
        }
        let rules = host.rules()?;
        for rule in pod_rules(self.address, self.table) {
            if !rules.contains(&rule) {
                missing.push(rule.to_string());
            }
        }
        missing.extend(host_ports::missing(self.address, &self.host_interface, &self.host_ports)?);
        Ok(link.and_then(|link| link.mac))
    }

    fn check_pod(
        &self,
        pod: &mut RouteSocket,
        host_mac: Option<MacAddress>,
        missing: &mut Vec<String>,
    ) -> Result<(), DatapathError> {
        let Some(link) = pod.link(&self.pod_interface)? else {
            missing.push(format!("link {} in the sandbox", self.pod_interface));
            return Ok(());
        };
        if !link.is_up {
            missing.push(format!("link {} being up", self.pod_interface));
        }
        if !pod.addresses(Some(link.index))?.contains(&self.pod_address(link.index)) {
            missing.push(format!("address {}/32 on {} in the sandbox", self.address, self.pod_interface));
        }
        let routes = pod.routes(MAIN_TABLE)?;
        for route in [Self::gateway_route(link.index), Self::default_route(link.index)] {
            if !routes.contains(&route) {
                missing.push(format!("{route} in the sandbox"));
            }
        }
        let neighbours = pod.permanent_neighbours(link.index)?;
        if !neighbours.iter().any(|n| n.address == POD_GATEWAY && Some(n.mac) == host_mac) {
            missing.push(format!("permanent neighbour {POD_GATEWAY} in the sandbox"));
        }
        Ok(())
    }
}

impl PodRemains {
    /// What the sandbox itself says of its network: the host interface, if it is the other end of the sandbox's own interface,
    /// and the addresses on that. `None` when the two do not belong together or one is gone.
    ///
    /// A host interface must not be removed by its name alone: it is made from the pod's name, and a new sandbox of the same
    /// pod may have it by now.
    ///
    /// # Errors
    /// [`DatapathError::NoNamespace`] when the sandbox cannot be entered; or the kernel's refusal.
    pub fn from_sandbox(
        namespace: &Path,
        pod_interface: &str,
        host_interface: &str,
    ) -> Result<Option<Self>, DatapathError> {
        let mut pod = RouteSocket::open_in(&NetworkNamespace::open(namespace)?)?;
        let (Some(inner), Some(outer)) = (pod.link(pod_interface)?, RouteSocket::open()?.link(host_interface)?) else {
            return Ok(None);
        };
        if !is_pair(&inner, &outer) {
            return Ok(None);
        }
        let addresses = pod.addresses(Some(inner.index))?.into_iter().map(|found| found.address).collect();
        Ok(Some(Self { host_interface: Some(host_interface.to_owned()), addresses }))
    }

    /// Removes rules, routes and the veth pair; what is gone already is no error. An address whose route leads to another
    /// pod's interface was given again since, and is left alone, as is an interface to which none of the addresses leads.
    ///
    /// # Errors
    /// Every step that failed; the others were done.
    pub fn tear_down(&self) -> Result<(), DatapathError> {
        let mut host = RouteSocket::open()?;
        let ours = self.still_ours(&mut host)?;
        remove(&mut host, &ours)
    }

    /// Removes rules and routes as [`Self::tear_down`] does, and leaves the veth pair to the sandbox, with which it goes: the
    /// kernel takes some 20 ms to delete one, and the runtime deletes the sandbox anyway.
    ///
    /// # Errors
    /// Every step that failed; the others were done.
    pub fn disconnect(&self) -> Result<(), DatapathError> {
        let mut host = RouteSocket::open()?;
        let ours = self.still_ours(&mut host)?;
        remove(&mut host, &Self { host_interface: None, ..ours })
    }

    fn still_ours(&self, host: &mut RouteSocket) -> Result<Self, DatapathError> {
        let link = match &self.host_interface {
            Some(name) => host.link(name)?.map(|link| link.index),
            None => None,
        };
        let requests: Vec<Request> = self.addresses.iter().copied().map(Request::GetRoute).collect();
        let mut ours = Self::default();
        for (address, outcome) in self.addresses.iter().zip(host.execute(&requests)?) {
            match pod_link(&outcome, *address) {
                None => ours.addresses.push(*address),
                Some(found) if Some(found) == link => {
                    ours.addresses.push(*address);
                    ours.host_interface.clone_from(&self.host_interface);
                }
                Some(_) => {}
            }
        }
        Ok(ours)
    }
}

fn is_pair(inner: &Link, outer: &Link) -> bool {
    inner.peer_index == Some(outer.index) && outer.peer_index == Some(inner.index)
}

/// The link to which the /32 route of this address leads; none when there is no such route.
fn pod_link(outcome: &Outcome, address: Ipv4Addr) -> Option<u32> {
    match outcome {
        Outcome::Route(route) if route.destination == Cidr::host(address) && route.gateway.is_none() => route.interface,
        Outcome::Route(_) | Outcome::Link(_) | Outcome::Done | Outcome::Unchanged | Outcome::Refused { .. } => None,
    }
}

/// The two rules of a pod; one when its interface is the primary one.
pub(crate) fn pod_rules(address: Ipv4Addr, table: u32) -> Vec<Rule> {
    let block = Cidr::host(address);
    let mut rules = vec![Rule::to_block(block, MAIN_TABLE, TO_POD_PRIORITY)];
    if table != MAIN_TABLE {
        rules.push(Rule::from_block(block, table, FROM_POD_PRIORITY));
    }
    rules
}

pub(crate) fn everything() -> Cidr {
    Cidr::containing(Ipv4Addr::UNSPECIFIED, 0).unwrap_or_else(|_| Cidr::host(Ipv4Addr::UNSPECIFIED))
}

fn clearing_requests(remains: &PodRemains) -> Vec<Request> {
    let mut requests = Vec::with_capacity(8);
    for address in &remains.addresses {
        let block = Cidr::host(*address);
        requests.push(Request::DeleteRule(RuleSelector::to_block(block)));
        requests.push(Request::DeleteRule(RuleSelector::from_block(block)));
        requests.push(Request::DeleteRoute(Route {
            table: MAIN_TABLE,
            destination: block,
            gateway: None,
            interface: None,
            scope: Scope::Link,
        }));
    }
    if let Some(name) = &remains.host_interface {
        requests.push(Request::DeleteLink(name.clone()));
    }
    requests
}

fn remove(host: &mut RouteSocket, remains: &PodRemains) -> Result<(), DatapathError> {
    let closed = host_ports::close(&remains.addresses);
    let requests = clearing_requests(remains);
    let outcomes = host.execute(&requests)?;
    if removed_rule(&requests, &outcomes) {
        for address in &remains.addresses {
            remove_rules(host, *address)?;
        }
    }
    closed
}

fn removed_rule(requests: &[Request], outcomes: &[Outcome]) -> bool {
    let mut pairs = requests.iter().zip(outcomes);
    pairs.any(|(request, outcome)| matches!(request, Request::DeleteRule(_)) && *outcome == Outcome::Done)
}

/// Deletes every rule on this address, at any priority and for any table: one that stays would send the next pod's packets
/// to the wrong interface.
fn remove_rules(host: &mut RouteSocket, address: Ipv4Addr) -> Result<(), DatapathError> {
    let block = Cidr::host(address);
    let requests =
        [Request::DeleteRule(RuleSelector::to_block(block)), Request::DeleteRule(RuleSelector::from_block(block))];
    for _ in 0..STALE_RULE_ROUNDS {
        if host.execute(&requests)?.iter().all(|outcome| *outcome == Outcome::Unchanged) {
            return Ok(());
        }
    }
    Err(DatapathError::Refused {
        request: format!("delete every rule on {address}: after {STALE_RULE_ROUNDS} rounds there are still some"),
        errno: Errno::EBUSY,
        explanation: String::new(),
    })
}
