//! What the acts share: the seed's network on the simulated cloud, and the story's clock.

use anyhow::{Context, Result, anyhow};
use freeboard_address::Cidr;
use freeboard_gcp::{
    ApiError, Autoscaling, ClusterUpdate, CreatePool, GoogleCloud, MaxPods, NodePool, Operation, PodRangeRequest,
    PoolKey, PoolName, RangeName, RangeUsage, SecondaryRangeRequest, Subnetwork, SubnetworkKey,
};
use jiff::Timestamp;

/// The network of the GKE demo that the seeds describe.
const WORLD: &str = include_str!("../../../../../worlds/gke-demo.yaml");
/// When the story begins: a minute before the note that the seed shows on its pod.
const BEGINNING: &str = "2023-11-03T07:06:42Z";

/// The cloud and its time. A clone is a what-if: what is done there is not done here.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) cloud: GoogleCloud,
    pub(super) now: Timestamp,
    /// The pool of the demo's cluster.
    pub(super) original: PoolKey,
    /// The subnetwork of the demo's cluster.
    pub(super) subnetwork: SubnetworkKey,
}

/// A node: its machine and its block.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) block: Cidr,
    pub(super) range: RangeName,
}

impl Scene {
    /// The seed's cluster with its one pool of two nodes.
    pub(super) fn set() -> Result<Self> {
        let world = freeboard_vpc_server::parse_google_world("worlds/gke-demo.yaml", WORLD)?;
        let now: Timestamp = BEGINNING.parse()?;
        let cloud = GoogleCloud::from_world(&world, now)?;
        let cluster = cloud.clusters().next().context("the world has no cluster")?;
        let pool = cluster.pools.values().next().context("the world's cluster has no pool")?;
        let (original, subnetwork) = (PoolKey::new(cluster.key.clone(), pool.name.clone()), cluster.subnetwork.clone());
        Ok(Self { cloud, now, original, subnetwork })
    }

    /// Waits until an operation is done.
    ///
    /// # Errors
    /// When it was refused, or has failed.
    pub(super) fn done(&mut self, operation: Result<Operation, ApiError>) -> Result<()> {
        match self.ended(operation)? {
            None => Ok(()),
            Some(failure) => Err(anyhow!("an operation failed: {failure}")),
        }
    }

    /// Waits until an operation is done, and gives its failure if it has one.
    pub(super) fn ended(&mut self, operation: Result<Operation, ApiError>) -> Result<Option<String>> {
        let operation = operation?;
        self.now = self.now.max(operation.ends);
        self.cloud.audit().map_err(|what| anyhow!("the cloud's books do not close: {what}"))?;
        Ok(operation.error.map(|error| error.message))
    }

    pub(super) fn subnetwork(&self) -> Result<&Subnetwork> {
        Ok(self.cloud.subnetwork(&self.subnetwork)?)
    }

    pub(super) fn pool(&self, name: &str) -> PoolKey {
        PoolKey::new(self.original.cluster.clone(), PoolName::new(name))
    }

    pub(super) fn original_pool(&self) -> Result<&NodePool> {
        Ok(self.cloud.pool(&self.original)?)
    }

    pub(super) fn nodes_of(&self, pool: &PoolKey) -> Result<u32> {
        Ok(self.cloud.nodes_of(self.cloud.pool(pool)?))
    }

    /// How full a secondary range is.
    pub(super) fn usage(&self, range: &RangeName) -> Result<RangeUsage> {
        let found = self.subnetwork()?.range(range).with_context(|| format!("there is no range {range}"))?;
        Ok(found.usage())
    }

    /// The pool's nodes, by block.
    pub(super) fn nodes(&self, pool: &PoolKey) -> Result<Vec<Node>> {
        let groups = &self.cloud.pool(pool)?.groups;
        let machines: Vec<_> = groups.iter().filter_map(|key| self.cloud.group(key).ok()).collect();
        let is_node = |instance: &&freeboard_gcp::Instance| {
            machines
                .iter()
                .any(|group| group.key.zone == instance.key.zone && group.instances.contains(&instance.key.name))
        };
        let mut nodes: Vec<Node> = self
            .cloud
            .instances()
            .filter(is_node)
            .flat_map(|instance| {
                instance.interface.alias_ranges.iter().filter_map(|alias| {
                    let range = alias.range.clone()?;
                    Some(Node { name: instance.key.name.to_string(), block: alias.cidr, range })
                })
            })
            .collect();
        nodes.sort_by_key(|node| node.block);
        Ok(nodes)
    }

    /// Adds secondary ranges to the subnetwork, beside those that it has.
    pub(super) fn add_ranges(&mut self, ranges: &[(&str, &str)]) -> Result<()> {
        let subnetwork = self.subnetwork()?;
        let fingerprint = subnetwork.fingerprint;
        let mut wanted: Vec<SecondaryRangeRequest> = subnetwork
            .secondary
            .iter()
            .map(|range| SecondaryRangeRequest { name: range.name.clone(), cidr: range.cidr })
            .collect();
        for (name, cidr) in ranges {
            wanted.push(SecondaryRangeRequest { name: RangeName::new(*name), cidr: cidr.parse()? });
        }
        let operation =
            self.cloud.patch_secondary_ranges(&self.subnetwork, fingerprint, "as just read", &wanted, self.now);
        self.done(operation)
    }

    /// Lets GKE put new pools on these ranges.
    pub(super) fn give_to_cluster(&mut self, ranges: &[(&str, &str)]) -> Result<()> {
        let names = ranges.iter().map(|(name, _)| RangeName::new(*name)).collect();
        let update = ClusterUpdate::AddPodRanges(names);
        let operation = self.cloud.update_cluster(&self.original.cluster, None, &update, self.now);
        self.done(operation)
    }

    /// Makes a pool as the seed makes its eight.
    pub(super) fn create_pool(&mut self, pool: &NewPool<'_>) -> Result<()> {
        let request = CreatePool {
            key: self.pool(pool.name),
            max_pods: Some(MaxPods::new(pool.max_pods)?),
            overprovision: None,
            range: pool.range.clone(),
            initial_node_count: pool.nodes,
            autoscaling: Some(Autoscaling { min_node_count: 0, max_node_count: pool.max_nodes }),
            locations: Vec::new(),
            machine_type: "e2-medium".to_owned(),
            spot: true,
            group_hash: None,
        };
        let operation = self.cloud.create_pool(&request, self.now);
        self.done(operation)
    }

    /// Resizes a pool; the failure when it does not come to that size.
    pub(super) fn resize(&mut self, pool: &PoolKey, nodes: u32) -> Result<Option<String>> {
        let operation = self.cloud.set_pool_size(pool, nodes, self.now);
        self.ended(operation)
    }
}

/// A pool to make.
pub(super) struct NewPool<'a> {
    pub(super) name: &'a str,
    pub(super) max_pods: i64,
    pub(super) nodes: u32,
    pub(super) max_nodes: u32,
    pub(super) range: PodRangeRequest,
}
