//! `freeboard dashboard`: pages on the loopback, made from a dump, a described cluster or a living one. They load nothing from
//! elsewhere and can be read in any browser, without a script; those of a living cluster have one that keeps them up to date.

mod curve;
mod html;
mod map;
mod overview;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use freeboard_diagnosis::{Diagnosis, diagnose};
use jiff::Timestamp;

use crate::input::{Input, Output, Sources};
use crate::live::Live;
use crate::status::Status;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");
/// No script at all, nothing from elsewhere, no form, no frame.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The same, but for the script of this program and what it asks this program.
const LIVE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

/// Where to look, and where to listen.
#[derive(Clone, Debug, Args)]
pub(crate) struct DashboardArguments {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    live: Live,
    /// Where to listen; a loopback address, because the pages are for whoever sits here
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8061")]
    listen: SocketAddr,
    /// Ask a living cluster again every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// What the pages are made from.
struct Shown {
    input: Input,
    status: Status,
    diagnosis: Diagnosis,
    /// When a living cluster was asked.
    seen: Option<Timestamp>,
}

/// What the pages are made from now.
#[derive(Clone)]
struct Current(Arc<RwLock<Arc<Shown>>>);

impl Current {
    fn get(&self) -> Arc<Shown> {
        // Whoever holds the lock only puts a value in: it is whole even if that thread ended.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, shown: Shown) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shown);
    }
}

impl DashboardArguments {
    fn is_living(&self) -> bool {
        self.sources.paths.is_empty() && self.sources.described.is_none()
    }

    fn look(&self) -> Result<Shown> {
        let input = self.live.or_read(&self.sources, "dashboard", Output::Text)?;
        let seen = self.is_living().then(Timestamp::now);
        Ok(Shown { status: crate::status::of(&input), diagnosis: diagnose(input.facts()), input, seen })
    }

    /// Looks again and again. What cannot be asked now is told, and what was seen before stays, with its time.
    fn keep_looking(&self, current: &Current) {
        loop {
            std::thread::sleep(Duration::from_secs(self.every));
            match self.look() {
                Ok(shown) => current.set(shown),
                Err(error) => anstream::eprintln!("freeboard dashboard: {error:#}"),
            }
        }
    }
}

/// Runs the command until Ctrl-C.
pub(crate) fn run(arguments: &DashboardArguments) -> Result<ExitCode> {
    if !arguments.listen.ip().is_loopback() {
        bail!("--listen {}: expected a loopback address, like 127.0.0.1:8061", arguments.listen);
    }
    let current = Current(Arc::new(RwLock::new(Arc::new(arguments.look()?))));
    if arguments.is_living() {
        let (arguments, current) = (arguments.clone(), current.clone());
        // It ends with the program.
        std::thread::spawn(move || arguments.keep_looking(&current));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("cannot listen on {}", arguments.listen))?;
        anstream::println!("http://{}/   (Ctrl-C ends it)", listener.local_addr()?);
        let stop = async {
            // Without a way to hear of Ctrl-C, the signal itself ends the program.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        axum::serve(listener, router(current)).with_graceful_shutdown(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn router(current: Current) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/nodes", get(nodes))
        .route("/range/{id}", get(range))
        .route("/range/{id}/{block}", get(block))
        .route("/style.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/live.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .fallback(async || not_found("There is no such page."))
        .layer(axum::middleware::from_fn(guard))
        .with_state(current)
}

/// Answers only to the names of this machine's loopback, so that no page of another site can read these by a name of its own.
async fn guard(headers: HeaderMap, request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if is_loopback {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "not this host\n").into_response()
    }
}

fn answer(status: StatusCode, kind: &'static str, policy: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.into()).into_response()
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    answer(StatusCode::OK, kind, POLICY, text)
}

fn page(shown: &Shown, text: String) -> Response {
    let policy = if shown.seen.is_some() { LIVE_POLICY } else { POLICY };
    answer(StatusCode::OK, "text/html; charset=utf-8", policy, text)
}

fn not_found(why: &str) -> Response {
    let body = html::page("Not found", &format!("<p>{}</p>", html::escape(why)), None);
    answer(StatusCode::NOT_FOUND, "text/html; charset=utf-8", POLICY, body)
}

async fn front(State(current): State<Current>) -> Response {
    let shown = current.get();
    page(&shown, overview::page(&shown))
}

async fn nodes(State(current): State<Current>) -> Response {
    let shown = current.get();
    page(&shown, overview::nodes_page(&shown))
}

async fn range(State(current): State<Current>, Path(id): Path<String>) -> Response {
    let shown = current.get();
    let text = map::range_page(&shown, &id);
    text.map_or_else(|| not_found("There is no such range."), |text| page(&shown, text))
}

async fn block(State(current): State<Current>, Path((id, block)): Path<(String, String)>) -> Response {
    let shown = current.get();
    let text = map::block_page(&shown, &id, &block);
    text.map_or_else(|| not_found("There is no such block in this range."), |text| page(&shown, text))
}
