//! The command line of the load test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use nearcast::limits::RADIUS_M;
use nearcast_loadtest::crowd::{BORDER_X_M, Crowd, Figures, Layout};
use nearcast_loadtest::cut::{Rules, cut, write_folder};
use nearcast_loadtest::scene::Scene;
use nearcast_loadtest::trace::read_folder;

/// Bots that play recorded people against a nearcast gateway.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what the scenes are like, and a crowd that is made of them.
    Scenes {
        /// A folder that `cut` wrote, or a trace set; without it the plaza, which is built in.
        folder: Option<PathBuf>,
        /// Agents of the crowd.
        #[arg(long, default_value_t = 500)]
        agents: usize,
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

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Scenes { folder, agents } => {
            let scenes = folder.map_or_else(|| Ok(Scene::plaza()), |folder| Scene::load_folder(&folder))?;
            print_scenes(&scenes, agents)
        }
        Command::Cut { from, to, people, people_min, length_s, length_min_s, per_recording, scenes_max } => {
            ensure!(length_min_s >= 1.0, "--length-min-s is {length_min_s}: a scene lasts a second at least");
            ensure!(length_s >= length_min_s, "--length-s is {length_s}, less than --length-min-s: raise it");
            ensure!(people >= people_min, "--people is {people}, less than --people-min: raise it");
            let ms = |seconds: f64| (seconds * 1000.0) as i64;
            let (length_ms, length_min_ms) = (ms(length_s), ms(length_min_s));
            cut_folder(&from, &to, &Rules { people, people_min, length_ms, length_min_ms, per_recording, scenes_max })
        }
    }
}

fn cut_folder(from: &Path, to: &Path, rules: &Rules) -> Result<()> {
    let scenes = cut(&read_folder(from)?, rules).with_context(|| from.display().to_string())?;
    let licence = from.join("LICENSE.txt");
    let licence = fs::read(&licence)
        .with_context(|| format!("cannot read {}: scenes go nowhere without their licence", licence.display()))?;
    write_folder(&scenes, to)?;
    fs::write(to.join("LICENSE.txt"), licence).with_context(|| format!("cannot write {}/LICENSE.txt", to.display()))?;
    print_scenes(&Scene::load_folder(to)?, 500)
}

fn print_scenes(scenes: &[Scene], agents: usize) -> Result<()> {
    println!(
        "{:<16} {:>6} {:>8} {:>7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "scene", "people", "length s", "reach m", "others", "p50 m/s", "p99 m/s", "max m/s", "standing", "changes/s"
    );
    let line = |name: &str, length: String, reach: String, f: Figures| {
        let Figures { agents, others, speed_p50, speed_p99, speed_max, standing, changes_per_s } = f;
        println!(
            "{name:<16} {agents:>6} {length:>8} {reach:>7} {others:>8.1} {speed_p50:>9.2} {speed_p99:>9.2} {speed_max:>9.2} {standing:>9.2} {changes_per_s:>9.1}"
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
            alone.figures(RADIUS_M),
        );
    }
    let crowd = Crowd::tiled(scenes, agents, Layout::default())?;
    line("crowd, tiled", "-".to_owned(), "-".to_owned(), crowd.figures(RADIUS_M));
    println!("others: mean number within {RADIUS_M} m; speeds over 1 s; standing: share of seconds below 0.1 m");
    println!("crossing x = {BORDER_X_M} m by more than 1 m both ways: {} of the crowd", crowd.crossing(BORDER_X_M));
    Ok(())
}
