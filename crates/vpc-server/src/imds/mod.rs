//! The metadata service of one instance: tokens, status codes, the hop limit of the answer that carries a token.

mod credentials;
mod paths;
mod tokens;

use bytes::Bytes;
use freeboard_address::InstanceId;
use freeboard_vpc::{HttpTokens, MetadataView};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use jiff::Timestamp;
use tokio::net::TcpStream;

use crate::http_server::{Answer, Handler, plain, typed};
use crate::server::Server;

pub(crate) use tokens::Tokens;

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_PATH: &str = "/latest/api/token";
/// The longest life of a token, in seconds (six hours).
const LONGEST_TTL_SECONDS: u32 = 21_600;
/// The IP TTL of all answers but the one that carries a token.
const ORDINARY_TTL: u32 = 64;

/// Answers the requests of one connection.
pub(crate) struct ImdsHandler {
    server: Server,
    instance: InstanceId,
    /// The connection once more, to set the TTL of single answers on it.
    socket: socket2::Socket,
}

impl ImdsHandler {
    pub(crate) fn new(server: Server, instance: InstanceId, stream: &TcpStream) -> std::io::Result<Self> {
        let socket = socket2::SockRef::from(stream).try_clone()?;
        Ok(Self { server, instance, socket })
    }

    fn view(&self) -> Option<MetadataView> {
        self.server.with_cloud(|cloud, now| cloud.metadata(&self.instance, now))
    }

    fn reply(&self, request: &Request<Bytes>) -> Answer {
        let Some(view) = self.view() else {
            return error(StatusCode::SERVICE_UNAVAILABLE);
        };
        if !view.options.http_endpoint_enabled {
            return error(StatusCode::FORBIDDEN);
        }
        match *request.method() {
            Method::PUT => self.put(request, &view),
            Method::GET | Method::HEAD => self.get(request, &view),
            _ => error(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn put(&self, request: &Request<Bytes>, view: &MetadataView) -> Answer {
        let path = request.uri().path();
        if path != TOKEN_PATH {
            // Tokens come from /latest only; the same path under a version is known and forbidden.
            let known = path.ends_with("/api/token");
            return error(if known { StatusCode::FORBIDDEN } else { StatusCode::METHOD_NOT_ALLOWED });
        }
        if request.headers().contains_key("x-forwarded-for") {
            return error(StatusCode::FORBIDDEN);
        }
        let Some(ttl_seconds) = ttl_seconds(request.headers()) else {
            return error(StatusCode::BAD_REQUEST);
        };
        let Ok(token) = self.server.tokens().issue(&self.instance, ttl_seconds) else {
            return error(StatusCode::SERVICE_UNAVAILABLE);
        };
        self.limit_hops(u32::from(view.options.http_put_response_hop_limit));
        let mut answer = plain(StatusCode::OK, token);
        answer.headers_mut().insert(TTL, HeaderValue::from(ttl_seconds));
        answer
    }

    fn get(&self, request: &Request<Bytes>, view: &MetadataView) -> Answer {
        self.limit_hops(ORDINARY_TTL);
        let allowed = match request.headers().get(TOKEN) {
            Some(token) => self.server.tokens().is_valid(token.as_bytes(), &self.instance),
            None => view.options.http_tokens == HttpTokens::Optional,
        };
        if !allowed {
            return error(StatusCode::UNAUTHORIZED);
        }
        match paths::body(request.uri().path(), view, self.server.role_key(), Timestamp::now()) {
            Some(body) => typed(StatusCode::OK, body.content_type, body.text),
            None => error(StatusCode::NOT_FOUND),
        }
    }

    /// Lets what is sent from now on travel so many hops: a token must not leave the machine further than its owner allows.
    fn limit_hops(&self, hops: u32) {
        if let Err(error) = self.socket.set_ttl_v4(hops) {
            tracing::debug!(%error, hops, "cannot set the hop limit of an answer");
        }
    }
}

impl Handler for ImdsHandler {
    async fn answer(&self, request: Request<Bytes>) -> Option<Answer> {
        Some(self.reply(&request))
    }
}

fn ttl_seconds(headers: &HeaderMap) -> Option<u32> {
    let ttl = headers.get(TTL)?.to_str().ok()?.trim().parse().ok()?;
    (1..=LONGEST_TTL_SECONDS).contains(&ttl).then_some(ttl)
}

/// An error page as the service sends it: a small XHTML document named after the status.
fn error(status: StatusCode) -> Answer {
    let name = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{name}</title>\n </head>\n <body>\n  <h1>{name}</h1>\n </body>\n</html>\n"
    );
    typed(status, "text/html", page)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use freeboard_vpc::Cloud;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{NoHypervisor, parse_world};

    const WORLD: &str = "
region: us-west-2
availability_zones: [{ name: us-west-2a, id: usw2-az1 }]
timing: { metadata_lag_seconds: 0 }
vpcs:
  - id: vpc-00000001
    cidr: 10.0.0.0/16
    subnets: [{ id: subnet-00000001, cidr: 10.0.0.0/24, zone: us-west-2a }]
instances:
  - id: i-00000001
    type: t3.medium
    metadata_options: { hop_limit: 3 }
    interfaces: [{ subnet: subnet-00000001 }]
";

    /// A connected stream's server end.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn only_the_answer_with_a_token_has_the_hop_limit() {
        let cloud = Cloud::from_world(&parse_world("world", WORLD).unwrap(), Timestamp::now()).unwrap();
        let server = Server::start(cloud, Arc::new(NoHypervisor), None).unwrap();
        server.effects_applied().await;
        let (_client, stream) = connection().await;
        let handler = ImdsHandler::new(server.clone(), InstanceId::new("i-00000001"), &stream).unwrap();
        let put = Request::put(TOKEN_PATH).header(TTL, "60").body(Bytes::new()).unwrap();
        assert_eq!(handler.reply(&put).status(), StatusCode::OK);
        assert_eq!(stream.ttl().unwrap(), 3);
        let get = Request::get("/latest/meta-data/").body(Bytes::new()).unwrap();
        assert_eq!(handler.reply(&get).status(), StatusCode::UNAUTHORIZED);
        assert_eq!(stream.ttl().unwrap(), ORDINARY_TTL);
        server.shutdown().await;
    }
}
