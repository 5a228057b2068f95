//! How streams are numbered and named: the partitions of blocks, behind them the world as a whole, and behind that what users
//! are told, by partition of `direct`. [`Tick::events`](crate::region::Tick::events) is in this order, and clients hear the
//! names.

use super::tells::lane_of;
use crate::codec::message::Id;
use crate::limits::DIRECT_PARTITIONS;
use crate::log::{Source, Topic};
use crate::region::world::SOCIAL;
use crate::space::{Grid, Region};

/// The stream of what concerns the whole world.
pub const WORLD: &str = "world";
/// The streams of what users are told, before their number.
pub const USER: &str = "user/";
/// How partitions are named to clients, before their number.
pub const PARTITION: &str = "partition/";

/// The world as a whole.
#[must_use]
pub fn whole(grid: Grid) -> u16 {
    grid.partitions()
}

/// What a user is told.
#[must_use]
pub fn lane(user: Id, grid: Grid) -> u16 {
    whole(grid) + 1 + lane_of(user)
}

/// Where in the log its events stand.
#[must_use]
pub fn source(partition: u16, grid: Grid) -> Source {
    match partition.checked_sub(whole(grid)) {
        None => Source { topic: Topic::Events, partition },
        Some(0) => SOCIAL,
        Some(lane) => Source { topic: Topic::Direct, partition: lane - 1 },
    }
}

/// The number of what a client names: a partition, a region, the world, or a user; `None` if there is no such stream.
#[must_use]
pub fn named(stream: &str, grid: Grid) -> Option<u16> {
    match (stream.strip_prefix(PARTITION), stream.strip_prefix(USER)) {
        (Some(number), _) => number.parse().ok().filter(|number| *number <= whole(grid) + DIRECT_PARTITIONS),
        (None, Some(user)) => user.parse().ok().map(|user| lane(user, grid)),
        (None, None) if stream == WORLD => Some(whole(grid)),
        (None, None) => Region::from_stream(stream).map(|region| grid.partition(region)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_first_then_the_world_then_users() {
        let grid = Grid { w: 4, h: 4 };
        let sources = [3, 16, 19].map(|partition| source(partition, grid));
        let events = Source { topic: Topic::Events, partition: 3 };
        assert_eq!(sources, [events, SOCIAL, Source { topic: Topic::Direct, partition: 2 }]);
        let user = Id::from(DIRECT_PARTITIONS) + 2;
        for name in ["partition/19", &format!("user/{user}")] {
            assert_eq!(named(name, grid), Some(19), "{name}");
        }
        assert_eq!((named(WORLD, grid), named("partition/16", grid)), (Some(16), Some(16)));
        let last = 16 + DIRECT_PARTITIONS;
        assert_eq!(named(&format!("partition/{last}"), grid), Some(last));
        assert_eq!(named(&format!("partition/{}", last + 1), grid), None);
    }
}
