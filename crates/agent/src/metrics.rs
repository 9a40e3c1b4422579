//! Prometheus metrics: the incumbent's `awscni_*` names with their meaning, and Freeboard's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freeboard_ec2::{Action, Ec2Error, Observer};
use freeboard_pool::{Cause, PoolView, Refusal};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Summary};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Buckets for what a pod waits for: a warm ADD takes a millisecond, a new interface some seconds.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

/// Every metric of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    latency: ApiLatency,
    pool: PoolGauges,
    process: ProcessGauges,
    /// ADDs that came.
    pub adds: IntCounter,
    /// DELs that came, by reason.
    pub dels: IntCounterVec,
    /// ADDs that got no address.
    pub no_address: IntCounter,
    /// ADDs that got no address, by cause.
    pub refusals: IntCounterVec,
    /// How long an ADD took, by outcome.
    pub add_seconds: HistogramVec,
    /// How long a DEL took.
    pub del_seconds: Histogram,
    /// How long a write of the checkpoint took.
    pub checkpoint_seconds: Histogram,
    /// Writes of the checkpoint that failed.
    pub checkpoint_failures: IntCounter,
    /// EC2 calls, by name.
    pub ec2_calls: IntCounterVec,
    /// Failed EC2 calls, by name.
    pub ec2_failures: IntCounterVec,
    /// Failed EC2 calls, by name and code.
    pub api_errors: IntCounterVec,
    /// Failed EC2 calls, by name and by what the failure means.
    pub utility_errors: IntCounterVec,
    /// Internal errors by place.
    pub errors: IntCounterVec,
    /// What is being done now, by name.
    pub in_progress: IntGaugeVec,
    /// Impossible states that were met and contained.
    pub alarms: IntCounter,
    /// How long the start took, by success.
    pub startup_seconds: HistogramVec,
    /// How long the node's own set-up took, by success.
    pub initialization_seconds: HistogramVec,
    /// Times that SNAT and connection marks were to follow the VPC's blocks, by result.
    pub connmark_reconciles: IntCounterVec,
    /// Deletions that the plugin left word of while the agent was down.
    pub tombstones: IntCounter,
    /// Allocations released because nothing on the host speaks for them.
    pub stale_allocations: IntCounter,
}

#[derive(Debug)]
struct PoolGauges {
    interfaces_most: IntGauge,
    addresses_most: IntGauge,
    interfaces: IntGauge,
    total: IntGauge,
    assigned: IntGauge,
    prefixes: IntGauge,
    assigned_per_cidr: IntGaugeVec,
    assigned_per_interface: IntGaugeVec,
    free: IntGauge,
    cooling: IntGauge,
    quarantined: IntGauge,
    waiting: IntGauge,
    ready: IntGauge,
    subnet_free: IntGaugeVec,
    operations: IntGauge,
    corrections: IntCounterVec,
}

/// What every Prometheus client tells about its process.
#[derive(Debug)]
struct ProcessGauges {
    resident: IntGauge,
    descriptors: IntGauge,
}

impl ProcessGauges {
    fn set(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse::<i64>().ok());
        self.resident.set(kibibytes.unwrap_or(0) * 1024);
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.descriptors.set(i64::try_from(descriptors).unwrap_or(i64::MAX));
    }
}

/// Makes metrics and registers them; a name that is wrong or given twice is found by the first test that makes them.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn add<C: Collector + Clone + 'static>(&mut self, made: prometheus::Result<C>) -> prometheus::Result<C> {
        let made = made?;
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counter(&mut self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&mut self, name: &str, labels: &[&str], help: &str) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help))
    }

    fn gauges(&mut self, name: &str, labels: &[&str], help: &str) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&mut self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec())))
    }

    fn histograms(&mut self, name: &str, labels: &[&str], help: &str) -> prometheus::Result<HistogramVec> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels))
    }

    fn pool(&mut self) -> prometheus::Result<PoolGauges> {
        Ok(PoolGauges {
            interfaces_most: self.gauge("awscni_eni_max", "Interfaces that the node may have")?,
            addresses_most: self.gauge("awscni_ip_max", "Addresses that these interfaces can carry")?,
            interfaces: self.gauge("awscni_eni_allocated", "Interfaces that the pool manages")?,
            total: self.gauge("awscni_total_ip_addresses", "Addresses that the pool holds")?,
            assigned: self.gauge("awscni_assigned_ip_addresses", "Addresses that pods have")?,
            prefixes: self.gauge("awscni_total_ipv4_prefixes", "Prefixes that the pool holds")?,
            assigned_per_cidr: self.gauges(
                "awscni_assigned_ip_per_cidr",
                &["cidr"],
                "Addresses that pods have, by block",
            )?,
            assigned_per_interface: self.gauges(
                "awscni_assigned_ip_per_eni",
                &["eni"],
                "Addresses that pods have, by interface",
            )?,
            free: self.gauge("freeboard_free_addresses", "Addresses that can be given now")?,
            cooling: self.gauge("freeboard_cooling_addresses", "Addresses that rest after use")?,
            quarantined: self
                .gauge("freeboard_quarantined_addresses", "Addresses held in a way that cannot be right")?,
            waiting: self.gauge("freeboard_waiting_adds", "ADDs that wait for an address")?,
            ready: self.gauge("freeboard_pool_ready", "1 when the pool has finished its start")?,
            subnet_free: self.gauges(
                "freeboard_subnet_free_addresses",
                &["subnet", "cidr", "allowed"],
                "Free addresses of a subnet when it was last read",
            )?,
            operations: self.gauge("freeboard_cloud_operations", "Cloud operations in flight")?,
            corrections: self.counters(
                "awscni_reconcile_count",
                &["fn"],
                "Interfaces and blocks that looks at the cloud have added or removed",
            )?,
        })
    }
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// When two metrics have the same name, which the tests of this module exclude.
    pub fn new() -> prometheus::Result<Self> {
        let mut make = Maker { registry: Registry::new() };
        let latency = ApiLatency::new()?;
        make.registry.register(Box::new(latency.clone()))?;
        let build = make.gauges("awscni_build_info", &["version", "goversion"], "The agent's version")?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), ""]).set(1);
        let backend = make.gauges("awscni_connmark_backend", &["backend"], "What writes connection marks")?;
        backend.with_label_values(&["nftables"]).set(1);
        let metrics = Self {
            pool: make.pool()?,
            process: ProcessGauges {
                resident: make.gauge("process_resident_memory_bytes", "Resident memory")?,
                descriptors: make.gauge("process_open_fds", "Open file descriptors")?,
            },
            adds: make.counter("awscni_add_ip_req_count", "ADDs that came")?,
            dels: make.counters("awscni_del_ip_req_count", &["reason"], "DELs that came, by reason")?,
            no_address: make.counter("awscni_no_available_ip_addresses", "ADDs that got no address")?,
            refusals: make.counters("freeboard_refusals", &["cause"], "ADDs that got no address, by cause")?,
            add_seconds: make.histograms("freeboard_add_seconds", &["outcome"], "How long an ADD took in the agent")?,
            del_seconds: make.histogram("freeboard_del_seconds", "How long a DEL took in the agent")?,
            checkpoint_seconds: make
                .histogram("freeboard_checkpoint_seconds", "How long a write of the checkpoint took")?,
            checkpoint_failures: make
                .counter("freeboard_checkpoint_failures", "Writes of the checkpoint that failed")?,
            ec2_calls: make.counters("awscni_ec2api_req_count", &["fn"], "EC2 calls")?,
            ec2_failures: make.counters("awscni_ec2api_error_count", &["fn"], "Failed EC2 calls")?,
            api_errors: make.counters("awscni_aws_api_error_count", &["api", "error"], "Failed EC2 calls, by code")?,
            // The incumbent has whole messages as labels here; a class says the same with a bounded number of series.
            utility_errors: make.counters(
                "awscni_aws_utils_error_count",
                &["fn", "error"],
                "Failed EC2 calls, by what the failure means",
            )?,
            errors: make.counters("awscni_ipamd_error_count", &["fn"], "Internal errors, by place")?,
            in_progress: make.gauges("awscni_ipamd_action_inprogress", &["fn"], "What is being done now")?,
            alarms: make.counter("freeboard_alarms", "Impossible states that were met and contained")?,
            initialization_seconds: make.histograms(
                "awscni_ipamd_node_initialization_duration_seconds",
                &["success"],
                "How long the node's own set-up took",
            )?,
            connmark_reconciles: make.counters(
                "awscni_connmark_reconcile_total",
                &["result"],
                "Times that SNAT and connection marks were to follow the VPC's blocks",
            )?,
            startup_seconds: make.histograms(
                "awscni_ipamd_startup_duration_seconds",
                &["success", "with_api_server", "failure_reason"],
                "From the start of the process until it serves",
            )?,
            tombstones: make
                .counter("freeboard_tombstones", "Deletions that the plugin left word of while the agent was down")?,
            stale_allocations: make.counter(
                "freeboard_stale_allocations",
                "Allocations released because nothing on the host speaks for them",
            )?,
            registry: make.registry.clone(),
            latency,
        };
        // The pool never takes an address from a living pod; dashboards of the incumbent look for these all the same.
        make.counter("awscni_force_removed_enis", "Interfaces dropped while in use: always 0")?;
        let pod_interfaces = "Errors of security groups for pods, which are not served: always 0";
        make.counters("awscni_pod_eni_error_count", &["fn"], pod_interfaces)?.with_label_values(&[""]).reset();
        make.counter("awscni_force_removed_ips", "Addresses dropped while in use: always 0")?;
        // A counter that exists only after the first refusal cannot be alerted on.
        for cause in Cause::ALL {
            metrics.refusals.with_label_values(&[cause.as_str()]).reset();
        }
        Ok(metrics)
    }

    /// An ADD was refused.
    pub fn refused(&self, refusal: &Refusal) {
        self.no_address.inc();
        self.refusals.with_label_values(&[refusal.cause.as_str()]).inc();
    }

    /// A cloud call ended; `error` is its code, and empty when it succeeded.
    pub fn cloud_call(&self, api: &str, error: &str, seconds: f64) {
        self.ec2_calls.with_label_values(&[api]).inc();
        self.latency.observe(api, error, seconds * 1000.0);
        if !error.is_empty() {
            self.ec2_failures.with_label_values(&[api]).inc();
            self.api_errors.with_label_values(&[api, error]).inc();
        }
    }

    /// Every metric as text, with the pool's figures as `view` has them.
    ///
    /// # Errors
    /// Never in practice: all metrics have samples of their own type.
    pub fn render(&self, view: Option<&PoolView>) -> prometheus::Result<String> {
        if let Some(view) = view {
            self.pool.set(view);
        }
        self.process.set();
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Observer for Metrics {
    fn call_finished(&self, action: Action, outcome: Result<(), &Ec2Error>, elapsed: Duration) {
        if let Err(error) = outcome {
            self.utility_errors.with_label_values(&[action.as_str(), error.class.as_str()]).inc();
        }
        let error = outcome.err().map_or("", |error| error.code.as_str());
        self.cloud_call(action.as_str(), error, elapsed.as_secs_f64());
    }
}

impl PoolGauges {
    fn set(&self, view: &PoolView) {
        let interfaces = i64::try_from(view.interfaces.len()).unwrap_or(i64::MAX);
        let most = i64::from(view.interface_limit.saturating_sub(view.unmanaged_interfaces));
        self.interfaces_most.set(most);
        self.addresses_most.set(most * i64::from(view.slots_per_interface));
        self.interfaces.set(interfaces);
        self.total.set(i64::from(view.tally.total));
        self.assigned.set(i64::from(view.tally.assigned));
        self.prefixes.set(i64::from(view.prefixes));
        self.free.set(i64::from(view.tally.free));
        self.cooling.set(i64::from(view.tally.cooling));
        self.quarantined.set(i64::from(view.tally.quarantined));
        self.waiting.set(i64::from(view.waiting));
        self.ready.set(i64::from(view.ready));
        self.operations.set(i64::try_from(view.operations.len()).unwrap_or(i64::MAX));
        let corrected = [
            ("eniReconcileAdd", view.corrections.interfaces_found),
            ("eniReconcileDel", view.corrections.interfaces_gone),
            ("eniDataStorePoolReconcileAdd", view.corrections.blocks_found),
            ("eniIPPoolReconcileDel", view.corrections.blocks_gone),
        ];
        for (place, count) in corrected {
            let counter = self.corrections.with_label_values(&[place]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        // Anew each time, so that what is gone leaves no series behind.
        self.assigned_per_cidr.reset();
        self.assigned_per_interface.reset();
        self.subnet_free.reset();
        for interface in &view.interfaces {
            let assigned = i64::from(interface.tally.assigned);
            self.assigned_per_interface.with_label_values(&[interface.id.as_str()]).set(assigned);
            for block in &interface.blocks {
                let cidr = block.cidr.to_string();
                self.assigned_per_cidr.with_label_values(&[cidr.as_str()]).set(i64::from(block.tally.assigned));
            }
        }
        for block in &view.node_blocks {
            let cidr = block.cidr.to_string();
            self.assigned_per_cidr.with_label_values(&[cidr.as_str()]).set(i64::from(block.tally.assigned));
        }
        for subnet in &view.subnets {
            let cidr = subnet.cidr.to_string();
            let allowed = if subnet.allowed { "true" } else { "false" };
            let labels = [subnet.id.as_str(), cidr.as_str(), allowed];
            self.subnet_free.with_label_values(&labels).set(i64::from(subnet.free));
        }
    }
}

/// `awscni_aws_api_latency_ms`: a summary without quantiles, which the library has no ready type for.
#[derive(Clone, Debug)]
struct ApiLatency {
    description: Desc,
    calls: Arc<Mutex<BTreeMap<Calls, Latency>>>,
}

/// Calls of one action with one outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Calls {
    api: String,
    failed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    calls: u64,
    sum_milliseconds: f64,
}

impl ApiLatency {
    const NAME: &str = "awscni_aws_api_latency_ms";
    const HELP: &str = "Latency of EC2 calls in milliseconds";

    fn new() -> prometheus::Result<Self> {
        let labels = ["api", "error", "status"].map(str::to_owned).to_vec();
        let description =
            Desc::new(Self::NAME.to_owned(), Self::HELP.to_owned(), labels, std::collections::HashMap::new())?;
        Ok(Self { description, calls: Arc::default() })
    }

    fn observe(&self, api: &str, error: &str, milliseconds: f64) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let latency = calls.entry(Calls { api: api.to_owned(), failed: !error.is_empty() }).or_default();
        latency.calls += 1;
        latency.sum_milliseconds += milliseconds;
    }
}

impl Collector for ApiLatency {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.is_empty() {
            return Vec::new();
        }
        let samples = calls.iter().map(|(Calls { api, failed }, latency)| {
            let status = if *failed { "400" } else { "200" };
            let labels = [("api", api.as_str()), ("error", if *failed { "true" } else { "false" }), ("status", status)];
            let labels = labels.map(|(name, value)| {
                let mut label = LabelPair::default();
                label.set_name(name.to_owned());
                label.set_value(value.to_owned());
                label
            });
            let mut summary = Summary::default();
            summary.set_sample_count(latency.calls);
            summary.set_sample_sum(latency.sum_milliseconds);
            let mut metric = Metric::from_label(labels.to_vec());
            metric.set_summary(summary);
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(Self::NAME.to_owned());
        family.set_help(Self::HELP.to_owned());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(samples.collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_the_incumbents_exact_names() {
        let metrics = Metrics::new().unwrap();
        metrics.adds.inc();
        metrics.dels.with_label_values(&["PodDeleted"]).inc();
        metrics.cloud_call("AssignPrivateIpAddresses", "", 0.25);
        metrics.cloud_call("AssignPrivateIpAddresses", "InsufficientFreeAddressesInSubnet", 0.1);
        let text = metrics.render(None).unwrap();
        for line in [
            "# TYPE awscni_add_ip_req_count counter\nawscni_add_ip_req_count 1\n",
            "awscni_del_ip_req_count{reason=\"PodDeleted\"} 1\n",
            "awscni_ec2api_req_count{fn=\"AssignPrivateIpAddresses\"} 2\n",
            "# TYPE awscni_aws_api_latency_ms summary\n",
            "awscni_aws_api_latency_ms_sum{api=\"AssignPrivateIpAddresses\",error=\"false\",status=\"200\"} 250\n",
            "awscni_aws_api_error_count{api=\"AssignPrivateIpAddresses\",error=\"InsufficientFreeAddressesInSubnet\"} 1\n",
            "freeboard_refusals{cause=\"SubnetExhausted\"} 0\n",
            "awscni_pod_eni_error_count{fn=\"\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
