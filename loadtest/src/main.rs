//! The command line of the load test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args as Flags, Parser, Subcommand};
use nearcast::limits::{RADIUS_M, RADIUS_MAX_M, RADIUS_MIN_M};
use nearcast_loadtest::bench;
use nearcast_loadtest::book::{self, Call};
use nearcast_loadtest::catalogue;
use nearcast_loadtest::crowd::{BORDER_X_M, Crowd, Figures, Layout};
use nearcast_loadtest::curve::{self, tally::Point};
use nearcast_loadtest::cut::{Rules, cut, write_folder};
use nearcast_loadtest::demo::{self, Course};
use nearcast_loadtest::gateway::{self, Placing};
use nearcast_loadtest::keeper;
use nearcast_loadtest::model::likeness::Likeness;
use nearcast_loadtest::model::{self, Model};
use nearcast_loadtest::page;
use nearcast_loadtest::scenario::Scenario;
use nearcast_loadtest::scene::Scene;
use nearcast_loadtest::server::Server;
use nearcast_loadtest::trace::{Recording, read_folder};
use nearcast_loadtest::trial::{FROM_INSIDE, Setup};
use tokio::signal::unix::{SignalKind, signal};

/// Bots that play recorded people against a nearcast gateway.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What is under test.
#[derive(Flags)]
struct Target {
    /// The gateway's program [default: `nearcast` beside this one].
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Bootstrap address of Apache Kafka, host:port.
    #[arg(long)]
    kafka: Option<String>,
    /// Scenes to play, where the scenario has none of its own: a name of `scenes/README.md`, or a folder.
    #[arg(long, value_name = "NAME|FOLDER", default_value = "plaza")]
    scenes: String,
    #[command(flatten)]
    files: Files,
}

/// Where figures go, besides the screen.
#[derive(Flags)]
struct Files {
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a page with plots to this file: it needs no network and no script.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Start a gateway and a crowd, and show live what happens; with --kafka two gateways that meet in Apache Kafka.
    Demo {
        /// End by itself after so many seconds, with the verdict as exit code.
        #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(8..=3600))]
        seconds: Option<u64>,
        /// Kill the gateway with SIGKILL after so many seconds, start it again, and say what became of everybody.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=3600))]
        kill_after: Option<u64>,
        /// Where the gateway keeps what was done [default: a folder of its own, which goes at the end].
        #[arg(long, value_name = "DIR", conflicts_with = "kafka")]
        data: Option<PathBuf>,
        /// People of the crowd.
        #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=4000))]
        bots: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Measure: medians of several runs of each scenario, against the objectives.
    Bench {
        /// Runs of each scenario.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
        runs: u32,
        /// Only this scenario; may be repeated.
        #[arg(long)]
        only: Vec<String>,
        /// Of the servers that a scenario compares, only this one; may be repeated.
        #[arg(long = "server", value_name = "NAME")]
        servers: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Send a crowd to a gateway that runs already, and print what it received.
    Run {
        /// A scenario of `bench`, for its crowd and links.
        #[arg(long, default_value = "plaza500")]
        scenario: String,
        /// What runs there, by its name in `peers50` [default: the scenario's].
        #[arg(long)]
        server: Option<String>,
        /// Bots [default: the scenario's].
        #[arg(long)]
        bots: Option<usize>,
        /// Seconds to measure [default: the scenario's].
        #[arg(long)]
        seconds: Option<u64>,
        /// Where clients connect, host:port. The scenario's world must be declared there: `plaza`, or that of
        /// `loadtest/arena.toml`.
        #[arg(long)]
        url: String,
        /// Scenes to play, where the scenario has none of its own: a name of `scenes/README.md`, or a folder.
        #[arg(long, value_name = "NAME|FOLDER", default_value = "plaza")]
        scenes: String,
        #[command(flatten)]
        files: Files,
    },
    /// Make the page with plots of figures that earlier calls have written as JSON.
    Page {
        /// What `bench --json` wrote. Of a scenario that several files have, the last one counts.
        #[arg(required = true, value_name = "JSON")]
        from: Vec<PathBuf>,
        /// The page to write.
        #[arg(required = true, value_name = "HTML")]
        to: PathBuf,
    },
    /// Say what the scenes are like, and a crowd that is made of them.
    Scenes {
        /// A name of `scenes/README.md`, a folder that `cut` wrote, or a trace set.
        #[arg(default_value = "plaza")]
        scenes: String,
        /// Others count within this radius, metres.
        #[arg(long, default_value_t = RADIUS_M)]
        radius: f64,
        /// Agents of the crowd.
        #[arg(long, default_value_t = 500)]
        agents: usize,
    },
    /// Fit models to scenes, and say how like them a modelled crowd is.
    Model {
        /// What to fit to: a name of `scenes/README.md`, a folder that `cut` wrote, or a trace set.
        #[arg(long, value_name = "NAME|FOLDER", default_value = "juelich")]
        fit: String,
        /// People of a modelled scene [default: as many as recorded].
        #[arg(long)]
        people: Option<usize>,
        /// Another seed makes another crowd.
        #[arg(long, default_value_t = catalogue::SEED)]
        seed: u64,
    },
    /// The rate-distortion curve, offline: what a client's bytes buy, as the error of where it shows others.
    Curve {
        /// Who plays: a name of `scenes/README.md`, a folder that `cut` wrote, or a trace set.
        #[arg(long, value_name = "NAME|FOLDER", default_value = "juelich")]
        scenes: String,
        /// How far they see, metres.
        #[arg(long, default_value_t = RADIUS_M)]
        radius: f64,
        /// People of the second crowd, in one spot, where budgets matter; 0 for none.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=4000))]
        spot: u32,
        /// They move evenly between recorded rows, instead of holding each until the next as bots do.
        #[arg(long)]
        smooth: bool,
        /// Also write the points to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Also draw them into this file.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// Cut scenes out of a trace set: windows in which the same people are there all the time.
    Cut {
        /// A folder with trace.csv.gz, events.csv.gz, scenes.csv and LICENSE.txt.
        from: PathBuf,
        /// The folder to write.
        to: PathBuf,
        /// People of a scene, if that many are there; the liveliest are taken.
        #[arg(long, default_value_t = Rules::default().people)]
        people: usize,
        /// A window with fewer people is no scene.
        #[arg(long, default_value_t = Rules::default().people_min)]
        people_min: usize,
        /// Length of a scene, seconds, if enough people stay so long.
        #[arg(long, default_value_t = Rules::default().length_ms as f64 / 1000.0)]
        length_s: f64,
        /// A shorter window is no scene, seconds.
        #[arg(long, default_value_t = Rules::default().length_min_ms as f64 / 1000.0)]
        length_min_s: f64,
        /// At most so many scenes of one recording; they do not overlap.
        #[arg(long, default_value_t = Rules::default().per_recording)]
        per_recording: usize,
        /// At most so many scenes in all; those with the liveliest people are taken.
        #[arg(long, default_value_t = Rules::default().scenes_max)]
        scenes_max: usize,
    },
}

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match command(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nearcast-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo { seconds, kill_after, data, bots, target } => {
            if let (Some(seconds), Some(after)) = (seconds, kill_after)
                && after >= seconds
            {
                anyhow::bail!("--kill-after {after}: the demonstration ends before, after {seconds} s");
            }
            let course = Course { seconds, kill_after };
            let scenario = Scenario::demo(bots as usize, target.kafka.is_some());
            let (program, scenes) = (target.program()?, target.scenes()?);
            let secret = keeper::secret()?;
            let setup = Setup { data: data.as_deref(), server_token: Some(&secret), ..target.setup(&program, &scenes) };
            let interrupted = if seconds.is_some() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS };
            match drive(demo::run(&scenario, &setup, course))? {
                Some(report) => {
                    target.files.write(Call::of_now(1, setup.placing.text(), report.into_iter().collect(), Vec::new()))
                }
                None => Ok(interrupted),
            }
        }
        Command::Bench { runs, only, servers, target } => {
            let mut scenarios = only.iter().map(|name| Scenario::named(name)).collect::<Result<Vec<_>>>()?;
            if only.is_empty() {
                scenarios = Scenario::all();
                scenarios.retain(|scenario| scenario.usual && (scenario.gateways == 1 || target.kafka.is_some()));
            }
            let servers = servers.iter().map(|name| Server::named(name)).collect::<Result<Vec<_>>>()?;
            for scenario in scenarios.iter_mut().filter(|s| !servers.is_empty() && !s.compared.is_empty()) {
                scenario.compared.retain(|server| servers.contains(server));
                ensure!(!scenario.compared.is_empty(), "`{}` compares none of these servers", scenario.name);
            }
            let (program, scenes) = (target.program()?, target.scenes()?);
            measure(&scenarios, &target.setup(&program, &scenes), runs, &target.files)
        }
        Command::Run { scenario, server, bots, seconds, url, scenes, files } => {
            let mut scenario = Scenario::named(&scenario)?;
            scenario.compared.clear();
            scenario.server = server.map_or(Ok(scenario.server), |name| Server::named(&name))?;
            scenario.bots = bots.unwrap_or(scenario.bots);
            if let Some(seconds) = seconds {
                (scenario.seconds, scenario.lasts) = (seconds.max(1), None);
            }
            scenario.gateways = 1;
            let scenes = catalogue::scenes(&scenes)?;
            let address = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
            let url =
                address.parse().with_context(|| format!("--url is {url:?}: name an address, as 127.0.0.1:8080"))?;
            // What only the gateway's own figures tell cannot be judged from outside.
            scenario.wanted.retain(|rule| !FROM_INSIDE.contains(&rule.figure));
            let placing = Placing::take_no_core();
            let setup = Setup {
                program: Path::new(""),
                url: Some(url),
                kafka: None,
                data: None,
                server_token: None,
                scenes: &scenes,
                placing,
            };
            measure(&[scenario], &setup, 1, &files)
        }
        Command::Page { from, to } => {
            let calls = from.iter().map(|file| Call::read(file)).collect::<Result<Vec<_>>>()?;
            write_page(calls, &to)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Scenes { scenes, radius, agents } => {
            print_scenes(&catalogue::scenes(&scenes)?, agents, radius)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Model { fit, people, seed } => {
            print_models(&model::walkers(&catalogue::recordings(&fit)?)?, people, seed)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Curve { scenes, radius, spot, smooth, json, svg } => {
            let points = curve_points(&scenes, radius, spot as usize, smooth)?;
            print!("{}", curve::table(&points));
            if let Some(path) = svg {
                book::write(&path, &page::curve(&points))?;
            }
            if let Some(path) = json {
                Call { curve: points, ..Call::default() }.write(&path)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Cut { from, to, people, people_min, length_s, length_min_s, per_recording, scenes_max } => {
            ensure!(length_min_s >= 1.0, "--length-min-s is {length_min_s}: a scene lasts a second at least");
            ensure!(length_s >= length_min_s, "--length-s is {length_s}, less than --length-min-s: raise it");
            ensure!(people >= people_min, "--people is {people}, less than --people-min: raise it");
            let ms = |seconds: f64| (seconds * 1000.0) as i64;
            let (length_ms, length_min_ms) = (ms(length_s), ms(length_min_s));
            let rules = Rules { people, people_min, length_ms, length_min_ms, per_recording, scenes_max };
            cut_folder(&from, &to, &rules)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Target {
    fn program(&self) -> Result<PathBuf> {
        match &self.gateway {
            Some(path) => Ok(path.clone()),
            None => {
                Ok(std::env::current_exe().context("cannot tell where this program is")?.with_file_name("nearcast"))
            }
        }
    }

    fn scenes(&self) -> Result<Vec<Scene>> {
        catalogue::scenes(&self.scenes)
    }

    fn setup<'a>(&'a self, program: &'a Path, scenes: &'a [Scene]) -> Setup<'a> {
        Setup {
            program,
            url: None,
            kafka: self.kafka.as_deref(),
            data: None,
            server_token: None,
            scenes,
            placing: Placing::take(),
        }
    }
}

impl Files {
    /// Writes what is asked for. The exit code says whether all that was wanted is met.
    fn write(&self, call: Call) -> Result<ExitCode> {
        // `bench` has printed its tables as they came; a demonstration has one.
        let met = call.reports.iter().all(|report| report.met);
        if let Some(file) = &self.json {
            call.write(file)?;
            println!("figures: {}", file.display());
        }
        if let Some(file) = &self.html {
            write_page(vec![call], file)?;
        }
        Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn write_page(mut calls: Vec<Call>, file: &Path) -> Result<()> {
    book::merge(&mut calls);
    book::write(file, &page::page(&calls))?;
    println!("page: {}", file.display());
    Ok(())
}

fn measure(scenarios: &[Scenario], setup: &Setup<'_>, runs: u32, files: &Files) -> Result<ExitCode> {
    let machine = setup.placing.text();
    let machine = format!("{machine}; by itself a sleep of 1 ms ends {:.1} ms late at p99", gateway::own_delay_ms());
    if setup.url.is_none() {
        println!("{machine}");
    }
    match drive(bench::run(scenarios, setup, runs))? {
        Some((reports, without)) => {
            let verdict = files.write(Call::of_now(runs, machine, reports, without.clone()))?;
            ensure!(without.is_empty(), "no figures, or not of all runs, of {}; see above", without.join(", "));
            Ok(verdict)
        }
        None => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// Runs something to its end, or until Ctrl-C or SIGTERM: then `None`, and all that was started has ended.
fn drive<T>(work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            done = work => done.map(Some),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
        }
    })
}

fn curve_points(name: &str, radius_m: f64, spot: usize, smooth: bool) -> Result<Vec<Point>> {
    ensure!(
        (RADIUS_MIN_M..=RADIUS_MAX_M).contains(&radius_m),
        "--radius is {radius_m}: take {RADIUS_MIN_M} to {RADIUS_MAX_M}, as clients may"
    );
    let scenes = catalogue::scenes(name)?;
    let manner = if smooth { "moving evenly" } else { "as recorded" };
    let mut points = curve::points(&curve::as_recorded(&scenes, radius_m, smooth)?, &format!("{name}, {manner}"))?;
    if spot > 0 {
        let film = curve::in_one_spot(&scenes, spot, radius_m, smooth)?;
        points.extend(curve::points(&film, &format!("{name}, {spot} in one spot"))?);
    }
    Ok(points)
}

fn cut_folder(from: &Path, to: &Path, rules: &Rules) -> Result<()> {
    let scenes = cut(&read_folder(from)?, rules).with_context(|| from.display().to_string())?;
    let licence = from.join("LICENSE.txt");
    let licence = fs::read(&licence)
        .with_context(|| format!("cannot read {}: scenes go nowhere without their licence", licence.display()))?;
    write_folder(&scenes, to)?;
    fs::write(to.join("LICENSE.txt"), licence).with_context(|| format!("cannot write {}/LICENSE.txt", to.display()))?;
    print_scenes(&catalogue::scenes(&to.display().to_string())?, 500, RADIUS_M)
}

fn print_models(recordings: &[Recording], people: Option<usize>, seed: u64) -> Result<()> {
    println!(
        "{:<16} {:>6} {:>7} {:>9} {:>7} {:>7} {:>15} {:>15} {:>7}",
        "fitted to", "people", "step ms", "p50 m/s", "kept", "bearing", "recall along", "recall across", "apart m"
    );
    for recording in recordings {
        let Model { name, step_ms, starts, speed, bearing, sway, apart_m } = Model::fit(recording)?;
        let [along, across] = sway.map(|sway| format!("{:.2} {:.2}", sway.recall[0], sway.recall[1]));
        println!(
            "{name:<16} {:>6} {step_ms:>7.1} {:>9.2} {:>7.3} {:>7.3} {along:>15} {across:>15} {apart_m:>7.2}",
            starts.len(),
            speed.values.at(0.5),
            speed.kept,
            bearing.kept
        );
    }
    let modelled = model::scenes(recordings, people, seed)?;
    println!("\n{}", Likeness::of(recordings).beside(&Likeness::of(&modelled)));
    println!(
        "kept, bearing: correlation of speed and bearing over half a second; recall: of the sway, one and two steps back"
    );
    Ok(())
}

fn print_scenes(scenes: &[Scene], agents: usize, radius_m: f64) -> Result<()> {
    println!(
        "{:<18} {:>6} {:>8} {:>7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "scene", "people", "length s", "reach m", "others", "p50 m/s", "p99 m/s", "max m/s", "standing", "changes/s"
    );
    let line = |name: &str, length: String, reach: String, f: Figures| {
        let Figures { agents, others, speed_p50, speed_p99, speed_max, standing, changes_per_s } = f;
        println!(
            "{name:<18} {agents:>6} {length:>8} {reach:>7} {others:>8.1} {speed_p50:>9.2} {speed_p99:>9.2} {speed_max:>9.2} {standing:>9.2} {changes_per_s:>9.1}"
        );
    };
    for scene in scenes {
        let alone = Crowd::tiled(
            std::slice::from_ref(scene),
            scene.people(),
            Layout { spacing_m: 1000.0, ..Layout::default() },
        )?;
        line(
            &scene.name,
            format!("{:.1}", scene.length_ms as f64 / 1000.0),
            format!("{:.1}", scene.reach_m),
            alone.figures(radius_m),
        );
    }
    let crowd = Crowd::tiled(scenes, agents, Layout::wide(scenes, radius_m))?;
    line("crowd, tiled", "-".to_owned(), "-".to_owned(), crowd.figures(radius_m));
    println!("others: mean number within {radius_m} m; speeds over 1 s; standing: share of seconds below 0.1 m");
    println!("crossing x = {BORDER_X_M} m by more than 1 m both ways: {} of the crowd", crowd.crossing(BORDER_X_M));
    Ok(())
}
