//! Scenes by name: those that are built in, models of them, and folders.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cut::{Rules, cut, most_together};
use crate::model;
use crate::scene::Scene;
use crate::trace::{Files, Recording, read, read_folder};

/// What recordings there are, for people.
pub const NAMES_TEXT: &str = "plaza, juelich, football, rocketleague, a folder that `cut` wrote, or a trace set";
/// The one seed of modelled scenes: everybody who names them plays the same.
pub const SEED: u64 = 1;

/// Name, `trace.csv.gz` and `scenes.csv` of what is part of the binary, so that it works anywhere.
const BUILT_IN: [(&str, &[u8], &str); 4] = [
    ("plaza", include_bytes!("../scenes/plaza/trace.csv.gz"), include_str!("../scenes/plaza/scenes.csv")),
    ("juelich", include_bytes!("../scenes/juelich/trace.csv.gz"), include_str!("../scenes/juelich/scenes.csv")),
    ("football", include_bytes!("../scenes/football/trace.csv.gz"), include_str!("../scenes/football/scenes.csv")),
    (
        "rocketleague",
        include_bytes!("../scenes/rocketleague/trace.csv.gz"),
        include_str!("../scenes/rocketleague/scenes.csv"),
    ),
];

/// The scenes that are meant by a name: built-in ones, models of them, or those of a folder.
///
/// # Errors
/// When it is none of these, the folder has no scenes, or they cannot be modelled.
pub fn scenes(name: &str) -> Result<Vec<Scene>> {
    let Some(modelled) = name.strip_prefix("model:") else {
        return recordings(name)?.iter().map(Scene::whole).collect::<Result<_>>().with_context(|| name.to_owned());
    };
    let (of, people) = match modelled.split_once(':') {
        None => (modelled, None),
        Some((of, people)) => {
            let people = people.parse().with_context(|| format!("`{name}`: `{people}` is no number of people"))?;
            (of, Some(people))
        }
    };
    let walkers = model::walkers(&recordings(of)?)?;
    let modelled = model::scenes(&walkers, people, SEED).with_context(|| format!("`{name}`"))?;
    modelled.iter().map(Scene::whole).collect()
}

/// The cut recordings that are meant by a name: built-in ones, or those of a folder.
///
/// # Errors
/// When it is neither, or the folder has no scenes.
pub fn recordings(name: &str) -> Result<Vec<Recording>> {
    match built_in(name) {
        Some(recordings) => Ok(recordings),
        None => cut_folder(Path::new(name)).with_context(|| format!("`{name}` is none of {NAMES_TEXT}")),
    }
}

/// The recordings of a name that are part of the binary.
#[must_use]
pub fn built_in(name: &str) -> Option<Vec<Recording>> {
    let (name, trace, scenes) = BUILT_IN.into_iter().find(|(built_in, ..)| *built_in == name)?;
    let files = Files { folder: format!("scenes/{name}"), trace, events: None, scenes: Some(scenes) };
    Some(read(&files).expect("built in and tested"))
}

/// The scenes of a folder that `cut` wrote; of a trace set, those that [`Rules::default`] finds,
/// with fewer people if so many are nowhere together.
fn cut_folder(folder: &Path) -> Result<Vec<Recording>> {
    let recordings = read_folder(folder)?;
    if recordings.iter().all(|recording| recording.window.is_some()) {
        return Ok(recordings);
    }
    let rules = Rules::default();
    let people_min = rules.people_min.min(most_together(&recordings, &rules)).max(1);
    cut(&recordings, &Rules { people_min, ..rules }).with_context(|| folder.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::{Crowd, Layout};

    #[test]
    fn every_set_is_what_its_page_says() {
        let check = |name: &str, scenes: usize, people: usize, radius_m: f64, others: std::ops::Range<f64>| {
            let set = super::scenes(name).expect(name);
            assert_eq!(set.len(), scenes, "{name}");
            assert_eq!(set.iter().map(Scene::people).sum::<usize>(), people, "{name}");
            let crowd = Crowd::tiled(&set, people, Layout::close(&set, radius_m)).expect(name);
            let near = crowd.figures(radius_m).others;
            assert!(others.contains(&near), "{name}: {near} others within {radius_m} m");
        };
        check("plaza", 6, 300, 50.0, 48.0..50.0);
        check("juelich", 8, 411, 50.0, 52.0..54.0);
        check("football", 8, 120, 50.0, 13.5..14.0);
        check("rocketleague", 10, 70, 128.0, 5.9..6.1);
    }

    #[test]
    fn an_unknown_name_says_what_there_is() {
        let error = format!("{:#}", scenes("nowhere").expect_err("no such folder"));
        assert!(error.contains("`nowhere`") && error.contains("juelich") && error.contains("trace.csv.gz"), "{error}");
    }
}
