//! A node: a machine of the simulated VPC, with a network and with mounts of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use freeboard_address::{Cidr, InstanceId};
use nix::mount::{MsFlags, mount};

use crate::error::LabError;
use crate::fabric::{default_route, in_host, set_all};
use crate::namespace::Namespace;
use crate::netlink::NextHop;

/// Where every instance finds its metadata service.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Where the lab's nodes find the EC2 API; a VPC endpoint, as it were.
pub const EC2_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 252);

/// Directories that each node has to itself, as each machine has its own disk.
const OWN_DIRECTORIES: [&str; 5] = ["/run", "/var/log", "/etc/cni", "/opt/cni", "/var/lib/kubelet"];

/// A machine of the VPC.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its instance.
    pub instance: InstanceId,
    /// Its type, for example `t3.medium`.
    pub instance_type: String,
    /// Its zone.
    pub zone: String,
    /// Its name: the private DNS name, as EKS names nodes.
    pub name: String,
    /// The primary address of its first interface.
    pub address: Ipv4Addr,
    namespace: Namespace,
}

/// The sockets on which a machine's metadata service and EC2 endpoint listen.
#[derive(Debug)]
pub struct Endpoints {
    /// The metadata service's.
    pub metadata: TcpListener,
    /// The EC2 API's.
    pub ec2: TcpListener,
}

impl Machine {
    /// Makes the machine, without any interface but the loopback, and opens the sockets of its cloud services.
    pub(crate) fn boot(
        instance: InstanceId,
        instance_type: String,
        zone: String,
        name: String,
        address: Ipv4Addr,
    ) -> Result<(Self, Endpoints), LabError> {
        let namespace = Namespace::create_with_mounts(name.clone(), || {
            OWN_DIRECTORIES.iter().try_for_each(|directory| own_directory(Path::new(directory)))?;
            std::fs::create_dir_all("/run/netns")
        })?;
        set_all(
            &namespace,
            &[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv4/conf/all/rp_filter", "0"),
                ("net/ipv4/conf/default/rp_filter", "0"),
            ],
        )?;
        let failed = |source| LabError::network(&namespace, "open the cloud's services", source);
        let endpoints = namespace
            .run(|| -> io::Result<Endpoints> {
                let mut netlink = crate::netlink::Netlink::open()?;
                netlink.set_up("lo")?;
                let lo = crate::netlink::link_index("lo")?;
                for service in [METADATA_ADDRESS, EC2_ADDRESS] {
                    netlink.add_address(lo, service, 32)?;
                }
                Ok(Endpoints { metadata: listen(METADATA_ADDRESS)?, ec2: listen(EC2_ADDRESS)? })
            })?
            .map_err(failed)?;
        Ok((Self { instance, instance_type, zone, name, address, namespace }, endpoints))
    }

    /// Its network and mounts, to run things in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What DHCP does on a real machine: the first interface gets its primary address and the default route.
    pub(crate) fn configure_first_interface(&self, subnet: Cidr) -> Result<(), LabError> {
        let address = self.address;
        in_host(&self.namespace, move |netlink, index| {
            netlink.set_up("eth0")?;
            netlink.add_address(index, address, subnet.length())?;
            match subnet.nth(1) {
                Some(gateway) => netlink.replace_route(default_route(), NextHop::Gateway(index, gateway)),
                None => Ok(()),
            }
        })?;
        // Loose, as the incumbent's start-up container sets it: answers may come in by another interface.
        set_all(&self.namespace, &[("net/ipv4/conf/eth0/rp_filter", "2")])
    }
}

fn listen(address: Ipv4Addr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((address, 80)))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn own_directory(path: &Path) -> io::Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))?;
    Ok(())
}
