//! The game server of the demonstration, as a game would run one beside its gateways: it puts up a board where people meet,
//! and makes the time of day and the weather.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use nearcast::client::Stock;
use nearcast::codec::message::{Hello, In, Move, Out, Scope, Set, View, Wish};
use nearcast::codec::state::Known;
use nearcast::codec::wire::Payload;
use nearcast::codec::{Encoding, Heard};
use nearcast::limits::{BUDGET_MIN, RADIUS_MAX_M};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Where it stands, metres: aside, and yet the middle is in sight.
const STANDS: [f64; 3] = [32.0, 0.0, 70.0];
/// Where the board is, and which way it looks, degrees.
const BOARD: ([f64; 3], f64) = ([36.5, 0.0, 5.0], -115.0);
/// What it says to begin with.
const NOTES: [&str; 2] = ["Hello! Come near and press E", "Everybody sees what you write"];
/// Things in sight are told within this after it has come.
const LOOKS: Duration = Duration::from_secs(3);
/// The course of a day: time, weather, and for how long, seconds.
const DAY: [(&str, &str, u64); 6] = [
    ("noon", "clear", 75),
    ("noon", "rain", 20),
    ("dusk", "clear", 30),
    ("night", "clear", 30),
    ("night", "rain", 15),
    ("dawn", "clear", 25),
];
/// An answer takes no longer, unless something is wrong.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// After a lost connection it comes back so much later.
const BACK_AFTER: Duration = Duration::from_secs(1);

/// What it has done.
#[derive(Clone, Debug, Default)]
struct Done {
    /// Boards in sight or put up.
    boards: usize,
    /// Weather made.
    skies: usize,
    /// Why it was interrupted last.
    trouble: Option<String>,
}

/// A running game server. It ends with this value.
#[derive(Debug)]
pub struct Keeper {
    task: JoinHandle<()>,
    done: Rc<RefCell<Done>>,
}

impl Keeper {
    /// Begins, at a gateway that knows this secret. Must run in a `LocalSet`.
    #[must_use]
    pub fn start(gateway: SocketAddr, world: &str, secret: &str) -> Keeper {
        let done = Rc::new(RefCell::new(Done::default()));
        let (told, hello) = (Rc::clone(&done), hello(world, secret));
        let task = tokio::task::spawn_local(async move {
            loop {
                if let Err(error) = shift(gateway, &hello, &told).await {
                    told.borrow_mut().trouble = Some(format!("{error:#}"));
                }
                tokio::time::sleep(BACK_AFTER).await;
            }
        });
        Keeper { task, done }
    }

    /// What it has done, in a line.
    ///
    /// # Errors
    /// When that is not what it is there for.
    pub fn verdict(&self) -> Result<String> {
        let Done { boards, skies, trouble } = self.done.borrow().clone();
        let trouble = trouble.map_or(String::new(), |why| format!("; interrupted: {why}"));
        ensure!(
            boards > 0 && skies > 0,
            "the game server saw {boards} boards and made the weather {skies} times{trouble}"
        );
        Ok(format!("the game server keeps {boards} board, and has made the weather {skies} times{trouble}"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A secret of 32 bytes as hex digits, for one demonstration.
///
/// # Errors
/// When the system gives no chance.
pub fn secret() -> Result<String> {
    let mut bytes = [0; 32];
    let mut chance = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    chance.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hello(world: &str, secret: &str) -> Hello {
    Hello {
        token: Some(secret.to_owned()),
        world: world.to_owned(),
        profile: Some("Keeper of the plaza".to_owned()),
        view: Some(View { radius: Some(RADIUS_MAX_M), budget: Some(BUDGET_MIN) }),
        resume: None,
    }
}

/// As long as a connection holds.
async fn shift(gateway: SocketAddr, hello: &Hello, done: &RefCell<Done>) -> Result<()> {
    let mut link = Link::open(gateway, hello).await?;
    let looked = Instant::now() + LOOKS;
    link.until(looked, |_| None::<()>).await?;
    let boards = link.stock.objects.values().filter(|row| row.kind == "board").count();
    if boards == 0 {
        let fields = (0..).map(|n: usize| n.to_string()).zip(NOTES.map(String::from));
        let fields = fields.chain([("next".to_owned(), NOTES.len().to_string())]);
        let (pos, yaw) = BOARD;
        link.wish(Set { kind: Some("board".to_owned()), yaw, ..set(Wish::Create, pos, fields) }).await?;
    }
    done.borrow_mut().boards = boards.max(1);
    for (time, weather, seconds) in DAY.into_iter().cycle() {
        let fields = [("time", time), ("weather", weather)].map(|(name, text)| (name.to_owned(), text.to_owned()));
        link.wish(Set { scope: Some(Scope::World), ..set(Wish::Environment, STANDS, fields) }).await?;
        done.borrow_mut().skies += 1;
        let over = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < over {
            // Who says nothing for long is taken for gone.
            link.say(&link.here()).await?;
            link.until(over.min(Instant::now() + ANSWER_WITHIN), |_| None::<()>).await?;
        }
    }
    Ok(())
}

fn set(wish: Wish, pos: [f64; 3], fields: impl IntoIterator<Item = (String, String)>) -> Set {
    let fields: BTreeMap<_, _> = fields.into_iter().map(|(name, text)| (name, Some(text))).collect();
    Set { n: 0, wish, object: None, expect: None, kind: None, fields, to: None, yaw: 0.0, pos, scope: None }
}

/// Its connection.
struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    known: Known,
    stock: Stock,
    opened: Instant,
    next: u64,
}

impl Link {
    /// Connects, is let in, and stands at its place.
    async fn open(gateway: SocketAddr, hello: &Hello) -> Result<Link> {
        let mut request = format!("ws://{gateway}/v1").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", Encoding::Json.subprotocol().parse()?);
        let (socket, _) = connect_async(request).await.with_context(|| format!("cannot connect to {gateway}"))?;
        let (known, stock, opened) = (Known::default(), Stock::default(), Instant::now());
        let mut link = Link { socket, known, stock, opened, next: 1 };
        link.say(&In::Hello(hello.clone())).await?;
        link.answer("welcome", |out| matches!(out, Out::Welcome(_)).then_some(())).await?;
        link.say(&link.here()).await?;
        Ok(link)
    }

    fn here(&self) -> In {
        let time = self.opened.elapsed().as_secs_f64() * 1e3;
        In::Move(Move { time, pos: STANDS, yaw: 90.0, state: Default::default(), seen: None, held_ms: None })
    }

    async fn say(&mut self, message: &In) -> Result<()> {
        let message = match Encoding::Json.encode_in(message) {
            Payload::Text(text) => Message::text(text),
            Payload::Binary(bytes) => Message::Binary(bytes),
        };
        Ok(self.socket.send(message).await?)
    }

    /// Wishes something, and waits until it is in effect.
    async fn wish(&mut self, set: Set) -> Result<()> {
        let (n, what) = (self.next, format!("{:?}", set.wish));
        self.next += 1;
        self.say(&In::Set(Set { n, ..set })).await?;
        let answered = |out: &Out| {
            let is_ack = matches!(out, Out::Ack(ack) if ack.n == n);
            let refused = if let Out::Refuse(refuse) = out { Some(refuse).filter(|r| r.n == Some(n)) } else { None };
            (is_ack || refused.is_some()).then(|| refused.cloned())
        };
        match self.answer(&what, answered).await? {
            None => Ok(()),
            Some(refuse) => bail!("{what} was refused: {}: {}", refuse.code, refuse.text),
        }
    }

    async fn answer<T>(&mut self, what: &str, wanted: impl FnMut(&Out) -> Option<T>) -> Result<T> {
        let answer = self.until(Instant::now() + ANSWER_WITHIN, wanted).await?;
        answer.with_context(|| format!("{what}: no answer within {} s", ANSWER_WITHIN.as_secs()))
    }

    /// Reads until something wanted has come, or it is over.
    async fn until<T>(&mut self, over: Instant, mut wanted: impl FnMut(&Out) -> Option<T>) -> Result<Option<T>> {
        while let Ok(message) = timeout_at(over, self.socket.next()).await {
            let Message::Text(text) = message.context("the connection has ended")?? else { continue };
            let Heard::Other(out) = Encoding::Json.decode_out(&mut self.known, text.as_bytes())? else { continue };
            if let Out::Object(objects) = &out {
                self.stock.apply(objects)?;
            }
            if let Out::Bye(bye) = &out {
                bail!("the gateway said bye: {} {}", bye.code, bye.text);
            }
            if let Some(found) = wanted(&out) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
