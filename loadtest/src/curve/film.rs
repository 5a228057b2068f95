//! What a crowd does, tick by tick, and who looks on. Made once; all points of a curve see the same.

use nearcast::limits::TICK_US;
use nearcast::space::Pos;

use crate::crowd::Crowd;
use crate::scene::{Agent, Sample, distance_m};

/// Ticks until everybody is in view, even of a small budget, and nothing is counted: 15 s.
pub const WARM_TICKS: usize = 300;
/// Ticks that are counted: 15 s.
pub const TICKS: usize = 300;
/// Looked through at most so many eyes: enough for a tail, few enough to be quick.
const VIEWERS: usize = 25;

/// What a crowd does: the truth that clients are to see.
#[derive(Clone, Debug)]
pub struct Film {
    /// By tick and person.
    steps: Vec<Vec<Sample>>,
    /// Who looks on, evenly spread over the crowd.
    pub viewers: Vec<usize>,
    /// How far they see, metres.
    pub radius_m: f64,
}

impl Film {
    /// Films a crowd at 20 Hz: as bots play it, who hold each recorded row until the next, or moving evenly between rows.
    #[must_use]
    pub fn of(crowd: &Crowd, radius_m: f64, smooth: bool) -> Film {
        let tick_ms = TICK_US as f64 / 1e3;
        let at = |agent: &Agent, t_ms: f64| if smooth { between(agent, t_ms) } else { agent.at(t_ms) };
        let step = |tick: usize| crowd.agents.iter().map(|agent| at(agent, tick as f64 * tick_ms)).collect();
        Film::new((0..WARM_TICKS + TICKS).map(step).collect(), radius_m)
    }

    /// A film of these samples, by tick and person.
    #[must_use]
    pub fn new(steps: Vec<Vec<Sample>>, radius_m: f64) -> Film {
        let people = steps.first().map_or(0, Vec::len);
        let viewers = (0..people).step_by(people.div_ceil(VIEWERS).max(1)).collect();
        Film { steps, viewers, radius_m }
    }

    /// How long it is.
    #[must_use]
    pub fn ticks(&self) -> usize {
        self.steps.len()
    }

    /// Who plays in it.
    #[must_use]
    pub fn people(&self) -> usize {
        self.steps.first().map_or(0, Vec::len)
    }

    /// Where somebody is, and faces.
    #[must_use]
    pub fn sample(&self, tick: usize, person: usize) -> Sample {
        self.steps[tick][person]
    }

    /// Where somebody is, rounded to whole units of so many centimetres: a [`Pos`] that counts units, not centimetres.
    #[must_use]
    pub fn pos(&self, tick: usize, person: usize, unit_cm: f64) -> Pos {
        let in_units = self.steps[tick][person].pos.map(|metres| metres / unit_cm);
        Pos::from_metres(in_units).expect("traces stay within the world")
    }

    /// Who else is within this radius of somebody.
    pub fn within(&self, tick: usize, viewer: usize, radius_m: f64) -> impl Iterator<Item = usize> {
        let (all, at) = (&self.steps[tick], self.steps[tick][viewer].pos);
        let near = move |person: &usize| *person != viewer && distance_m(all[*person].pos, at) <= radius_m;
        (0..all.len()).filter(near)
    }
}

/// Where somebody is who moves evenly from row to row. A row that holds for long is a stand: they set off late.
fn between(agent: &Agent, t_ms: f64) -> Sample {
    const STEP_MS: f64 = 100.0;
    let (now, next_ms) = (agent.at(t_ms), agent.next_change(t_ms));
    if !next_ms.is_finite() {
        return now;
    }
    let from_ms = agent.changed_at(t_ms).max(next_ms - STEP_MS);
    let share = ((t_ms - from_ms) / (next_ms - from_ms)).max(0.0);
    let next = agent.at(next_ms).pos;
    Sample { pos: std::array::from_fn(|axis| now.pos[axis] + share * (next[axis] - now.pos[axis])), ..now }
}
