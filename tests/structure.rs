//! The structure that `src/lib.rs` draws, held: data flows one way, and the pure parts are pure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn files(under: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(under)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's text without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Modules from the bottom up: each may use those before it.
const ORDER: [&[&str]; 10] = [
    &["limits", "planted"],
    &["space", "clock"],
    &["settings"],
    &["codec"],
    &["admit", "client", "log"],
    &["region"],
    &["view"],
    &["session"],
    &["config", "inspect", "metrics"],
    &["edge"],
];

fn level(module: &str) -> usize {
    ORDER.iter().position(|modules| modules.contains(&module)).unwrap_or_else(|| panic!("{module}: not in ORDER"))
}

fn module(path: &Path) -> String {
    let first = path.strip_prefix("src").expect("under src").components().next().expect("a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

#[test]
fn nothing_is_used_against_the_flow() {
    for path in files("src") {
        let own = module(&path);
        if own == "lib" || own == "main" {
            continue;
        }
        let code = code(&path);
        let used: BTreeSet<&str> = code
            .split("crate::")
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next().filter(|name| !name.is_empty()))
            .filter(|name| *name != "planted")
            .collect();
        for other in used {
            assert!(other == own || level(other) < level(&own), "{}: uses {other}, which comes later", path.display());
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Names of fields and variables that are declared as hash maps or sets, or as something of them.
fn hashed(code: &str) -> BTreeSet<String> {
    let declared = |line: &str| {
        let before = ["HashMap", "HashSet", "DashMap"].iter().filter_map(|kind| line.split_once(kind)).next()?.0;
        let name = before.rsplit_once(": ").or_else(|| before.rsplit_once(" = "))?.0;
        name.rsplit(|c| !is_word(c)).next().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    code.lines().filter_map(declared).collect()
}

/// What goes through all of a map, in the map's order.
const EACH: [&str; 11] = [
    ".iter()",
    ".iter_mut()",
    ".keys()",
    ".values()",
    ".values_mut()",
    ".drain()",
    ".into_iter()",
    ".into_keys()",
    ".into_values()",
    ".retain(",
    ".extract_if(",
];

/// A place that goes through all of a map of this name: by a method, or by `for … in map {`.
fn iterates(code: &str, name: &str) -> Option<String> {
    // As if on one line: long chains are broken before their dots.
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" .", ".");
    let found = code.match_indices(name).find(|(at, _)| {
        let (before, after) = (&code[..*at], code[at + name.len()..].trim_start());
        let path = before.trim_end_matches(|c| is_word(c) || c == '.' || c == '&').trim_end_matches("&mut ");
        let by_for = path.ends_with(" in ") && after.starts_with('{');
        !before.ends_with(is_word) && (by_for || EACH.iter().any(|each| after.starts_with(each)))
    });
    found.map(|(at, _)| code[at..].chars().take(60).collect())
}

#[test]
fn iterations_over_hash_maps_are_found() {
    let code = "struct A {\n    pub seen: FxHashMap<Id, u32>,\n    list: Vec<u8>,\n}\nlet mut open = HashSet::new();";
    assert_eq!(hashed(code), BTreeSet::from(["open".to_owned(), "seen".to_owned()]));
    for bad in [
        "self.seen.values()",
        "self\n    .seen\n    .iter()",
        "for (a, b) in &self.seen {",
        "for x in &mut seen {",
        "for x in seen {",
        "seen.retain(|_| true)",
    ] {
        assert!(iterates(bad, "seen").is_some(), "{bad}");
    }
    for good in
        ["self.seen.get(&1)", "unseen.iter()", "seen.len()", "if self.seen.contains_key(&a) {", "seen_by.iter()"]
    {
        assert!(iterates(good, "seen").is_none(), "{good}");
    }
}

#[test]
fn the_core_is_pure() {
    let banned =
        ["async ", "tokio", "std::time", "Instant", "SystemTime", "std::env", "std::net", "rand::", "println!"];
    for path in files("src") {
        let own = module(&path);
        let impure = ["edge", "config", "inspect", "metrics", "main", "lib"].contains(&own.as_str());
        if impure || path.starts_with("src/log") || own == "planted" {
            continue;
        }
        let code = code(&path);
        for word in banned {
            assert!(!code.contains(word), "{}: {word} has no place in the core", path.display());
        }
        let folder = Path::new("src").join(&own);
        let names: BTreeSet<String> = files("src")
            .iter()
            .filter(|other| other.starts_with(&folder) || **other == path)
            .flat_map(|path| hashed(&self::code(path)))
            .collect();
        for name in names {
            let found = iterates(&code, &name);
            assert!(
                found.is_none(),
                "{}: {}: the order of a hash map must not matter",
                path.display(),
                found.unwrap_or_default()
            );
        }
    }
}

#[test]
fn files_open_with_what_they_are_for_and_stay_short() {
    for path in files("src").into_iter().chain(files("loadtest/src")).chain(files("tests")) {
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("//!"), "{}: say first what it is for", path.display());
        let lines = code(&path).lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 600, "{}: {lines} lines of code; split it", path.display());
    }
}

#[test]
fn every_limit_is_used() {
    let all: String = files("src").iter().filter(|p| !p.ends_with("limits.rs")).map(|p| code(p)).collect();
    let limits = fs::read_to_string("src/limits.rs").expect("readable");
    for line in limits.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let name = line.split(':').next().expect("a name");
        let used = all.contains(name) || limits.matches(name).count() > 2;
        assert!(used, "{name} limits nothing");
    }
}
