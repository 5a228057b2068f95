//! One bot's WebSocket: opening it, reading with the delay noted, writing without waiting. Knows nothing of messages.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{Sink, Stream};
use nearcast::codec::wire::Payload;
use std::pin::Pin;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::dialect::Dialect;
use crate::clock::Clock;

/// The whole opening, TCP and WebSocket, may take this long.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// tungstenite zero-fills this buffer on every read attempt: at its default of 128 KiB it costs three times the CPU.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// A message that waits for the socket may have this many bytes in all; then the link counts as dead.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// What a read came to.
#[derive(Debug)]
pub(super) enum Read {
    /// A message, and how long it waited since the runtime knew of it, µs, where that is known.
    Message(Bytes, Option<u64>),
    /// Something else of the WebSocket protocol, which is seen to.
    Control,
    /// The socket has ended, and why.
    End(String),
}

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// Something written waits for the socket to take it.
    unflushed: bool,
    /// Who reads, and flushes on the way.
    reader: Waker,
}

impl Socket {
    /// Connects, with Nagle's delay off and a read buffer as small as the gateway's.
    pub(super) async fn open(addr: SocketAddr, dialect: Dialect) -> Result<Socket> {
        let opening = async {
            let tcp = TcpStream::connect(addr).await.with_context(|| format!("cannot connect to {addr}"))?;
            tcp.set_nodelay(true).context("cannot set TCP_NODELAY")?;
            let path = dialect.path(addr).await?;
            let mut request = format!("ws://{addr}{path}").into_client_request().context("cannot make a request")?;
            if let Some(protocol) = dialect.subprotocol() {
                request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER_BYTES)
                .write_buffer_size(0)
                .max_write_buffer_size(WRITE_BYTES_MAX);
            let (stream, response) = client_async_with_config(request, tcp, Some(config))
                .await
                .with_context(|| format!("{addr} does not open a WebSocket at {path}"))?;
            let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
            ensure!(chosen == dialect.subprotocol().map(str::as_bytes), "{addr} does not speak {dialect:?}");
            Ok(Socket { stream, unflushed: false, reader: Waker::noop().clone() })
        };
        match tokio::time::timeout(OPEN_WITHIN, opening).await {
            Ok(opened) => opened,
            Err(_) => bail!("{addr} took more than {} s to open a WebSocket", OPEN_WITHIN.as_secs()),
        }
    }

    /// Reads what has come, if anything has; before that, writes what the socket did not take.
    pub(super) fn poll_read(&mut self, alarm: &Alarm, cx: &mut Context<'_>) -> Poll<Read> {
        alarm.wake_for(cx.waker());
        self.reader.clone_from(cx.waker());
        if self.unflushed {
            self.flush();
        }
        // Also when no message comes of it: else the next one would seem to have waited since a ping.
        let waited_us = alarm.waited_us();
        let mut noted = Context::from_waker(&alarm.waker);
        Pin::new(&mut self.stream).poll_next(&mut noted).map(|read| match read {
            Some(Ok(Message::Binary(bytes))) => Read::Message(bytes, waited_us),
            Some(Ok(Message::Text(text))) => Read::Message(text.into(), waited_us),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Read::Control,
            Some(Ok(Message::Close(frame))) => {
                Read::End(frame.map_or("closed without a reason".to_owned(), |f| format!("{} {}", f.code, f.reason)))
            }
            Some(Err(error)) => Read::End(error.to_string()),
            None => Read::End("closed".to_owned()),
        })
    }

    /// Writes without waiting: what the socket does not take at once, the reader is woken for. False if a message waits
    /// already, or the socket is dead: reading tells which.
    pub(super) fn write(&mut self, payload: Payload) -> bool {
        let message = match payload {
            Payload::Text(text) => Message::text(text),
            Payload::Binary(bytes) => Message::Binary(bytes),
        };
        let mut stream = Pin::new(&mut self.stream);
        let ready = stream.as_mut().poll_ready(&mut Context::from_waker(&self.reader));
        matches!(ready, Poll::Ready(Ok(()))) && stream.start_send(message).is_ok() && self.flush()
    }

    /// False if the socket is dead.
    fn flush(&mut self) -> bool {
        let flushed = Pin::new(&mut self.stream).poll_flush(&mut Context::from_waker(&self.reader));
        self.unflushed = flushed.is_pending();
        !matches!(flushed, Poll::Ready(Err(_)))
    }
}

/// Wakes a reader, and notes when: what passes until the reader runs is the swarm's own delay.
#[derive(Debug)]
pub(super) struct Alarm {
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    clock: Clock,
    /// When it rang, µs; 0 if it has not since it was looked at.
    rang_us: AtomicU64,
    reader: Mutex<Waker>,
}

impl Alarm {
    pub(super) fn new(clock: Clock) -> Alarm {
        let bell = Bell { clock, rang_us: AtomicU64::new(0), reader: Mutex::new(Waker::noop().clone()) };
        let bell = Arc::new(bell);
        Alarm { waker: Waker::from(Arc::clone(&bell)), bell }
    }

    fn wake_for(&self, waker: &Waker) {
        if let Ok(mut reader) = self.bell.reader.lock() {
            reader.clone_from(waker);
        }
    }

    fn waited_us(&self) -> Option<u64> {
        let rang_us = self.bell.rang_us.swap(0, Ordering::Relaxed);
        (rang_us > 0).then(|| self.bell.clock.now_us().saturating_sub(rang_us))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now_us = self.clock.now_us();
        let _first = self.rang_us.compare_exchange(0, now_us, Ordering::Relaxed, Ordering::Relaxed);
        if let Ok(reader) = self.reader.lock() {
            reader.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use std::future::poll_fn;
    use std::time::Instant;
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

    use nearcast::codec::Encoding;

    const ENCODING: Encoding = Encoding::Json;
    const PAUSE: Duration = Duration::from_millis(200);

    #[expect(clippy::result_large_err, clippy::unnecessary_wraps, reason = "the type of tungstenite's callback")]
    fn accept(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let chosen = HeaderValue::from_static(ENCODING.subprotocol());
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
        Ok(response)
    }

    #[tokio::test]
    async fn what_a_full_socket_did_not_take_goes_out_without_another_write() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let (full, is_full) = tokio::sync::oneshot::channel();
        let peer = async {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let mut stream = tokio_tungstenite::accept_hdr_async(tcp, accept).await.expect("a WebSocket");
            let mut to_read: usize = is_full.await.expect("the count");
            while to_read > 0 {
                stream.next().await.expect("a message").expect("it can be read");
                to_read -= 1;
            }
        };
        let bot = async {
            let mut socket = Socket::open(addr, Dialect::Nearcast(ENCODING)).await.expect("it opens");
            let mut written = 0;
            while !socket.unflushed {
                assert!(socket.write(Payload::Text("x".repeat(60_000))), "dead after {written}");
                written += 1;
            }
            assert!(!socket.write(Payload::Text("one too many".to_owned())));
            full.send(written).expect("the peer waits");
            let alarm = Alarm::new(Clock::start());
            poll_fn(|cx| socket.poll_read(&alarm, cx)).await
        };
        tokio::select! {
            () = peer => {}
            read = bot => panic!("nothing was sent: {read:?}"),
            () = tokio::time::sleep(OPEN_WITHIN) => panic!("what was written never went out"),
        }
    }
    #[tokio::test]
    async fn a_message_has_not_waited_since_the_ping_before_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let peer = async {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let mut stream = tokio_tungstenite::accept_hdr_async(tcp, accept).await.expect("a WebSocket");
            stream.next().await.expect("it is open").expect("it can be read");
            stream.send(Message::Ping(Bytes::new())).await.expect("it takes it");
            let pong = stream.next().await.expect("it is open").expect("it can be read");
            assert!(pong.is_pong(), "{pong:?}");
            let pinged = Instant::now();
            // Until a wait since the ping would show.
            while pinged.elapsed() < PAUSE {
                tokio::task::yield_now().await;
            }
            stream.send(Message::text("a message")).await.expect("it takes it");
            stream
        };
        let bot = async {
            let mut socket = Socket::open(addr, Dialect::Nearcast(ENCODING)).await.expect("it opens");
            let alarm = Alarm::new(Clock::start());
            let early = poll_fn(|cx| Poll::Ready(socket.poll_read(&alarm, cx).is_ready())).await;
            assert!(!early && socket.write(Payload::Text("now it waits".to_owned())));
            loop {
                if let Read::Message(_, waited_us) = poll_fn(|cx| socket.poll_read(&alarm, cx)).await {
                    return waited_us;
                }
            }
        };
        let (_open, waited_us) = tokio::join!(peer, bot);
        let waited_us = waited_us.expect("it was waited for");
        assert!(u128::from(waited_us) < PAUSE.as_micros() / 2, "{waited_us} µs");
    }
}
