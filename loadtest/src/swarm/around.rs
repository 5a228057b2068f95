//! How many others are near in truth: by what the swarm said, whatever came back.

use std::rc::Rc;
use std::time::Duration;

use super::Swarm;
use crate::scene::distance_m;

/// Others are counted this often: nobody crosses a radius much in that time.
const EVERY: Duration = Duration::from_millis(250);
/// Bots whose others are counted; as many as are audited in tiles, and the same ones.
const VIEWERS: usize = 50;

/// Others within one bot's radius, over the looks of a window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Looks.
    pub looks: u64,
    /// Others of all looks together.
    pub others: u64,
}

impl Around {
    /// Others at a time; 0 without a look.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.others as f64 / self.looks.max(1) as f64
    }
}

impl Swarm {
    /// Counts until the end.
    pub(super) async fn look_around(self: Rc<Self>) {
        let every = (self.bots.len() / VIEWERS).max(1);
        while !self.over.get() {
            tokio::time::sleep(EVERY).await;
            let places: Vec<Option<[f64; 3]>> = self.roster.borrow().players.iter().map(|player| player.said).collect();
            for number in (0..self.bots.len()).step_by(every) {
                let Some(others) = others(&places, number, self.plan.radius_m) else { continue };
                let around = &mut self.bots[number].borrow_mut().counts.around;
                around.looks += 1;
                around.others += others as u64;
            }
        }
    }
}

/// How many others are within the radius of one who is somewhere.
fn others(places: &[Option<[f64; 3]>], number: usize, radius_m: f64) -> Option<usize> {
    let me = places[number]?;
    let near = places.iter().flatten().filter(|place| distance_m(me, **place) <= radius_m);
    // One of them is the bot itself.
    Some(near.count() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_others_who_are_there_count() {
        let places = [Some([0.0; 3]), Some([30.0, 0.0, 40.0]), None, Some([0.0, 50.1, 0.0]), Some([0.0, 0.0, 1.0])];
        assert_eq!(others(&places, 0, 50.0), Some(2));
        assert_eq!(others(&places, 2, 50.0), None);
        assert_eq!(others(&places, 3, 0.0), Some(0));
    }
}
