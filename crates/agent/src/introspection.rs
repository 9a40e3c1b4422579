//! Introspection: the incumbent's paths with its bodies, and Freeboard's own, richer ones.

use std::sync::Arc;

use ::http::StatusCode;
use freeboard_pool::{OperationView, PoolView};
use freeboard_settings::{RandomizeSnat, Settings};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cni_service::place;
use crate::enis::enis;
use crate::http::{Answer, Handler};
use crate::metrics::Metrics;
use crate::pool_handle::{Command, PoolHandle, Shown};

const PATHS: [&str; 7] = [
    "/v1/enis",
    "/v1/eni-configs",
    "/v1/networkutils-env-settings",
    "/v1/ipamd-env-settings",
    "/v1/freeboard/decisions",
    "/v1/freeboard/pool",
    "/v1/freeboard/settings",
];

/// The introspection server's answers.
#[derive(Debug)]
pub struct Introspection {
    /// The pool.
    pub pool: PoolHandle,
    /// The settings in use.
    pub settings: watch::Receiver<Arc<Settings>>,
}

impl Handler for Introspection {
    async fn get(&self, path: &str) -> Answer {
        match path {
            "/v1/enis" => self.interfaces().await,
            "/v1/freeboard/pool" => self.shown(|shown| serde_json::to_string(&pool(shown))).await,
            "/v1/freeboard/decisions" => self.shown(|shown| serde_json::to_string(&shown.log)).await,
            "/v1/freeboard/settings" => Answer::json(json!(self.settings().values()).to_string()),
            "/v1/networkutils-env-settings" => Answer::json(network_settings(&self.settings()).to_string()),
            "/v1/ipamd-env-settings" => Answer::json(pool_settings(&self.settings()).to_string()),
            "/v1/eni-configs" => Answer::error(
                StatusCode::NOT_FOUND,
                "this agent reads no ENIConfig: custom networking is not supported",
            ),
            _ => Answer::json(json!({"AvailableCommands": PATHS}).to_string()),
        }
    }
}

impl Introspection {
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// The interfaces with their addresses, once the pool knows them: until then an empty list would read as "no pod has one".
    async fn interfaces(&self) -> Answer {
        if !self.pool.status().borrow().ready {
            return Answer::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent does not know this node's interfaces yet; ask again, or see /v1/freeboard/pool",
            );
        }
        self.shown(|shown| serde_json::to_string(&enis(&shown.view))).await
    }

    async fn shown(&self, body: impl FnOnce(&Shown) -> serde_json::Result<String>) -> Answer {
        match self.pool.ask(Command::Show).await {
            Ok(shown) => body(&shown).map_or_else(
                |error| Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
                Answer::json,
            ),
            Err(gone) => Answer::error(StatusCode::SERVICE_UNAVAILABLE, &gone.to_string()),
        }
    }
}

/// The metrics server's answers.
#[derive(Debug)]
pub struct MetricsPage {
    /// The pool, for figures at the moment of the scrape.
    pub pool: PoolHandle,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

impl Handler for MetricsPage {
    async fn get(&self, path: &str) -> Answer {
        if path != "/metrics" {
            return Answer::error(StatusCode::NOT_FOUND, "metrics are served at /metrics");
        }
        let shown = self.pool.ask(Command::Show).await.ok();
        match self.metrics.render(shown.as_ref().map(|shown| &shown.view)) {
            Ok(body) => Answer { status: StatusCode::OK, content_type: prometheus::TEXT_FORMAT, body },
            Err(error) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
}

/// The pool with everything that explains it. Keys are blanked, as in `/v1/enis`.
fn pool(shown: &Shown) -> Value {
    let PoolView {
        ready,
        tally,
        prefixes,
        waiting,
        waiting_since,
        node_blocks,
        interfaces,
        unmanaged_interfaces,
        interface_limit,
        slots_per_interface,
        subnets,
        operations,
        quarantined,
        corrections,
    } = &shown.view;
    let refusals: Vec<Value> = shown
        .refusals
        .iter()
        .map(|(at, refusal)| {
            json!({
                "at": at, "cause": refusal.cause, "place": place(&refusal.place), "message": refusal.message,
                "remedy": refusal.remedy,
            })
        })
        .collect();
    let mut body = json!({
        "ready": ready, "tally": tally, "prefixes": prefixes, "waiting": waiting, "waitingSince": waiting_since,
        "nodeBlocks": node_blocks, "interfaces": interfaces, "unmanagedInterfaces": unmanaged_interfaces, "interfaceLimit": interface_limit,
        "slotsPerInterface": slots_per_interface, "subnets": subnets,
        "operations": operations.iter().map(operation).collect::<Vec<_>>(),
        "quarantined": quarantined, "corrections": corrections, "alarms": shown.alarms, "decisions": shown.decisions, "refusals": refusals,
    });
    blank_keys(&mut body);
    body
}

fn operation(view: &OperationView) -> Value {
    json!({"id": view.id.0, "since": view.since, "operation": format!("{:?}", view.operation)})
}

/// Container ids and interface names of keys would be enough to forge a DEL.
fn blank_keys(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(blank_keys),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                blank_keys(field);
                if name == "key"
                    && let Value::Object(key) = field
                {
                    key.insert("container".to_owned(), "".into());
                    key.insert("interface".to_owned(), "".into());
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn network_settings(settings: &Settings) -> Value {
    let texts = |cidrs: &[freeboard_address::Cidr]| {
        let texts: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
        if texts.is_empty() { Value::Null } else { json!(texts) }
    };
    let randomize = match settings.randomize_snat {
        RandomizeSnat::None => 0,
        RandomizeSnat::HashRandom => 1,
        RandomizeSnat::Prng => 2,
    };
    json!({
        "AWS_VPC_K8S_CNI_CONNMARK": settings.connmark,
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": texts(&settings.exclude_snat_cidrs),
        "AWS_VPC_K8S_CNI_EXTERNALSNAT": settings.external_snat,
        "AWS_EXTERNAL_SERVICE_CIDRS": texts(&settings.external_service_cidrs),
        "AWS_VPC_ENI_MTU": settings.eni_mtu,
        "AWS_VPC_K8S_CNI_VETHPREFIX": settings.veth_prefix,
        "AWS_VPC_CNI_NODE_PORT_SUPPORT": settings.node_port_support,
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT": randomize,
    })
}

fn pool_settings(settings: &Settings) -> Value {
    json!({
        "WARM_IP_TARGET": settings.warm_ip_target.unwrap_or(0),
        "WARM_ENI_TARGET": settings.effective_warm_eni_target(),
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": settings.custom_networking,
        "AWS_MANAGE_ENIS_NON_SCHEDULABLE": settings.manage_non_schedulable,
        "ENABLE_SUBNET_DISCOVERY": settings.subnet_discovery,
        // The incumbent shows five; these are the others that decide.
        "MINIMUM_IP_TARGET": settings.minimum_ip_target.unwrap_or(0),
        "WARM_PREFIX_TARGET": settings.effective_warm_prefix_target(),
        "FREEBOARD_POLICY": settings.policy(),
        "ENABLE_PREFIX_DELEGATION": settings.prefix_delegation,
        "MAX_ENI": settings.max_eni.unwrap_or(0),
        "IP_COOLDOWN_PERIOD": settings.cooldown_seconds,
    })
}
