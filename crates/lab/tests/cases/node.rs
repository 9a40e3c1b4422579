//! Cases of the node itself: it is rebooted, or its mode is changed.

use std::collections::BTreeSet;

use freeboard_lab::Machine;

use crate::books;
use crate::fleet::{Fleet, names, never_silent, only};
use crate::growth::quick;
use crate::support::{Outcome, Stage, require, wait_until};

/// Where the agent keeps its state.
const CHECKPOINT: &str = "/var/run/aws-node/ipam.json";

/// As a machine comes up again: no sandbox, no rule, no address but the first interface's. Interfaces stay attached.
fn power_cycle(machine: &Machine) -> Outcome {
    machine.output("ip", &["rule", "flush"])?;
    for (priority, table) in [("32766", "main"), ("32767", "default")] {
        machine.output("ip", &["rule", "add", "priority", priority, "lookup", table])?;
    }
    let links = machine.output("ip", &["-o", "link", "show"])?;
    let names = links.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    for name in names.filter(|name| name.starts_with("eth") && *name != "eth0") {
        machine.output("ip", &["address", "flush", "dev", name])?;
        machine.output("ip", &["link", "set", name, "down"])?;
    }
    Ok(())
}

/// The checkpoint survived (it lies on a disk here). The same pods come up in new sandboxes beside the old allocations, which
/// nothing on the host speaks for: they go.
pub(crate) fn reboot_with(stage: &Stage) -> Outcome {
    reboot(stage, true)
}

/// The checkpoint went with the tmpfs, as in the usual set-up.
pub(crate) fn reboot_without(stage: &Stage) -> Outcome {
    reboot(stage, false)
}

fn reboot(stage: &Stage, with_checkpoint: bool) -> Outcome {
    let [machine, other] = &stage.lab.machines()[..] else { return Err("the world has two machines".into()) };
    let settings = quick(&[("WARM_IP_TARGET", "2")]);
    let _other_agent = stage.start_agent(other, &settings)?;
    let mut elsewhere = Fleet::new(stage, other);
    elsewhere.start(names("elsewhere", 1))?;
    let watched = elsewhere.watch(&names("elsewhere", 1))?;
    let mut agent = stage.start_agent(machine, &settings)?;
    let mut fleet = Fleet::new(stage, machine);
    fleet.start(names("web", 12))?;
    fleet.close()?;
    agent.kill()?;
    fleet.pods.clear();
    power_cycle(machine)?;
    if with_checkpoint {
        machine.output("test", &["-s", CHECKPOINT])?;
    } else {
        machine.output("rm", &[CHECKPOINT])?;
    }
    let _agent = stage.start_agent(machine, &settings)?;
    only(&fleet.start(names("web", 12))?, &["StillGrowing"])?;
    fleet.reaches_all()?;
    fleet.close()?;
    elsewhere.close()?;
    never_silent(watched)
}

/// Single addresses, then prefixes, then single addresses again; two pods of each kind live through it.
pub(crate) fn modes(stage: &Stage) -> Outcome {
    let machine = &stage.lab.machines()[0];
    let singles = quick(&[("WARM_IP_TARGET", "2")]);
    let prefixes = quick(&[("ENABLE_PREFIX_DELEGATION", "true"), ("WARM_PREFIX_TARGET", "1")]);
    let mut fleet = Fleet::new(stage, machine);

    let mut agent = stage.start_agent(machine, &singles)?;
    fleet.start(names("single", 5))?;
    fleet.close()?;
    let mut watched = fleet.watch(&names("single", 2))?;

    agent.kill()?;
    agent = stage.start_agent(machine, &prefixes)?;
    fleet.start(names("prefix", 12))?;
    require(!books::prefixes(stage, machine)?.is_empty(), "prefixes are taken")?;
    watched.extend(fleet.watch(&["prefix-10".to_owned(), "prefix-11".to_owned()])?);
    fleet.reaches_all()?;
    fleet.close()?;
    fleet.stop(&names("single", 5)[2..])?;
    wait_until("only the single addresses that pods have are left", || {
        let left = books::singles(stage, machine)?;
        let used: BTreeSet<_> = left.iter().copied().filter(|address| fleet.has(*address)).collect();
        Ok(if left == used { Ok(()) } else { Err(format!("{left:?}, used {used:?}")) })
    })?;
    fleet.close()?;

    agent.kill()?;
    let _agent = stage.start_agent(machine, &singles)?;
    fleet.stop(&names("prefix", 10))?;
    fleet.start(names("again", 8))?;
    wait_until("prefixes that no pod uses go", || {
        let prefixes = books::prefixes(stage, machine)?;
        Ok(if prefixes.len() <= 1 { Ok(()) } else { Err(format!("{prefixes:?}")) })
    })?;
    fleet.reaches_all()?;
    fleet.close()?;
    never_silent(watched)
}
