//! The GKE story in five acts: two nodes fill a range, the third is refused without a reason, the reason is found, GKE's three
//! ways out are tried, and the same pool grows on a second range.
//!
//! The cloud is the simulated one, under a clock of the story's own; every figure is what it or the blocks engine answers.

#[cfg(feature = "cluster")]
mod cluster;
mod explain;
mod own_way;
mod pools;
mod refused;
mod scene;
mod ways;
mod words;

use anyhow::{Result, bail};

use super::DemoArguments;
use super::story::Story;
use scene::Scene;

/// Tells the story; fails when something that must hold does not.
pub(crate) fn tell(arguments: &DemoArguments) -> Result<()> {
    refuse_what_is_for_eks(arguments)?;
    let mut story = Story::new(arguments.json);
    let mut scene = Scene::set()?;
    let waiting = refused::act(&mut story, &mut scene)?;
    explain::act(&mut story, &scene, &waiting)?;
    ways::act(&mut story, &scene)?;
    pools::act(&mut story, &scene)?;
    own_way::act(&mut story, &mut scene)?;
    story.show("");
    story.say(
        "You saw a pool run out of pod addresses long before its maximum; GKE's three ways out, which all end in another pool; \
         pools that fit, and that GKE puts where one of them fails; and the same pool grow as soon as a range was added.",
    );
    story.say(
        "Next: freeboard vpc serve-google --world worlds/gke-demo.yaml (this cloud for Google's own clients), freeboard demo eks \
         (the other half of the story).",
    );
    story.end()
}

/// Tells the part of the story that Kubernetes sees, on a real API server and scheduler.
#[cfg(feature = "cluster")]
pub(crate) fn tell_on_kubernetes(arguments: &DemoArguments) -> Result<()> {
    refuse_what_is_for_eks(arguments)?;
    freeboard_lab::isolate()?;
    cluster::tell(Story::new(arguments.json), Scene::set()?)
}

/// This program was built without a client of Kubernetes.
#[cfg(not(feature = "cluster"))]
pub(crate) fn tell_on_kubernetes(_: &DemoArguments) -> Result<()> {
    bail!("this program was built without what asks a cluster: run `cargo xtask demo gke --kubernetes`")
}

fn refuse_what_is_for_eks(arguments: &DemoArguments) -> Result<()> {
    if arguments.keep || arguments.world.is_some() {
        bail!(
            "--keep and --world are for the EKS story: the GKE story leaves nothing behind, and has the seed's own network"
        );
    }
    Ok(())
}
