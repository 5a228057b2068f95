//! HTTP: the WebSocket upgrade and the page for clients; metrics and health for operators, on a listener of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::response::Builder;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use base64::prelude::BASE64_STANDARD;
use base64::{Engine, alphabet};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::line::{Command, Line, Newcomer};
use super::world::Hall;
use super::{operators, page};
use crate::codec::Encoding;
use crate::limits::CONNECTIONS_MAX;
use crate::log::Health;
use crate::metrics;

/// How keys are read: the example of RFC 6455, 4.1, has bits behind its last byte, and clients copy it.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// What all requests share.
pub struct Shared {
    /// The worlds.
    pub halls: Vec<Arc<Hall>>,
    /// Who drives the sessions.
    pub drivers: Vec<Line>,
    /// Set when the gateway is going.
    pub draining: AtomicBool,
    /// Has a token for each connection, so that the end waits for them.
    pub tasks: TaskTracker,
    open: AtomicUsize,
    taken: AtomicUsize,
}

impl Shared {
    /// Nobody connected.
    #[must_use]
    pub fn new(halls: Vec<Arc<Hall>>, drivers: Vec<Line>) -> Shared {
        Shared {
            halls,
            drivers,
            draining: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            open: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    /// Whether all worlds' logs take what is written; else how the first of the others is.
    pub fn health(&self) -> Health {
        self.halls.iter().map(|hall| hall.health()).find(|health| *health != Health::Well).unwrap_or_default()
    }

    /// Whether sessions can open: that is written to the log.
    pub fn is_ready(&self) -> bool {
        let is_open = |hall: &Arc<Hall>| hall.open.load(Ordering::Acquire) && !hall.ids.is_used_up();
        let open = !self.halls.is_empty() && self.halls.iter().all(is_open);
        open && self.health() == Health::Well && !self.draining.load(Ordering::Acquire)
    }
}

/// What clients reach.
pub fn public(shared: Arc<Shared>) -> Router {
    Router::new().route("/v1", get(upgrade)).fallback(get(page::serve)).with_state(shared)
}

/// What operators reach.
pub fn admin(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text()) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/inspect", get(page::inspect))
        .route("/inspect.json", get(operators::overview))
        .route("/inspect/regard.json", get(operators::regard))
        .route("/assets/{*file}", get(page::serve))
        .route("/icon.svg", get(page::serve))
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_ready() {
        return "ready\n".into_response();
    }
    if shared.draining.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    let why = match shared.health() {
        Health::Well => "waiting for the log to number this gateway\n",
        Health::Full => "the log is full: it goes on by itself when there is room\n",
        Health::Down => "the log cannot be written to: where a sync has failed, start the gateway again\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn upgrade(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let Some(encoding) = encoding(request.headers()) else {
        metrics::turned_away("subprotocol");
        let [json, msgpack] = Encoding::ALL.map(Encoding::subprotocol);
        return (StatusCode::BAD_REQUEST, format!("unknown subprotocol; ask for {json} or {msgpack}\n"))
            .into_response();
    };
    let (mut answer, upgrade) = match handshake(&mut request) {
        Ok(both) => both,
        Err((status, why)) => {
            metrics::turned_away("handshake");
            // Also says which version is spoken here (RFC 6455, 4.2.2).
            return (status, [(header::SEC_WEBSOCKET_VERSION, "13")], why).into_response();
        }
    };
    if !shared.is_ready() {
        metrics::turned_away("not_ready");
        return busy("this gateway is starting or going, or its log takes nothing\n");
    }
    let Some(place) = Place::take(&shared) else {
        metrics::turned_away("full");
        return busy("this gateway is full\n");
    };
    // Its driver takes it when the answer is out.
    tokio::spawn(async move {
        let Some((socket, early)) = socket_of(upgrade).await else { return };
        let turn = shared.taken.fetch_add(1, Ordering::Relaxed);
        let driver = &shared.drivers[turn % shared.drivers.len()];
        let newcomer = Newcomer { socket, early, encoding, place };
        if driver.tell(Command::Open(Box::new(newcomer))).is_err() {
            // It has far too much to do; the socket ends, and its client comes back.
            metrics::turned_away("busy");
        }
    });
    // Named to those only who asked for one (RFC 6455, 4.2.2).
    if request.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        answer = answer.header(header::SEC_WEBSOCKET_PROTOCOL, encoding.subprotocol());
    }
    answer.body(Body::empty()).expect("constant headers, and base64")
}

/// The head of the answer to a request for a WebSocket, and what becomes its socket.
///
/// # Errors
/// Status and text for a request that RFC 6455 does not allow.
pub fn handshake(request: &mut Request) -> Result<(Builder, OnUpgrade), (StatusCode, &'static str)> {
    let accept = accept_key(request.headers()).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or((StatusCode::UPGRADE_REQUIRED, "a WebSocket comes by HTTP/1.1\n"))?;
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok((answer, upgrade))
}

/// The answer to a client's key (RFC 6455, 4.2), or what is wrong with its request.
fn accept_key(headers: &HeaderMap) -> Result<String, &'static str> {
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(wanted))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err("this is the address of a WebSocket: ask for an upgrade\n");
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err("the WebSocket version must be 13\n");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("there is no Sec-WebSocket-Key\n")?;
    if KEY_BASE64.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Err("the Sec-WebSocket-Key must be 16 bytes in base64\n");
    }
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    Ok(BASE64_STANDARD.encode(hash.finalize()))
}

/// The socket of a connection once the answer is out, not blocking, and what came behind the request. `None` if the
/// client has gone.
pub async fn socket_of(upgrade: OnUpgrade) -> Option<(std::net::TcpStream, Vec<u8>)> {
    let parts = upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
    let socket = parts.io.into_inner().into_std().ok()?;
    Some((socket, parts.read_buf.to_vec()))
}

fn busy(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response()
}

/// The first encoding that the client asks for; JSON if it asks for nothing.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let asked: Vec<&HeaderValue> = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().collect();
    if asked.is_empty() {
        return Some(Encoding::Json);
    }
    let names = asked.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.map(str::trim).find_map(Encoding::of_subprotocol)
}

/// One of the connections that a process can hold.
pub struct Place {
    shared: Arc<Shared>,
    _token: TaskTrackerToken,
}

impl Place {
    /// The next one; `None` if all are taken.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Place> {
        let free = |open: usize| (open < CONNECTIONS_MAX).then_some(open + 1);
        shared.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        metrics::connection_count(1);
        Some(Place { shared: shared.clone(), _token: shared.tasks.token() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::AcqRel);
        metrics::connection_count(-1);
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::codec::token::Key;
    use crate::edge::clock::Clock;
    use crate::edge::ids::Ids;
    use crate::edge::world::{self, AnyLog, End};
    use crate::log::memory::Memory;
    use crate::settings::WorldSettings;

    #[tokio::test]
    async fn readiness_says_how_the_log_is() {
        let (ids, log) = (Arc::new(Ids::default()), AnyLog::Memory(Memory::new(0, || 0).open()));
        ids.offer(1);
        let end = End { stop: CancellationToken::new(), alive: std::sync::Weak::new() };
        let (hall, _run) =
            world::open(WorldSettings::plaza(), (ids, Key::new([7; Key::BYTES])), log, Vec::new(), Clock::start(), end);
        let shared = Arc::new(Shared::new(vec![hall.clone()], Vec::new()));
        let check = async |status: u16, words: &str| {
            let answer = ready(State(shared.clone())).await;
            assert_eq!(answer.status(), status, "{words}");
            let body = axum::body::to_bytes(answer.into_body(), 1_000).await.expect("short");
            assert!(body.windows(words.len()).any(|part| part == words.as_bytes()), "{body:?}");
        };
        check(503, "number this gateway").await;
        hall.open.store(true, Ordering::Release);
        check(200, "ready").await;
        for (health, status, words) in [
            (Health::Full, 503, "the log is full"),
            (Health::Down, 503, "cannot be written to"),
            (Health::Well, 200, "ready"),
        ] {
            hall.log_is(health);
            check(status, words).await;
        }
        shared.draining.store(true, Ordering::Release);
        check(503, "draining").await;
    }
}
