//! HTTP: the WebSocket upgrade and the page for clients; metrics and health for operators, on a listener of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::socket;
use super::world::Hall;
use crate::codec::Encoding;
use crate::limits::{CONNECTIONS_MAX, MESSAGE_BYTES_MAX, READ_BUFFER_BYTES, WRITE_BUFFER_BYTES_MAX};
use crate::metrics;

/// What all requests share.
pub struct Shared {
    /// The worlds.
    pub halls: Vec<Arc<Hall>>,
    /// The gateway's clock.
    pub clock: Clock,
    /// Set when the gateway is going.
    pub draining: AtomicBool,
    /// Connections' tasks, so that the end waits for them.
    pub tasks: TaskTracker,
    open: AtomicUsize,
}

impl Shared {
    /// Nobody connected.
    #[must_use]
    pub fn new(halls: Vec<Arc<Hall>>, clock: Clock) -> Shared {
        Shared { halls, clock, draining: AtomicBool::new(false), tasks: TaskTracker::new(), open: AtomicUsize::new(0) }
    }

    /// Whether sessions can open.
    pub fn is_ready(&self) -> bool {
        let open = !self.halls.is_empty()
            && self.halls.iter().all(|hall| hall.open.load(Ordering::Acquire) && !hall.ids.is_used_up());
        open && !self.draining.load(Ordering::Acquire)
    }
}

/// What clients reach.
pub fn public(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1", get(upgrade))
        .route("/", get(|| page("text/html; charset=utf-8", include_str!("../../web-demo/index.html"))))
        .route("/icon.svg", get(|| page("image/svg+xml", include_str!("../../web-demo/icon.svg"))))
        .route(
            "/nearcast.js",
            get(|| page("text/javascript; charset=utf-8", include_str!("../../web-demo/nearcast.js"))),
        )
        .route("/map.js", get(|| page("text/javascript; charset=utf-8", include_str!("../../web-demo/map.js"))))
        .route("/map.css", get(|| page("text/css; charset=utf-8", include_str!("../../web-demo/map.css"))))
        .with_state(shared)
}

/// What operators reach.
pub fn admin(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text()) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_ready() {
        "ready\n".into_response()
    } else if shared.draining.load(Ordering::Acquire) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for the log to number this gateway\n").into_response()
    }
}

/// A file of the page; it may load only from this gateway.
async fn page(kind: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; connect-src 'self' ws: wss:"),
    ];
    (headers, body).into_response()
}

async fn upgrade(State(shared): State<Arc<Shared>>, headers: HeaderMap, ws: WebSocketUpgrade) -> Response {
    let Some(encoding) = encoding(&headers) else {
        metrics::turned_away("subprotocol");
        let [json, msgpack] = Encoding::ALL.map(Encoding::subprotocol);
        return (StatusCode::BAD_REQUEST, format!("unknown subprotocol; ask for {json} or {msgpack}\n"))
            .into_response();
    };
    if !shared.is_ready() {
        metrics::turned_away("not_ready");
        return busy("this gateway is starting or going\n");
    }
    let Some(place) = Place::take(&shared) else {
        metrics::turned_away("full");
        return busy("this gateway is full\n");
    };
    let tasks = shared.tasks.clone();
    ws.protocols([encoding.subprotocol()])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| {
            tasks.track_future(async move {
                socket::serve(socket, encoding, &place.0.halls, place.0.clock).await;
            })
        })
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
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Place> {
        let free = |open: usize| (open < CONNECTIONS_MAX).then_some(open + 1);
        shared.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        metrics::connection_count(1);
        Some(Place(shared.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        metrics::connection_count(-1);
    }
}
