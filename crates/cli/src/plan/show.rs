//! A plan for people: how it is, the ways to more room, and the smallest change in full.

use std::fmt::Write;

use freeboard_capacity::{Exhaustion, Expansion, Inventory, Means, Outlook, Plan, Subnet, Warm, Way, WayKind};

use crate::input::{Input, Output};
use crate::layout::{counted, grouped, item, wrap};

const WIDTH: usize = 80;

/// The page.
pub(super) fn page(input: &Input, plan: &Plan, output: Output) -> String {
    let inventory = &input.inventory;
    let mut text = head(inventory);
    today(&mut text, inventory, &plan.before);
    forecast(&mut text, plan);
    ways(&mut text, inventory, plan);
    match plan.chosen() {
        Some(way) => chosen(&mut text, inventory, plan, way),
        None => nothing(&mut text, plan),
    }
    if output == Output::Wide {
        for way in &plan.ways {
            let _ = writeln!(text, "\nwith this way: {}", title(inventory, way));
            zones(&mut text, &way.after);
        }
    }
    text
}

fn head(inventory: &Inventory) -> String {
    let mut parts = Vec::new();
    if let Some(cluster) = &inventory.cluster {
        parts.push(format!("cluster {cluster}"));
    }
    if let Some(vpc) = inventory.own_vpc() {
        let blocks: Vec<String> = vpc.blocks.iter().map(ToString::to_string).collect();
        parts.push(format!("{} ({})", vpc.id, blocks.join(", ")));
    }
    let nodes = u64::try_from(inventory.nodes.len()).unwrap_or(u64::MAX);
    parts.push(counted(nodes, "node", "nodes"));
    parts.push(counted(inventory.pods(), "pod", "pods"));
    if !inventory.waiting.is_empty() {
        parts.push(format!("{} waiting", inventory.waiting.len()));
    }
    format!("{}\n", wrap(&parts.join(", "), WIDTH, ""))
}

fn today(text: &mut String, inventory: &Inventory, before: &Outlook) {
    text.push_str("\nTODAY\n");
    zones(text, before);
    let ready = match inventory.agent.warm {
        Warm::Interfaces(count) => counted(count, "whole interface", "whole interfaces"),
        Warm::Addresses { warm, minimum: 0 } => counted(warm, "address", "addresses"),
        Warm::Addresses { warm, minimum } => {
            format!("{}, at least {minimum} in all", counted(warm, "address", "addresses"))
        }
        Warm::Prefixes(count) => counted(count, "prefix", "prefixes"),
    };
    let legend = format!(
        "AT MOST: pods that get an address when no node keeps more than its pods need. SURE: whatever the nodes keep ready, {ready} each."
    );
    let _ = writeln!(text, "{}", wrap(&legend, WIDTH, "  "));
    if let Some(first) = &before.breaks_first {
        let _ = writeln!(
            text,
            "{}",
            item(
                "  breaks first: ",
                &format!(
                    "{}, with {} in the cluster: {}",
                    first.zone,
                    counted(first.pods, "pod", "pods"),
                    limit(first.limit)
                ),
                WIDTH
            )
        );
    }
}

fn limit(limit: freeboard_capacity::Limit) -> &'static str {
    match limit {
        freeboard_capacity::Limit::NoSubnet => "no subnet of the zone is used for pods",
        freeboard_capacity::Limit::Addresses => "its subnets have no more addresses",
        freeboard_capacity::Limit::Nodes => "its nodes take no more pods (max-pods)",
    }
}

fn zones(text: &mut String, outlook: &Outlook) {
    let _ = writeln!(
        text,
        "  {:<18} {:>6} {:>7} {:>10} {:>9} {:>9} {:>9}",
        "ZONE", "NODES", "PODS", "ADDRESSES", "MAX-PODS", "AT MOST", "SURE"
    );
    for zone in &outlook.zones {
        let _ = writeln!(
            text,
            "  {:<18} {:>6} {:>7} {:>10} {:>9} {:>9} {:>9}",
            zone.zone,
            grouped(zone.nodes),
            grouped(zone.pods),
            grouped(zone.addresses),
            grouped(zone.pods_by_nodes),
            grouped(zone.pods_at_most),
            grouped(zone.pods_for_certain)
        );
    }
}

fn forecast(text: &mut String, plan: &Plan) {
    let Some(forecast) = &plan.forecast else { return };
    let line = if forecast.is_growing() {
        let when = plan
            .exhausted_before
            .as_ref()
            .map_or_else(String::new, |when| format!(": today's room is used up {}", self::when(when)));
        format!("{:.1} more pods a day (±{:.1}){when}", forecast.per_day, forecast.per_day_error * 1.645)
    } else {
        "no growth beyond its own scatter, so no date".to_owned()
    };
    let shown = format!("{line}; from {} samples over {:.0} days", forecast.samples, forecast.days);
    let _ = writeln!(text, "{}", item("  growth: ", &shown, WIDTH));
}

fn when(exhaustion: &Exhaustion) -> String {
    let day = |moment: Option<freeboard_diagnosis::Moment>| {
        moment
            .map_or_else(|| "never within ten years".to_owned(), |moment| moment.to_string().chars().take(10).collect())
    };
    format!(
        "on {}, and nine times of ten between {} and {}",
        day(exhaustion.expected),
        day(exhaustion.earliest),
        day(exhaustion.latest)
    )
}

fn ways(text: &mut String, inventory: &Inventory, plan: &Plan) {
    let _ =
        write!(text, "\nROOM FOR {} PODS\n  {:<58} {:>9} {:>8}\n", grouped(plan.wanted_pods), "WAY", "AT MOST", "SURE");
    for (index, way) in plan.ways.iter().enumerate() {
        let sign = match (way.fits, plan.chosen == Some(index)) {
            (true, true) => "→",
            (true, false) => "✓",
            (false, _) => "✗",
        };
        let title = wrap(&title(inventory, way), 58, "");
        let mut lines = title.lines();
        let _ = writeln!(
            text,
            "{sign} {:<58} {:>9} {:>8}",
            lines.next().unwrap_or_default(),
            grouped(way.after.pods_at_most),
            grouped(way.after.pods_for_certain)
        );
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
        for missing in &way.missing {
            let _ = writeln!(text, "{}", wrap(missing, WIDTH, "      "));
        }
    }
}

fn title(inventory: &Inventory, way: &Way) -> String {
    let more: u64 = way.more_nodes.values().sum();
    let mut parts = Vec::new();
    match way.kind {
        WayKind::Nodes if more == 0 => parts.push("nothing: the nodes of today".to_owned()),
        WayKind::IdleSubnets => {
            let blocks: Vec<String> = way
                .tagged
                .iter()
                .filter_map(|id| subnet(inventory, id))
                .map(|subnet| subnet.cidr.to_string())
                .collect();
            parts.push(format!("let pods use {}", blocks.join(", ")));
        }
        WayKind::Nodes | WayKind::NewBlock | WayKind::Wished => {}
    }
    if let Some(expansion) = &way.expansion {
        parts.push(format!("add {}", expansion.block));
        parts.push(match expansion.means {
            Means::CustomNetworking => "custom networking".to_owned(),
            Means::Tag => "subnets tagged for pods".to_owned(),
        });
    } else if way.agent.custom_networking != inventory.agent.custom_networking {
        parts.push("custom networking".to_owned());
    }
    if way.agent.prefixes != inventory.agent.prefixes {
        parts.push(if way.agent.prefixes { "prefixes" } else { "no prefixes" }.to_owned());
    }
    if way.agent.warm != inventory.agent.warm
        && let Warm::Addresses { warm, .. } = way.agent.warm
    {
        parts.push(format!("{warm} warm addresses"));
    }
    let names_type = way.max_pods.iter().any(|one| one.before == one.after);
    if way.kind == WayKind::Wished && way.agent == inventory.agent && !names_type {
        parts.extend(
            way.max_pods
                .iter()
                .filter(|one| one.before != one.after)
                .filter_map(|one| Some(format!("max-pods {} on {}", one.after?, one.instance_type))),
        );
    }
    if more > 0 {
        parts.push(counted(more, "more node", "more nodes"));
    }
    if parts.is_empty() { "what was asked for".to_owned() } else { parts.join(", ") }
}

fn subnet<'a>(inventory: &'a Inventory, id: &freeboard_address::SubnetId) -> Option<&'a Subnet> {
    inventory.subnets.iter().find(|subnet| subnet.id == *id)
}

fn nothing(text: &mut String, plan: &Plan) {
    // A way that is refused brings nothing.
    let is_refused = |way: &&Way| way.expansion.as_ref().is_some_and(Expansion::is_refused);
    let possible = || plan.ways.iter().filter(move |way| !is_refused(way));
    let outlooks = || possible().map(|way| &way.after).chain([&plan.before]);
    let certain = outlooks().map(|outlook| outlook.pods_for_certain).max().unwrap_or(0);
    let most = outlooks().map(|outlook| outlook.pods_at_most).max().unwrap_or(0);
    let (wanted, certain, most_shown) = (grouped(plan.wanted_pods), grouped(certain), grouped(most));
    let line = if most >= plan.wanted_pods {
        format!(
            "No way makes certain that {wanted} pods find room: {certain} do in any case, and up to {most_shown} while no node \
             keeps more addresses than its pods need."
        )
    } else {
        format!("No way gives {wanted} pods room: at most {most_shown} fit, {certain} of them in any case.")
    };
    let _ = writeln!(text, "\n{}", wrap(&line, WIDTH, ""));
}

fn chosen(text: &mut String, inventory: &Inventory, plan: &Plan, way: &Way) {
    let _ = writeln!(text, "\n{}", item("THE SMALLEST CHANGE: ", &title(inventory, way), WIDTH));
    if let Some(expansion) = &way.expansion {
        self::expansion(text, expansion);
    }
    for id in &way.tagged {
        if let Some(subnet) = subnet(inventory, id) {
            let free = subnet.free_addresses.unwrap_or(0);
            let _ = writeln!(
                text,
                "  {:<18} {} in {}, {} free: tag kubernetes.io/role/cni=1",
                subnet.cidr,
                subnet.title(),
                subnet.zone.as_deref().unwrap_or("?"),
                free
            );
        }
    }
    let changes: Vec<String> = way
        .max_pods
        .iter()
        .filter(|one| one.before != one.after)
        .map(|one| {
            let count = |pods: Option<u64>| pods.map_or_else(|| "?".to_owned(), |pods| pods.to_string());
            format!("{} {} → {}", one.instance_type, count(one.before), count(one.after))
        })
        .collect();
    if !changes.is_empty() {
        let _ = writeln!(text, "{}", item("  max-pods           ", &changes.join(" · "), WIDTH));
    }
    let without: Vec<&str> =
        way.max_pods.iter().filter(|one| one.without_prefixes).map(|one| one.instance_type.as_str()).collect();
    if !without.is_empty() {
        let line = format!("{} cannot carry prefixes and keep single addresses", without.join(", "));
        let _ = writeln!(text, "{}", item("  but                ", &line, WIDTH));
    }
    let more: Vec<String> = way.more_nodes.iter().map(|(zone, count)| format!("{count} in {zone}")).collect();
    if !more.is_empty() {
        let _ = writeln!(text, "{}", item("  more nodes         ", &more.join(", "), WIDTH));
    }
    if way.agent.custom_networking && !inventory.agent.custom_networking {
        let line = "every node is replaced: only new nodes follow the ENIConfigs, and their first interface carries no pods. A node that \
                    stays may hold addresses of both ranges; that is no fault";
        let _ = writeln!(text, "{}", item("  nodes              ", line, WIDTH));
    }
    if let Some(when) = plan.exhausted_after.as_ref().filter(|_| plan.forecast.is_some_and(|line| line.is_growing())) {
        let _ = writeln!(text, "{}", item("  is used up         ", &self::when(when), WIDTH));
    }
    text.push('\n');
    zones(text, &way.after);
    let tools = if way.expansion.is_some() || !way.tagged.is_empty() {
        "aws, then --export kubectl (or eksctl, terraform)"
    } else {
        "eksctl (or terraform)"
    };
    let _ = writeln!(text, "\nCarry it out: the same command with --export {tools}");
}

fn expansion(text: &mut String, expansion: &Expansion) {
    let _ = writeln!(text, "  {:<18} another block for {}", expansion.block, expansion.vpc);
    for (index, subnet) in expansion.subnets.iter().enumerate() {
        let branch = if index + 1 == expansion.subnets.len() { "└─" } else { "├─" };
        let table = subnet.route_table.as_ref().map_or_else(|| "the main route table".to_owned(), ToString::to_string);
        let free = subnet.cidr.size().saturating_sub(freeboard_capacity::RESERVED_PER_SUBNET);
        let _ = writeln!(
            text,
            "  {branch} {:<15} {}, {} addresses, {table}",
            subnet.cidr.to_string(),
            subnet.zone,
            grouped(free)
        );
    }
    for objection in &expansion.objections {
        let _ = writeln!(text, "{}", item("  remark             ", &objection.to_string(), WIDTH));
    }
    if expansion.means == Means::CustomNetworking {
        let zones: Vec<&str> = expansion.subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
        let groups: Vec<&str> = expansion.security_groups.iter().map(|group| group.as_str()).collect();
        let groups = if groups.is_empty() {
            "each node's own security groups".to_owned()
        } else {
            format!("security group {}", groups.join(", "))
        };
        let _ = writeln!(text, "{}", item("  ENIConfigs         ", &format!("{}: {groups}", zones.join(", ")), WIDTH));
    }
}
