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

/// A folder as `serve --data` leaves it, with so many actions.
fn data(actions: u64) -> tempfile::TempDir {
    use nearcast::codec::command::{Command, Deed};
    use nearcast::codec::message::Scope;
    use nearcast::codec::record::{Record, Stamp, encode};
    use nearcast::log::disk::Disk;
    use nearcast::log::{Log, Source, Topic};
    use nearcast::space::Grid;
    let folder = tempfile::tempdir().expect("a folder");
    let (disk, thread, _) = Disk::open(folder.path(), &[("plaza", Grid { w: 4, h: 4 })], || 1_790_000_000_000, |_| ())
        .expect("an empty log");
    let mut log = disk.handle("plaza").expect("it was opened for it");
    for n in 1..=actions {
        let deed = Deed::Act { scope: Scope::Nearby, user: 1, name: "wave".into(), data: "".into() };
        let (pos, from) = Default::default();
        let action = Command { session: 7, n, entity: 8, trusted: false, pos, from, deed };
        let stamp = Stamp { gateway: 3, published_us: 1_790_000_000_000_000 };
        log.publish(Source { topic: Topic::Events, partition: 5 }, encode(stamp, &Record::Command(action)));
    }
    disk.close();
    thread.join().expect("all is written");
    folder
}

#[test]
fn log_shows_what_is_in_a_data_folder() {
    let folder = data(30);
    let say = |words: &[&str]| {
        let output = nearcast().arg("log").args(words).arg("--data").arg(folder.path()).output().expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, topics, _) = say(&["topics"]);
    assert_eq!(code, Some(0));
    let row: Vec<&str> = topics.lines().nth(1).expect("a row").split_whitespace().take(5).collect();
    assert_eq!(row, ["plaza", "events", "5", "0", "30"], "{topics}");
    let (code, shown, _) = say(&["show", "--partition", "5", "--from", "10", "--count", "3"]);
    assert_eq!((code, shown.lines().count()), (Some(0), 3), "{shown}");
    assert!(shown.trim_start().starts_with("10 ") && shown.contains("n: 11") && shown.contains("wave"), "{shown}");
    let (code, _, error) = say(&["show", "--partition", "5", "--from", "99"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("0 to 30"), "{error}");
    let (code, _, error) = say(&["show", "--world", "nowhere"]);
    assert!(code == Some(1) && error.contains("plaza"), "{error}");
    let (code, verified, _) = say(&["verify"]);
    assert!(code == Some(0) && verified.starts_with("30 records"), "{verified}");
}

#[test]
fn log_verify_names_the_damage_and_serve_does_not_start_on_it() {
    let folder = data(100);
    // One more life, so that what is damaged has something safe behind it.
    let segment = std::fs::read_dir(folder.path()).expect("readable").map(|entry| entry.expect("readable").path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|e| e == "log")).expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let again = bytes.clone();
    bytes[50] ^= 1;
    bytes.extend(again);
    std::fs::write(&segment, bytes).expect("written");
    let verify = nearcast().args(["log", "verify", "--data"]).arg(folder.path()).output().expect("runs");
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    assert_eq!(verify.status.code(), Some(1), "{said}");
    assert!(said.contains("damaged at byte 0") && said.contains("checksum"), "{said}");
    let args = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"];
    let serve = nearcast().args(args).arg(folder.path()).output().expect("runs");
    assert_eq!(serve.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&serve.stderr).contains("damaged at byte 0"));
}
