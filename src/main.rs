//! The command line: `serve` runs a gateway, `config` prints the settings in force.

use std::io::IsTerminal;
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
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut told = std::pin::pin!(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        });
        let gateway = tokio::select! {
            gateway = Gateway::start(config) => gateway?,
            () = &mut told => return Ok(()),
        };
        let ready = tokio::select! {
            () = gateway.ready() => true,
            () = &mut told => false,
        };
        if ready {
            println!("ready listen={} admin={}", gateway.listen, gateway.admin);
            told.await;
        }
        gateway.drain().await;
        Ok(())
    });
    // A broker that does not answer may be waited for on a thread of its own: not by us.
    runtime.shutdown_background();
    result
}
