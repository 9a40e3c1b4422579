//! What living systems tell of themselves: a cluster's API server, EC2, agents; read like a dump of the same.

use anyhow::{Context, Result, bail};
use clap::Args;
use freeboard_ec2::{Ec2Client, Ec2Config};
#[cfg(feature = "cluster")]
use freeboard_evidence::Problem;
use freeboard_evidence::{Collector, Evidence, inventory, read_piece};
use http::Uri;

#[cfg(feature = "cluster")]
use crate::cluster::{self, ClusterArguments, Told};
use crate::ec2_answers;
#[cfg(feature = "cluster")]
use crate::input::Bar;
use crate::input::{Input, Output, Sources, shown};

/// Where something answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct Live {
    /// Ask EC2 too, with the credentials and for the Region that the aws CLI would take
    #[arg(long, conflicts_with = "ec2")]
    aws: bool,
    /// Ask this EC2 API, for example that of `freeboard vpc serve`, instead of reading files
    #[arg(long, value_name = "URL")]
    ec2: Option<String>,
    /// The region to sign calls for
    #[arg(long, value_name = "REGION", requires = "ec2", default_value = "us-west-2")]
    region: String,
    /// Ask the agent of a node too (its INTROSPECTION_BIND_ADDRESS); may be repeated
    #[arg(long, value_name = "URL")]
    agent: Vec<Uri>,
}

impl Live {
    /// What the sources name: files, or a cluster, and what else is asked.
    ///
    /// # Errors
    /// Nothing answers, or the files cannot be read.
    pub(crate) fn or_read(&self, sources: &Sources, command: &str, output: Output) -> Result<Input> {
        if !sources.paths.is_empty() || sources.described.is_some() {
            self.refuse_beside_files(sources)?;
            return sources.read(command, output);
        }
        #[cfg(feature = "cluster")]
        {
            // An API that was named is asked alone, unless a cluster was named with it.
            let is_asked = sources.cluster.is_named() || (self.ec2.is_none() && self.agent.is_empty());
            if is_asked {
                return self.ask_all(&sources.cluster, command, output);
            }
        }
        if !self.asks_anything() {
            return sources.read(command, output);
        }
        self.ask()
    }

    /// A dump and a living cluster would be mixed up.
    ///
    /// # Errors
    /// Something living is named too.
    pub(crate) fn refuse_beside_files(&self, sources: &Sources) -> Result<()> {
        #[cfg(feature = "cluster")]
        let cluster = sources.cluster.named();
        #[cfg(not(feature = "cluster"))]
        let cluster = String::new();
        let living = [cluster, self.named()].join(" ");
        if !living.trim().is_empty() {
            let files =
                sources.described.as_ref().map_or_else(|| shown(&sources.paths), |file| file.display().to_string());
            bail!("{files} and {} are looked at one at a time: leave one out", living.trim());
        }
        Ok(())
    }

    /// Whether EC2 is asked.
    pub(crate) fn asks_ec2(&self) -> bool {
        self.aws || self.ec2.is_some()
    }

    /// Whether anything is asked.
    pub(crate) fn asks_anything(&self) -> bool {
        self.asks_ec2() || !self.agent.is_empty()
    }

    /// A client of the API that was named.
    ///
    /// # Errors
    /// None was named, or the URL is none; or no Region or credentials are known.
    pub(crate) fn client(&self) -> Result<Ec2Client> {
        if self.aws {
            return from_environment();
        }
        let Some(endpoint) = &self.ec2 else { bail!("--ec2 names no API") };
        Ok(Ec2Client::new(Ec2Config::for_endpoint(self.region.as_str(), endpoint.as_str(), "freeboard", "freeboard"))?)
    }

    /// Asks what was named beside a cluster.
    ///
    /// # Errors
    /// Something does not answer.
    pub(crate) fn ask(&self) -> Result<Input> {
        let mut collector = Collector::new();
        self.add(&mut collector)?;
        Ok(input(collector.finish(), &self.named()))
    }

    /// Asks the cluster, and what was named beside it.
    #[cfg(feature = "cluster")]
    fn ask_all(&self, cluster: &ClusterArguments, command: &str, output: Output) -> Result<Input> {
        let mut collector = Collector::new();
        let bar = Bar::new(output.is_text());
        let runtime = cluster::runtime()?;
        let client = cluster.connect(&runtime).with_context(|| {
            format!("name what to look at, for example `freeboard {command} ./dump`, or a cluster (--kubeconfig, KUBECONFIG)")
        })?;
        let mut problems = Vec::new();
        let asked = cluster::ask(&runtime, &client, |told| {
            match told {
                Told::Answer { name, text } => {
                    bar.tell(name);
                    read_piece(&mut collector, name, &mut text.as_bytes());
                }
                Told::Withheld { name, why } => problems.push(Problem { file: name.into(), line: None, what: why }),
            }
            Ok(())
        });
        bar.end();
        asked?;
        self.add(&mut collector)?;
        let mut evidence = collector.finish();
        evidence.problems.extend(problems);
        if evidence.kinds.is_empty() {
            let reasons: Vec<&str> = evidence.problems.iter().map(|problem| problem.what.as_str()).collect();
            bail!("the cluster shows nothing: {}", reasons.join("; "));
        }
        let named = [cluster.named(), self.named()].join(" ");
        Ok(input(evidence, named.trim()))
    }

    /// The words of the command line that name what is asked.
    fn named(&self) -> String {
        let aws = self.aws.then(|| "--aws".to_owned());
        let ec2 = self.ec2.iter().map(|endpoint| format!("--ec2 {endpoint}"));
        let agents = self.agent.iter().map(|agent| format!("--agent {agent}"));
        aws.into_iter().chain(ec2).chain(agents).collect::<Vec<_>>().join(" ")
    }

    fn add(&self, collector: &mut Collector) -> Result<()> {
        for agent in &self.agent {
            let body = crate::explain::ask(agent, "/v1/enis")?;
            read_piece(collector, &format!("{agent}v1/enis"), &mut body.as_bytes());
        }
        if !self.asks_ec2() {
            return Ok(());
        }
        let client = self.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for one in runtime.block_on(ec2_answers::ask(&client)) {
            let name = format!("aws ec2 describe-{}", one.what);
            let answer = one.answer.with_context(|| format!("EC2 cannot be asked (`{name}`)"))?;
            read_piece(collector, &name, &mut answer.to_string().as_bytes());
        }
        Ok(())
    }
}

fn input(evidence: Evidence, named: &str) -> Input {
    let inventory = inventory(&evidence.facts);
    Input { evidence, inventory, named: named.to_owned() }
}

/// A client with the credentials and for the Region that the aws CLI would take.
///
/// # Errors
/// No Region or no credentials are known.
pub(crate) fn from_environment() -> Result<Ec2Client> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(Ec2Client::new(runtime.block_on(Ec2Config::from_environment())?)?)
}
