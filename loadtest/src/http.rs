//! One request, one answer, over HTTP/1.1 without TLS: as much as metrics and a seat in a room take.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer larger than this is none of ours, bytes.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The whole may take this long.
const WITHIN: Duration = Duration::from_secs(5);

/// Sends a request, which says `Connection: close`; the body of the answer.
///
/// # Errors
/// When there is none in time, or its status is not 200.
pub async fn ask(addr: SocketAddr, request: &str) -> Result<String> {
    let asking = async {
        let mut socket = TcpStream::connect(addr).await?;
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(WITHIN, asking).await.context("no answer within 5 s")??;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "the answer is {status:?}: {body}");
    Ok(body.to_owned())
}
