//! The avatars whose sessions this gateway holds: it is their only writer. Numbers their samples, decides in which
//! partition they are held, and what has to be written when: keyframes, handovers, the leave.

use std::sync::Arc;

use crate::codec::message::{AppState, Id};
use crate::codec::record::{Note, Sample};
use crate::limits::{EXPIRY_US, HANDOVER_REPEATS, HANDOVERS_MAX, KEYFRAME_US, RADIUS_M};
use crate::space::{Grid, Pos, Region};

/// A partition that the avatar has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handover {
    from: u16,
    repeats: u8,
    until_us: u64,
}

/// An admitted position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// When, µs on our clock.
    pub time_us: u64,
    /// Where.
    pub pos: Pos,
    /// Facing.
    pub yaw: u8,
    /// Application state.
    pub state: AppState,
    /// Nobody saw the way there: draw no line to it.
    pub jumped: bool,
}

/// One avatar of this gateway.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Its session.
    pub session: Id,
    /// Its session's user.
    pub user: Id,
    /// Which opening of its session this is; samples are counted within it.
    pub incarnation: u64,
    /// The number of whoever asked for that.
    pub opener: Id,
    /// The client is known to have the answer.
    pub confirmed: bool,
    /// The client has said where it is, since this opening.
    pub is_placed: bool,
    /// How far its viewer sees, metres.
    pub radius_m: f64,
    /// When its newest sample was queued for the log; `None` when nothing waits.
    pub queued_us: Option<u64>,
    entity: Id,
    profile: Arc<str>,
    sequence: u64,
    at: Option<(Place, Region, u16)>,
    keyframe_us: u64,
    /// The next flush writes it whole. (Not told by time: a flush may come late.)
    whole_due: bool,
    handovers: Vec<Handover>,
    linger_until_us: Option<u64>,
    /// It has jumped since the last flush.
    jumped: bool,
}

impl Owned {
    /// An avatar without a place.
    #[must_use]
    pub fn new(entity: Id, session: Id, profile: Arc<str>) -> Owned {
        Owned {
            session,
            user: session,
            incarnation: 0,
            opener: session,
            confirmed: false,
            is_placed: false,
            radius_m: RADIUS_M,
            queued_us: None,
            entity,
            profile,
            sequence: 0,
            at: None,
            keyframe_us: 0,
            whole_due: false,
            handovers: Vec::new(),
            linger_until_us: None,
            jumped: false,
        }
    }

    /// Goes on as another opening of its session: what lingered stays where it is, and samples are counted anew.
    pub fn reopen(&mut self, incarnation: u64, opener: Id, profile: Arc<str>, now_us: u64) {
        (self.incarnation, self.opener) = (incarnation, opener);
        (self.confirmed, self.is_placed) = (false, false);
        (self.sequence, self.linger_until_us) = (0, None);
        self.set_profile(profile, now_us);
    }

    /// Where it is and since when, µs, if it has a place.
    #[must_use]
    pub fn place(&self) -> Option<(Pos, u64)> {
        self.at.map(|(place, _, _)| (place.pos, place.time_us))
    }

    /// Whether its socket is gone.
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        self.linger_until_us.is_some()
    }

    /// Where it is, if it has a place.
    #[must_use]
    pub fn pos(&self) -> Option<Pos> {
        self.at.map(|(place, _, _)| place.pos)
    }

    /// Where it is and how it faces, if it has a place.
    #[must_use]
    pub fn stance(&self) -> Option<(Pos, u8)> {
        self.at.map(|(place, _, _)| (place.pos, place.yaw))
    }

    /// The partition it is held in.
    #[must_use]
    pub fn partition(&self) -> Option<u16> {
        self.at.map(|(_, _, partition)| partition)
    }

    /// Incarnation and number of its newest sample.
    #[must_use]
    pub fn version(&self) -> (u64, u64) {
        (self.incarnation, self.sequence)
    }

    /// Moves it. Appends the samples to fold here and now, with their partitions: its own first, then a partition just
    /// left.
    pub fn moved(&mut self, place: Place, grid: Grid, now_us: u64, out: &mut Vec<(u16, Sample)>) {
        let region = match self.at {
            Some((_, region, _)) => region.held(place.pos),
            None => Region::of(place.pos),
        };
        let partition = grid.partition(region);
        let before = self.partition();
        self.at = Some((place, region, partition));
        self.is_placed = true;
        self.jumped |= place.jumped;
        self.sequence += 1;
        if before != Some(partition) {
            (self.keyframe_us, self.whole_due) = (now_us, true);
            self.handovers.retain(|h| h.from != partition);
            if let Some(from) = before {
                if self.handovers.len() == HANDOVERS_MAX {
                    self.handovers.remove(0);
                }
                self.handovers.push(Handover { from, repeats: HANDOVER_REPEATS, until_us: now_us + EXPIRY_US });
            }
        }
        // Whole where it is new: that partition does not know the profile yet, and the log may take long to tell it.
        out.extend(self.sample(before != Some(partition)));
        if before.is_some_and(|from| from != partition) {
            out.extend(self.handover(before.unwrap_or_default()));
        }
    }

    /// Gives it another profile, told with the next flush.
    pub fn set_profile(&mut self, profile: Arc<str>, now_us: u64) {
        self.profile = profile;
        self.sequence += 1;
        (self.keyframe_us, self.whole_due) = (now_us, true);
    }

    /// Its socket is gone: repeat the keyframe until 15 s have passed, then leave.
    pub fn linger(&mut self, now_us: u64) {
        self.linger_until_us = Some(now_us + EXPIRY_US);
    }

    /// Whether it has lingered long enough.
    #[must_use]
    pub fn is_over(&self, now_us: u64) -> bool {
        self.linger_until_us.is_some_and(|until| now_us >= until)
    }

    /// Whether a keyframe is due; then it is numbered as a new sample, so that it keeps the entity from expiring.
    pub fn keyframe_due(&mut self, now_us: u64) -> bool {
        let due = self.at.is_some() && now_us >= self.keyframe_us + KEYFRAME_US;
        if due {
            self.sequence += 1;
            (self.keyframe_us, self.whole_due) = (now_us, true);
        }
        due
    }

    /// What one flush writes of it, with partitions. Returns whether the next flush must write it again.
    pub fn flush(&mut self, now_us: u64, out: &mut Vec<(u16, Sample)>) -> bool {
        let keyframe = std::mem::take(&mut self.whole_due);
        out.extend(self.sample(keyframe));
        self.jumped = false;
        self.handovers.retain(|h| now_us < h.until_us);
        for i in 0..self.handovers.len() {
            if self.handovers[i].repeats > 0 || keyframe {
                out.extend(self.handover(self.handovers[i].from));
                self.handovers[i].repeats = self.handovers[i].repeats.saturating_sub(1);
            }
        }
        self.handovers.iter().any(|h| h.repeats > 0)
    }

    /// The sample that says it leaves, for its partition and those it left lately.
    pub fn leave(&mut self) -> Vec<(u16, Sample)> {
        self.sequence += 1;
        let all = self.partition().into_iter().chain(self.handovers.iter().map(|h| h.from));
        let leave = |partition| {
            let (_, mut sample) = self.sample(false)?;
            sample.note = Note::Leave;
            Some((partition, sample))
        };
        all.filter_map(leave).collect()
    }

    /// Its newest sample as its partition gets it.
    #[must_use]
    pub fn sample(&self, keyframe: bool) -> Option<(u16, Sample)> {
        let (place, _, partition) = self.at?;
        let sample = Sample {
            entity: self.entity,
            incarnation: self.incarnation,
            sequence: self.sequence,
            time_us: place.time_us,
            pos: place.pos,
            yaw: place.yaw,
            state: place.state,
            profile: keyframe.then(|| self.profile.clone()),
            note: if self.jumped { Note::Teleport } else { Note::None },
        };
        Some((partition, sample))
    }

    fn handover(&self, from: u16) -> Option<(u16, Sample)> {
        let (partition, mut sample) = self.sample(true)?;
        sample.note = Note::Handover(partition);
        Some((from, sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MILLI_US, SECOND_US};

    const GRID: Grid = Grid { w: 4, h: 4 };

    fn moved(owned: &mut Owned, place: Place, now_us: u64) -> Vec<(u16, Sample)> {
        let mut samples = Vec::new();
        owned.moved(place, GRID, now_us, &mut samples);
        samples
    }

    fn place(x: f64, time_us: u64) -> Place {
        let pos = Pos::from_metres([x, 0.0, 0.0]).expect("finite");
        Place { time_us, pos, yaw: 0, state: AppState::default(), jumped: false }
    }

    #[test]
    fn a_jump_is_told_by_the_next_flush_and_by_no_other() {
        let mut owned = Owned::new(1, 2, "Ann".into());
        moved(&mut owned, place(0.0, 0), 0);
        moved(&mut owned, Place { jumped: true, ..place(90.0, 1) }, 1);
        moved(&mut owned, place(90.5, 2), 2);
        let mut out = Vec::new();
        owned.flush(5 * MILLI_US, &mut out);
        owned.flush(10 * MILLI_US, &mut out);
        let notes: Vec<Note> = out.iter().map(|(_, sample)| sample.note).collect();
        assert_eq!(notes, [Note::Teleport, Note::None], "the later sample is the one that is written");
    }

    #[test]
    fn a_partition_gets_to_know_the_profile_with_the_first_sample() {
        let mut owned = Owned::new(1, 2, "Ann".into());
        let profiles = |samples: Vec<(u16, Sample)>| -> Vec<(u16, bool)> {
            samples.iter().map(|(partition, sample)| (*partition, sample.profile.is_some())).collect()
        };
        assert_eq!(profiles(moved(&mut owned, place(500.0, 0), 0)), [(0, true)]);
        assert_eq!(profiles(moved(&mut owned, place(510.0, 1), 1)), [(0, false)]);
        assert_eq!(profiles(moved(&mut owned, place(520.0, 2), 2)), [(4, true), (0, true)]);
    }

    #[test]
    fn a_keyframe_is_written_however_late_the_flush_comes() {
        let mut owned = Owned::new(1, 2, "Ann".into());
        let mut out = Vec::new();
        moved(&mut owned, place(0.0, 0), 0);
        owned.flush(60 * MILLI_US, &mut out);
        assert!(owned.keyframe_due(6 * SECOND_US));
        owned.flush(6 * SECOND_US + 9 * MILLI_US, &mut out);
        owned.flush(6 * SECOND_US + 14 * MILLI_US, &mut out);
        let whole: Vec<bool> = out.iter().map(|(_, sample)| sample.profile.is_some()).collect();
        assert_eq!(whole, [true, true, false], "once each");
    }
}
