//! `perf script | flames <svg> <title>`: a flame graph, and a table of shares by layer on its output, for
//! `deploy/profile.sh`.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::{env, fs, io};

use anyhow::{Context, Result, ensure};
use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options as Collapsing};
use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{self, Options};

/// What belongs to which layer: of the frames of a sample, from the innermost outwards, the first that contains one of
/// the words decides. What libc and the kernel do thus belongs to whoever asked for it, but for the layers named here.
const LAYERS: [(&str, &[&str]); 18] = [
    ("allocation", &["malloc", "cfree", "_int_free", "realloc", "calloc", "unlink_chunk", "drop_in_place<"]),
    ("kernel: send", &["__sys_sendto", "__send"]),
    ("kernel: recv", &["__sys_recvfrom", "__libc_recv"]),
    ("kernel: epoll", &["epoll_wait"]),
    ("kernel: waiting and waking", &["futex", "eventfd", "sched_yield", "nanosleep"]),
    ("metrics", &["nearcast::metrics", "prometheus"]),
    ("framing", &["nearcast::edge::framing"]),
    ("decode", &["Encoding::decode", "rmp_serde"]),
    ("encode", &["Encoding::encode", "nearcast::codec::state::encode"]),
    ("interest", &["nearcast::view::interest"]),
    ("difference", &["nearcast::view"]),
    ("freeze", &["nearcast::region::freeze", "World>::freeze"]),
    ("fold and log", &["nearcast::region", "nearcast::log"]),
    ("session: admission", &[HEARD_IN_SESSION]),
    ("session: tick", &["nearcast::session", "nearcast::admit", "nearcast::clock"]),
    ("driver", &["nearcast::edge::driver"]),
    ("world's thread", &["nearcast::edge::world"]),
    ("runtime and rest", &[""]),
];
/// Admission is inlined into the session's step: it is what is done while a frame is read.
const HEARD_IN_SESSION: &str = "nearcast::session, called by the framing";
/// Narrower frames are not drawn, percent.
const MIN_WIDTH: f64 = 0.2;

fn main() -> Result<()> {
    let usage = "name the SVG to write and its title: perf script | flames profile.svg 'plaza500: 500 bots'";
    let (svg, title) = env::args().nth(1).zip(env::args().nth(2)).context(usage)?;
    let mut folded = Vec::new();
    let mut collapsing = Collapsing::default();
    collapsing.annotate_kernel = true;
    Folder::from(collapsing)
        .collapse(BufReader::new(io::stdin().lock()), &mut folded)
        .context("no output of perf script")?;
    let folded = String::from_utf8(folded)?;
    let drawn: Vec<String> = folded.lines().map(short).collect();
    print!("{}", table(&folded)?);
    let mut options = Options::default();
    options.title = format!("nearcast, {title}");
    options.subtitle = Some("width: share of the gateway's CPU time; the lowest frame is the thread".to_owned());
    options.count_name = "samples".to_owned();
    options.min_width = MIN_WIDTH;
    options.deterministic = true;
    options.colors = Palette::Multi(MultiPalette::Rust);
    options.image_width = Some(1_200);
    let file = fs::File::create(&svg).with_context(|| format!("cannot write {svg}"))?;
    flamegraph::from_lines(&mut options, drawn.iter().map(String::as_str), file)?;
    Ok(())
}

/// A folded line without what starts a thread, which is the same for all, and without our own name.
fn short(line: &str) -> String {
    let (thread, stack) = line.split_once(';').unwrap_or((line, ""));
    let began = stack.split_once("__rust_begin_short_backtrace;").map_or(stack, |(_, within)| within);
    format!("{thread};{}", began.replace("nearcast::", ""))
}

/// The layer of a sample, given from the thread's name inwards.
fn layer(stack: &str) -> &'static str {
    let in_session = |frame: &str| frame.contains("nearcast::session") && stack.contains("nearcast::edge::framing");
    let belongs = |frame: &str, word: &str| match word {
        HEARD_IN_SESSION => in_session(frame),
        word => frame.contains(word),
    };
    let of_frame = |frame: &str| LAYERS.iter().find(|(_, words)| words.iter().any(|word| belongs(frame, word)));
    let named = stack.rsplit(';').filter_map(of_frame).map(|(layer, _)| *layer);
    let rest = LAYERS[LAYERS.len() - 1].0;
    named.into_iter().find(|layer| *layer != rest).unwrap_or(rest)
}

/// Shares of the layers, the largest first.
fn table(folded: &str) -> Result<String> {
    let mut samples: BTreeMap<&str, u64> = BTreeMap::new();
    for line in folded.lines() {
        let (stack, count) = line.rsplit_once(' ').with_context(|| format!("no stack and count: {line}"))?;
        *samples.entry(layer(stack)).or_default() += count.parse::<u64>()?;
    }
    let all: u64 = samples.values().sum();
    ensure!(all > 0, "no samples: did the gateway have anything to do?");
    let mut rows: Vec<(&str, u64)> = samples.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let row = |(layer, count): &(&str, u64)| format!("{layer:<28} {:>6.1} %\n", 100.0 * *count as f64 / all as f64);
    Ok(rows.iter().map(row).chain([format!("{:<28} {all:>6}\n", "samples")]).collect())
}
