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
    &["config", "metrics"],
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

#[test]
fn the_core_is_pure() {
    let banned =
        ["async ", "tokio", "std::time", "Instant", "SystemTime", "std::env", "std::net", "rand::", "println!"];
    for path in files("src") {
        let own = module(&path);
        let impure = ["edge", "config", "metrics", "main", "lib"].contains(&own.as_str());
        if impure || path.starts_with("src/log") || own == "planted" {
            continue;
        }
        let code = code(&path);
        for word in banned {
            assert!(!code.contains(word), "{}: {word} has no place in the core", path.display());
        }
        for (i, line) in code.lines().enumerate() {
            let iterates = [".iter()", ".keys()", ".values()", ".drain()"].iter().any(|it| line.contains(it));
            let hashed = line.contains("by_id") || line.contains("cells");
            assert!(!(iterates && hashed), "{} line {i}: the order of a hash map must not matter", path.display());
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
