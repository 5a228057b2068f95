//! The floor as a program with the gateway's words, so that the benchmark starts and measures it like a gateway.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use clap::{Parser, Subcommand};
use nearcast_loadtest::floor::{self, Reads};

#[derive(Parser)]
struct Args {
    /// Read a socket as soon as something came, instead of each once a tick.
    #[arg(long)]
    per_message: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until the process ends.
    Serve {
        /// Where clients connect.
        #[arg(long)]
        listen: SocketAddr,
        /// Where /metrics would be; it is empty.
        #[arg(long)]
        admin: SocketAddr,
    },
}

fn main() -> Result<()> {
    let Args { per_message, command: Command::Serve { listen, admin } } = Args::parse();
    let (listener, operators) = (floor::listen(listen)?, floor::listen(admin)?);
    println!("ready listen={} admin={}", listener.local_addr()?, operators.local_addr()?);
    std::thread::spawn(move || nothing(&operators));
    floor::serve(&listener, if per_message { Reads::PerMessage } else { Reads::OnceATick })
}

/// Answers every request with an empty page.
fn nothing(operators: &TcpListener) {
    for mut socket in operators.incoming().flatten() {
        let _request = socket.read(&mut [0; 1_024]);
        let _answer = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}
