//! A server that echoes messages, by the gateway's own listener, handshake and framing, with bounds as wide as the
//! longest case needs. Closes as `edge/driver` does.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use nearcast::edge::framing::{Bounds, Framing, Heard, Opcode, write, write_close};
use nearcast::edge::{accept, http};
use nearcast::limits::READ_BYTES_MAX;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Cases reach 16 MiB, and 4 MiB in fragments of 64 bytes.
const BOUNDS: Bounds = Bounds { bytes: 16 << 20, fragments: 1 << 16 };

/// Starts it on a free port, until `stop`.
pub async fn start(stop: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(accept(listener, Router::new().fallback(upgrade), stop));
    address
}

async fn upgrade(mut request: Request) -> Response {
    match http::handshake(&mut request) {
        Ok((answer, upgrade)) => {
            tokio::spawn(async move {
                let (socket, early) = http::socket_of(upgrade).await.expect("our listener's");
                // An end without a close frame shows in the report.
                tokio::task::spawn_blocking(move || echo(&socket, early)).await.expect("no panic").ok();
            });
            answer.body(Body::empty()).expect("a head")
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Answers until either end has closed.
fn echo(mut socket: &TcpStream, mut bytes: Vec<u8>) -> Result<()> {
    socket.set_nonblocking(false)?;
    let (mut framing, mut buffer, mut is_over) = (Framing::default(), vec![0; READ_BYTES_MAX], false);
    while !is_over {
        let mut out = Vec::new();
        let result = framing.read(&mut bytes, BOUNDS, &mut |heard| {
            match heard {
                Heard::Text(text) => write(&mut out, Opcode::Text, text),
                Heard::Binary(bytes) => write(&mut out, Opcode::Binary, bytes),
                Heard::Ping(payload) => write(&mut out, Opcode::Pong, payload),
                Heard::Pong(_) => {}
                Heard::Close(code) => {
                    write_close(&mut out, code, "");
                    is_over = true;
                }
            }
            !is_over
        });
        if let Err(broken) = result {
            write_close(&mut out, Some(broken.close().code()), broken.close().text());
            is_over = true;
        }
        socket.write_all(&out)?;
        if !is_over {
            let len = socket.read(&mut buffer)?;
            bytes.clear();
            bytes.extend_from_slice(&buffer[..len]);
            is_over = len == 0;
        }
    }
    socket.shutdown(Shutdown::Write)?;
    // What was on its way must be read, or the system resets the connection and the close frame may be lost.
    while socket.read(&mut buffer)? > 0 {}
    Ok(())
}
