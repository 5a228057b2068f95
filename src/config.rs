//! Settings: defaults, then a TOML file, then the environment, then flags. Raw values become, once, a [`Config`] that
//! cannot be wrong; all faults are reported together.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::codec::token::Key;
use crate::limits::{
    BUDGET_MAX, BUDGET_MIN, ERRANDS_MAX, MESSAGE_BYTES_MAX, OPEN_ACTS_MAX, OPEN_ACTS_MAX_SERVER, PARTITION_SIDE_MAX,
    RADIUS_MAX_M, RADIUS_MIN_M, RATE_MAX, REFUSED_MOVES_OF_S, REGION_OBJECT_BYTES_MAX, REGION_OBJECTS_MAX,
    SERVER_TOKEN_BYTES_MIN, TOKEN_BYTES_MAX, WORLD_NAME_BYTES_MAX, WORLD_REACH_M,
};
use crate::settings::{Enforcement, Limits, Role, Rules, Secret, WorldSettings};
use crate::space::Grid;

/// The environment variable with the secret of game servers. No flag: everybody on a machine can read those.
const SERVER_TOKEN: &str = "NEARCAST_SERVER_TOKEN";
/// What is printed of a secret. Too short to be one, so that nobody takes a printed file for settings.
const HIDDEN: &str = "(not shown)";

/// Flags of `serve` and `config`; each is an environment variable too.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// TOML file with settings and worlds.
    #[arg(long, env = "NEARCAST_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:8080]. Port 0 takes any free port.
    #[arg(long, env = "NEARCAST_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where operators look: /metrics, /healthz, /readyz [default: 127.0.0.1:9090].
    #[arg(long, env = "NEARCAST_ADMIN", value_name = "ADDR")]
    pub admin: Option<String>,
    /// The world log: `memory`, or `kafka://host:port[,host:port]` [default: memory].
    #[arg(long, env = "NEARCAST_LOG", value_name = "URL")]
    pub log: Option<String>,
    /// Folder in which events are kept over a restart, with the log in this process [default: none, all is forgotten].
    #[arg(long, env = "NEARCAST_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Secret of the cluster that resume tokens are sealed with, 64 hexadecimal digits; better in the environment than on
    /// the command line [default: the file `key` of the data folder, or a new one at each start].
    #[arg(long, env = "NEARCAST_KEY", value_name = "HEX", hide_env_values = true)]
    pub key: Option<String>,
    /// First part of all topic names [default: nearcast].
    #[arg(long, env = "NEARCAST_PREFIX")]
    pub prefix: Option<String>,
    /// How log lines are written [default: text].
    #[arg(long, env = "NEARCAST_LOG_FORMAT", value_name = "text|json")]
    pub log_format: Option<String>,
    /// What `NEARCAST_SERVER_TOKEN` says, see [`Config::load`].
    #[arg(skip)]
    pub server_token: Option<Secret>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which log the worlds live in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogUrl {
    /// In this process; gone with it.
    Memory,
    /// In this process, and but for motion in this folder.
    Disk(PathBuf),
    /// Apache Kafka: the whole URL.
    Kafka(String),
}

/// Settings in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// The world log.
    pub log: LogUrl,
    /// What resume tokens are sealed with; `None`: found or made at start. Never shown.
    pub key: Option<Key>,
    /// First part of all topic names.
    pub prefix: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// The worlds, in order of declaration; at least one.
    pub worlds: Vec<WorldSettings>,
}

/// The TOML file, and what `nearcast config` prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    admin: Option<String>,
    log: Option<String>,
    data: Option<PathBuf>,
    #[serde(skip_serializing)]
    key: Option<String>,
    prefix: Option<String>,
    log_format: Option<LogFormat>,
    server_token: Option<String>,
    #[serde(default)]
    world: Vec<WorldFile>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorldFile {
    name: String,
    min: Option<[f64; 3]>,
    max: Option<[f64; 3]>,
    speed: Option<f64>,
    movement: Option<Enforcement>,
    refused_moves: Option<u32>,
    radius: Option<f64>,
    budget: Option<u32>,
    partitions: Option<[u16; 2]>,
    /// Those of [`Limits`] that are not as usual.
    #[serde(default)]
    limits: toml::Table,
    #[serde(default)]
    server_limits: toml::Table,
    rules: Option<RulesFile>,
}

/// Those of [`Rules`] that are not as usual.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    /// Higher than that of all rules that were in force before.
    revision: i64,
    session_objects: Option<i64>,
    region_objects: Option<i64>,
    region_bytes: Option<i64>,
    /// Metres.
    reach: Option<f64>,
}

/// All that is wrong with the settings, a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settings are wrong:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Reads the file that the flags name and the secret of the environment, and merges.
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        let mut flags = flags.clone();
        // What is no UTF-8 has another length then, and is nobody's token.
        flags.server_token = flags.server_token.or_else(|| {
            let value = std::env::var_os(SERVER_TOKEN)?;
            Some(Secret::new(value.to_string_lossy().into_owned()))
        });
        let text = match &flags.config {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|e| ConfigError(vec![format!("config: cannot read {}: {e}", path.display())]))?,
        };
        Config::merge(&flags, &text)
    }

    /// Merges flags (which clap has merged with the environment) over a file's text.
    pub fn merge(flags: &Flags, toml: &str) -> Result<Config, ConfigError> {
        let mut faults = Vec::new();
        let file: File = toml::from_str(toml).unwrap_or_else(|error| {
            // Without the line itself: it may hold the secret.
            let before = error.span().and_then(|span| toml.get(..span.start)).unwrap_or_default();
            faults.push(format!("config: line {}: {}", before.matches('\n').count() + 1, error.message()));
            File::default()
        });
        let pick = |flag: &Option<String>, file: Option<String>, default: &str| {
            flag.clone().or(file).unwrap_or_else(|| default.to_owned())
        };
        let mut address = |name: &str, value: String| {
            value.parse().unwrap_or_else(|_| {
                faults.push(format!("{name}: {value:?} is no address such as 127.0.0.1:8080"));
                SocketAddr::from(([127, 0, 0, 1], 0))
            })
        };
        let listen = address("listen", pick(&flags.listen, file.listen, "127.0.0.1:8080"));
        let admin = address("admin", pick(&flags.admin, file.admin, "127.0.0.1:9090"));
        if listen == admin && listen.port() != 0 {
            faults.push(format!("admin: {admin} is also the listen address; give it another port"));
        }
        let log = match (log_url(&pick(&flags.log, file.log, "memory"), &mut faults), flags.data.clone().or(file.data))
        {
            (LogUrl::Memory, Some(folder)) => LogUrl::Disk(folder),
            (LogUrl::Kafka(url), Some(folder)) => {
                faults.push(format!("data: events are kept by {url}, not in {}: leave one out", folder.display()));
                LogUrl::Kafka(url)
            }
            (log, _) => log,
        };
        let key = flags.key.clone().or(file.key).and_then(|text| {
            let key = Key::from_hex(&text);
            if key.is_none() {
                // Not what it is: it may be a secret but for a digit.
                faults.push(format!("key: must be {} hexadecimal digits", 2 * Key::BYTES));
            }
            key
        });
        let prefix = pick(&flags.prefix, file.prefix, "nearcast");
        if !is_name(&prefix) {
            faults.push(format!("prefix: {prefix:?} must be 1 to {WORLD_NAME_BYTES_MAX} of a-z, 0-9, - and _"));
        }
        let log_format = match flags.log_format.as_deref().map(|f| LogFormat::from_str(f, true)) {
            Some(Ok(format)) => format,
            Some(Err(_)) => {
                faults.push("log-format: must be text or json".to_owned());
                LogFormat::Text
            }
            None => file.log_format.unwrap_or_default(),
        };
        let server_token = flags.server_token.clone().or(file.server_token.map(Secret::new));
        let token_bytes = SERVER_TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX;
        if server_token.as_ref().is_some_and(|secret| !token_bytes.contains(&secret.bytes())) {
            // Not what it is: this is printed.
            faults.push(format!("server_token: must be {SERVER_TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} bytes"));
        }
        let mut worlds: Vec<WorldSettings> = Vec::new();
        for declared in &file.world {
            let world = world(declared, &mut faults);
            if worlds.iter().any(|w| w.name == world.name) {
                faults.push(format!("world {:?}: declared twice", world.name));
            }
            worlds.push(world);
        }
        if worlds.is_empty() {
            worlds.push(WorldSettings::plaza());
        }
        worlds.iter_mut().for_each(|world| world.server_token.clone_from(&server_token));
        if faults.is_empty() {
            Ok(Config { listen, admin, log, key, prefix, log_format, worlds })
        } else {
            Err(ConfigError(faults))
        }
    }

    /// The settings as a TOML file that would give them again, but for the secrets.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let file = File {
            listen: Some(self.listen.to_string()),
            admin: Some(self.admin.to_string()),
            log: Some(match &self.log {
                LogUrl::Memory | LogUrl::Disk(_) => "memory".to_owned(),
                LogUrl::Kafka(url) => url.clone(),
            }),
            data: if let LogUrl::Disk(folder) = &self.log { Some(folder.clone()) } else { None },
            key: None,
            prefix: Some(self.prefix.clone()),
            log_format: Some(self.log_format),
            server_token: self.worlds.iter().any(|w| w.server_token.is_some()).then(|| HIDDEN.to_owned()),
            world: self
                .worlds
                .iter()
                .map(|w| WorldFile {
                    name: w.name.clone(),
                    min: Some(w.min),
                    max: Some(w.max),
                    speed: Some(w.speed),
                    movement: Some(w.movement),
                    refused_moves: Some(w.refused_moves),
                    radius: Some(w.radius),
                    budget: Some(w.budget),
                    partitions: Some([w.grid.w, w.grid.h]),
                    limits: table(&w.limits),
                    server_limits: table(&w.server_limits),
                    rules: (w.rules.revision > 0).then(|| rules_file(&w.rules)),
                })
                .collect(),
        };
        let head = if self.key.is_some() { "# A key is set; it is not shown.\n" } else { "" };
        format!("{head}{}", toml::to_string(&file).expect("strings, numbers and tables"))
    }
}

fn is_name(name: &str) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= WORLD_NAME_BYTES_MAX && name.chars().all(ok)
}

fn log_url(url: &str, faults: &mut Vec<String>) -> LogUrl {
    match url.split_once("://") {
        None if url == "memory" => LogUrl::Memory,
        Some(("kafka", servers)) if !servers.is_empty() => {
            if cfg!(not(feature = "kafka")) {
                faults.push("log: this build is without Kafka; build with the feature `kafka`".to_owned());
            }
            #[cfg(feature = "kafka")]
            if let Err(error) = crate::log::kafka::KafkaConfig::from_url(url, "any", "any", 1) {
                faults.push(format!("log: {error}"));
            }
            LogUrl::Kafka(url.to_owned())
        }
        Some(_) | None => {
            faults.push(format!("log: {url:?} is neither memory nor kafka://host:port"));
            LogUrl::Memory
        }
    }
}

fn table(limits: &Limits) -> toml::Table {
    toml::Table::try_from(limits).expect("numbers")
}

/// The limits of a role, with those of the file instead of the usual ones.
fn limits(role: Role, file: &toml::Table, fault: &mut dyn FnMut(String)) -> Limits {
    let (name, usual, open_acts_max) = match role {
        Role::Player => ("limits", Limits::PLAYER, OPEN_ACTS_MAX),
        Role::Server => ("server_limits", Limits::SERVER, OPEN_ACTS_MAX_SERVER),
    };
    let mut all = table(&usual);
    all.extend(file.clone());
    for (limit, value) in &all {
        let least = if limit == "bytes_burst" { MESSAGE_BYTES_MAX as i64 } else { 1 };
        let most = if limit == "open_acts" { open_acts_max as i64 } else { i64::from(RATE_MAX) };
        if !value.as_integer().is_some_and(|n| (least..=most).contains(&n)) {
            fault(format!("{name}: {limit} {value} must be {least} to {most}"));
        }
    }
    all.try_into().unwrap_or_else(|error| {
        fault(format!("{name}: {}", error.to_string().trim_end()));
        usual
    })
}

fn rules_file(rules: &Rules) -> RulesFile {
    let Rules { revision, session_objects, region_objects, region_bytes, reach_cm } = *rules;
    RulesFile {
        revision: revision.into(),
        session_objects: Some(session_objects.into()),
        region_objects: Some(region_objects.into()),
        region_bytes: Some(region_bytes.into()),
        reach: Some(f64::from(reach_cm) / 100.0),
    }
}

/// The rules of the file, the usual ones where it says none. Larger ones are not safe: a region's objects are part of snapshots
/// and are told to whoever comes, one session's are carried by its gateway all at once, and no view is further than a
/// radius. No bound is below 1: what is forbidden is forbidden by who may, not by how much.
fn rules(file: &RulesFile, fault: &mut dyn FnMut(String)) -> Rules {
    let usual = rules_file(&Rules::default());
    let mut number = |name: &str, value: Option<i64>, usual: Option<i64>, most: usize| {
        let value = value.or(usual).unwrap_or(1);
        if !(1..=most as i64).contains(&value) {
            fault(format!("rules: {name} {value} must be 1 to {most}"));
        }
        value.clamp(1, most as i64)
    };
    let revision = number("revision", Some(file.revision), None, u32::MAX as usize) as u32;
    let session_objects = number("session_objects", file.session_objects, usual.session_objects, ERRANDS_MAX) as u16;
    let region_objects = number("region_objects", file.region_objects, usual.region_objects, REGION_OBJECTS_MAX) as u16;
    let region_bytes = number("region_bytes", file.region_bytes, usual.region_bytes, REGION_OBJECT_BYTES_MAX) as u32;
    let reach = file.reach.or(usual.reach).unwrap_or(RADIUS_MIN_M);
    if !(RADIUS_MIN_M..=RADIUS_MAX_M).contains(&reach) {
        fault(format!("rules: reach {reach} m must be {RADIUS_MIN_M} to {RADIUS_MAX_M}"));
    }
    Rules { revision, session_objects, region_objects, region_bytes, reach_cm: (reach * 100.0).round() as u16 }
}

fn world(file: &WorldFile, faults: &mut Vec<String>) -> WorldSettings {
    let plaza = WorldSettings::plaza();
    let [w, h] = file.partitions.unwrap_or([plaza.grid.w, plaza.grid.h]);
    let mut fault = |what: String| faults.push(format!("world {:?}: {what}", file.name));
    let player = limits(Role::Player, &file.limits, &mut fault);
    let server = limits(Role::Server, &file.server_limits, &mut fault);
    let rules = file.rules.as_ref().map_or_else(Rules::default, |file| rules(file, &mut fault));
    let world = WorldSettings {
        name: file.name.clone(),
        min: file.min.unwrap_or(plaza.min),
        max: file.max.unwrap_or(plaza.max),
        speed: file.speed.unwrap_or(plaza.speed),
        movement: file.movement.unwrap_or(plaza.movement),
        refused_moves: file.refused_moves.unwrap_or(plaza.refused_moves),
        radius: file.radius.unwrap_or(plaza.radius),
        budget: file.budget.unwrap_or(plaza.budget),
        grid: Grid { w, h },
        limits: player,
        server_limits: server,
        // The same for all worlds.
        server_token: None,
        rules,
    };
    let mut check = |good: bool, what: String| {
        if !good {
            faults.push(format!("world {:?}: {what}", world.name));
        }
    };
    check(is_name(&world.name), format!("the name must be 1 to {WORLD_NAME_BYTES_MAX} of a-z, 0-9, - and _"));
    for axis in 0..3 {
        let (low, high) = (world.min[axis], world.max[axis]);
        let name = ["x", "y", "z"][axis];
        let within = low.abs() <= WORLD_REACH_M && high.abs() <= WORLD_REACH_M;
        check(low < high, format!("min {low} must be below max {high} along {name}"));
        check(within, format!("min and max must be within ±{WORLD_REACH_M} m along {name}"));
    }
    check(world.speed.is_finite() && world.speed > 0.0, format!("speed {} m/s must be above 0", world.speed));
    let refused_ok = (1..=REFUSED_MOVES_OF_S).contains(&world.refused_moves);
    check(refused_ok, format!("refused_moves {} must be 1 to {REFUSED_MOVES_OF_S} s", world.refused_moves));
    let radius_ok = (RADIUS_MIN_M..=RADIUS_MAX_M).contains(&world.radius);
    check(radius_ok, format!("radius {} m must be {RADIUS_MIN_M} to {RADIUS_MAX_M}", world.radius));
    let budget_ok = (BUDGET_MIN..=BUDGET_MAX).contains(&world.budget);
    check(budget_ok, format!("budget {} B/s must be {BUDGET_MIN} to {BUDGET_MAX}", world.budget));
    let sides_ok = [w, h].iter().all(|side| (1..=PARTITION_SIDE_MAX).contains(side));
    check(sides_ok, format!("partitions [{w}, {h}] must each be 1 to {PARTITION_SIDE_MAX}"));
    world
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_need_nothing() {
        let config = Config::merge(&Flags::default(), "").expect("defaults are right");
        assert_eq!(config.worlds, [WorldSettings::plaza()]);
        assert_eq!(config.log, LogUrl::Memory);
        assert_eq!(Config::merge(&Flags::default(), &config.to_toml()), Ok(config), "what is printed can be read");
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Flags { listen: Some("127.0.0.1:1".into()), ..Flags::default() };
        let config = Config::merge(&flags, "listen = '127.0.0.1:2'\nprefix = 'x'").expect("right");
        assert_eq!((config.listen.port(), config.prefix.as_str()), (1, "x"));
    }

    #[test]
    fn a_key_is_read_and_never_shown() {
        let text = "00ff".repeat(16);
        let flags = Flags { key: Some(text.clone()), ..Flags::default() };
        let config = Config::merge(&flags, "").expect("right");
        assert_eq!(config.key, Key::from_hex(&text));
        assert!(config.to_toml().contains("A key is set"));
        assert!(!config.to_toml().contains(&text) && !format!("{config:?}").contains(&text));
        assert_eq!(Config::merge(&Flags::default(), &format!("key = '{text}'")).expect("right").key, config.key);
        let wrong = Flags { key: Some("00ff00".into()), ..Flags::default() };
        let told = Config::merge(&wrong, "").expect_err("too short").to_string();
        assert!(told.contains("64 hexadecimal") && !told.contains("00ff00"), "{told}");
    }

    #[test]
    fn a_folder_for_data_goes_with_the_log_in_this_process_only() {
        let flags = Flags { data: Some("here".into()), ..Flags::default() };
        let config = Config::merge(&flags, "data = 'there'").expect("right");
        assert_eq!(config.log, LogUrl::Disk("here".into()));
        assert_eq!(Config::merge(&Flags::default(), &config.to_toml()), Ok(config), "what is printed can be read");
        let ConfigError(faults) = Config::merge(&flags, "log = 'kafka://127.0.0.1:9092'").expect_err("two logs");
        assert!(faults.iter().any(|fault| fault.contains("leave one out")), "{faults:#?}");
    }

    #[test]
    fn a_world_has_its_own_limits_for_players_and_for_game_servers() {
        let toml = "[[world]]\nname = 'a'\nmovement = 'shadow'\nrefused_moves = 3\n[world.limits]\nacts_per_s = 9\n\
            [world.server_limits]\nopen_acts = 500\n[[world]]\nname = 'b'";
        let config = Config::merge(&Flags::default(), toml).expect("right");
        let [a, b] = &config.worlds[..] else { panic!("two worlds") };
        assert_eq!((a.movement, a.refused_moves), (Enforcement::Shadow, 3));
        assert_eq!(a.limits, Limits { acts_per_s: 9, ..Limits::PLAYER });
        assert_eq!(a.server_limits, Limits { open_acts: 500, ..Limits::SERVER });
        assert_eq!((&b.limits, &b.server_limits), (&Limits::PLAYER, &Limits::SERVER));
        assert_eq!(Config::merge(&Flags::default(), &config.to_toml()), Ok(config), "what is printed can be read");
        for (limits, part) in [
            ("limits]\nacts_per_s = 0", "acts_per_s 0 must be 1 to"),
            ("limits]\nopen_acts = 33", "open_acts 33 must be 1 to 32"),
            ("limits]\nbytes_burst = 16383", "bytes_burst 16383 must be 16384 to"),
            ("limits]\nmoves_burst = 1000001", "to 1000000"),
            ("limits]\nmoves_burst = -1", "moves_burst -1"),
            ("limits]\nmoves_burst = 1.5", "moves_burst 1.5"),
            ("limits]\nmoves = 1", "moves"),
            ("server_limits]\nopen_acts = 1025", "server_limits: open_acts 1025 must be 1 to 1024"),
        ] {
            let toml = format!("[[world]]\nname = 'a'\n[world.{limits}");
            let ConfigError(faults) = Config::merge(&Flags::default(), &toml).expect_err("wrong");
            assert!(faults.iter().any(|fault| fault.contains(part)), "{part} in {faults:#?}");
        }
    }

    #[test]
    fn a_world_has_rules_for_its_objects_with_a_revision() {
        let toml = "[[world]]\nname = 'a'\n[world.rules]\nrevision = 3\nsession_objects = 40\nreach = 7.25\n\
            [[world]]\nname = 'b'";
        let config = Config::merge(&Flags::default(), toml).expect("right");
        let [a, b] = &config.worlds[..] else { panic!("two worlds") };
        assert_eq!(a.rules, Rules { revision: 3, session_objects: 40, reach_cm: 725, ..Rules::default() });
        assert_eq!(b.rules, Rules::default());
        assert_eq!(Config::merge(&Flags::default(), &config.to_toml()), Ok(config), "what is printed can be read");
        for (rules, part) in [
            ("reach = 5.0", "revision"),
            ("revision = 0", "rules: revision 0 must be 1 to 4294967295"),
            ("revision = 4294967296", "revision 4294967296"),
            ("revision = 1\nsession_objects = 257", "session_objects 257 must be 1 to 256"),
            ("revision = 1\nsession_objects = -1", "session_objects -1"),
            ("revision = 1\nregion_objects = 4097", "region_objects 4097 must be 1 to 4096"),
            ("revision = 1\nregion_bytes = 786433", "region_bytes 786433 must be 1 to 786432"),
            ("revision = 1\nreach = 128.5", "reach 128.5 m must be 1 to 128"),
            ("revision = 1\nreach = nan", "reach NaN"),
            ("revision = 1\nreach_cm = 1", "reach_cm"),
        ] {
            let toml = format!("[[world]]\nname = 'a'\n[world.rules]\n{rules}");
            let ConfigError(faults) = Config::merge(&Flags::default(), &toml).expect_err("wrong");
            assert!(faults.iter().any(|fault| fault.contains(part)), "{part} in {faults:#?}");
        }
    }

    #[test]
    fn the_secret_of_game_servers_is_kept() {
        let text = "0123456789abcdef0123456789abcdef";
        let toml = format!("server_token = '{text}'\n[[world]]\nname = 'a'\n[[world]]\nname = 'b'");
        let config = Config::merge(&Flags::default(), &toml).expect("right");
        assert!(config.worlds.iter().all(|world| world.role(Some(text)) == Role::Server));
        assert!(!config.to_toml().contains(text) && !format!("{config:?}").contains(text));
        assert!(Config::merge(&Flags::default(), &config.to_toml()).is_err(), "what is printed is none");
        let other = Flags { server_token: Some(Secret::new(text.replace('0', "x"))), ..Flags::default() };
        let config = Config::merge(&other, &toml).expect("right");
        assert!(config.worlds.iter().all(|world| world.role(Some(text)) == Role::Player), "the environment wins");
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        for wrong in [&text[1..], "", &long] {
            let ConfigError(faults) =
                Config::merge(&Flags::default(), &format!("server_token = '{wrong}'")).expect_err("wrong");
            assert_eq!(faults, ["server_token: must be 32 to 4096 bytes"]);
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let flags = Flags { log: Some("redis://x".into()), listen: Some("here".into()), ..Flags::default() };
        let toml = "prefix = 'A b'\n[[world]]\nname = 'a'\nradius = 500.0\nspeed = 0.0\nrefused_moves = 61\n[[world]]\nname = 'a'\nmin = [9.0, 0.0, 0.0]\nmax = [1.0, 1.0, 99999.0]";
        let ConfigError(faults) = Config::merge(&flags, toml).expect_err("wrong");
        for part in
            ["listen", "log", "prefix", "radius", "speed", "refused_moves", "declared twice", "below max", "16384"]
        {
            assert!(faults.iter().any(|fault| fault.contains(part)), "{part} in {faults:#?}");
        }
        let ConfigError(faults) = Config::merge(&flags, "listne = 'x'").expect_err("wrong");
        assert!(faults.len() == 3 && faults[0].contains("listne"), "{faults:#?}");
        let nonsense = Flags { log: Some("kafka://nonsense".into()), ..Flags::default() };
        assert!(Config::merge(&nonsense, "").expect_err("no port").to_string().contains("kafka://nonsense"));
        assert!(Config::merge(&Flags::default(), "listne = 'x'").expect_err("wrong").to_string().contains("listne"));
    }
}
