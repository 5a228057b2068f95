//! Sockets and tasks around the pure core: `http` takes connections and hands them over by a `line`, `driver` drives
//! the sessions of many, in frames that `framing` reads and writes, `world` drives one world each. Starts and ends the
//! gateway.

pub mod clock;
pub mod driver;
pub mod framing;
pub mod http;
pub mod ids;
mod key;
pub mod line;
mod operators;
mod pace;
mod page;
pub mod world;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::{Config, LogUrl};
use crate::limits::{
    DRAIN_SPREAD_US, DRAIN_WITHIN_S, HEAD_BYTES_MAX, HEAD_WITHIN_S, HEADERS_MAX, MILLI_US, SEND_BUFFER_BYTES,
};
use crate::log::disk::recover::Torn;
use crate::log::disk::{self, Disk};
use crate::log::memory::Memory;
use crate::metrics;
use crate::settings::WorldSettings;
use clock::Clock;
use http::Shared;
use ids::Ids;
use line::{Command, Line};
use world::{AnyLog, Mail};

/// So many connections may wait to be accepted: joins of a second in a storm.
const BACKLOG: u32 = 1_024;

/// A running gateway.
pub struct Gateway {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    shared: Arc<Shared>,
    accepting: CancellationToken,
    worlds: CancellationToken,
    world_tasks: TaskTracker,
    /// The log on disk, if there is one, and its thread.
    disk: Option<(Disk, disk::Thread)>,
    /// Worlds end when this does.
    _alive: Arc<()>,
}

impl Gateway {
    /// Opens the log and the listeners and starts all tasks. Errors name what could not be opened.
    pub async fn start(config: &Config) -> Result<Gateway> {
        let clock = Clock::start();
        let (accepting, worlds, world_tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let alive = Arc::new(());
        let listener = bind(config.listen, "listen")?;
        let operators = bind(config.admin, "admin")?;
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let openings: Vec<_> = (0..count).map(|_| driver::open()).collect::<std::io::Result<_>>()?;
        let drivers: Vec<Line> = openings.iter().map(|(line, _)| line.clone()).collect();
        let disk = open_disk(config, clock).await?;
        let memory = open_memory(clock);
        let key = key::find(config)?;
        let (mut halls, ids) = (Vec::new(), Arc::new(Ids::default()));
        for (number, settings) in (0..).zip(&config.worlds) {
            let log = match &disk {
                Some((disk, _)) => {
                    let handle = disk.handle(&settings.name);
                    AnyLog::Disk(handle.context("data: the log was not opened for this world")?)
                }
                None => open_kafka(config, settings).await?.unwrap_or_else(|| AnyLog::Memory(memory.handle(number))),
            };
            let end = world::End { stop: worlds.clone(), alive: Arc::downgrade(&alive) };
            let (hall, run) =
                world::open(settings.clone(), (ids.clone(), key.clone()), log, drivers.clone(), clock, end);
            let running = world_tasks.token();
            std::thread::Builder::new().name("world".to_owned()).spawn(move || {
                run();
                drop(running);
            })?;
            halls.push(hall);
        }
        world_tasks.close();
        for (line, opening) in openings {
            opening.start(line, halls.clone(), clock)?;
        }
        let shared = Arc::new(Shared::new(halls, drivers));
        let gateway = Gateway {
            listen: listener.local_addr()?,
            admin: operators.local_addr()?,
            shared: shared.clone(),
            accepting: accepting.clone(),
            worlds: worlds.clone(),
            world_tasks,
            disk,
            _alive: alive,
        };
        // Not before: who cannot be answered yet is turned away at once.
        tokio::spawn(accept(listen(listener)?, http::public(shared.clone()), accepting));
        // Operators are answered until the end.
        tokio::spawn(accept(listen(operators)?, http::admin(shared), worlds));
        Ok(gateway)
    }

    /// Waits until the log has numbered this gateway in all worlds, so that sessions can open.
    pub async fn ready(&self) {
        while !self.shared.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends gracefully: not ready, no new connections, clients told to come back spread over three seconds, the log
    /// closed with all that was published.
    pub async fn drain(mut self) {
        info!("draining");
        self.shared.draining.store(true, Ordering::Release);
        self.accepting.cancel();
        let told = tokio::time::timeout(Duration::from_secs(DRAIN_WITHIN_S), self.tell_all()).await;
        if told.is_err() {
            warn!(within_s = DRAIN_WITHIN_S, "not everybody was gone in time");
        }
        self.worlds.cancel();
        self.world_tasks.wait().await;
        if let Some((disk, thread)) = self.disk.take() {
            disk.close();
            // It does not panic; if it has, there is nothing left to do.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        info!("drained");
    }

    /// Tells all sessions to go, spread evenly, then those that come by connections that were already open, until
    /// nobody is left.
    async fn tell_all(&self) {
        let spread = Duration::from_micros(DRAIN_SPREAD_US);
        let begun = Instant::now();
        let mut told = BTreeSet::new();
        self.shared.tasks.close();
        loop {
            let halls = self.shared.halls.iter();
            let all = halls.flat_map(|hall| {
                hall.directory.iter().map(|entry| (*entry.key(), entry.value().clone())).collect::<Vec<_>>()
            });
            let new: Vec<_> = all.filter(|(session, _)| !told.contains(session)).collect();
            for (i, (session, mail)) in new.iter().enumerate() {
                tokio::time::sleep_until((begun + spread * i as u32 / new.len() as u32).into()).await;
                let after_ms = (i as u64 * 7_919) % (DRAIN_SPREAD_US / MILLI_US);
                // One whose driver has no room is told in the next round.
                if mail.send(*session, Mail::Drain(after_ms as u32)) {
                    told.insert(*session);
                }
            }
            if tokio::time::timeout(Duration::from_millis(50), self.shared.tasks.wait()).await.is_ok() {
                return;
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for driver in &self.shared.drivers {
            let _ = driver.tell(Command::Stop);
        }
        if let Some((disk, _)) = &self.disk {
            disk.close();
        }
    }
}

/// Takes an address, on which nobody is heard yet.
fn bind(address: SocketAddr, name: &str) -> Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .with_context(|| format!("{name}: cannot listen on {address}; is another gateway running there?"))?;
    Ok(socket)
}

fn listen(socket: TcpSocket) -> Result<TcpListener> {
    let address = socket.local_addr()?;
    socket.listen(BACKLOG).with_context(|| format!("cannot listen on {address}; is another gateway running there?"))
}

/// Opens the log on disk for all worlds, if that is where they live. What is there is read and checked first.
async fn open_disk(config: &Config, clock: Clock) -> Result<Option<(Disk, disk::Thread)>> {
    let LogUrl::Disk(folder) = &config.log else { return Ok(None) };
    let (folder, worlds) = (folder.clone(), config.worlds.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let worlds: Vec<_> = worlds.iter().map(|world| (world.name.as_str(), world.grid)).collect();
        let now_ms = move || (clock.now_us() / MILLI_US) as i64;
        Disk::open(&folder, &worlds, now_ms, metrics::disk_turned)
            .with_context(|| format!("data: cannot use {}", folder.display()))
    });
    let (disk, thread, torn) = opened.await??;
    if let Some(Torn { name, at, bytes, why }) = torn {
        warn!(name, at, bytes, %why, "the end of the log was torn off, nothing of it had been acknowledged; it is cut");
    }
    Ok(Some((disk, thread)))
}

/// The log in memory: all worlds share it.
fn open_memory(clock: Clock) -> Memory {
    // Seconds since 1970 fit 32 bits until 2106, and rise from start to start.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Memory::new(seconds & u64::from(u32::MAX), move || (clock.now_us() / MILLI_US) as i64)
}

/// A world's log on Kafka, if that is where the worlds live.
#[cfg(feature = "kafka")]
async fn open_kafka(config: &Config, settings: &WorldSettings) -> Result<Option<AnyLog>> {
    use crate::log::kafka::{KafkaConfig, KafkaLog, ensure_topics};
    let LogUrl::Kafka(url) = &config.log else { return Ok(None) };
    info!(world = settings.name, url, "connecting to Kafka");
    let kafka = KafkaConfig::from_url(url, &config.prefix, &settings.name, settings.grid.partitions())?;
    let log = tokio::task::spawn_blocking(move || {
        ensure_topics(&kafka)?;
        KafkaLog::open(&kafka)
    });
    let log = log.await?.with_context(|| format!("log: cannot use {url}"))?;
    Ok(Some(AnyLog::Kafka(Box::new(log))))
}

/// A world's log on Kafka, if that is where the worlds live.
#[cfg(not(feature = "kafka"))]
async fn open_kafka(config: &Config, settings: &WorldSettings) -> Result<Option<AnyLog>> {
    let LogUrl::Kafka(url) = &config.log else { return Ok(None) };
    anyhow::bail!("log: {url} for world {:?} needs a build with the feature `kafka`", settings.name)
}

/// Accepts until told to stop. Each connection's head must come within 5 s and be small; after an upgrade the session's
/// own limits hold.
pub async fn accept(listener: TcpListener, router: axum::Router, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: let some connections end.
                warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        tune(&stream);
        let service = TowerToHyperService::new(router.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(HEAD_WITHIN_S))
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::spawn(async move {
            // A broken connection is the client's affair.
            let _ = connection.await;
        });
    }
}

fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(stream).set_send_buffer_size(SEND_BUFFER_BYTES);
}
