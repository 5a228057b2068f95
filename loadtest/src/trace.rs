//! Recorded movement as files: `trace.csv.gz`, `events.csv.gz` and `scenes.csv` become recordings of people.
//! Everything of a file is checked here, with file and line. Knows nothing of bots, tiles or how a scene is played.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use nearcast::limits::WORLD_REACH_M;

/// A file may unpack to this much; the largest set that is known has 40 MB. A larger one is refused.
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A recording may last this long, ms: one day. A later row is refused.
const TIME_MAX_MS: i64 = 24 * 3600 * 1000;
/// A step this fast is no movement but a jump, m/s; nobody is present across one.
const JUMP_M_PER_S: f64 = 50.0;
/// A row that held longer than this before the step tells nothing of its speed, ms.
const STEP_MAX_MS: i64 = 250;

/// One row: where a person is from `t_ms` on, until the person's next row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Milliseconds from the start of the recording.
    pub t_ms: i64,
    /// x, y, z of the file, **z up**, whole centimetres: the resolution of log and wire.
    pub cm: [i32; 3],
    /// Facing, degrees, 0 along x, 90 along y; `None` where the source does not know it.
    pub yaw_deg: Option<f32>,
}

/// One moving body of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// As in the file, without the name of the recording.
    pub id: String,
    /// In order of time; neighbours differ in more than their time. Never empty.
    pub rows: Vec<Row>,
    /// When the person was there, from–to in ms, in order, apart from each other.
    pub stays: Vec<(i64, i64)>,
}

/// The part of a recording that a scene was cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it begins in the recording it was cut from, ms.
    pub start_ms: i64,
    /// How long it lasts, ms.
    pub length_ms: i64,
}

/// People who were recorded together; distances between them are real.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its name, the beginning of the ids of its people.
    pub name: String,
    /// The recording it was cut from; its own name if it was not cut.
    pub cut_from: String,
    /// The file of its source, for the reader of an index.
    pub source_file: String,
    /// Set when it was cut: everybody is there from 0 to the window's length.
    pub window: Option<Window>,
    /// In order of id.
    pub people: Vec<Person>,
}

/// The files of one folder, read but not yet understood.
pub struct Files<'a> {
    /// What to call the folder in errors.
    pub folder: String,
    /// `trace.csv.gz`
    pub trace: &'a [u8],
    /// `events.csv.gz`, if there is one
    pub events: Option<&'a [u8]>,
    /// `scenes.csv`, if there is one
    pub scenes: Option<&'a str>,
}

/// The row that holds at a time: the newest one that is not later; before the first row, the first.
#[must_use]
pub fn held(rows: &[Row], t_ms: i64) -> &Row {
    &rows[rows.partition_point(|row| row.t_ms <= t_ms).saturating_sub(1)]
}

/// Reads a folder of a trace set, or of scenes that [`crate::cut`] wrote.
///
/// # Errors
/// When `trace.csv.gz` is missing or any file is not as described in `scenes/plaza/README.md`.
pub fn read_folder(folder: &Path) -> Result<Vec<Recording>> {
    let file = |name: &str| {
        let path = folder.join(name);
        path.exists().then(|| fs::read(&path).with_context(|| format!("cannot read {}", path.display()))).transpose()
    };
    let Some(trace) = file("trace.csv.gz")? else {
        bail!("{} has no trace.csv.gz: name a folder of scenes or of a trace set", folder.display());
    };
    let events = file("events.csv.gz")?;
    let scenes = file("scenes.csv")?.map(String::from_utf8).transpose();
    let scenes = scenes.with_context(|| format!("{}/scenes.csv is not UTF-8", folder.display()))?;
    read(&Files {
        folder: folder.display().to_string(),
        trace: &trace,
        events: events.as_deref(),
        scenes: scenes.as_deref(),
    })
}

/// Makes recordings of files.
///
/// # Errors
/// When a file is not as described in `scenes/plaza/README.md`.
pub fn read(files: &Files) -> Result<Vec<Recording>> {
    let mut recordings =
        index(files.scenes.unwrap_or_default()).with_context(|| format!("{}/scenes.csv", files.folder))?;
    if recordings.is_empty() {
        recordings.push(Recording {
            name: String::new(),
            cut_from: String::new(),
            source_file: String::new(),
            window: None,
            people: Vec::new(),
        });
    }
    let mut people = rows(files.trace).with_context(|| format!("{}/trace.csv.gz", files.folder))?;
    if let Some(events) = files.events {
        stays(events, &mut people).with_context(|| format!("{}/events.csv.gz", files.folder))?;
    }
    for (id, mut person) in people {
        // One name may begin another (`m1`, `m12`): the longest that fits is meant.
        let fitting = recordings.iter_mut().filter(|r| id.starts_with(&r.name)).max_by_key(|r| r.name.len());
        let Some(recording) = fitting else {
            bail!(
                "{}/trace.csv.gz: the id `{id}` begins with no scene of scenes.csv: add the scene or drop the rows",
                files.folder
            );
        };
        person.id = id[recording.name.len()..].trim_start_matches('_').to_owned();
        split_at_jumps(&mut person);
        recording.people.push(person);
    }
    Ok(recordings)
}

/// `scenes.csv`: one recording a line, columns by name; further columns are of no interest here.
fn index(text: &str) -> Result<Vec<Recording>> {
    let mut lines = text.lines().enumerate();
    let Some((_, header)) = lines.next() else { return Ok(Vec::new()) };
    let column = |name: &str| header.split(',').position(|c| c == name);
    let name_at = column("scene").context("line 1 has no column `scene`")?;
    let recording = |line: &str| -> Result<Recording> {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| column(name).and_then(|at| fields.get(at)).copied();
        let name = *fields.get(name_at).context("the scene's name is missing")?;
        let ms = |text: &str| time(text).with_context(|| format!("`{text}` is no time in whole ms"));
        let window = match (field("window_start_ms"), field("length_ms")) {
            (Some(start), Some(length)) => Some(Window { start_ms: ms(start)?, length_ms: ms(length)? }),
            (None, _) | (_, None) => None,
        };
        Ok(Recording {
            name: name.to_owned(),
            cut_from: field("recording").unwrap_or(name).to_owned(),
            source_file: field("source_file").unwrap_or_default().to_owned(),
            window,
            people: Vec::new(),
        })
    };
    lines.map(|(at, line)| recording(line).with_context(|| format!("line {}", at + 1))).collect()
}

/// `trace.csv.gz`: everybody's rows by id; each is there from the first row to the last.
fn rows(packed: &[u8]) -> Result<BTreeMap<String, Person>> {
    let text = unpack(packed)?;
    let mut people: BTreeMap<String, Person> = BTreeMap::new();
    for (at, line) in text.lines().enumerate().skip(1) {
        let (id, row) = row(line).with_context(|| format!("line {}: `{line}`", at + 1))?;
        let person = match people.get_mut(id) {
            Some(person) => person,
            None => people.entry(id.to_owned()).or_insert(Person {
                id: id.to_owned(),
                rows: Vec::new(),
                stays: vec![(row.t_ms, row.t_ms)],
            }),
        };
        ensure!(person.stays[0].1 <= row.t_ms, "line {}: the rows of `{id}` are not in order of time", at + 1);
        person.stays[0].1 = row.t_ms;
        match person.rows.last_mut() {
            Some(last) if (last.cm, last.yaw_deg) == (row.cm, row.yaw_deg) => {}
            Some(last) if last.t_ms == row.t_ms => *last = row,
            Some(_) | None => person.rows.push(row),
        }
    }
    ensure!(!people.is_empty(), "no rows below the header");
    Ok(people)
}

fn row(line: &str) -> Result<(&str, Row)> {
    let fields: Vec<&str> = line.split(',').collect();
    let [t_ms, id, x, y, z, yaw] = fields[..] else { bail!("want t_ms,id,x,y,z,yaw_deg") };
    let t_ms = time(t_ms).context("t_ms is no time in whole ms, from 0 to a day")?;
    ensure!(!id.is_empty(), "the id is empty");
    let z = if z.is_empty() { "0" } else { z };
    let mut cm = [0; 3];
    for (cm, text) in cm.iter_mut().zip([x, y, z]) {
        let metres: f64 = text
            .parse()
            .ok()
            .filter(|m: &f64| m.abs() <= WORLD_REACH_M)
            .with_context(|| format!("`{text}` is no place in metres"))?;
        *cm = (metres * 100.0).round() as i32;
    }
    let yaw_deg = match yaw {
        "" => None,
        text => Some(
            text.parse().ok().filter(|deg: &f32| deg.is_finite()).with_context(|| format!("`{text}` is no angle"))?,
        ),
    };
    Ok((id, Row { t_ms, cm, yaw_deg }))
}

/// `events.csv.gz`: join and leave bound everybody's presence; other kinds are of no interest here.
fn stays(packed: &[u8], people: &mut BTreeMap<String, Person>) -> Result<()> {
    let text = unpack(packed)?;
    let mut stays: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    for (at, line) in text.lines().enumerate().skip(1) {
        let mut fields = line.splitn(4, ',');
        let (Some(t_ms), Some(id), Some(kind)) = (fields.next().and_then(time), fields.next(), fields.next()) else {
            bail!("line {}: `{line}`: want t_ms,id,kind,json", at + 1);
        };
        let Some(person) = people.get(id) else { continue };
        let stays = stays.entry(id).or_default();
        match kind {
            "join" => stays.push((t_ms.max(person.rows[0].t_ms), person.stays[0].1.max(t_ms))),
            "leave" => {
                if let Some(stay) = stays.last_mut() {
                    stay.1 = t_ms;
                }
            }
            _other => {}
        }
    }
    for (id, stays) in stays {
        if let Some(person) = people.get_mut(id).filter(|_| !stays.is_empty()) {
            person.stays = stays;
        }
    }
    Ok(())
}

/// A respawn or a lost track is no movement: it ends one stay and begins another.
fn split_at_jumps(person: &mut Person) {
    for step in person.rows.windows(2) {
        let took_s = (step[1].t_ms - step[0].t_ms).clamp(50, STEP_MAX_MS) as f64 / 1000.0;
        if distance_m(step[0].cm, step[1].cm) <= JUMP_M_PER_S * took_s {
            continue;
        }
        let (before, after) = (step[0].t_ms, step[1].t_ms);
        if let Some(at) = person.stays.iter().position(|&(from, to)| from < after && after <= to) {
            let (from, to) = person.stays[at];
            person.stays.splice(at..=at, [(from, before.max(from)), (after, to)]);
        }
    }
}

/// The distance of two places in centimetres, metres.
#[must_use]
pub(crate) fn distance_m(a: [i32; 3], b: [i32; 3]) -> f64 {
    let d2: f64 = a.iter().zip(b).map(|(&a, b)| f64::from(a - b).powi(2)).sum();
    d2.sqrt() / 100.0
}

fn time(text: &str) -> Option<i64> {
    text.parse().ok().filter(|t| (0..=TIME_MAX_MS).contains(t))
}

fn unpack(packed: &[u8]) -> Result<String> {
    let mut text = String::new();
    GzDecoder::new(packed).take(UNPACKED_BYTES_MAX).read_to_string(&mut text).context("not gzip of UTF-8 text")?;
    ensure!((text.len() as u64) < UNPACKED_BYTES_MAX, "unpacks to more than {UNPACKED_BYTES_MAX} bytes: split the set");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn pack(text: &str) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(text.as_bytes()).expect("to memory");
        gz.finish().expect("to memory")
    }

    /// A folder `f` of these lines below the headers.
    fn folder(rows: &str, events: Option<&str>, scenes: Option<&str>) -> Result<Vec<Recording>> {
        let trace = pack(&format!("t_ms,id,x,y,z,yaw_deg\n{rows}"));
        let events = events.map(|rows| pack(&format!("t_ms,id,kind,json\n{rows}")));
        read(&Files { folder: "f".to_owned(), trace: &trace, events: events.as_deref(), scenes })
    }

    #[test]
    fn an_id_belongs_to_the_longest_name_that_it_begins_with() {
        let rows = "0,m1_5,1.01,-2,3,90\n0,m12_5,1,2,,\n40,m12_5,1,2,,\n";
        let all = folder(rows, None, Some("fps,scene\n16,m1\n16,m12\n")).expect("well-formed");
        let names: Vec<_> = all.iter().map(|r| (r.name.as_str(), r.people[0].id.as_str())).collect();
        assert_eq!(names, [("m1", "5"), ("m12", "5")]);
        assert_eq!(all[0].people[0].rows, [Row { t_ms: 0, cm: [101, -200, 300], yaw_deg: Some(90.0) }]);
        assert_eq!(all[1].people[0].rows.len(), 1, "a repeated row is no change");
        assert_eq!(all[1].people[0].stays, [(0, 40)], "but it is presence");
    }

    #[test]
    fn join_and_leave_bound_presence_and_so_do_jumps() {
        let rows = "0,a,0,0,,\n100,a,1,0,,\n200,a,99,0,,\n300,a,99.5,0,,\n";
        let stays = |events| folder(rows, events, None).expect("well-formed")[0].people[0].stays.clone();
        assert_eq!(stays(None), [(0, 100), (200, 300)]);
        let events = "0,a,join,{}\n150,a,leave,{}\n250,a,join,\"{\"\"x\"\":1,\"\"y\"\":2}\"\n290,a,hit,{}\n";
        assert_eq!(stays(Some(events)), [(0, 150), (250, 300)]);
    }

    #[test]
    fn errors_say_which_file_and_line() {
        let check = |rows: &str, scenes: Option<&str>, expected: &str| {
            let error = format!("{:#}", folder(rows, None, scenes).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        };
        check("", None, "f/trace.csv.gz: no rows");
        check("0,a,1,2\n", None, "f/trace.csv.gz: line 2: `0,a,1,2`: want t_ms,id");
        check("0,a,1,2,,\n-1,a,1,2,,\n", None, "line 3");
        check("0,a,NaN,2,,\n", None, "`NaN` is no place");
        check("0,a,1,1e9,,\n", None, "`1e9` is no place");
        check("0,a,1,2,,inf\n", None, "`inf` is no angle");
        check("5,a,1,2,,\n4,a,1,2,,\n", None, "line 3: the rows of `a` are not in order");
        check("0,b1,1,2,,\n", Some("scene\na\n"), "the id `b1` begins with no scene");
        check("0,a1,1,2,,\n", Some("name\na\n"), "f/scenes.csv: line 1 has no column `scene`");
        check("0,a1,1,2,,\n", Some("scene,window_start_ms,length_ms\na,0,x\n"), "line 2: `x` is no time");
        let half = &pack("t_ms")[..10];
        assert!(read(&Files { folder: "f".to_owned(), trace: half, events: None, scenes: None }).is_err());
    }
}
