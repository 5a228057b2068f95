//! `nearcast log`: what is in a gateway's data folder, in words. Reads only, also while a gateway writes to it.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::codec::record;
use crate::log::disk::batch::Lane;
use crate::log::disk::files::Folder;
use crate::log::disk::store::{Sizes, Store};
use crate::log::{Source, Topic};

/// Records that are read at once.
const SLICE: usize = 1_024;
const SLICE_BYTES: usize = 1024 * 1024;

/// `nearcast log …`.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// The folder that `serve` was given.
    #[arg(long, env = "NEARCAST_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// All partitions that have records: where they begin and end.
    Topics,
    /// Records in words, a line each.
    Show {
        /// The world [default: the first].
        #[arg(long)]
        world: Option<String>,
        /// `events`, `objects`, `social`, `direct` or `control`.
        #[arg(long, default_value = "events")]
        topic: String,
        /// The partition.
        #[arg(long, default_value_t = 0)]
        partition: u16,
        /// The first offset.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 20)]
        count: usize,
    },
    /// Reads and checks everything. Exit code 1 if something that was safe is damaged.
    Verify,
}

/// What it says.
///
/// # Errors
/// When the folder cannot be read, or is damaged.
pub fn inspect(args: &LogArgs) -> Result<String> {
    let folder = args.data.as_ref().context("name the folder: --data DIR")?;
    let opened = Store::look(Folder::look(folder), Sizes::default());
    let (mut store, torn) = opened.with_context(|| folder.display().to_string())?;
    match &args.what {
        What::Topics => topics(&store),
        What::Show { world, topic, partition, from, count } => {
            let lane = lane(&store, world.as_deref(), topic, *partition)?;
            show(&mut store, lane, *from, *count)
        }
        What::Verify => {
            let (segments, bytes) = store.size();
            if segments == 0 {
                bail!("no log is in {}: nothing that `serve --data` has written", folder.display());
            }
            let records: u64 =
                store.lanes().into_iter().map(|lane| store.bounds(lane)).map(|at| at.end - at.start).sum();
            let mut out =
                format!("{records} records in {segments} segments of {bytes} bytes: all are as they were written\n");
            if let Some(torn) = torn {
                let (name, at, len) = (&torn.name, torn.at, torn.bytes);
                writeln!(
                    out,
                    "{name} has {len} bytes more from byte {at} on: a batch that is being written, or was when a \
                               gateway ended. Nothing of it was acknowledged; the next gateway cuts it."
                )?;
            }
            Ok(out)
        }
    }
}

fn world_name(store: &Store<Folder>, lane: Lane) -> &str {
    let known = usize::from(lane.world).checked_sub(1).and_then(|at| store.worlds().get(at));
    known.map_or("-", |world| &world.name)
}

fn topics(store: &Store<Folder>) -> Result<String> {
    let mut out = format!("{:<16} {:<8} {:>9} {:>10} {:>10}  last\n", "world", "topic", "partition", "start", "end");
    for lane in store.lanes() {
        let (bounds, Source { topic, partition }) = (store.bounds(lane), lane.source);
        let (world, topic, last) =
            (world_name(store, lane), topic.label(), bounds.last_append_ms.map_or_else(String::new, time));
        writeln!(out, "{world:<16} {topic:<8} {partition:>9} {:>10} {:>10}  {last}", bounds.start, bounds.end)?;
    }
    Ok(out)
}

fn lane(store: &Store<Folder>, world: Option<&str>, topic: &str, partition: u16) -> Result<Lane> {
    let known = Topic::ALL.into_iter().filter(|topic| *topic != Topic::Motion).find(|known| known.label() == topic);
    let topic = known.context("--topic is none of events, objects, social, direct, control: motion is not on disk")?;
    let source = Source { topic, partition };
    if !topic.is_of_world() {
        return Ok(Lane { world: 0, source });
    }
    let at = match world {
        Some(name) => store.worlds().iter().position(|world| world.name == *name),
        None => Some(0),
    };
    let names: Vec<&str> = store.worlds().iter().map(|world| world.name.as_str()).collect();
    let Some(at) = at.filter(|at| *at < names.len()) else {
        bail!("no world {:?}: name one of {}", world.unwrap_or_default(), names.join(", "))
    };
    Ok(Lane { world: at as u16 + 1, source })
}

fn show(store: &mut Store<Folder>, lane: Lane, from: u64, count: usize) -> Result<String> {
    let (mut out, mut next, mut left) = (String::new(), from, count);
    while left > 0 {
        let records = store.read(lane, next, left.min(SLICE), SLICE_BYTES)?;
        let Some((last, ..)) = records.last() else { break };
        next = last + 1;
        left -= records.len();
        for (offset, append_ms, bytes) in &records {
            let words = match record::decode(bytes) {
                Ok((stamp, record)) => format!("gateway {}: {record:?}", stamp.gateway),
                Err(foreign) => format!("{} bytes, {foreign}", bytes.len()),
            };
            writeln!(out, "{offset:>10}  {}  {words}", time(*append_ms))?;
        }
    }
    if out.is_empty() {
        let bounds = store.bounds(lane);
        bail!("no record from {from} on: {lane} has {} to {}", bounds.start, bounds.end);
    }
    Ok(out)
}

fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}
