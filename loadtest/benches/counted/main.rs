//! Counted instructions as a guard: `make counts` runs every step of [`flow`] alone under valgrind's callgrind, for
//! crowds of three sizes, and compares with `counted.json` beside this file. Counts do not depend on what else the machine
//! does. `cargo bench --bench counted --workspace --locked -- freeze view` counts these steps only;
//! `callgrind_annotate target/counted/freeze-100.out` says then what they consist of. [`table`] is the same baseline in
//! `docs/performance.md`.

mod flow;
#[path = "../pure.rs"]
mod pure;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use flow::{SIZES, STEPS, Size, WHOLE};
use serde::{Deserialize, Serialize};

/// A count may be so much above or below the baseline.
const TOLERANCE: f64 = 0.05;
/// Only what this function does is collected.
const TOGGLE: &str = "--toggle-collect=counted::flow::measured*";
/// Where callgrind's files lie.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/counted");
/// Renews the baseline.
const UPDATE: &str = "UPDATE_COUNTS";

/// `counted.json`.
#[derive(Serialize, Deserialize)]
struct Baseline {
    /// Other versions count otherwise.
    counted_with: String,
    /// By step and others near.
    instructions_per_client_tick: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count", step, near] => count_alone(step, near),
        _ => guard(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("counted: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What runs under valgrind. Prints for how many client-ticks the step was done.
fn count_alone(step: &str, near: &str) -> Result<bool> {
    let size = SIZES.iter().find(|size| size.near.to_string() == near).context("no crowd of this size")?;
    println!("{}", flow::run(step, size, &flow::said_from(size, &fs::read(said_file(size))?))?);
    Ok(true)
}

/// Counts, compares and prints. Whether all is as it was.
fn guard(only: &[String]) -> Result<bool> {
    let unknown = only.iter().find(|name| STEPS.iter().all(|(step, _)| step != name));
    if let Some(name) = unknown {
        bail!("no step is called {name:?}: name some of {}", STEPS.map(|(step, _)| step).join(", "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counted/counted.json");
    let counts = count_all(only)?;
    let counted_with = versions()?;
    let update = env::var_os(UPDATE).is_some();
    let was = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?,
        Err(_) if update => {
            Baseline { counted_with: counted_with.clone(), instructions_per_client_tick: BTreeMap::new() }
        }
        Err(error) => return Err(error).with_context(|| format!("{}: {UPDATE}=1 make counts", path.display())),
    };
    let off = print(&was.instructions_per_client_tick, &counts);
    if update {
        let mut instructions_per_client_tick = was.instructions_per_client_tick;
        let is_kept = |name: &String| !only.is_empty() && !counts.contains_key(name);
        instructions_per_client_tick.retain(|name, _| is_kept(name));
        instructions_per_client_tick.extend(counts);
        table::show(&instructions_per_client_tick)?;
        let text = serde_json::to_string_pretty(&Baseline { counted_with, instructions_per_client_tick })?;
        fs::write(&path, text + "\n").with_context(|| format!("{}", path.display()))?;
        println!("written to {} and {}", path.display(), table::DOCUMENT);
        return Ok(true);
    }
    let is_shown = table::is_shown(&was.instructions_per_client_tick)?;
    if !is_shown {
        println!("The table in {} is not this baseline: {UPDATE}=1 make counts STEPS=frame", table::DOCUMENT);
    }
    if off > 0 {
        println!(
            "{off} off by more than {:.0} %. If it is more, `callgrind_annotate target/counted/<step>-<near>.out` says of \
             what. If it is less, keep it: a later loss of as much would go unseen. To accept: {UPDATE}=1 make counts",
            100.0 * TOLERANCE
        );
        if was.counted_with != counted_with {
            println!("Mind that the baseline was counted with {}; this is {counted_with}.", was.counted_with);
        }
    }
    Ok(off == 0 && is_shown)
}

/// Counts every step in a process of its own, as many at once as there are cores.
fn count_all(only: &[String]) -> Result<BTreeMap<String, f64>> {
    let wanted = |step: &&str| only.is_empty() || only.iter().any(|name| name == step);
    fs::create_dir_all(FOLDER)?;
    for size in &SIZES {
        fs::write(Path::new(FOLDER).join(said_file(size)), flow::said(size)?)?;
    }
    let steps = || STEPS.iter().map(|(step, _)| *step).filter(wanted);
    let todo = Mutex::new(SIZES.iter().rev().flat_map(|size| steps().map(move |step| (step, size))));
    let next = || todo.lock().ok()?.next();
    let one = |(step, size): (&str, &Size)| {
        let name = name(step, size);
        count(step, size).with_context(|| name.clone()).map(|count| (name, count))
    };
    let workers = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let work = || std::iter::from_fn(next).map(one).collect::<Result<Vec<_>>>();
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("no worker panics"));
        Ok(ended.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

fn name(step: &str, size: &Size) -> String {
    format!("{step} {}", size.near)
}

fn said_file(size: &Size) -> String {
    format!("said-{}", size.near)
}

/// What a gateway does for a client in a tick, if all steps of it were counted.
fn sum(counts: &BTreeMap<String, f64>, size: &Size) -> Option<f64> {
    WHOLE.iter().map(|step| counts.get(&name(step, size)).copied()).sum()
}

/// Instructions per client-tick of one step.
fn count(step: &str, size: &Size) -> Result<f64> {
    let out = format!("{step}-{}.out", size.near);
    let ended = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", TOGGLE, &format!("--callgrind-out-file={out}")])
        .arg(env::current_exe()?)
        .args(["count", step, &size.near.to_string()])
        .current_dir(FOLDER)
        // Nothing of the caller's settings. valgrind shows the same CPU wherever there is AVX2, so that libc takes the
        // same ways.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .context("cannot start valgrind: deploy/setup.sh counts")?;
    ensure!(ended.status.success(), "{}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    let units: f64 = String::from_utf8_lossy(&ended.stdout).trim().parse().context("client-ticks")?;
    let text = fs::read_to_string(Path::new(FOLDER).join(out))?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: ")).context("no summary of callgrind")?;
    let instructions: f64 = summary.trim().parse().with_context(|| format!("callgrind's summary {summary:?}"))?;
    ensure!(instructions > 0.0 && units > 0.0, "nothing was counted; is {TOGGLE} still right?");
    Ok((instructions / units * 10.0).round() / 10.0)
}

/// Prints a table; returns how many counts are off.
fn print(was: &BTreeMap<String, f64>, counts: &BTreeMap<String, f64>) -> usize {
    let mut off = 0;
    println!("instructions per client-tick");
    for size in &SIZES {
        println!("{:<14} {:>10} {:>10} {:>8}", format!("{} near", size.near), "was", "is", "change");
        for (step, about) in STEPS {
            let name = name(step, size);
            let Some(is) = counts.get(&name) else { continue };
            let was = was.get(&name).copied();
            let change = was.map_or(f64::INFINITY, |was| is / was - 1.0);
            let mark = if change.abs() > TOLERANCE { "!" } else { " " };
            off += usize::from(change.abs() > TOLERANCE);
            println!(
                "{step:<14} {:>10.1} {is:>10.1} {:>+7.1}% {mark} {about}",
                was.unwrap_or(f64::NAN),
                100.0 * change
            );
        }
        if let Some(is) = sum(counts, size) {
            let was = sum(was, size).unwrap_or(f64::NAN);
            let change = 100.0 * (is / was - 1.0);
            println!("{:<14} {was:>10.1} {is:>10.1} {change:>+7.1}%   {}", "gateway", WHOLE.join(" + "));
        }
    }
    off
}

/// What the counts depend on besides our code.
fn versions() -> Result<String> {
    let first_line = |program: &str, arg: &str| -> Result<String> {
        let ran = Command::new(program).arg(arg).output().with_context(|| format!("{program} {arg}"))?;
        Ok(String::from_utf8_lossy(&ran.stdout).lines().next().unwrap_or_default().to_owned())
    };
    let all = [("rustc", "--version"), ("valgrind", "--version"), ("getconf", "GNU_LIBC_VERSION")];
    Ok(all.iter().map(|(program, arg)| first_line(program, arg)).collect::<Result<Vec<_>>>()?.join(", "))
}
