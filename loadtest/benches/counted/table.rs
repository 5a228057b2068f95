//! The table of `docs/performance.md`: it is written with the baseline, and the guard fails where it is another.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::flow::{SIZES, STEPS, Size, WHOLE};
use crate::{name, sum};

/// Where it stands.
pub const DOCUMENT: &str = "docs/performance.md";
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
/// How it begins. It ends where the first empty line follows.
const BEGIN: &str = "| step | ";

/// Whether the document shows these counts.
///
/// # Errors
/// When there is no document, or no table in it.
pub fn is_shown(counts: &BTreeMap<String, f64>) -> Result<bool> {
    let text = read()?;
    Ok(around(&text)?.1 == table(counts))
}

/// Writes these counts into the document.
///
/// # Errors
/// As above, and when it cannot be written.
pub fn show(counts: &BTreeMap<String, f64>) -> Result<()> {
    let text = read()?;
    let (before, _, after) = around(&text)?;
    fs::write(PATH, format!("{before}{}{after}", table(counts))).context(DOCUMENT)
}

fn read() -> Result<String> {
    fs::read_to_string(PATH).context(DOCUMENT)
}

/// What stands before the table, the table, and what follows it.
fn around(text: &str) -> Result<(&str, &str, &str)> {
    let find = || {
        let (before, rest) = text.split_at(text.find(BEGIN)?);
        let (table, after) = rest.split_at(rest.find("\n\n")? + 1);
        Some((before, table, after))
    };
    find().with_context(|| format!("{DOCUMENT}: no table begins with `{BEGIN}`"))
}

fn table(counts: &BTreeMap<String, f64>) -> String {
    let heads = SIZES.iter().map(|size| format!("{} near, {} KiB/s", size.near, size.budget / 1024));
    let row = |name: &str, cells: Vec<String>, about: &str| format!("| {name} | {} | {about} |\n", cells.join(" | "));
    let head = row("step", heads.collect(), "").replace("|  |", "| |") + &"|---".repeat(SIZES.len() + 2) + "|\n";
    let cells = |of: &dyn Fn(&Size) -> Option<f64>| SIZES.iter().map(of).map(cell).collect();
    let steps = STEPS.map(|(step, about)| row(step, cells(&|size| counts.get(&name(step, size)).copied()), about));
    let all = row("**gateway**", cells(&|size| sum(counts, size)), &format!("their sum: {}", WHOLE.join(" + ")));
    head + &steps.concat() + &all
}

/// A whole number, with a comma for each thousand.
fn cell(count: Option<f64>) -> String {
    let Some(count) = count else { return "–".to_owned() };
    let digits = format!("{count:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}
