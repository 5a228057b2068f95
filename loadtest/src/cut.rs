//! Cuts scenes out of recordings: windows in which a fixed set of people is there all the time,
//! so that each can be played to and fro for ever and the distances between them stay real. Deterministic.

use std::cmp::Reverse;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};

use crate::trace::{Person, Recording, Row, Window, distance_m, held};

/// Windows are tried every so often, ms, and in lengths that differ by as much.
const GRID_MS: i64 = 500;
/// Movement is measured between whole seconds: the sway of a head is none.
const PACE_MS: i64 = 1_000;

/// What to look for in a recording.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// People of a scene, if that many are there; the liveliest are taken.
    pub people: usize,
    /// A window with fewer people is no scene.
    pub people_min: usize,
    /// Length of a scene, ms, if that many stay so long.
    pub length_ms: i64,
    /// A shorter window is no scene, ms.
    pub length_min_ms: i64,
    /// At most so many scenes of one recording; they do not overlap.
    pub per_recording: usize,
    /// At most so many scenes in all; those with the liveliest people are taken.
    pub scenes_max: usize,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { people: 51, people_min: 45, length_ms: 12_000, length_min_ms: 8_000, per_recording: 2, scenes_max: 6 }
    }
}

/// A window that would do. Ordered by how good it is: more people, then longer, then livelier, then earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    people: usize,
    length_ms: i64,
    /// Everybody's way, cm.
    way_cm: u64,
    start_ms: Reverse<i64>,
    /// Indices of the people, in order.
    who: Vec<usize>,
}

impl Candidate {
    fn overlaps(&self, other: &Candidate) -> bool {
        self.start_ms.0 < other.start_ms.0 + other.length_ms && other.start_ms.0 < self.start_ms.0 + self.length_ms
    }

    /// Mean pace of the people, mm/s.
    fn pace(&self) -> u64 {
        self.way_cm * 10_000 / (self.people as u64 * self.length_ms as u64)
    }
}

/// The scenes of all recordings that satisfy the rules, by name.
///
/// # Errors
/// When there is no scene at all; says how many people were together for long enough.
pub fn cut(recordings: &[Recording], rules: &Rules) -> Result<Vec<Recording>> {
    let mut found: Vec<(Candidate, &Recording)> = Vec::new();
    for recording in recordings {
        found.extend(windows(recording, rules).into_iter().map(|window| (window, recording)));
    }
    found.sort_by_key(|(window, recording)| (Reverse(window.pace()), recording.name.clone(), window.start_ms.0));
    found.truncate(rules.scenes_max);
    if found.is_empty() {
        let (wanted, length_s) = (rules.people_min, rules.length_min_ms as f64 / 1000.0);
        match most_together(recordings, rules) {
            0 => bail!("nobody is there for {length_s} s: `cut` scenes with a lower --length-min-s"),
            most => bail!("of {wanted} people {most} at most stay for {length_s} s: `cut` with a lower --people-min"),
        }
    }
    let mut scenes: Vec<Recording> = found.iter().map(|(window, recording)| scene(recording, window)).collect();
    scenes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenes)
}

/// The most people, up to those of a scene, who are together for the least length of a scene.
#[must_use]
pub fn most_together(recordings: &[Recording], rules: &Rules) -> usize {
    let anybody = Rules { people_min: 1, length_ms: rules.length_min_ms, ..*rules };
    recordings.iter().flat_map(|r| windows(r, &anybody)).map(|window| window.people).max().unwrap_or(0)
}

/// The best windows of one recording that do not overlap.
fn windows(recording: &Recording, rules: &Rules) -> Vec<Candidate> {
    let end_ms = recording.people.iter().flat_map(|p| &p.stays).map(|stay| stay.1).max().unwrap_or(0);
    let mut found = Vec::new();
    for start_ms in (0..end_ms).step_by(GRID_MS as usize) {
        let mut length_ms = rules.length_ms;
        while length_ms >= rules.length_min_ms {
            found.extend(candidate(recording, start_ms, length_ms, rules));
            length_ms -= GRID_MS;
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    let mut best: Vec<Candidate> = Vec::new();
    for window in found {
        if best.len() < rules.per_recording && !best.iter().any(|other| other.overlaps(&window)) {
            best.push(window);
        }
    }
    best
}

fn candidate(recording: &Recording, start_ms: i64, length_ms: i64, rules: &Rules) -> Option<Candidate> {
    let there = |p: &Person| p.stays.iter().any(|&(from, to)| from <= start_ms && start_ms + length_ms <= to);
    let mut ways: Vec<(Reverse<u64>, usize)> = Vec::new();
    for (who, person) in recording.people.iter().enumerate().filter(|(_, p)| there(p)) {
        ways.push((Reverse(way_cm(person, start_ms, length_ms)), who));
    }
    if ways.len() < rules.people_min.max(1) {
        return None;
    }
    ways.sort_unstable();
    ways.truncate(rules.people);
    let mut who: Vec<usize> = ways.iter().map(|&(_, who)| who).collect();
    who.sort_unstable();
    let way_cm = ways.iter().map(|(way, _)| way.0).sum();
    Some(Candidate { people: who.len(), length_ms, way_cm, start_ms: Reverse(start_ms), who })
}

fn way_cm(person: &Person, start_ms: i64, length_ms: i64) -> u64 {
    let at = |second: i64| held(&person.rows, start_ms + second * PACE_MS).cm;
    (0..length_ms / PACE_MS).map(|second| (distance_m(at(second), at(second + 1)) * 100.0).round() as u64).sum()
}

/// A window as a recording of its own: it begins at 0, with a row of everybody, and its middle is the origin.
fn scene(recording: &Recording, window: &Candidate) -> Recording {
    let (start_ms, end_ms) = (window.start_ms.0, window.start_ms.0 + window.length_ms);
    let cut_rows = |person: &Person| -> Vec<Row> {
        let first = Row { t_ms: start_ms, ..*held(&person.rows, start_ms) };
        let later = person.rows.iter().filter(|row| start_ms < row.t_ms && row.t_ms <= end_ms);
        std::iter::once(first).chain(later.copied()).map(|row| Row { t_ms: row.t_ms - start_ms, ..row }).collect()
    };
    let mut people: Vec<Person> = Vec::new();
    for person in window.who.iter().map(|&who| &recording.people[who]) {
        people.push(Person { id: person.id.clone(), rows: cut_rows(person), stays: vec![(0, window.length_ms)] });
    }
    for axis in [0, 1] {
        let along = || people.iter().flat_map(|p| &p.rows).map(|row| row.cm[axis]);
        let middle = along().min().unwrap_or(0).midpoint(along().max().unwrap_or(0));
        people.iter_mut().flat_map(|p| &mut p.rows).for_each(|row| row.cm[axis] -= middle);
    }
    let cut_from = if recording.name.is_empty() { "all" } else { &recording.name };
    Recording {
        name: format!("{cut_from}-{}", start_ms as f64 / 1000.0),
        cut_from: cut_from.to_owned(),
        source_file: recording.source_file.clone(),
        window: Some(Window { start_ms, length_ms: window.length_ms }),
        people,
    }
}

/// Writes scenes as a folder that [`crate::trace::read_folder`] reads: `trace.csv.gz` and `scenes.csv`.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_folder(scenes: &[Recording], folder: &Path) -> Result<()> {
    let mut index = "scene,recording,source_file,people,window_start_ms,length_ms,rows\n".to_owned();
    let mut lines: Vec<(i64, String, String)> = Vec::new();
    for scene in scenes {
        let window = scene.window.with_context(|| format!("`{}` is no cut scene", scene.name))?;
        let rows: usize = scene.people.iter().map(|p| p.rows.len()).sum();
        let Recording { name, cut_from, source_file, people, .. } = scene;
        index += &format!(
            "{name},{cut_from},{source_file},{},{},{},{rows}\n",
            people.len(),
            window.start_ms,
            window.length_ms
        );
        for person in people {
            let id = format!("{name}_{}", person.id);
            lines.extend(person.rows.iter().map(|row| (row.t_ms, id.clone(), line(&id, row))));
        }
    }
    lines.sort();
    let mut gz = GzBuilder::new().write(Vec::new(), Compression::best());
    gz.write_all(b"t_ms,id,x,y,z,yaw_deg\n")?;
    for (_, _, line) in &lines {
        gz.write_all(line.as_bytes())?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write("trace.csv.gz", &gz.finish()?)?;
    write("scenes.csv", index.as_bytes())
}

fn line(id: &str, row: &Row) -> String {
    let [x, y, z] = row.cm.map(|cm| f64::from(cm) / 100.0);
    let z = if row.cm[2] == 0 { String::new() } else { z.to_string() };
    let yaw = row.yaw_deg.map(|deg| deg.to_string()).unwrap_or_default();
    format!("{},{id},{x},{y},{z},{yaw}\n", row.t_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Files, read, read_folder};

    /// Person n walks along x at 1 m/s for 20 s, from second n on.
    fn hall(people: i64) -> Vec<Recording> {
        let mut lines: Vec<(i64, i64, i64)> = Vec::new();
        for id in 0..people {
            lines.extend((0..=200).map(|step| (id * 1000 + step * 100, id, step)));
        }
        lines.sort_unstable();
        let mut text = "t_ms,id,x,y,z,yaw_deg\n".to_owned();
        for (t_ms, id, step) in lines {
            text += &format!("{t_ms},hall_{id},{},{id},,\n", step as f64 / 10.0);
        }
        let mut gz = GzBuilder::new().write(Vec::new(), Compression::fast());
        gz.write_all(text.as_bytes()).expect("to memory");
        let trace = gz.finish().expect("to memory");
        let files = Files { folder: "f".to_owned(), trace: &trace, events: None, scenes: Some("scene\nhall\n") };
        read(&files).expect("well-formed")
    }

    fn rules(people: usize, length_ms: i64) -> Rules {
        Rules { people, people_min: people, length_ms, length_min_ms: 1_000, per_recording: 2, scenes_max: 6 }
    }

    #[test]
    fn everybody_of_a_scene_is_there_all_the_time() {
        let scenes = cut(&hall(5), &rules(5, 60_000)).expect("all five are there for 16 s");
        assert_eq!((scenes.len(), scenes[0].name.as_str()), (1, "hall-4"));
        assert_eq!(scenes[0].window, Some(Window { start_ms: 4_000, length_ms: 16_000 }));
        let people = &scenes[0].people;
        for person in people {
            assert_eq!((person.rows[0].t_ms, person.rows.len()), (0, 161), "a row every 100 ms, the first at 0");
        }
        let apart = distance_m(people[0].rows[9].cm, people[1].rows[9].cm);
        assert!((apart - 2f64.sqrt()).abs() < 1e-9, "distances are those of the recording: {apart}");
    }

    #[test]
    fn too_few_people_is_an_error_that_says_what_to_do() {
        let error = cut(&hall(3), &rules(4, 8_000)).expect_err("only three").to_string();
        assert!(error.contains("of 4 people 3 at most") && error.contains("--people-min"), "{error}");
        assert_eq!(most_together(&hall(3), &rules(4, 8_000)), 3);
    }

    #[test]
    fn windows_lie_within_one_stay_and_do_not_overlap() {
        let mut twice = hall(1);
        twice[0].people[0].stays = vec![(0, 9_000), (9_100, 20_000)];
        let scenes = cut(&twice, &rules(1, 60_000)).expect("two stays");
        let mut windows: Vec<_> = scenes.iter().filter_map(|s| s.window).map(|w| (w.start_ms, w.length_ms)).collect();
        windows.sort_unstable();
        assert_eq!(windows, [(0, 9_000), (9_500, 10_500)]);
    }

    #[test]
    fn a_written_folder_is_the_same_every_time_and_reads_back() {
        let scenes = cut(&hall(5), &rules(4, 10_000)).expect("four are there for 17 s");
        let folder = std::env::temp_dir().join(format!("nearcast-cut-{}", std::process::id()));
        let written = || {
            write_folder(&scenes, &folder).expect("a writable folder");
            fs::read(folder.join("trace.csv.gz")).expect("just written")
        };
        assert_eq!(written(), written());
        let back = read_folder(&folder).expect("our own format");
        fs::remove_dir_all(&folder).expect("our own folder");
        let values = |scenes: &[Recording]| -> Vec<_> {
            scenes.iter().flat_map(|s| s.people.iter().map(|p| (s.name.clone(), s.window, p.rows.clone()))).collect()
        };
        assert_eq!(values(&back), values(&scenes));
    }
}
