//! What a world is: declared in the configuration, checked there, read by everybody. And what its clients may do in it: one
//! column of limits for players, one for game servers.

use serde::{Deserialize, Serialize};

use crate::limits::{
    ACTS_BURST, ACTS_PER_S, BUDGET_BYTES_PER_S, CHANGES_BURST, CHANGES_PER_S, CONTROLS_BURST, CONTROLS_PER_S,
    CROSSINGS_BURST, CROSSINGS_PER_S, INBOUND_BYTES_BURST, INBOUND_BYTES_PER_S, MESSAGES_BURST, MESSAGES_PER_S,
    MOVES_BURST, MOVES_PER_S, OPEN_ACTS_MAX, OPEN_ACTS_MAX_SERVER, RADIUS_M, REACH_M, REFUSALS_WINDOW_US,
    REFUSED_MOVES_MAX, REGION_OBJECT_BYTES_MAX, REGION_OBJECTS_MAX, SECOND_US, SERVER_FACTOR, SESSION_OBJECTS_MAX,
};
use crate::space::{Grid, Pos};

/// A world, as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldSettings {
    /// Its name: `a-z`, digits, `-` and `_`.
    pub name: String,
    /// West, bottom, north corner, metres.
    pub min: [f64; 3],
    /// East, top, south corner, metres.
    pub max: [f64; 3],
    /// Highest speed, m/s.
    pub speed: f64,
    /// What becomes of players who break the rules of movement.
    pub movement: Enforcement,
    /// Seconds of the last minute in which a move was too fast that end a session; 1 to 60.
    pub refused_moves: u32,
    /// Radius of interest of a client that asks for none, metres.
    pub radius: f64,
    /// Budget of a client that asks for none, bytes per second.
    pub budget: u32,
    /// How its regions map to partitions.
    pub grid: Grid,
    /// What a player may do.
    pub limits: Limits,
    /// What a game server may do.
    pub server_limits: Limits,
    /// What makes a client a game server; without it there are none.
    pub server_token: Option<Secret>,
    /// What decides over commands, as this gateway was told; in force is what the log has, where that is of a higher revision.
    pub rules: Rules,
}

impl WorldSettings {
    /// The built-in world: 4 km square, people on foot.
    #[must_use]
    pub fn plaza() -> WorldSettings {
        WorldSettings {
            name: "plaza".into(),
            min: [-2_048.0, -64.0, -2_048.0],
            max: [2_048.0, 448.0, 2_048.0],
            speed: 10.0,
            movement: Enforcement::Enforce,
            refused_moves: REFUSED_MOVES_MAX,
            radius: RADIUS_M,
            budget: BUDGET_BYTES_PER_S,
            grid: Grid { w: 4, h: 4 },
            limits: Limits::PLAYER,
            server_limits: Limits::SERVER,
            server_token: None,
            rules: Rules::default(),
        }
    }

    /// Whether a position, as rounded, lies within the bounds.
    #[must_use]
    pub fn contains(&self, pos: Pos) -> bool {
        let at = pos.metres();
        (0..3).all(|axis| at[axis] >= self.min[axis] && at[axis] <= self.max[axis])
    }

    /// Who shows this token.
    #[must_use]
    pub fn role(&self, token: Option<&str>) -> Role {
        match (&self.server_token, token) {
            (Some(secret), Some(token)) if secret.is(token) => Role::Server,
            (Some(_) | None, Some(_) | None) => Role::Player,
        }
    }

    /// What somebody may do.
    #[must_use]
    pub fn limits_of(&self, role: Role) -> &Limits {
        match role {
            Role::Player => &self.limits,
            Role::Server => &self.server_limits,
        }
    }

    /// What becomes of somebody who breaks the rules of movement. Game servers move what they like: they make the rules.
    #[must_use]
    pub fn enforcement_of(&self, role: Role) -> Enforcement {
        match role {
            Role::Player => self.movement,
            Role::Server => Enforcement::Off,
        }
    }
}

/// What decides over commands beside the commands. It stands in the log itself, so that all gateways go by the same from the
/// same record on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The higher counts; that which comes with the gateway, without any record, is 0.
    pub revision: u32,
    /// Objects in one partition that one session has made, and that it holds; not of game servers.
    pub session_objects: u16,
    /// Objects of one region.
    pub region_objects: u16,
    /// Bytes of the objects of one region.
    pub region_bytes: u32,
    /// How far an avatar reaches, cm.
    pub reach_cm: u16,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            revision: 0,
            session_objects: SESSION_OBJECTS_MAX as u16,
            region_objects: REGION_OBJECTS_MAX as u16,
            region_bytes: REGION_OBJECT_BYTES_MAX as u32,
            reach_cm: (REACH_M * 100.0) as u16,
        }
    }
}

/// Who a client is to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Anybody.
    #[default]
    Player,
    /// Who knows the secret of the settings.
    Server,
}

/// What becomes of a move that is too fast and of an action from too far. That a place is a finite one within bounds is no
/// such rule: what follows relies on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// It is refused.
    #[default]
    Enforce,
    /// It is admitted and counted, to see whom a rule would meet before it is enforced.
    Shadow,
    /// It is admitted.
    Off,
}

/// What one client may do. The names are those of the settings file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Messages per second.
    pub messages_per_s: u32,
    /// And at once.
    pub messages_burst: u32,
    /// Bytes of messages per second.
    pub bytes_per_s: u32,
    /// And at once; at least as many as the largest message has.
    pub bytes_burst: u32,
    /// Moves per second; the newest of what is above counts at the next tick.
    pub moves_per_s: u32,
    /// And at once.
    pub moves_burst: u32,
    /// Actions per second.
    pub acts_per_s: u32,
    /// And at once.
    pub acts_burst: u32,
    /// Changes of profile and view per second.
    pub changes_per_s: u32,
    /// And at once.
    pub changes_burst: u32,
    /// Regions entered per second.
    pub crossings_per_s: u32,
    /// And at once.
    pub crossings_burst: u32,
    /// WebSocket pings and pongs per second.
    pub controls_per_s: u32,
    /// And at once.
    pub controls_burst: u32,
    /// Actions without an answer: the newest number less the lowest open one.
    pub open_acts: u64,
}

impl Limits {
    /// Of a player, where the settings say nothing else.
    pub const PLAYER: Limits = Limits {
        messages_per_s: MESSAGES_PER_S,
        messages_burst: MESSAGES_BURST,
        bytes_per_s: INBOUND_BYTES_PER_S,
        bytes_burst: INBOUND_BYTES_BURST,
        moves_per_s: MOVES_PER_S,
        moves_burst: MOVES_BURST,
        acts_per_s: ACTS_PER_S,
        acts_burst: ACTS_BURST,
        changes_per_s: CHANGES_PER_S,
        changes_burst: CHANGES_BURST,
        crossings_per_s: CROSSINGS_PER_S,
        crossings_burst: CROSSINGS_BURST,
        controls_per_s: CONTROLS_PER_S,
        controls_burst: CONTROLS_BURST,
        open_acts: OPEN_ACTS_MAX,
    };

    /// Of a game server, where the settings say nothing else.
    pub const SERVER: Limits = Limits {
        messages_per_s: MESSAGES_PER_S * SERVER_FACTOR,
        messages_burst: MESSAGES_BURST * SERVER_FACTOR,
        bytes_per_s: INBOUND_BYTES_PER_S * SERVER_FACTOR,
        bytes_burst: INBOUND_BYTES_BURST * SERVER_FACTOR,
        moves_per_s: MOVES_PER_S * SERVER_FACTOR,
        moves_burst: MOVES_BURST * SERVER_FACTOR,
        acts_per_s: ACTS_PER_S * SERVER_FACTOR,
        acts_burst: ACTS_BURST * SERVER_FACTOR,
        changes_per_s: CHANGES_PER_S * SERVER_FACTOR,
        changes_burst: CHANGES_BURST * SERVER_FACTOR,
        crossings_per_s: CROSSINGS_PER_S * SERVER_FACTOR,
        crossings_burst: CROSSINGS_BURST * SERVER_FACTOR,
        controls_per_s: CONTROLS_PER_S * SERVER_FACTOR,
        controls_burst: CONTROLS_BURST * SERVER_FACTOR,
        open_acts: OPEN_ACTS_MAX_SERVER,
    };

    /// Messages above a rate within ten seconds that end a session: as many as may come in that time.
    #[must_use]
    pub fn refusals_max(&self) -> u32 {
        self.messages_per_s.saturating_mul((REFUSALS_WINDOW_US / SECOND_US) as u32)
    }
}

/// A secret text: compared in constant time, and shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// Its length in bytes, which is none.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether a text is the same. How long that takes says nothing of where they differ.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let bytes = self.0.bytes().zip(text.bytes());
        let differ = bytes.fold(0, |differ, (own, other)| std::hint::black_box(differ | (own ^ other)));
        self.0.len() == text.len() && differ == 0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_makes_a_game_server() {
        let text = "a secret of at least thirty-two bytes";
        let world = WorldSettings { server_token: Some(Secret::new(text.into())), ..WorldSettings::plaza() };
        assert_eq!(world.role(Some(text)), Role::Server);
        let cut = &text[..text.len() - 1];
        for wrong in [None, Some(""), Some(cut), Some(&text.replace('b', "c")), Some(&(text.to_owned() + "x"))] {
            assert_eq!(world.role(wrong), Role::Player, "{wrong:?}");
        }
        assert_eq!(WorldSettings::plaza().role(Some("")), Role::Player, "without a secret there are none");
        assert!(!format!("{world:?}").contains("thirty"), "it is shown nowhere");
    }
}
