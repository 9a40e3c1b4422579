//! The figures of one run, held against what was promised: as JSON, and as a table of at most 80 columns.

use std::collections::BTreeMap;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};
use serde::Serialize;

use crate::statistics::Summary;

/// All figures of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// What it was run on.
    pub computer: Computer,
    /// Calling the plugin, or the list of plugins, with a warm pool: by peer.
    pub calls: BTreeMap<Peer, Calls>,
    /// Forty pods at once with a pool that must grow, by case and agent.
    pub growth: BTreeMap<GrowthCase, BTreeMap<Peer, Growth>>,
    /// The agents as processes.
    pub agents: BTreeMap<Peer, AgentFigures>,
    /// The least that any plugin needs.
    pub floor: Option<Floor>,
}

/// What the run was made on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Computer {
    /// Processors.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Freeboard's plugin and agent.
    Freeboard,
    /// The Amazon VPC CNI's agent with its plugin alone.
    IncumbentAlone,
    /// The Amazon VPC CNI's agent with the list that it ships: aws-cni, egress-cni, portmap.
    IncumbentList,
    /// The reference plugins ptp and host-local; they have no agent.
    Ptp,
}

impl Peer {
    /// Its name in a table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Freeboard => "Freeboard",
            Self::IncumbentAlone => "VPC CNI",
            Self::IncumbentList => "its whole list",
            Self::Ptp => "ptp",
        }
    }
}

/// Which settings a growing pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrowthCase {
    /// No setting at all.
    Default,
    /// `WARM_IP_TARGET=5`.
    WarmIpTarget5,
}

/// Calls with a warm pool.
#[derive(Clone, Debug, Serialize)]
pub struct Calls {
    /// One ADD after the other.
    pub serial_add: Summary,
    /// One DEL after the other.
    pub serial_delete: Summary,
    /// Forty ADDs at once.
    pub burst: Burst,
}

/// Forty ADDs at once with a warm pool.
#[derive(Clone, Debug, Serialize)]
pub struct Burst {
    /// From the first start to the last end; the middle one of the rounds.
    pub wall_milliseconds: f64,
    /// The single ADDs of all rounds.
    pub add: Summary,
    /// Processor time of the plugins' processes, for each ADD.
    pub plugin_processor_milliseconds: f64,
    /// Processor time of the agent, for each ADD; absent for a peer without agent.
    pub agent_processor_milliseconds: Option<f64>,
}

/// Forty pods at once with a pool that must grow.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    /// Addresses in the pool before the first pod.
    pub addresses_before: u64,
    /// From the start until the last pod has its address.
    pub last_pod_served_milliseconds: f64,
    /// ADDs that failed and were tried again.
    pub failed_adds: u64,
    /// EC2 calls from the agent's start until the last pod had its address, by action.
    pub ec2_calls: BTreeMap<String, u64>,
    /// Resident memory with the forty pods.
    pub resident_kibibytes: u64,
}

impl Growth {
    fn ec2_call_count(&self) -> u64 {
        self.ec2_calls.values().sum()
    }
}

/// An agent as a process.
#[derive(Clone, Debug, Serialize)]
pub struct AgentFigures {
    /// From its start until its health service says SERVING; the middle one of the starts.
    pub healthy_milliseconds: f64,
    /// The size of the plugin's executable.
    pub plugin_bytes: u64,
    /// The size of the agent's executable.
    pub agent_bytes: u64,
}

/// The least that any plugin needs.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// The same netlink work for an ADD, in one process that is already running.
    pub kernel_add: Summary,
    /// Starting a program that does nothing, and waiting for its end.
    pub process_start: Summary,
}

/// One promise and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What was measured.
    pub measure: String,
    /// Against whom.
    pub against: String,
    /// Freeboard's figure, with its unit.
    pub ours: String,
    /// The other's figure, with its unit.
    pub theirs: String,
    /// How many times better; for the floor, how many times the floor.
    pub ratio: f64,
    /// What was promised of the ratio, or of the figure.
    pub target: String,
    /// Whether it was kept.
    pub is_met: bool,
}

/// Collects promises.
#[derive(Debug, Default)]
struct Ledger(Vec<Verdict>);

impl Ledger {
    fn add(&mut self, measure: &str, against: &str, ours: (f64, Unit), theirs: f64, bound: Bound) {
        let (figure, unit) = ours;
        let (ratio, target, is_met) = match bound {
            Bound::BetterBy(times) => (theirs / figure, format!("≥ {times}×"), theirs / figure >= times),
            Bound::AtMost(times) => (figure / theirs, format!("≤ {times}×"), figure / theirs <= times),
        };
        self.0.push(Verdict {
            measure: measure.to_owned(),
            against: against.to_owned(),
            ours: unit.show(figure),
            theirs: unit.show(theirs),
            ratio,
            target,
            is_met,
        });
    }
}

/// What is promised about a ratio.
#[derive(Clone, Copy)]
enum Bound {
    /// The other's figure is at least so many times ours.
    BetterBy(f64),
    /// Our figure is at most so many times the other's.
    AtMost(f64),
}

/// How a figure is shown.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Kibibytes,
    Count,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Milliseconds if figure >= 1000.0 => format!("{:.2} s", figure / 1000.0),
            Self::Milliseconds => format!("{figure:.2} ms"),
            Self::Kibibytes if figure >= 1024.0 => format!("{:.1} MiB", figure / 1024.0),
            Self::Kibibytes => format!("{figure:.0} KiB"),
            Self::Count => format!("{figure:.0}"),
        }
    }
}

impl Run {
    /// Holds the figures against the promises; what was not measured is not judged.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut ledger = Ledger::default();
        if let Some(ours) = self.calls.get(&Peer::Freeboard) {
            self.judge_calls(ours, &mut ledger);
        }
        for (case, agents) in &self.growth {
            judge_growth(*case, agents, &mut ledger);
        }
        if let (Some(ours), Some(theirs)) = (self.agents.get(&Peer::Freeboard), self.agents.get(&Peer::IncumbentAlone))
        {
            let label = "VPC CNI";
            let healthy = (ours.healthy_milliseconds, Unit::Milliseconds);
            ledger.add("healthy after start", label, healthy, theirs.healthy_milliseconds, Bound::BetterBy(4.0));
            let size = (ours.plugin_bytes as f64 / 1024.0, Unit::Kibibytes);
            ledger.add("plugin executable", label, size, theirs.plugin_bytes as f64 / 1024.0, Bound::BetterBy(4.0));
        }
        ledger.0
    }

    fn judge_calls(&self, ours: &Calls, ledger: &mut Ledger) {
        let factors = [(Peer::IncumbentAlone, 4.0), (Peer::IncumbentList, 8.0), (Peer::Ptp, 1.0)];
        for (peer, times) in factors {
            let Some(theirs) = self.calls.get(&peer) else { continue };
            let add = (ours.serial_add.p50_milliseconds, Unit::Milliseconds);
            ledger.add("ADD p50", peer.label(), add, theirs.serial_add.p50_milliseconds, Bound::BetterBy(times));
        }
        if let Some(floor) = &self.floor {
            let least = floor.kernel_add.p50_milliseconds + floor.process_start.p50_milliseconds;
            let add = (ours.serial_add.p50_milliseconds, Unit::Milliseconds);
            ledger.add("ADD p50", "the floor", add, least, Bound::AtMost(3.0));
        }
        if let Some(theirs) = self.calls.get(&Peer::IncumbentAlone) {
            let delete = (ours.serial_delete.p50_milliseconds, Unit::Milliseconds);
            let against = Peer::IncumbentAlone.label();
            ledger.add("DEL p50", against, delete, theirs.serial_delete.p50_milliseconds, Bound::BetterBy(4.0));
        }
        for (peer, times) in [(Peer::IncumbentAlone, 4.0), (Peer::IncumbentList, 8.0)] {
            let Some(theirs) = self.calls.get(&peer) else { continue };
            let wall = (ours.burst.wall_milliseconds, Unit::Milliseconds);
            ledger.add("40 ADDs, wall", peer.label(), wall, theirs.burst.wall_milliseconds, Bound::BetterBy(times));
            let p99 = (ours.burst.add.p99_milliseconds, Unit::Milliseconds);
            ledger.add("40 ADDs, p99", peer.label(), p99, theirs.burst.add.p99_milliseconds, Bound::BetterBy(times));
        }
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        // Lines between rows would make the table too long to be seen at once.
        table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["measure", "against", "ours", "theirs", "ratio", "target", ""]);
        for verdict in self.verdicts() {
            let ratio = if verdict.ratio.is_finite() { format!("{:.1}×", verdict.ratio) } else { "–".to_owned() };
            let mark = if verdict.is_met { "met" } else { "MISSED" };
            table.add_row([
                verdict.measure,
                verdict.against,
                verdict.ours,
                verdict.theirs,
                ratio,
                verdict.target,
                mark.to_owned(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
            if (2..=5).contains(&column.index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }
}

fn judge_growth(case: GrowthCase, agents: &BTreeMap<Peer, Growth>, ledger: &mut Ledger) {
    let (Some(ours), Some(theirs)) = (agents.get(&Peer::Freeboard), agents.get(&Peer::IncumbentAlone)) else { return };
    let (name, times) = match case {
        GrowthCase::Default => ("40 cold", 5.0),
        GrowthCase::WarmIpTarget5 => ("WARM_IP 5", 10.0),
    };
    let served = (ours.last_pod_served_milliseconds, Unit::Milliseconds);
    let last = format!("{name}: last pod");
    ledger.add(&last, "VPC CNI", served, theirs.last_pod_served_milliseconds, Bound::BetterBy(times));
    ledger.0.push(Verdict {
        measure: format!("{name}: failed"),
        against: "VPC CNI".to_owned(),
        ours: Unit::Count.show(ours.failed_adds as f64),
        theirs: Unit::Count.show(theirs.failed_adds as f64),
        ratio: f64::NAN,
        target: "0".to_owned(),
        is_met: ours.failed_adds == 0,
    });
    let calls = (ours.ec2_call_count() as f64, Unit::Count);
    let measure = format!("{name}: EC2 calls");
    ledger.add(&measure, "VPC CNI", calls, theirs.ec2_call_count() as f64, Bound::BetterBy(1.0));
    if case == GrowthCase::Default {
        let resident = (ours.resident_kibibytes as f64, Unit::Kibibytes);
        ledger.add(
            "agent memory, 40 pods",
            "VPC CNI",
            resident,
            theirs.resident_kibibytes as f64,
            Bound::BetterBy(5.0),
        );
    }
}

#[cfg(test)]
mod unit {
    use std::collections::BTreeMap;

    use super::{AgentFigures, Burst, Calls, Floor, Growth, GrowthCase, Peer, Run, Summary};

    fn figures(healthy_milliseconds: f64, plugin_bytes: u64) -> AgentFigures {
        AgentFigures { healthy_milliseconds, plugin_bytes, agent_bytes: 0 }
    }

    fn summary(milliseconds: f64) -> Summary {
        Summary {
            count: 200,
            p50_milliseconds: milliseconds,
            p99_milliseconds: milliseconds,
            longest_milliseconds: milliseconds,
        }
    }

    /// A run in which every figure of ours is one and every other figure is `times` as much.
    fn run(times: f64) -> Run {
        let mut run = Run::default();
        for peer in [Peer::Freeboard, Peer::IncumbentAlone, Peer::IncumbentList, Peer::Ptp] {
            let figure = if peer == Peer::Freeboard { 1.0 } else { times };
            let burst = Burst {
                wall_milliseconds: figure,
                add: summary(figure),
                plugin_processor_milliseconds: figure,
                agent_processor_milliseconds: None,
            };
            let calls = Calls { serial_add: summary(figure), serial_delete: summary(figure), burst };
            run.calls.insert(peer, calls);
            run.agents.insert(peer, figures(figure, figure as u64));
            for case in [GrowthCase::Default, GrowthCase::WarmIpTarget5] {
                let growth = Growth {
                    addresses_before: 14,
                    last_pod_served_milliseconds: figure,
                    failed_adds: u64::from(peer != Peer::Freeboard) * 200,
                    ec2_calls: BTreeMap::from([("DescribeSubnets".to_owned(), figure as u64)]),
                    resident_kibibytes: figure as u64,
                };
                run.growth.entry(case).or_default().insert(peer, growth);
            }
        }
        run.floor = Some(Floor { kernel_add: summary(1.0), process_start: summary(1.0) });
        run
    }

    #[test]
    fn a_promise_is_kept_or_missed_by_the_ratio() {
        let mut run = Run::default();
        run.agents.insert(Peer::Freeboard, figures(100.0, 2_000_000));
        run.agents.insert(Peer::IncumbentAlone, figures(900.0, 4_000_000));
        let verdicts: Vec<(f64, bool)> = run.verdicts().iter().map(|verdict| (verdict.ratio, verdict.is_met)).collect();
        assert_eq!(verdicts, [(9.0, true), (2.0, false)]);
        assert!(run.table().contains("MISSED"), "{}", run.table());
    }

    #[test]
    fn every_promise_of_a_whole_run_is_judged_and_fits_the_screen() {
        assert!(run(99_999.0).verdicts().iter().all(|verdict| verdict.is_met));
        let missed = run(1.0).verdicts().iter().filter(|verdict| !verdict.is_met).count();
        assert_eq!(missed, run(1.0).verdicts().len() - 6, "only ptp, the floor, EC2 calls and failures allow a tie");
        let table = run(99_999.0).table();
        let widest = table.lines().map(|line| line.trim_end().chars().count()).max();
        assert!(widest <= Some(80), "{widest:?}\n{table}");
    }
}
