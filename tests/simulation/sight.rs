//! What one viewer sees, held against what it should see: each sample shown is true and never goes back in time, who is
//! near is shown, who is not is not, each within a bound.

use std::collections::{BTreeMap, BTreeSet};

use nearcast::client::{Avatar, Mirror};
use nearcast::codec::message::Id;
use nearcast::limits::{EXPIRY_US, HYSTERESIS, MILLI_US, SECOND_US};
use nearcast::space::Pos;

use crate::bytes::Spent;
use crate::truth::{Life, Phase};

/// A margin on every distance, metres: positions are rounded, and borders are crossed 1 m late.
const MARGIN_M: f64 = 1.0;
/// After something went wrong with motion, everybody has been repeated whole by then: a keyframe, and some time.
pub const HEALED_US: u64 = 7 * SECOND_US;
/// A lost `leave` leaves a ghost for this long.
pub const EXPIRED_US: u64 = 18 * SECOND_US;
/// Longest stall, and what precedes it: an older sample than this is not under way any more.
const UNDER_WAY_US: u64 = 30 * SECOND_US;
/// How much longer who has a small budget, a slow link or a late `seen` may miss somebody, and be shown a ghost. Within
/// 100 seeds it takes 1.1 s and 0.3 s: bytes are saved up for an enter, and taken turns for with events.
const POOR_MISSING_US: u64 = 4 * SECOND_US;
const POOR_GHOST_US: u64 = 2 * SECOND_US;

/// Who says or hears something.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// The gateway's incarnation.
    pub gateway: usize,
    /// The bot.
    pub bot: usize,
    /// The bot's connection.
    pub conn: u64,
}

/// What is wrong with a view, about one entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is near and not shown.
    Missing,
    /// It is shown and not near, or gone.
    Ghost,
}

/// What the checker knows of one connection.
pub struct Viewer {
    /// Who.
    pub who: Who,
    /// Its session.
    pub session: Id,
    /// Its own avatar.
    pub entity: Id,
    /// Whose session it is, once that is known.
    pub user: Option<Id>,
    /// It has gone on as its session, or wants to: partitions of which it has said how far it was told.
    pub named: Option<BTreeSet<u16>>,
    /// How far it sees, and since when.
    pub radius: (f64, u64),
    /// Its budget suffices and its link too.
    pub well_served: bool,
    /// Its link cannot carry its budget: ticks may be skipped.
    pub slow_link: bool,
    /// It says `seen` late: so long after a state was sent at the latest.
    pub lag_us: Option<u64>,
    /// When its first and its last state were sent.
    pub states_us: Option<(u64, u64)>,
    /// It reads JSON, whose rows are larger.
    pub json: bool,
    /// It holds a whole view, since then.
    pub whole_us: Option<u64>,
    /// Since when it joins, while it does.
    pub joining_us: u64,
    /// When it connected.
    pub opened_us: u64,
    /// The newest sample and profile shown of each, ever.
    pub shown: BTreeMap<Id, (u64, usize)>,
    /// What is wrong with its view, since when.
    pub wrong: BTreeMap<Id, (Wrong, u64)>,
    /// It has reported a wrong digest on purpose.
    pub lied: bool,
    /// What was sent to it, against its budget.
    pub spent: Spent,
}

/// The sample shown is one that was admitted, byte for byte, and never older than the one before.
pub fn versions(
    viewer: &mut Viewer,
    lives: &BTreeMap<Id, Life>,
    avatar: &Avatar,
    at_us: u64,
    known: bool,
) -> Option<String> {
    let (bot, id) = (viewer.who.bot, avatar.entity);
    let Some(life) = lives.get(&id) else { return Some(format!("bot {bot} sees {id:x}, which never was")) };
    let Some(index) = life.shown(avatar) else {
        return Some(format!("bot {bot} sees {avatar:?}, which was never admitted"));
    };
    let step = life.steps[index];
    let before = viewer.shown.get(&id).map_or(0, |(key, _)| *key);
    let counter = life.oldest_like(&step, before);
    if !step.is_shown_by(avatar) {
        return Some(format!("bot {bot} sees {id:x} at {:?}, sample {counter} says {:?}", avatar.pos, step.pos));
    }
    // One that has gone on its gateway knows from the log, until it says where it is.
    let has_returned = life.unplaced || at_us < life.returned_us + 3 * SECOND_US;
    let same = life.gateway == viewer.who.gateway && !has_returned;
    // Another gateway's avatar has no profile until its first keyframe has come: never, if that gateway died.
    let known = known && !matches!(life.phase, Phase::Orphan(_) | Phase::Unsure(_));
    let unknown = (avatar.profile.is_empty() && !same && (!known || has_returned)).then_some(0);
    let Some(profile) = life.profiles.iter().position(|(_, profile)| *profile == avatar.profile).or(unknown) else {
        return Some(format!("bot {bot} sees {id:x} as {:?}, which it never was", avatar.profile));
    };
    let shown = viewer.shown.entry(id).or_insert((counter, profile));
    // Where a gateway died while somebody crossed a border, the partition they went to may lack what the other has: when that
    // has forgotten them, they are once more where they were before.
    let may_fall_back = matches!(life.phase, Phase::Orphan(_) | Phase::Unsure(_));
    if (shown.0 > counter && !may_fall_back) || (shown.1 > profile && unknown.is_none()) {
        return Some(format!("bot {bot} saw sample {} of {id:x}, and now {counter}: back in time", shown.0));
    }
    // What was said in vain is followed by what counts.
    *shown = (if step.in_vain { shown.0 } else { counter }, profile.max(shown.1));
    let next_us = life.steps.get(index + 1).map_or(u64::MAX, |next| next.at_us);
    let stale_us = at_us.saturating_sub(next_us);
    // Put back where it was: the same, unless it had gone.
    let is_newest = life.steps[index + 1..].iter().all(|step| step.is_back() || step.in_vain);
    if same && viewer.well_served && !is_newest && stale_us > 3 * SECOND_US {
        return Some(format!("bot {bot} is told a sample of {id:x} that is {stale_us} us behind"));
    }
    None
}

/// What one viewer should see at the moment of one tick.
pub struct Sight {
    /// When the tick was frozen.
    pub at_us: u64,
    /// Where the viewer was.
    pub me: Pos,
    /// Bounds for avatars of the same and of another gateway.
    pub same_us: u64,
    /// See `same_us`.
    pub other_us: u64,
    /// When something was last wrong with the log.
    pub bad_us: u64,
    /// How often append times have jumped.
    pub clock_steps: u64,
    /// By that sessions may be over before their time.
    pub may_forget: bool,
    /// Nobody is crowded out, however small the budget.
    pub all_fit: bool,
    /// The radius has been the same for a while.
    pub settled: bool,
    /// The view has been whole for a while.
    pub established: bool,
    /// A full view, just come to its end, knows nothing of who was held.
    pub hysteresis: f64,
}

impl Sight {
    /// What is wrong about one avatar for longer than it may be; `before`: it was shown until this state.
    pub fn judge(&self, viewer: &mut Viewer, id: Id, life: &Life, mirror: &Mirror, before: bool) -> Option<String> {
        let at_us = self.at_us;
        if life.unplaced {
            viewer.wrong.remove(&id);
            return None;
        }
        let radius_m = viewer.radius.0;
        let distance_m = life.at(at_us).map(|step| step.pos.distance_m(self.me));
        let inside = distance_m.is_some_and(|d| d < radius_m - MARGIN_M);
        let outside = distance_m.is_none_or(|d| d > radius_m * HYSTERESIS + MARGIN_M);
        // How long the avatar must be shown, and from when on it must not.
        let (until_us, gone_us) = match life.phase {
            Phase::Live => (u64::MAX, u64::MAX),
            Phase::Left(since) => (since, since),
            Phase::Unsure(since) => (since, since + 20 * SECOND_US),
            // Where one gateway has forgotten a session and the other has not, the opening is refused by the one and lets the
            // other give it up: it expires.
            Phase::Lingering(since) if self.may_forget => (since + 13 * SECOND_US, since + 32 * SECOND_US),
            Phase::Lingering(since) => (since + 13 * SECOND_US, since + 17 * SECOND_US),
            Phase::Orphan(since) => {
                // A clock step and a stall count as 2 s each of the 15 s after its last sample.
                let steps = self.clock_steps + u64::from(since < self.bad_us + EXPIRY_US);
                // And one that goes back loses a beat.
                let last_us = since + 17 * SECOND_US + 2 * SECOND_US * self.clock_steps;
                (since + (9 * SECOND_US).saturating_sub(2 * SECOND_US * steps), last_us)
            }
        };
        // Whom no gateway has in its hands, all alike know from the log.
        let same = life.gateway == viewer.who.gateway && !matches!(life.phase, Phase::Orphan(_) | Phase::Unsure(_));
        let shown = mirror.find(id).is_some();
        let entitled = inside && at_us < until_us;
        let wrong = if entitled && !shown && self.settled && (viewer.well_served || self.all_fit) {
            Some(Wrong::Missing)
        } else if shown && self.settled && (outside || at_us > gone_us) {
            Some(Wrong::Ghost)
        } else {
            None
        };
        let is_back = at_us < life.returned_us + self.other_us + 3 * SECOND_US;
        let judged = self.established && self.settled && viewer.well_served && at_us < until_us && !is_back;
        if before && !shown && judged && self.must_be_near(radius_m, life, same) {
            let bot = viewer.who.bot;
            return Some(format!(
                "bot {bot}: {id:x} ({:?}, same gateway: {same}) was removed and is near: {:?} m, me {:?}",
                life.phase, distance_m, self.me
            ));
        }
        let Some(wrong) = wrong else {
            viewer.wrong.remove(&id);
            return None;
        };
        let (kind, since_us) = *viewer
            .wrong
            .entry(id)
            .and_modify(|w| {
                if w.0 != wrong {
                    *w = (wrong, at_us)
                }
            })
            .or_insert((wrong, at_us));
        let healed_us = match kind {
            // Events that waited for the log come first, and use the budget up.
            _ if same => self.bad_us + 5 * SECOND_US,
            Wrong::Missing => self.bad_us + HEALED_US,
            // A `leave` may have been lost.
            Wrong::Ghost => self.bad_us + EXPIRED_US + 2 * SECOND_US,
        };
        let bound_us = if same { self.same_us } else { self.other_us };
        let slow_us = match kind {
            _ if viewer.well_served => 0,
            Wrong::Missing => POOR_MISSING_US,
            Wrong::Ghost => POOR_GHOST_US,
        };
        // Who goes on is somebody else's to show from then on.
        if at_us > since_us.max(healed_us).max(life.returned_us) + bound_us + slow_us {
            let bot = viewer.who.bot;
            let what = format!(
                "bot {bot}: {kind:?} {id:x} ({:?}, same gateway: {same}) at {distance_m:?} m of {radius_m:.1} for {} ms",
                life.phase,
                (at_us - since_us) / MILLI_US
            );
            return Some(what);
        }
        None
    }

    /// Wherever its gateway may think the avatar is, it is near: so it must not be removed, whatever the log does.
    fn must_be_near(&self, radius_m: f64, life: &Life, same: bool) -> bool {
        let back_us = match same {
            true => 300 * MILLI_US,
            false if self.at_us > self.bad_us + HEALED_US => self.other_us,
            false => UNDER_WAY_US,
        };
        let near = |pos: Pos| pos.distance_m(self.me) < radius_m * self.hysteresis - 2.0 * MARGIN_M;
        life.all_within(self.at_us.saturating_sub(back_us), self.at_us, near)
    }
}
