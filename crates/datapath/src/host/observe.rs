//! What the kernel has now.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::MacAddress;

use super::DesiredHost;
use crate::DatapathError;
use crate::names::{FROM_POD_PRIORITY, MAIN_TABLE};
use crate::netlink::{InterfaceAddress, Link, Route, RouteSocket, Rule};
use crate::sysctl;

/// The node's network as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedHost {
    /// Every link.
    pub links: Vec<Link>,
    /// Every IPv4 address.
    pub addresses: Vec<InterfaceAddress>,
    /// The unicast routes of the main table and of the tables that were asked for, by table.
    pub routes: BTreeMap<u32, Vec<Route>>,
    /// Every policy rule that looks up a table.
    pub rules: Vec<Rule>,
    /// The values of the settings that a plan may change.
    pub settings: BTreeMap<String, String>,
}

/// The kernel's evidence that a pod holds an address: enough to rebuild a lost checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The host end of its veth pair, to which its /32 route points.
    pub host_interface: String,
    /// The table of its from-pod rule; the main table when it has none.
    pub table: u32,
}

impl ObservedHost {
    /// Reads what a plan for `desired` needs to know.
    ///
    /// # Errors
    /// When the kernel refuses, or keeps changing while it is read.
    pub fn read(desired: &DesiredHost) -> Result<Self, DatapathError> {
        let mut observed = Self::read_tables(desired.secondaries.iter().map(|secondary| secondary.table))?;
        let primary = observed.link_by_mac(desired.primary.mac).map(|link| link.name.clone());
        let filter = primary.map(|name| format!("net/ipv4/conf/{name}/rp_filter"));
        for setting in filter.into_iter().chain(["net/ipv4/ip_forward".to_owned()]) {
            if let Some(value) = sysctl::read(&setting)? {
                observed.settings.insert(setting, value);
            }
        }
        Ok(observed)
    }

    /// Reads links, addresses, rules, and the routes of the main table and of `tables`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_tables(tables: impl IntoIterator<Item = u32>) -> Result<Self, DatapathError> {
        let mut socket = RouteSocket::open()?;
        // Rules before routes: a plugin sets a pod's route before its rules, so a rule that is seen has its route seen.
        let rules = socket.rules()?;
        let mut routes = BTreeMap::new();
        for table in tables.into_iter().chain([MAIN_TABLE]) {
            routes.insert(table, socket.routes(table)?);
        }
        let links = socket.links()?;
        let addresses = socket.addresses(None)?;
        Ok(Self { links, addresses, routes, rules, settings: BTreeMap::new() })
    }

    /// The link with this hardware address. Links on top of another one (VLANs) may share it and are passed over.
    #[must_use]
    pub fn link_by_mac(&self, mac: MacAddress) -> Option<&Link> {
        let mut links = self.links.iter().filter(|link| link.mac == Some(mac));
        links.find(|link| link.kind.as_deref().is_none_or(|kind| kind == "veth"))
    }

    /// Every pod that the kernel knows of: each /32 route of the main table to a veth link named with `prefix`.
    #[must_use]
    pub fn witnesses(&self, prefix: &str) -> Vec<Witness> {
        let names: BTreeMap<u32, &str> = self
            .links
            .iter()
            .filter(|link| link.name.starts_with(prefix) && link.kind.as_deref() == Some("veth"))
            .map(|link| (link.index, link.name.as_str()))
            .collect();
        let mut witnesses: Vec<Witness> = self
            .main_routes()
            .filter(|route| route.destination.length() == 32)
            .filter_map(|route| {
                let name = names.get(&route.interface?)?;
                let address = route.destination.network();
                Some(Witness { address, host_interface: (*name).to_owned(), table: self.table_of(address) })
            })
            .collect();
        witnesses.sort();
        witnesses
    }

    /// The routes of the main table.
    pub fn main_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.get(&MAIN_TABLE).into_iter().flatten()
    }

    fn table_of(&self, address: Ipv4Addr) -> u32 {
        let block = freeboard_address::Cidr::host(address);
        let mut rules = self.rules.iter().filter(|rule| rule.priority == FROM_POD_PRIORITY);
        rules.find(|rule| rule.from == Some(block)).map_or(MAIN_TABLE, |rule| rule.table)
    }
}
