//! What a world is: declared in the configuration, checked there, read by everybody.

use crate::limits::{BUDGET_BYTES_PER_S, RADIUS_M};
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
    /// Radius of interest of a client that asks for none, metres.
    pub radius: f64,
    /// Budget of a client that asks for none, bytes per second.
    pub budget: u32,
    /// How its regions map to partitions.
    pub grid: Grid,
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
            radius: RADIUS_M,
            budget: BUDGET_BYTES_PER_S,
            grid: Grid { w: 4, h: 4 },
        }
    }

    /// Whether a position, as rounded, lies within the bounds.
    #[must_use]
    pub fn contains(&self, pos: Pos) -> bool {
        let at = pos.metres();
        (0..3).all(|axis| at[axis] >= self.min[axis] && at[axis] <= self.max[axis])
    }
}
