//! Positions, regions, blocks and partitions: where in the world something is, and which partition that makes.
//! Right-handed, y up, metres outside, centimetres inside. Knows nothing of entities.

use crate::limits::{BLOCK_REGIONS, BORDER_SLACK_M, REGION_M};

/// A position in whole centimetres; the resolution of log and wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pos {
    /// East, cm.
    pub x: i32,
    /// Up, cm.
    pub y: i32,
    /// South (towards the viewer, right-handed), cm.
    pub z: i32,
}

impl Pos {
    /// Rounds metres to centimetres. `None` unless all three are finite and fit.
    #[must_use]
    pub fn from_metres(metres: [f64; 3]) -> Option<Pos> {
        let cm = |m: f64| {
            let cm = (m * 100.0).round();
            (cm.is_finite() && cm.abs() <= f64::from(i32::MAX / 4)).then_some(cm as i32)
        };
        Some(Pos { x: cm(metres[0])?, y: cm(metres[1])?, z: cm(metres[2])? })
    }

    /// The position in metres.
    #[must_use]
    pub fn metres(self) -> [f64; 3] {
        [f64::from(self.x) / 100.0, f64::from(self.y) / 100.0, f64::from(self.z) / 100.0]
    }

    /// Square of the distance, cm². Exact: positions stay within ±2^29 cm, so nothing wraps.
    #[must_use]
    #[inline]
    pub fn distance2(self, other: Pos) -> u64 {
        let axis = |a: i32, b: i32| {
            let d = i64::from(a).wrapping_sub(i64::from(b));
            d.wrapping_mul(d) as u64
        };
        axis(self.x, other.x).wrapping_add(axis(self.y, other.y)).wrapping_add(axis(self.z, other.z))
    }

    /// Distance in metres.
    #[must_use]
    pub fn distance_m(self, other: Pos) -> f64 {
        (self.distance2(other) as f64).sqrt() / 100.0
    }
}

/// A direction in 1/256 turn; 0 looks along +x, a quarter turn (64) along −z.
#[must_use]
pub fn yaw_from_degrees(degrees: f64) -> Option<u8> {
    degrees.is_finite().then(|| ((degrees.rem_euclid(360.0) / 360.0 * 256.0).round() as u32 % 256) as u8)
}

/// The middle of a 1/256 turn, degrees in 0..360.
#[must_use]
pub fn yaw_degrees(yaw: u8) -> f64 {
    f64::from(yaw) * 360.0 / 256.0
}

/// A square cell of 128 m, by its index along x and z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    /// Index along x: metres / 128, rounded down.
    pub x: i32,
    /// Index along z.
    pub z: i32,
}

const REGION_CM: i32 = (REGION_M * 100.0) as i32;
const SLACK_CM: i32 = (BORDER_SLACK_M * 100.0) as i32;

impl Region {
    /// The region that covers a position.
    #[must_use]
    pub fn of(pos: Pos) -> Region {
        Region { x: pos.x.div_euclid(REGION_CM), z: pos.z.div_euclid(REGION_CM) }
    }

    /// The region an entity is held in after moving to `pos`: the old one until it is left by more than 1 m.
    #[must_use]
    pub fn held(self, pos: Pos) -> Region {
        let inside = |index: i32, at: i32| {
            let low = index * REGION_CM;
            at >= low - SLACK_CM && at < low + REGION_CM + SLACK_CM
        };
        if inside(self.x, pos.x) && inside(self.z, pos.z) { self } else { Region::of(pos) }
    }

    /// All regions that a square of half side `reach` around `pos` touches, in order.
    pub fn around(pos: Pos, reach_m: f64) -> impl Iterator<Item = Region> {
        let reach = (reach_m * 100.0).ceil() as i32;
        let range = move |at: i32| (at - reach).div_euclid(REGION_CM)..=(at + reach).div_euclid(REGION_CM);
        range(pos.x).flat_map(move |x| range(pos.z).map(move |z| Region { x, z }))
    }

    /// The same as columns along z: the first and the last region of each, in order.
    pub fn columns(pos: Pos, reach_m: f64) -> impl Iterator<Item = (Region, Region)> {
        Region::between(Region::corners(pos, reach_m))
    }

    /// The columns between a first and a last region.
    pub fn between((first, last): (Region, Region)) -> impl Iterator<Item = (Region, Region)> {
        (first.x..=last.x).map(move |x| (Region { x, ..first }, Region { x, ..last }))
    }

    /// The first and the last of them.
    fn corners(pos: Pos, reach_m: f64) -> (Region, Region) {
        let reach = (reach_m * 100.0).ceil() as i32;
        let corner = |by: i32| Region { x: (pos.x + by).div_euclid(REGION_CM), z: (pos.z + by).div_euclid(REGION_CM) };
        (corner(-reach), corner(reach))
    }

    /// The stream name of the region's events.
    #[must_use]
    pub fn stream(self) -> String {
        format!("region/{}/{}", self.x, self.z)
    }

    /// The region whose stream has this name; worlds have none beyond 16 bits.
    #[must_use]
    pub fn from_stream(stream: &str) -> Option<Region> {
        let (x, z) = stream.strip_prefix("region/")?.split_once('/')?;
        Some(Region { x: x.parse::<i16>().ok()?.into(), z: z.parse::<i16>().ok()?.into() })
    }
}

/// How a world's regions map to the partitions of its topics; fixed for the world's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Partitions along x.
    pub w: u16,
    /// Partitions along z.
    pub h: u16,
}

impl Grid {
    /// Number of partitions of each topic of the world.
    #[must_use]
    pub fn partitions(self) -> u16 {
        self.w * self.h
    }

    /// The partition of a region: blocks of 8 × 8 regions, centred on the origin, laid out Euclidean.
    #[must_use]
    pub fn partition(self, region: Region) -> u16 {
        let block = |i: i32| (i + BLOCK_REGIONS / 2).div_euclid(BLOCK_REGIONS);
        let x = block(region.x).rem_euclid(i32::from(self.w)) as u16;
        let z = block(region.z).rem_euclid(i32::from(self.h)) as u16;
        x * self.h + z
    }

    /// The partitions that a square of half side `reach` around `pos` touches, sorted, each once.
    #[must_use]
    pub fn partitions_around(self, pos: Pos, reach_m: f64) -> Vec<u16> {
        let mut all: Vec<u16> = Region::around(pos, reach_m).map(|r| self.partition(r)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The partitions around somebody who moves: found anew only where others come into reach.
#[derive(Clone, Debug, Default)]
pub struct Around {
    corners: Option<(Region, Region)>,
    streams: Vec<u16>,
}

impl Around {
    /// Goes on to a place. A world keeps its grid.
    pub fn go(&mut self, grid: Grid, pos: Pos, reach_m: f64) {
        let corners = Some(Region::corners(pos, reach_m));
        if self.corners != corners {
            let mut streams = grid.partitions_around(pos, reach_m);
            streams.push(grid.partitions());
            *self = Around { corners, streams };
        }
    }

    /// The first and the last region around; `None` before the first place.
    #[must_use]
    pub fn corners(&self) -> Option<(Region, Region)> {
        self.corners
    }

    /// Whose commands are heard of here: the partitions of [`Grid::partitions_around`], and behind them the world as a
    /// whole, whose number is that of all partitions. None before the first place.
    #[must_use]
    pub fn streams(&self) -> &[u16] {
        &self.streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, z: f64) -> Pos {
        Pos::from_metres([x, 0.0, z]).expect("finite")
    }

    #[test]
    fn a_stream_names_its_region() {
        for region in [Region { x: 0, z: -1 }, Region { x: -128, z: 127 }] {
            assert_eq!(Region::from_stream(&region.stream()), Some(region));
        }
        for wrong in ["region/1", "region/1/2/3", "region/1.5/0", "region/40000/0", "world/1/2"] {
            assert_eq!(Region::from_stream(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_origin_is_in_the_middle_of_a_block() {
        let grid = Grid { w: 4, h: 4 };
        let partition = |x, z| grid.partition(Region::of(at(x, z)));
        for (x, z) in [(-511.9, -511.9), (0.0, 0.0), (511.9, 511.9)] {
            assert_eq!(partition(x, z), 0, "{x} {z}");
        }
        assert_eq!(partition(512.0, 0.0), 4);
        assert_eq!(partition(0.0, 512.0), 1);
        assert_eq!(partition(-512.1, 0.0), 12, "blocks wrap around, Euclidean");
        assert_eq!(partition(512.0 + 4096.0, 0.0), 4, "and repeat every w blocks");
    }

    #[test]
    fn a_border_is_crossed_one_metre_beyond_it() {
        let west = Region::of(at(0.0, 0.0));
        assert_eq!(west.held(at(128.9, 0.0)), west);
        assert_eq!(west.held(at(129.1, 0.0)), Region { x: 1, z: 0 });
        assert_eq!(Region { x: 1, z: 0 }.held(at(127.1, 0.0)), Region { x: 1, z: 0 });
    }

    #[test]
    fn metres_that_are_no_place_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39, -1e300] {
            assert_eq!(Pos::from_metres([0.0, bad, 0.0]), None, "{bad}");
        }
        assert_eq!(
            Pos::from_metres([-0.0, 1.005, 2.0]),
            Some(Pos { x: 0, y: 100, z: 200 }),
            "1.005 is 1.00499… in binary"
        );
    }

    #[test]
    fn yaw_wraps() {
        assert_eq!(yaw_from_degrees(-90.0), Some(192));
        assert_eq!(yaw_from_degrees(359.9), Some(0));
        assert_eq!(yaw_from_degrees(f64::NAN), None);
        assert!((yaw_degrees(64) - 90.0).abs() < 1e-9);
    }
}
