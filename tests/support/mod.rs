//! A gateway in this process and clients on real sockets, for tests.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nearcast::client::{Mirror, Stock};
use nearcast::codec::message::{Act, ByeOut, Hello, Id, In, Move, Out, Report, Scope, Seen, Set, Welcome, Wish};
use nearcast::codec::state::Known;
use nearcast::codec::{Encoding, Heard, Payload};
use nearcast::config::{Config, Flags};
use nearcast::edge::Gateway;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Nothing in a test takes longer.
pub const WITHIN: Duration = Duration::from_secs(20);

/// Starts a gateway on free ports, with more settings as TOML.
pub async fn gateway(toml: &str) -> Gateway {
    let any = Some("127.0.0.1:0".to_owned());
    let flags = Flags { listen: any.clone(), admin: any, ..Flags::default() };
    let config = Config::merge(&flags, toml).expect("right settings");
    let gateway = Gateway::start(&config).await.expect("starts");
    within("ready", gateway.ready()).await;
    gateway
}

/// Waits for something, and names it when it does not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, future).await.unwrap_or_else(|_| panic!("{what}: not within {WITHIN:?}"))
}

/// One GET; the status and the body.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::AsyncReadExt;
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.expect("reads");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// The counters are those of the process: tests that look at them run one at a time.
pub static COUNTERS: Mutex<()> = Mutex::const_new(());

/// What a metric has come to, 0 if it is not there yet.
pub async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let (_, metrics) = get(gateway.admin, "/metrics").await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

/// A client on a real socket, with the table its states make.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    encoding: Encoding,
    known: Known,
    started: std::time::Instant,
    /// What it holds.
    pub mirror: Mirror,
    /// What it was told of objects.
    pub stock: Stock,
    /// Everything heard that is no state, in order.
    pub heard: Vec<Out>,
    /// Says `seen` for each state.
    pub says_seen: bool,
}

/// A wish with one field and nothing else.
pub fn lamp_wish() -> Set {
    Set {
        n: 0,
        wish: Wish::Change,
        object: None,
        expect: None,
        kind: None,
        fields: [("on".to_owned(), Some("yes".to_owned()))].into(),
        to: None,
        yaw: 0.0,
        pos: [0.0; 3],
        scope: None,
    }
}

impl Client {
    /// Connects, without a word.
    pub async fn connect(gateway: &Gateway, encoding: Encoding) -> Client {
        Client::connect_at(gateway.listen, encoding).await
    }

    /// The same to a gateway in a process of its own.
    pub async fn connect_at(listen: SocketAddr, encoding: Encoding) -> Client {
        let mut request = format!("ws://{listen}/v1").into_client_request().expect("a URL");
        let asked = encoding.subprotocol().parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", asked);
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("connects");
        Client {
            socket,
            encoding,
            known: Known::default(),
            started: std::time::Instant::now(),
            mirror: Mirror::default(),
            stock: Stock::default(),
            heard: Vec::new(),
            says_seen: true,
        }
    }

    /// Connects, says hello and waits for the welcome.
    pub async fn join(gateway: &Gateway, encoding: Encoding, name: &str) -> (Client, Welcome) {
        Client::join_at(gateway.listen, encoding, name).await
    }

    /// The same at a gateway in a process of its own.
    pub async fn join_at(listen: SocketAddr, encoding: Encoding, name: &str) -> (Client, Welcome) {
        Client::hello_at(listen, encoding, Hello { profile: Some(name.into()), ..Hello::default() }).await
    }

    /// The same with more to say, to the world `plaza`.
    pub async fn hello_at(listen: SocketAddr, encoding: Encoding, hello: Hello) -> (Client, Welcome) {
        let mut client = Client::connect_at(listen, encoding).await;
        client.say(&In::Hello(Hello { world: "plaza".into(), ..hello })).await;
        let welcome = client
            .hear("welcome", |out| match out {
                Out::Welcome(welcome) => Some(welcome.clone()),
                _ => None,
            })
            .await;
        (client, welcome)
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &In) {
        let message = match self.encoding.encode_in(message) {
            Payload::Text(text) => Message::Text(text.into()),
            Payload::Binary(bytes) => Message::Binary(bytes),
        };
        self.raw(message).await;
    }

    /// Sends whatever. That the socket has ended is told by reading.
    pub async fn raw(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Puts bytes on the wire that need not be frames, at once or each on its own.
    pub async fn wire(&mut self, bytes: &[u8], at_once: bool) {
        let MaybeTlsStream::Plain(socket) = self.socket.get_mut() else { unreachable!("ws://") };
        socket.set_nodelay(true).expect("a socket");
        for part in bytes.chunks(if at_once { bytes.len() } else { 1 }) {
            socket.write_all(part).await.expect("writes");
        }
    }

    /// Its own clock, ms.
    pub fn clock_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }

    /// Says where it is.
    pub async fn walk(&mut self, x: f64, z: f64) {
        let time = self.clock_ms();
        let (seen, held_ms) = (Some(self.mirror.number()), Some(0.0));
        let step = Move { time, pos: [x, 0.0, z], yaw: 90.0, state: Default::default(), seen, held_ms };
        self.say(&In::Move(step)).await;
    }

    /// Makes a lamp where it stands.
    pub async fn create(&mut self, n: u64, x: f64, z: f64) {
        let set = Set { n, wish: Wish::Create, kind: Some("lamp".into()), pos: [x, 0.0, z], ..lamp_wish() };
        self.say(&In::Set(set)).await;
    }

    /// Wishes something of an object, where it was told to be.
    pub async fn wish(&mut self, n: u64, wish: Wish, object: Id, to: Option<[f64; 3]>) {
        let pos = self.stock.objects.get(&object).expect("it is in sight").pos;
        let fields = if wish == Wish::Change { lamp_wish().fields } else { Default::default() };
        self.say(&In::Set(Set { n, wish, object: Some(object), to, pos, fields, ..lamp_wish() })).await;
    }

    /// Does something.
    pub async fn act(&mut self, n: u64, scope: Scope, x: f64, z: f64) {
        let time = self.clock_ms();
        let act = Act { n, to: None, scope, name: "wave".into(), data: String::new(), time, pos: [x, 0.0, z] };
        self.say(&In::Act(act)).await;
    }

    /// Reads one message and takes it in.
    pub async fn read(&mut self) -> Option<Result<(), ByeOut>> {
        let message = within("a message", self.socket.next()).await?.ok()?;
        let bytes = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Some(Ok(())),
            Message::Close(_) => return None,
        };
        match self.encoding.decode_out(&mut self.known, bytes).expect("ours") {
            Heard::State(delta) => {
                if let Some((number, digest)) = self.mirror.apply(&delta).expect("no contradiction") {
                    self.say(&In::Report(Report { number, digest, age_ms: None })).await;
                }
                if self.says_seen {
                    self.say(&In::Seen(Seen { seen: self.mirror.number(), held_ms: 0.0 })).await;
                }
            }
            Heard::Other(Out::Bye(bye)) => return Some(Err(bye)),
            Heard::Other(out) => {
                if let Out::Object(objects) = &out {
                    self.stock.apply(objects).expect("no contradiction");
                }
                self.heard.push(out);
            }
        }
        Some(Ok(()))
    }

    /// Reads until something wanted has been heard.
    pub async fn hear<T>(&mut self, what: &str, wanted: impl Fn(&Out) -> Option<T>) -> T {
        let mut from = 0;
        within(what, async {
            loop {
                if let Some(found) = self.heard[from..].iter().find_map(&wanted) {
                    return found;
                }
                from = self.heard.len();
                match self.read().await {
                    Some(Ok(())) => {}
                    Some(Err(bye)) => panic!("{what}: heard bye instead: {bye:?}"),
                    None => panic!("{what}: the socket ended instead"),
                }
            }
        })
        .await
    }

    /// Reads until what it holds is as wanted.
    pub async fn see(&mut self, what: &str, wanted: impl Fn(&Mirror) -> bool) {
        within(what, async {
            while !wanted(&self.mirror) {
                assert!(matches!(self.read().await, Some(Ok(()))), "{what}: the socket ended instead");
            }
        })
        .await;
    }

    /// Reads until what it was told of objects is as wanted.
    pub async fn hold(&mut self, what: &str, wanted: impl Fn(&Stock) -> bool) {
        within(what, async {
            while !wanted(&self.stock) {
                assert!(matches!(self.read().await, Some(Ok(()))), "{what}: the socket ended instead");
            }
        })
        .await;
    }

    /// Reads until the gateway says bye.
    pub async fn bye(&mut self) -> ByeOut {
        within("bye", async {
            loop {
                match self.read().await {
                    Some(Err(bye)) => return bye,
                    Some(Ok(())) => {}
                    None => panic!("the socket ended without bye"),
                }
            }
        })
        .await
    }

    /// Reads until this WebSocket pong.
    pub async fn pong(&mut self, payload: &str) {
        let is_it = |message: &Message| matches!(message, Message::Pong(bytes) if bytes == payload);
        while !is_it(&within("a pong", self.socket.next()).await.expect("open").expect("a frame")) {}
    }

    /// Whether the gateway ends the connection after its close frame, as it should: not by a reset.
    pub async fn ends_well(&mut self) -> bool {
        within("the end of the connection", self.socket.next()).await.is_none()
    }

    /// The close frame's code, once the gateway closes.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match within("close", self.socket.next()).await? {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
