//! A small TCP relay that makes a link worse: fewer bytes per second towards the client, or a longer way in both
//! directions. Bounded: what it holds back is read no further, so the gateway's kernel holds the rest.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

/// Bytes of one direction of one connection that wait for their time; then reading stops.
const HELD_BYTES_MAX: usize = 256 * 1024;
/// Receive buffer of a limited link towards the gateway, bytes; the kernel doubles it.
const SLOW_BUFFER_BYTES: u32 = 4 * 1024;
/// A limited link passes on this many bytes at a time.
const SLOW_CHUNK_BYTES: usize = 512;
/// Largest read of a link that is not limited, bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a relay does to a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Bytes per second towards the client; `None`: as they come.
    pub bytes_per_s: Option<u32>,
    /// Added each way.
    pub delay: Duration,
}

/// Starts a relay in front of a gateway, and says where it listens. Must run in a `LocalSet`; ends with it.
///
/// # Errors
/// When no port is to be had.
pub async fn start(gateway: SocketAddr, link: Link) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("the relay cannot listen on 127.0.0.1")?;
    let addr = listener.local_addr().context("the relay has no address")?;
    tokio::task::spawn_local(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                // An end on either side ends both; the bot and the gateway see to what it means.
                let _ended = pass(client, gateway, link).await;
            });
        }
    });
    Ok(addr)
}

async fn pass(client: TcpStream, gateway: SocketAddr, link: Link) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    if link.bytes_per_s.is_some() {
        socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
    }
    let gateway = socket.connect(gateway).await?;
    client.set_nodelay(true)?;
    gateway.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_gateway, to_gateway) = gateway.into_split();
    let up = late(from_client, to_gateway, link.delay);
    tokio::select! {
        ended = up => ended,
        ended = down(from_gateway, to_client, link) => ended,
    }
}

async fn down(from: OwnedReadHalf, to: OwnedWriteHalf, link: Link) -> std::io::Result<()> {
    match link.bytes_per_s {
        Some(rate) => limited(from, to, rate).await,
        None => late(from, to, link.delay).await,
    }
}

/// Passes on what comes, a chunk at a time, each in its time.
async fn limited(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes_per_s: u32) -> std::io::Result<()> {
    let mut chunk = [0; SLOW_CHUNK_BYTES];
    let mut free = Instant::now();
    loop {
        let len = from.read(&mut chunk).await?;
        if len == 0 {
            return Ok(());
        }
        free = free.max(Instant::now()) + Duration::from_secs_f64(len as f64 / f64::from(bytes_per_s));
        sleep_until(free).await;
        to.write_all(&chunk[..len]).await?;
    }
}

/// Passes on what comes, `delay` later.
async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> std::io::Result<()> {
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut held_bytes = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let next = held.front().map(|(due, _)| *due);
        tokio::select! {
            read = from.read(&mut chunk), if held_bytes < HELD_BYTES_MAX => {
                let len = read?;
                if len == 0 {
                    return Ok(());
                }
                held_bytes += len;
                held.push_back((Instant::now() + delay, chunk[..len].to_vec()));
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                if let Some((_, bytes)) = held.pop_front() {
                    held_bytes -= bytes.len();
                    to.write_all(&bytes).await?;
                }
            }
        }
    }
}
