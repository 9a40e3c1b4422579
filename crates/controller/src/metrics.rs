//! Prometheus metrics: Freeboard's own, and the names of kube-controller-manager's node IPAM with their meaning.

use freeboard_blocks::{Cause, RangeView};
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Buckets for how long a node waits for its block: milliseconds when there is room, minutes when there is none.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];
/// The label of upstream's metrics.
const CLUSTER_CIDR: &str = "clusterCIDR";

/// Every metric of the controller.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Whether this replica leads.
    pub(crate) leading: IntGauge,
    /// Nodes that wait for a block.
    pub(crate) waiting_nodes: IntGauge,
    /// Blocks of nodes with which something is wrong.
    pub(crate) findings: IntGauge,
    /// Nodes that were told to wait, by cause.
    pub(crate) failed_allocations: IntCounterVec,
    /// Writes that failed and were tried again.
    pub(crate) write_failures: IntCounter,
    /// How long nodes waited for their block.
    pub(crate) wait_seconds: Histogram,
    /// Expansions, by phase.
    pub(crate) expansions: IntGaugeVec,
    range_addresses: IntGaugeVec,
    range_nodes: IntGaugeVec,
    allocations: IntCounterVec,
    releases: IntCounterVec,
    max_cidrs: IntGaugeVec,
    usage_cidrs: GaugeVec,
}

impl Metrics {
    /// All metrics at zero.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            leading: IntGauge::new("freeboard_controller_leading", "1 while this replica leads")?,
            waiting_nodes: IntGauge::new("freeboard_blocks_waiting_nodes", "Nodes that wait for a block")?,
            findings: IntGauge::new("freeboard_blocks_findings", "Blocks of nodes with which something is wrong")?,
            failed_allocations: counter(
                "freeboard_blocks_failed_allocations_total",
                "Nodes that were told to wait, by cause",
                &["cause"],
            )?,
            write_failures: IntCounter::new(
                "freeboard_blocks_write_failures_total",
                "Writes of a node's block that failed and were tried again",
            )?,
            wait_seconds: Histogram::with_opts(
                HistogramOpts::new("freeboard_blocks_wait_seconds", "How long nodes waited for their block")
                    .buckets(SECONDS.to_vec()),
            )?,
            expansions: gauge("freeboard_expansions", "Expansions by phase", &["phase"])?,
            range_addresses: gauge(
                "freeboard_blocks_range_addresses",
                "Addresses of a range by what they are: allocated, cooling, free or excluded",
                &["range", "cidr", "state"],
            )?,
            range_nodes: gauge(
                "freeboard_blocks_range_nodes",
                "Blocks of a range that nodes have",
                &["range", "cidr"],
            )?,
            allocations: counter(
                "node_ipam_controller_cidrset_cidrs_allocations_total",
                "Blocks given to nodes",
                &[CLUSTER_CIDR],
            )?,
            releases: counter(
                "node_ipam_controller_cidrset_cidrs_releases_total",
                "Blocks given back",
                &[CLUSTER_CIDR],
            )?,
            // The name is misspelled in kube-controller-manager, and dashboards ask for it as it is.
            max_cidrs: gauge(
                "node_ipam_controller_cirdset_max_cidrs",
                "Blocks that the range holds, of those for 110 pods",
                &[CLUSTER_CIDR],
            )?,
            usage_cidrs: GaugeVec::new(
                Opts::new("node_ipam_controller_cidrset_usage_cidrs", "Share of the range that nodes have, 0 to 1"),
                &[CLUSTER_CIDR],
            )?,
            registry,
        };
        metrics.register()?;
        for cause in Cause::ALL {
            metrics.failed_allocations.with_label_values(&[cause.as_str()]);
        }
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let registry = &self.registry;
        for gauge in [&self.leading, &self.waiting_nodes, &self.findings] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for counter in [&self.failed_allocations, &self.allocations, &self.releases] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [&self.expansions, &self.range_addresses, &self.range_nodes, &self.max_cidrs] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.write_failures.clone()))?;
        registry.register(Box::new(self.wait_seconds.clone()))?;
        registry.register(Box::new(self.usage_cidrs.clone()))
    }

    /// A block of the range with these addresses was given to a node.
    pub(crate) fn allocated(&self, cidr: &str) {
        self.allocations.with_label_values(&[cidr]).inc();
    }

    /// A block of the range with these addresses was given back.
    pub(crate) fn released(&self, cidr: &str) {
        self.releases.with_label_values(&[cidr]).inc();
    }

    /// Shows the ranges as they are now; one that is gone vanishes.
    pub(crate) fn show_ranges(&self, ranges: &[RangeView]) {
        self.range_addresses.reset();
        self.range_nodes.reset();
        self.max_cidrs.reset();
        self.usage_cidrs.reset();
        for range in ranges {
            let (name, cidr) = (range.name.as_str(), range.cidr.to_string());
            for (state, addresses) in [
                ("allocated", range.allocated_addresses),
                ("cooling", range.cooling_addresses),
                ("free", range.free_addresses),
                ("excluded", range.excluded_addresses),
            ] {
                self.range_addresses.with_label_values(&[name, &cidr, state]).set(whole(addresses));
            }
            self.range_nodes.with_label_values(&[name, &cidr]).set(whole(range.nodes));
            let most = range.fits.iter().find(|fit| fit.max_pods == 110).map_or(0, |fit| fit.capacity_nodes);
            self.max_cidrs.with_label_values(&[&cidr]).set(whole(most));
            let usage: Gauge = self.usage_cidrs.with_label_values(&[&cidr]);
            usage.set(range.allocated_addresses as f64 / range.capacity_addresses.max(1) as f64);
        }
    }

    /// The text that a scraper reads.
    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        // Only a family without a name could fail, and none is.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
