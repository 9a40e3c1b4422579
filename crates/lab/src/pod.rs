//! A pod's sandbox: a pinned network namespace on a node, and what the plugins made of it.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use freeboard_address::PodKey;
use nix::mount::{MntFlags, umount2};
use serde_json::Value;

use crate::error::LabError;
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::runtime::{Attachment, CniError, PluginList, address_of};

/// Where each node has its CNI configuration.
pub(crate) const CONFIGURATIONS: &str = "/etc/cni/net.d";
/// Where each node has its plugins.
pub(crate) const EXECUTABLES: &str = "/opt/cni/bin";

/// Makes the container ids of a run differ.
static SANDBOXES: AtomicU64 = AtomicU64::new(1);

/// One pod on one node. Its network namespace goes when it is dropped; its address only by [`Pod::delete`].
#[derive(Debug)]
pub struct Pod {
    /// The pod.
    pub key: PodKey,
    /// How the plugins know it.
    pub attachment: Attachment,
    /// The address that the plugins gave it.
    pub address: Option<Ipv4Addr>,
    result: Option<Value>,
    node: Namespace,
    namespace: Namespace,
}

impl Pod {
    /// Makes an empty sandbox on `node`.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub fn create(node: &Machine, key: PodKey) -> Result<Self, LabError> {
        let number = SANDBOXES.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/run/netns/cni-{number:016x}"));
        let namespace = node.namespace().create_pinned(key.to_string(), &path)?;
        namespace
            .run(|| crate::netlink::Netlink::open()?.set_up("lo"))?
            .map_err(|source| LabError::network(&namespace, "set the loopback up", source))?;
        let attachment = Attachment {
            container_id: format!("{number:064x}"),
            network_namespace: path,
            interface: "eth0".to_owned(),
            pod_namespace: key.namespace.clone(),
            pod_name: key.name.clone(),
            port_mappings: Vec::new(),
        };
        Ok(Self { key, attachment, address: None, result: None, node: node.namespace().clone(), namespace })
    }

    /// Its network, to look around in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// ADD, by the node's own plugin list. On success the pod has an address.
    ///
    /// # Errors
    /// What the plugin answered, or that the node has no plugin list (it is not ready).
    pub fn add(&mut self) -> Result<Ipv4Addr, LabError> {
        let attachment = self.attachment.clone();
        let result = self.on_node(|list| list.add(&attachment))?;
        let address = address_of(&result).ok_or_else(|| LabError::Program {
            program: "the plugin list".to_owned(),
            node: self.node.name().to_owned(),
            problem: format!("the result of ADD holds no address: {result}"),
        })?;
        self.result = Some(result);
        self.address = Some(address);
        Ok(address)
    }

    /// CHECK, by the node's own plugin list.
    ///
    /// # Errors
    /// What the plugin found.
    pub fn check(&self) -> Result<(), LabError> {
        let result = self.result.clone().unwrap_or_default();
        self.on_node(|list| list.check(&self.attachment, &result))
    }

    /// DEL, by the node's own plugin list.
    ///
    /// # Errors
    /// What the plugin answered.
    pub fn delete(&mut self) -> Result<(), LabError> {
        let result = self.result.clone();
        self.on_node(|list| list.delete(&self.attachment, result.as_ref()))?;
        self.result = None;
        self.address = None;
        Ok(())
    }

    fn on_node<T: Send>(&self, work: impl FnOnce(&PluginList) -> Result<T, CniError> + Send) -> Result<T, LabError> {
        Ok(self.node.run(|| work(&plugin_list()?))??)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let path: &Path = &self.attachment.network_namespace;
        // What stays here goes with the lab.
        let _ = self.node.run(|| -> io::Result<()> {
            umount2(path, MntFlags::MNT_DETACH)?;
            std::fs::remove_file(path)
        });
    }
}

/// The plugin list of the node in whose mounts the calling thread is.
fn plugin_list() -> Result<PluginList, CniError> {
    PluginList::read(Path::new(CONFIGURATIONS), Path::new(EXECUTABLES))
}

impl Machine {
    /// STATUS, by the node's own plugin list.
    ///
    /// # Errors
    /// Why the node cannot serve an ADD.
    pub fn cni_status(&self) -> Result<(), LabError> {
        Ok(self.namespace().run(|| plugin_list()?.status())??)
    }

    /// DEL of an attachment without its result, by the node's own plugin list: a runtime gives up a sandbox whose ADD has not ended.
    ///
    /// # Errors
    /// What the plugin answered.
    pub fn cni_delete(&self, attachment: &Attachment) -> Result<(), LabError> {
        Ok(self.namespace().run(|| plugin_list()?.delete(attachment, None))??)
    }

    /// GC, by the node's own plugin list: everything but `valid` goes.
    ///
    /// # Errors
    /// What the plugin answered.
    pub fn cni_collect(&self, valid: &[&Pod]) -> Result<(), LabError> {
        let valid: Vec<&Attachment> = valid.iter().map(|pod| &pod.attachment).collect();
        Ok(self.namespace().run(|| plugin_list()?.collect(&valid))??)
    }
}
