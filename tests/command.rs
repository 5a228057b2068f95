//! The command line as an operator types it: start, ready line, SIGTERM; settings told, faults told together.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn nearcast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast"));
    command.env_clear();
    command
}

#[test]
fn serve_says_when_it_is_ready_and_ends_on_sigterm() {
    let mut gateway = nearcast()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    BufReader::new(gateway.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(line.starts_with("ready listen=127.0.0.1:") && line.contains(" admin=127.0.0.1:"), "{line}");
    assert!(!line.contains(":0 "), "the real ports: {line}");
    let kill = Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
    assert!(gateway.wait().expect("ends").success(), "a drained gateway ends with 0");
}

#[test]
fn config_prints_what_is_in_force() {
    let output = nearcast().args(["config", "--prefix", "mine"]).env("NEARCAST_LISTEN", "127.0.0.1:7").output();
    let printed = String::from_utf8(output.expect("runs").stdout).expect("UTF-8");
    for part in ["listen = \"127.0.0.1:7\"", "prefix = \"mine\"", "log = \"memory\"", "name = \"plaza\"", "[[world]]"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
}

#[test]
fn wrong_settings_are_told_together_and_nothing_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nearcast.toml");
    std::fs::write(&file, "[[world]]\nname = 'a'\nspeed = -1.0\nradius = 1e9\n").expect("written");
    let file = file.display().to_string();
    let output = nearcast().args(["serve", "--config", &file, "--log", "nats://x"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    for part in ["nats://x", "speed -1", "radius 1000000000"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let output = nearcast().args(["serve", "--config", "/nowhere.toml"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read /nowhere.toml"));
}

#[test]
fn a_log_that_is_not_there_is_named() {
    let output = nearcast()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "kafka://127.0.0.1:1"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("kafka://127.0.0.1:1"), "{output:?}");
}
