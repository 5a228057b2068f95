//! The command line: `serve` runs a gateway, `config` prints the settings in force, `log` what is in a data folder.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nearcast::config::{Config, Flags, LogFormat};
use nearcast::edge::Gateway;
use nearcast::inspect::{LogArgs, inspect};
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
    /// Show what is in a data folder.
    Log(LogArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(flags) => Config::load(&flags).map(|config| serve(&config)),
        Command::Config(flags) => Config::load(&flags).map(|config| {
            print!("{}", config.to_toml());
            Ok(())
        }),
        Command::Log(args) => Ok(inspect(&args).map(|text| print!("{text}"))),
    };
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("nearcast: {error:#}");
            ExitCode::FAILURE
        }
        Err(wrong_settings) => {
            eprintln!("nearcast: {wrong_settings}");
            ExitCode::from(2)
        }
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
