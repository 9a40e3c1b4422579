//! `freeboard dashboard`: pages on the loopback, made from a dump, a described cluster or the simulated EC2. They need no script,
//! load nothing from elsewhere, and can be read in any browser.

mod curve;
mod html;
mod map;
mod overview;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use freeboard_diagnosis::{Diagnosis, diagnose};

use crate::input::{Input, Output, Sources};
use crate::live::Live;
use crate::status::Status;

const STYLE: &str = include_str!("style.css");
/// No script at all, nothing from elsewhere, no form, no frame.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where to look, and where to listen.
#[derive(Debug, Args)]
pub(crate) struct DashboardArguments {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    live: Live,
    /// Where to listen; a loopback address, because the pages are for whoever sits here
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8061")]
    listen: SocketAddr,
}

/// What the pages are made from.
struct Shown {
    input: Input,
    status: Status,
    diagnosis: Diagnosis,
}

/// Runs the command until Ctrl-C.
pub(crate) fn run(arguments: &DashboardArguments) -> Result<ExitCode> {
    if !arguments.listen.ip().is_loopback() {
        bail!("--listen {}: expected a loopback address, like 127.0.0.1:8061", arguments.listen);
    }
    let input = arguments.live.or_read(&arguments.sources, "dashboard", Output::Text)?;
    let shown = Shown { status: crate::status::of(&input), diagnosis: diagnose(input.facts()), input };
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
        axum::serve(listener, router(shown)).with_graceful_shutdown(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/nodes", get(nodes))
        .route("/range/{id}", get(range))
        .route("/range/{id}/{block}", get(block))
        .route("/style.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .fallback(async || not_found("There is no such page."))
        .layer(axum::middleware::from_fn(guard))
        .with_state(Arc::new(shown))
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

fn answer(status: StatusCode, kind: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.into()).into_response()
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    answer(StatusCode::OK, kind, text)
}

fn page(text: String) -> Response {
    answer(StatusCode::OK, "text/html; charset=utf-8", text)
}

fn not_found(why: &str) -> Response {
    let body = html::page("Not found", &format!("<p>{}</p>", html::escape(why)));
    answer(StatusCode::NOT_FOUND, "text/html; charset=utf-8", body)
}

async fn front(State(shown): State<Arc<Shown>>) -> Response {
    page(overview::page(&shown))
}

async fn nodes(State(shown): State<Arc<Shown>>) -> Response {
    page(overview::nodes_page(&shown))
}

async fn range(State(shown): State<Arc<Shown>>, Path(id): Path<String>) -> Response {
    map::range_page(&shown, &id).map_or_else(|| not_found("There is no such range."), page)
}

async fn block(State(shown): State<Arc<Shown>>, Path((id, block)): Path<(String, String)>) -> Response {
    map::block_page(&shown, &id, &block).map_or_else(|| not_found("There is no such block in this range."), page)
}
