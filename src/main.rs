//! The command line: `serve` runs a gateway, `config` prints the settings in force.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nearcast::config::{Config, Flags, LogFormat};
use nearcast::edge::Gateway;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A real-time state-sync gateway for shared worlds.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a gateway until SIGTERM or Ctrl-C. Prints `ready listen=… admin=…` when clients may connect.
    Serve(Flags),
    /// Print the settings in force as TOML.
    Config(Flags),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (Command::Serve(flags) | Command::Config(flags)) = &cli.command;
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("nearcast: {error}");
            return ExitCode::from(2);
        }
    };
    match cli.command {
        Command::Config(_) => {
            print!("{}", config.to_toml());
            ExitCode::SUCCESS
        }
        Command::Serve(_) => match serve(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("nearcast: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let gateway = Gateway::start(config).await?;
        let ready = tokio::select! {
            () = gateway.ready() => true,
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
        };
        if ready {
            println!("ready listen={} admin={}", gateway.listen, gateway.admin);
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        gateway.drain().await;
        Ok(())
    })
}
