//! Why a node's address pool holds what it holds, from its own agent.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use freeboard_pool::Decision;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// How long an agent may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Longer answers are not an agent's.
const MOST_BYTES: usize = 4 << 20;
/// Lines fit into a terminal of this width.
const WIDTH: usize = 80;

/// Which node, and how much.
#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// Where the node's agent answers (its INTROSPECTION_BIND_ADDRESS), as seen from here
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:61679")]
    agent: Uri,
    /// How many decisions, counted from the latest
    #[arg(long, default_value_t = 20)]
    last: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &NodeArguments) -> Result<()> {
    let body = ask(&arguments.agent, "/v1/freeboard/decisions")?;
    let decisions: Vec<Decision> = serde_json::from_str(&body)
        .with_context(|| format!("{} does not list decisions; is it a Freeboard agent?", arguments.agent))?;
    let latest = decisions.get(decisions.len().saturating_sub(arguments.last)..).unwrap_or_default();
    if arguments.json {
        anstream::println!("{}", serde_json::to_string_pretty(latest)?);
    } else if latest.is_empty() {
        anstream::println!("The agent at {} has decided nothing since it started.", arguments.agent);
    } else {
        anstream::print!("{}", page(latest));
    }
    Ok(())
}

/// The decisions as sentences, oldest first, each with the time at which it was made.
fn page(decisions: &[Decision]) -> String {
    let mut page = String::new();
    let mut day: Option<String> = None;
    for Decision { at, what, why } in decisions {
        let text = format!("{at:.0}");
        let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap_or(("", &text));
        if day.as_deref() != Some(date) {
            day = Some(date.to_owned());
            page.push_str(&format!("{date} (UTC)\n"));
        }
        let sentences = format!("{}.", capitalized(&what.to_string()));
        page.push_str(&wrapped(&format!("{time}  "), &sentences));
        page.push_str(&wrapped("          because ", &why.to_string()));
    }
    page
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The text after `head`, in lines that fit, each as far to the right as the text begins.
fn wrapped(head: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(head.chars().count());
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines + &line + "\n"
}

/// The body of a GET of `path` at an agent.
pub(crate) fn ask(agent: &Uri, path: &str) -> Result<String> {
    if agent.scheme_str() != Some("http") {
        bail!("--agent is {agent}: expected a URL like http://127.0.0.1:61679");
    }
    let base = agent.to_string();
    let uri: Uri = format!("{}{path}", base.trim_end_matches('/')).parse().context("--agent is not a URL")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    runtime.block_on(async {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let answer = tokio::time::timeout(LIMIT, async {
            let response = client.get(uri.clone()).await.with_context(|| {
                format!("cannot reach the agent at {agent}; on its node it answers at INTROSPECTION_BIND_ADDRESS")
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer of {uri} broke off: {error}"))?.to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            if status.is_success() { Ok(text) } else { bail!("{uri} answered {status}: {}", text.trim_end()) }
        });
        answer.await.with_context(|| format!("the agent at {agent} did not answer within {LIMIT:?}"))?
    })
}

#[cfg(test)]
mod unit {
    use freeboard_address::{Addresses, EniId};
    use freeboard_pool::{Choice, Forecast, Reason};

    use super::*;

    #[test]
    fn decisions_read_as_sentences_that_fit_a_terminal() {
        let forecast =
            Forecast { warm: 3, coming: 1, spare: 0, lead_milliseconds: 1_250, pods_per_hour: 420, burst: 2 };
        let decision = Decision {
            at: "2026-11-24T18:57:07Z".parse().unwrap(),
            what: Choice::TakeAddresses { interface: EniId::new("eni-0123456789abcdef0"), count: Addresses(2) },
            why: Reason::BelowForecast { available: 1, forecast },
        };
        let sent = serde_json::to_string(&decision).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&sent).unwrap(), decision, "{sent}");
        let page = page(&[decision.clone(), decision]);
        let expected = "2026-11-24 (UTC)\n18:57:07  Take 2 addresses for eni-0123456789abcdef0.\n          because 1 available; \
                        the lean policy holds 3 free: 420 pods/h arrive,\n                  a call takes 1.2 s, bursts of 2 \
                        recur, 1 cooling down return\n                  meanwhile\n";
        assert!(page.starts_with(expected), "{page}");
        assert_eq!(page.matches("2026-11-24").count(), 1, "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
    }

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let error = ask(&"http://127.0.0.1:1".parse().unwrap(), "/v1/freeboard/decisions").unwrap_err().to_string();
        assert!(error.contains("cannot reach the agent at http://127.0.0.1:1"), "{error}");
        assert!(ask(&"127.0.0.1:61679".parse().unwrap(), "/").unwrap_err().to_string().contains("http://"));
    }
}
