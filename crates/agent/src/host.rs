//! The host's network, through the datapath: one change at a time, each computed from what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freeboard_address::{Cidr, MacAddress, PodKey};
use freeboard_datapath::host::{self, DesiredHost, ObservedHost, PodRoute, PrimaryInterface, SecondaryInterface};
use freeboard_datapath::names::MAIN_TABLE;
use freeboard_datapath::netlink::{Route, RouteSocket};
use freeboard_datapath::{DatapathError, PodRemains, names};
use freeboard_pool::{AddressState, AddressView, PoolView};
use freeboard_settings::Settings;
use tokio::sync::Mutex;

use crate::evidence::Witness;

/// How long an attached interface may take to show as a link. Usually two seconds; AWS has needed thirty.
const LINK_WAIT: Duration = Duration::from_secs(60);
const LINK_PERIOD: Duration = Duration::from_millis(50);

/// Why the host could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel refused.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// No link has the hardware address of an attached interface.
    #[error("failed to find the link which uses MAC address {mac}: it did not show within {} s", .waited.as_secs())]
    NoLink {
        /// The hardware address.
        mac: MacAddress,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The node's own way out is not there.
    #[error(
        "the node has no default route by a link with a hardware address and an IPv4 address: expected one, because packets of \
         pods leave by it; give the node its network first"
    )]
    NoUplink,
    /// The work ended abnormally.
    #[error("the work on the host's network ended abnormally: {0}")]
    Abnormal(String),
}

/// What a secondary interface needs on the host.
#[derive(Clone, Debug)]
pub struct InterfacePlan {
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its primary address.
    pub address: Ipv4Addr,
    /// Its subnet.
    pub subnet: Cidr,
    /// Its device index.
    pub device_index: u32,
}

/// The node's primary interface, on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Its hardware address, by which its link is found.
    pub mac: MacAddress,
    /// Its address, from which packets of pods leave for the internet.
    pub address: Ipv4Addr,
    /// Largest packet, in bytes.
    pub mtu_bytes: u32,
}

impl Primary {
    /// The interface to which the node's default route leads, as it is.
    ///
    /// # Errors
    /// When there is none, or the kernel refuses.
    pub async fn of_default_route() -> Result<Self, HostError> {
        let found = blocking(|| {
            let observed = ObservedHost::read_tables([])?;
            let everywhere = |route: &&Route| route.table == MAIN_TABLE && route.destination == Cidr::EVERYTHING;
            let index = observed.main_routes().find(everywhere).and_then(|route| route.interface);
            let link = observed.links.iter().find(|link| Some(link.index) == index);
            let address = observed.addresses.iter().find(|address| Some(address.interface) == index);
            Ok(link.zip(address).and_then(|(link, address)| {
                Some(Self { mac: link.mac?, address: address.address, mtu_bytes: link.mtu_bytes })
            }))
        });
        found.await?.ok_or(HostError::NoUplink)
    }
}

/// The host; cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<Settings>,
    primary: Primary,
    /// The secondary interfaces that are set up, by address. The lock also keeps changes one after another.
    secondaries: Mutex<BTreeMap<Ipv4Addr, SecondaryInterface>>,
}

impl Host {
    /// The host of the instance with this primary interface. Nothing is changed yet.
    #[must_use]
    pub fn new(settings: Arc<Settings>, primary: Primary) -> Self {
        let shared = Shared { settings, primary, secondaries: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The node's own part: MTU and reverse-path filter of the primary interface, the rules that all pods share, SNAT; and the
    /// incumbent's chains go.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_up_node(&self, vpc_cidrs: &[Cidr]) -> Result<(), HostError> {
        let secondaries = self.shared.secondaries.lock().await;
        self.apply(&secondaries, Vec::new()).await?;
        drop(secondaries);
        self.set_up_snat(vpc_cidrs).await?;
        // What the incumbent left does no harm that would justify a node without an agent.
        if let Err(error) = blocking(crate::snat::take_over).await {
            tracing::error!(%error, "the chains of the Amazon VPC CNI could not be removed");
        }
        Ok(())
    }

    /// Waits for an attached interface's link and sets it up: address, table, rule, MTU.
    ///
    /// # Errors
    /// When the link does not come, or the kernel refuses.
    pub async fn set_up_interface(&self, plan: InterfacePlan) -> Result<(), HostError> {
        wait_for_link(plan.mac).await?;
        let secondary = SecondaryInterface {
            mac: plan.mac,
            address: plan.address,
            subnet: plan.subnet,
            table: names::interface_table(0, plan.device_index),
            mtu_bytes: self.shared.settings.eni_mtu,
        };
        let mut secondaries = self.shared.secondaries.lock().await;
        secondaries.insert(plan.address, secondary);
        let applied = self.apply(&secondaries, Vec::new()).await;
        if applied.is_err() {
            secondaries.remove(&plan.address);
        }
        applied
    }

    /// Removes what is left of a detached interface: its routes went with its link, its rule did not.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_interface(&self, address: Ipv4Addr) -> Result<(), HostError> {
        let mut secondaries = self.shared.secondaries.lock().await;
        secondaries.remove(&address);
        self.apply(&secondaries, Vec::new()).await
    }

    /// Restores routes and rules of running pods where they were lost while no agent ran. What is right is not touched.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn assert_pods(&self, view: &PoolView) -> Result<(), HostError> {
        let secondaries = self.shared.secondaries.lock().await;
        let pods = pod_routes(view, &self.shared.settings.veth_prefix);
        self.apply(&secondaries, pods).await
    }

    /// Removes routes and rules of pods that are gone, unless their address leads to another pod by now. What cannot be removed
    /// is logged: it is removed before the address is given again.
    pub async fn disconnect_pods(&self, gone: Vec<(PodKey, Ipv4Addr)>) {
        for (pod, address) in gone {
            let host_interface = Some(names::host_interface(&self.shared.settings.veth_prefix, &pod));
            let remains = PodRemains { host_interface, addresses: vec![address] };
            if let Err(error) = blocking(move || remains.disconnect()).await {
                tracing::warn!(%address, %pod, %error, "the host could not be cleaned of a pod that is gone");
            }
        }
    }

    /// Makes SNAT and connection marks follow these blocks.
    ///
    /// # Errors
    /// When the kernel refuses; the old table is then still there, whole.
    pub async fn set_up_snat(&self, vpc_cidrs: &[Cidr]) -> Result<(), HostError> {
        let shared = Arc::clone(&self.shared);
        let vpc_cidrs = vpc_cidrs.to_vec();
        blocking(move || crate::snat::apply(&shared.settings, shared.primary.mac, shared.primary.address, &vpc_cidrs))
            .await
    }

    /// The host interfaces of pods, with the addresses that are routed to them.
    ///
    /// # Errors
    /// When the kernel refuses, or keeps changing while it is read.
    pub async fn witnesses(&self) -> Result<Vec<Witness>, HostError> {
        blocking(|| {
            let observed = ObservedHost::read_tables([])?;
            let routed = observed.witnesses("");
            let silent =
                observed.links.iter().filter(|link| !routed.iter().any(|seen| seen.host_interface == link.name));
            let silent: Vec<Witness> = silent.map(|link| Witness { link: link.name.clone(), address: None }).collect();
            let routed =
                routed.into_iter().map(|seen| Witness { link: seen.host_interface, address: Some(seen.address) });
            Ok(routed.chain(silent).collect())
        })
        .await
    }

    async fn apply(
        &self,
        secondaries: &BTreeMap<Ipv4Addr, SecondaryInterface>,
        pods: Vec<PodRoute>,
    ) -> Result<(), HostError> {
        let (settings, Primary { mac, mtu_bytes, .. }) = (&self.shared.settings, self.shared.primary);
        let marked = settings.node_port_support || !settings.external_snat;
        let mut desired = DesiredHost {
            primary: PrimaryInterface { mac, mtu_bytes },
            secondaries: secondaries.values().cloned().collect(),
            pods,
            mark: marked.then_some(settings.connmark),
            external_service_cidrs: settings.external_service_cidrs.iter().copied().collect::<BTreeSet<_>>(),
            // A plugin may be adding a pod at any time; it removes what is stale for its address itself.
            remove_orphans: false,
        };
        blocking(move || {
            let observed = ObservedHost::read(&desired)?;
            // A pod whose interface is gone needs no way to it; its allocation is about to be released.
            desired.pods.retain(|pod| observed.links.iter().any(|link| link.name == pod.host_interface));
            let plan = host::plan(&desired, &observed);
            for change in &plan.changes {
                tracing::info!("host: {change}");
            }
            for mac in &plan.missing_links {
                tracing::warn!(%mac, "no link has the hardware address of a managed interface");
            }
            host::apply(&plan)
        })
        .await
    }
}

/// The routes of the pods that hold an address.
fn pod_routes(view: &PoolView, prefix: &str) -> Vec<PodRoute> {
    let route = |table: u32, address: &AddressView| {
        let AddressState::Assigned { pod: Some(pod), .. } = &address.state else { return None };
        Some(PodRoute { address: address.address, table, host_interface: names::host_interface(prefix, pod) })
    };
    let on_interfaces = view.interfaces.iter().flat_map(|interface| {
        let table = names::interface_table(0, interface.device_index);
        let addresses = interface.blocks.iter().flat_map(|block| &block.addresses);
        addresses.filter_map(move |address| route(table, address))
    });
    // An address of the node's own block is reached, and leaves, by the primary interface.
    let of_blocks = view.node_blocks.iter().flat_map(|block| &block.addresses);
    on_interfaces.chain(of_blocks.filter_map(|address| route(MAIN_TABLE, address))).collect()
}

async fn wait_for_link(mac: MacAddress) -> Result<(), HostError> {
    let started = Instant::now();
    loop {
        let links = blocking(|| RouteSocket::open()?.links()).await?;
        if links.iter().any(|link| link.mac == Some(mac)) {
            return Ok(());
        }
        if started.elapsed() >= LINK_WAIT {
            return Err(HostError::NoLink { mac, waited: LINK_WAIT });
        }
        tokio::time::sleep(LINK_PERIOD).await;
    }
}

/// Netlink calls block, for some hundred microseconds each.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DatapathError> + Send + 'static,
) -> Result<T, HostError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(HostError::Abnormal(error.to_string())),
    }
}
