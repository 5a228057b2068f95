//! What can be under test: nearcast, and the servers that do the same job and are measured beside it. Each takes the
//! gateway's words (`serve --listen … --admin …`) and prints its `ready` line, so that all are started and measured alike.
//! To add one: a program, a row here, and a [`Dialect`] if it speaks what no other does; see `loadtest/README.md`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nearcast::codec::Encoding;

use crate::swarm::dialect::Dialect;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name on the command line, in tables and in JSON.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// What runs.
    pub program: Program,
    /// What it speaks.
    pub dialect: Dialect,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The gateway under test.
    Gateway,
    /// `nearcast-floor` beside this program, with these words.
    Floor(&'static [&'static str]),
    /// A script of `loadtest/peers`, run by Node.js.
    Node(&'static str),
}

/// The oldest Node.js that the peers run on.
const NODE_MIN: u32 = 20;

impl Server {
    /// The least that does the job.
    pub const FLOOR: Server = Server {
        name: "floor",
        about: "the least that does the job: one thread, frames by hand, each socket read once a tick",
        program: Program::Floor(&[]),
        dialect: Dialect::Packed,
    };
    /// The same, reading as servers usually do.
    pub const FLOOR_PER_MESSAGE: Server = Server {
        name: "floor-per-message",
        about: "the same, but a socket is read as soon as something came (epoll)",
        program: Program::Floor(&["--per-message"]),
        dialect: Dialect::Packed,
    };
    /// The gateway under test.
    pub const NEARCAST: Server = Server {
        name: "nearcast",
        about: "the gateway: in-memory log, MessagePack",
        program: Program::Gateway,
        dialect: Dialect::Nearcast(Encoding::MessagePack),
    };
    /// The gateway under test, in JSON.
    pub const NEARCAST_JSON: Server = Server {
        name: "nearcast-json",
        about: "the gateway: in-memory log, JSON",
        program: Program::Gateway,
        dialect: Dialect::Nearcast(Encoding::Json),
    };
    /// What hand work gets out of Node.js.
    pub const WS_PACKED: Server = Server {
        name: "ws-packed",
        about: "ws 8, records packed by hand",
        program: Program::Node("ws-packed.mjs"),
        dialect: Dialect::Packed,
    };
    /// What one writes first on Node.js.
    pub const WS_JSON: Server =
        Server { name: "ws-json", about: "ws 8, JSON", program: Program::Node("ws-json.mjs"), dialect: Dialect::Json };
    /// A framework that keeps the state of a room in step.
    pub const COLYSEUS: Server = Server {
        name: "colyseus",
        about: "Colyseus 0.18, a room with a StateView per client, int16 fields",
        program: Program::Node("colyseus.mjs"),
        dialect: Dialect::Colyseus,
    };
    /// The gateway among its peers and the floors, in the order in which they run.
    pub const COMPARED: [Server; 6] = [
        Server::FLOOR,
        Server::FLOOR_PER_MESSAGE,
        Server::NEARCAST,
        Server::WS_PACKED,
        Server::WS_JSON,
        Server::COLYSEUS,
    ];
    /// Everything that can be under test.
    pub const ALL: [Server; 7] = [
        Server::FLOOR,
        Server::FLOOR_PER_MESSAGE,
        Server::NEARCAST,
        Server::NEARCAST_JSON,
        Server::WS_PACKED,
        Server::WS_JSON,
        Server::COLYSEUS,
    ];

    /// The server of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Server> {
        let found = Server::ALL.into_iter().find(|server| server.name == name);
        found.with_context(|| format!("no server `{name}`: name one of {}", Server::ALL.map(|s| s.name).join(", ")))
    }

    /// What it is, in a line; with the version of what runs it, where that is not ours.
    #[must_use]
    pub fn about(&self) -> String {
        match self.program {
            Program::Gateway | Program::Floor(_) => self.about.to_owned(),
            Program::Node(_) => format!("{}; Node.js {}", self.about, node_version().unwrap_or_default()),
        }
    }

    /// The words that start it, up to `serve`. `gateway` is the gateway's program.
    ///
    /// # Errors
    /// When something that it needs is not there: what, and how to get it.
    pub fn words(&self, gateway: &Path) -> Result<Vec<OsString>> {
        match self.program {
            Program::Gateway => built(gateway.to_owned(), &[]),
            Program::Floor(words) => built(std::env::current_exe()?.with_file_name("nearcast-floor"), words),
            Program::Node(script) => {
                check_node().with_context(|| format!("the server `{}` needs Node.js", self.name))?;
                Ok(vec!["node".into(), peers().join(script).into()])
            }
        }
    }
}

fn built(program: PathBuf, words: &[&str]) -> Result<Vec<OsString>> {
    ensure!(
        program.is_file(),
        "no program at {}: build it with `cargo build --release --workspace`",
        program.display()
    );
    Ok(std::iter::once(program.into()).chain(words.iter().map(OsString::from)).collect())
}

/// Where the peers lie: in the tree that this program was built from.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn node_version() -> Result<String> {
    let output = Command::new("node").arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn check_node() -> Result<()> {
    let version = node_version().context("`node` does not run: `deploy/setup.sh peers` installs or names it")?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MIN) {
        bail!("`node --version` says {version:?}: install {NODE_MIN} or newer");
    }
    let packages = peers().join("node_modules");
    ensure!(packages.is_dir(), "no {}: run `npm ci` in its folder, as `make bench-peers` does", packages.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_name_and_what_lacks_is_named() {
        for server in Server::ALL {
            assert_eq!(Server::named(server.name).expect("listed"), server);
        }
        let error = Server::named("nobody").expect_err("not listed").to_string();
        assert!(error.contains("`nobody`") && error.contains("ws-json"), "{error}");
        let error = Server::NEARCAST.words(Path::new("/nowhere/nearcast")).expect_err("not built").to_string();
        assert!(error.contains("/nowhere/nearcast: build it"), "{error}");
    }
}
