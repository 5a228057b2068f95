//! Gateways as child processes: started, pinned to a core, measured through /proc, and ended whatever happens.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A gateway is to say `ready` within this; topics are created meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// After SIGTERM a gateway drains for up to 15 s; clients that have said bye are not waited for.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Lines of a gateway's log that are shown when it fails.
const LOG_TAIL_LINES: usize = 12;

/// Worlds that a gateway is started with, as a settings file declares them; `plaza` is built in.
pub const WORLDS: [(&str, Option<&str>); 2] = [("plaza", None), ("arena", Some(include_str!("../arena.toml")))];

/// Where processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placing {
    /// Gateway on core 0 and swarm on core 1.
    pub pinned: bool,
    /// Both under `chrt -r 1`.
    pub real_time: bool,
}

impl Placing {
    /// Pins this process, whose threads and children inherit it, and finds out what the system allows.
    #[must_use]
    pub fn take() -> Placing {
        let me = std::process::id().to_string();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pinned = cores > 1 && quiet("taskset", &["-pc", "1", &me]);
        let real_time = quiet("chrt", &["-r", "-p", "1", &me]);
        Placing { pinned, real_time }
    }

    /// Takes no core, as the gateway's is not known, but goes before other load if the system allows.
    #[must_use]
    pub fn take_no_core() -> Placing {
        Placing { pinned: false, real_time: quiet("chrt", &["-r", "-p", "1", &std::process::id().to_string()]) }
    }

    /// For people.
    #[must_use]
    pub fn text(self) -> String {
        let place = if self.pinned {
            "gateway on core 0, swarm on core 1"
        } else {
            "not pinned: there is one core only, or `taskset` is missing; figures contain the swarm's own load"
        };
        let class =
            if self.real_time { "chrt -r 1 in force" } else { "chrt -r not allowed: other load is in the figures" };
        format!("{place}; {class}")
    }
}

/// How late sleeps of 1 ms end at p99 on this thread's core, ms: what the machine itself puts into ages and tick delays.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the sleep is what is measured, before anything runs beside it")]
pub fn own_delay_ms() -> f64 {
    const SLEEP: Duration = Duration::from_millis(1);
    let sleep = |_| {
        let begun = Instant::now();
        std::thread::sleep(SLEEP);
        (begun.elapsed() - SLEEP).as_secs_f64() * 1e3
    };
    let mut late: Vec<f64> = (0..1_000).map(sleep).collect();
    late.sort_by(f64::total_cmp);
    late[late.len() * 99 / 100]
}

fn quiet(program: &str, args: &[&str]) -> bool {
    let run =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The program, and what is said to it before `serve`.
    pub words: &'a [OsString],
    /// Number of this gateway, for the name of its log.
    pub number: usize,
    /// Its world, one of [`WORLDS`].
    pub world: &'a str,
    /// host:port of Apache Kafka; without it the embedded log.
    pub kafka: Option<&'a str>,
    /// Prefix of the topics.
    pub prefix: &'a str,
    /// Where what was done is kept; without it, and without Kafka, it is forgotten at the end.
    pub data: Option<&'a Path>,
    /// Who knows this is a game server.
    pub server_token: Option<&'a str>,
    /// Where it runs.
    pub placing: Placing,
}

/// A running gateway. Ends with this value.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    words: Vec<OsString>,
    log: PathBuf,
    settings: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where /metrics is.
    pub admin: SocketAddr,
    idle_rss: u64,
}

impl Gateway {
    /// Starts one, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready within a minute; with the end of its log.
    pub async fn start(start: Start<'_>) -> Result<Gateway> {
        let file = format!("nearcast-{}-gateway-{}", std::process::id(), start.number);
        let [log, settings] = ["log", "toml"].map(|kind| std::env::temp_dir().join(format!("{file}.{kind}")));
        let mut words = words(&start);
        let world = WORLDS.iter().find(|(name, _)| *name == start.world);
        let (_, world) = world.with_context(|| format!("no world `{}`: declare it in WORLDS", start.world))?;
        let token = start.server_token.map(|token| format!("server_token = \"{token}\"\n"));
        let text = token.into_iter().chain(world.map(str::to_owned)).collect::<String>();
        if !text.is_empty() {
            write_secret(&settings, &text).with_context(|| format!("cannot write {}", settings.display()))?;
            words.extend([OsStr::new("--config"), settings.as_os_str()].map(OsStr::to_owned));
        }
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let child = spawn(&words, [anywhere; 2], &log)?;
        let mut gateway = Gateway { child, words, log, settings, listen: anywhere, admin: anywhere, idle_rss: 0 };
        gateway.ready().await?;
        Ok(gateway)
    }

    /// Waits until it says that it is ready, and where.
    async fn ready(&mut self) -> Result<()> {
        let lines = self.child.stdout.take().map(first_line);
        let until = Instant::now() + READY_WITHIN;
        let line = loop {
            if let Some(line) = lines.as_ref().and_then(|lines| lines.try_recv().ok()) {
                break line;
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway ended with {status} instead of getting ready; its log:\n{}", self.log_tail());
            }
            if Instant::now() > until {
                bail!("the gateway is not ready after {READY_WITHIN:?}; its log:\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        (self.listen, self.admin) = parse_ready(&line)?;
        self.idle_rss = self.memory()?.rss;
        Ok(())
    }

    /// Ends it with SIGKILL, in the middle of what it does.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the gateway had ended with {status}; its log:\n{}", self.log_tail());
        }
        self.child.kill().context("cannot kill the gateway")?;
        self.child.wait().context("the gateway does not end")?;
        Ok(())
    }

    /// Starts it again, where it was.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.words, [self.listen, self.admin], &self.log)?;
        self.ready().await
    }

    /// The words that start it where it is, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let Gateway { words, listen, admin, .. } = self;
        let at = words.iter().position(|word| word == "serve").map_or(0, |serve| serve.saturating_sub(1));
        let words: Vec<_> = words[at..].iter().map(|word| word.to_string_lossy()).collect();
        format!("{} --listen {listen} --admin {admin}", words.join(" "))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory before there was any client, bytes.
    #[must_use]
    pub fn idle_rss(&self) -> u64 {
        self.idle_rss
    }

    /// CPU time of all its threads so far, µs. An error says that it has ended.
    pub fn cpu_us(&self) -> Result<f64> {
        let folder = format!("/proc/{}/task", self.pid());
        let tasks = fs::read_dir(&folder).with_context(|| self.gone())?;
        let mut ns = 0.0;
        for task in tasks {
            let path = task?.path().join("schedstat");
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            ns += text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
        }
        Ok(ns / 1e3)
    }

    /// Its memory.
    pub fn memory(&self) -> Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).with_context(|| self.gone())?;
        let bytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        match (bytes("VmRSS:"), bytes("VmHWM:")) {
            (Some(rss), Some(peak)) => Ok(Memory { rss, peak }),
            (None, _) | (_, None) => bail!("{}", self.gone()),
        }
    }

    fn gone(&self) -> String {
        format!("the gateway (process {}) has ended; its log:\n{}", self.pid(), self.log_tail())
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Gateway {
    #[expect(clippy::disallowed_methods, reason = "nothing else may happen until the gateway has ended")]
    fn drop(&mut self) {
        quiet("kill", &["-TERM", &self.pid().to_string()]);
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _killed = self.child.kill().and_then(|()| self.child.wait());
        }
        let _gone = [&self.log, &self.settings].map(fs::remove_file);
    }
}

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub rss: u64,
    /// At most.
    pub peak: u64,
}

/// A file that only this user reads.
fn write_secret(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}

/// What starts it, but for where.
fn words(start: &Start<'_>) -> Vec<OsString> {
    let mut words: Vec<&OsStr> = Vec::new();
    // Should this process be killed without a chance to end the gateway, the system does.
    if quiet("setpriv", &["--pdeathsig", "TERM", "true"]) {
        words.extend(["setpriv", "--pdeathsig", "TERM"].map(OsStr::new));
    }
    if start.placing.pinned {
        words.extend(["taskset", "-c", "0"].map(OsStr::new));
    }
    words.extend(start.words.iter().map(OsString::as_os_str));
    words.push(OsStr::new("serve"));
    let mut words: Vec<OsString> = words.into_iter().map(OsStr::to_owned).collect();
    if let Some(kafka) = start.kafka {
        words.extend(["--log".into(), format!("kafka://{kafka}").into(), "--prefix".into(), start.prefix.into()]);
    }
    if let Some(data) = start.data {
        words.extend(["--data".into(), data.into()]);
    }
    words
}

fn spawn(words: &[OsString], [listen, admin]: [SocketAddr; 2], log: &Path) -> Result<Child> {
    let file = File::options().append(true).open(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
    // A group of its own: Ctrl-C reaches this process only, which then ends the gateway in order.
    command.process_group(0).spawn().with_context(|| format!("cannot start {words:?}"))
}

/// The first line of a child's output; the rest is read and dropped, so that it never blocks on a full pipe.
fn first_line(output: ChildStdout) -> Receiver<String> {
    let (send, receive) = sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            let _later_lines_are_dropped = send.try_send(line);
        }
    });
    receive
}

fn parse_ready(line: &str) -> Result<(SocketAddr, SocketAddr)> {
    let mut words = line.split_whitespace();
    let ready = words.next() == Some("ready");
    let mut address = |key: &str| words.next()?.strip_prefix(key)?.parse::<SocketAddr>().ok();
    match (ready, address("listen="), address("admin=")) {
        (true, Some(listen), Some(admin)) => Ok((listen, admin)),
        (_, _, _) => bail!("the gateway said {line:?} instead of `ready listen=… admin=…`: is it of the same version?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        let (listen, admin) = parse_ready("ready listen=127.0.0.1:4000 admin=127.0.0.1:4001").expect("well formed");
        assert_eq!((listen.port(), admin.port()), (4000, 4001));
        assert!(parse_ready("ready listen=nowhere admin=127.0.0.1:4001").is_err());
        assert!(parse_ready("").is_err());
    }
}
