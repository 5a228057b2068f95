//! Bad input without sockets, kinds C, D, E and G: messages that are cut or wrong, numbers that are none, texts that reach
//! beyond their place, and things said at the wrong time. Whatever comes, a session answers with a code or closes with one,
//! hands on only what is finite, in bounds and clean, and touches nobody else. `live` plays a sample of each to a gateway.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]

mod answers;
#[path = "../examples/mod.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod examples;
mod floats;
mod limits;
mod live;
mod messages;
#[path = "../support/room.rs"]
mod room;
mod scripts;
mod strings;
#[path = "../support/mod.rs"]
mod support;

/// The lines of a file of the corpus, without remarks, cut at ` | `.
fn lines(text: &str, cells: usize) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(move |line| {
        let cut: Vec<&str> = line.splitn(cells, " | ").collect();
        assert_eq!(cut.len(), cells, "{line}");
        cut
    })
}
