//! What a bot keeps while its connection is lost, to go on as the same session and to be told what it missed; and what it
//! was told, so that nothing is told twice. Knows no socket.

use std::collections::BTreeMap;

use nearcast::codec::message::{Id, Resume, Welcome};
use nearcast::limits::RESUME_CURSORS_MAX;

/// The first wait before coming back, ms: before a random time on top.
const WAIT_MS: u64 = 200;
/// It doubles while attempts fail, up to this, ms.
const WAIT_MAX_MS: u64 = 5_000;

/// One bot's way back.
#[derive(Debug, Default)]
pub(super) struct Pass {
    token: Option<String>,
    /// Session and avatar.
    who: Option<(Id, Id)>,
    /// How far each stream has been told, and when that was told: [`RESUME_CURSORS_MAX`] at most, those that changed last.
    told: BTreeMap<String, (u64, u64)>,
    changes: u64,
    /// Attempts since the connection was lost.
    pub(super) attempts: u32,
    /// When it was lost, µs.
    pub(super) lost_us: u64,
}

/// What a `welcome` is to who had been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Come {
    /// It had not been there.
    New,
    /// The same session and avatar.
    Back,
    /// Another one, instead of this avatar.
    Changed(Id),
}

impl Pass {
    /// What `hello` says, if there is a session to go on with; `open` is the lowest number without an answer.
    pub(super) fn resume(&self, open: u64) -> Option<Resume> {
        let cursors = self.told.iter().map(|(stream, (next, _))| (stream.clone(), *next)).collect();
        Some(Resume { token: self.token.clone()?, open: Some(open), cursors })
    }

    /// Whether there is a session to go on with.
    pub(super) fn has_been_in(&self) -> bool {
        self.token.is_some()
    }

    /// It is in.
    pub(super) fn welcome(&mut self, welcome: &Welcome) -> Come {
        let now = (welcome.session, welcome.entity);
        let before = self.who.replace(now);
        (self.token, self.attempts) = (welcome.token.clone(), 0);
        match before {
            None => Come::New,
            Some(before) if welcome.resumed && before == now => Come::Back,
            Some((_, entity)) => {
                self.told.clear();
                Come::Changed(entity)
            }
        }
    }

    /// An event came. Whether it is later in its stream than all that came before.
    pub(super) fn heard(&mut self, stream: &str, offset: u64) -> bool {
        let is_later = self.told.get(stream).is_none_or(|(next, _)| offset >= *next);
        if is_later {
            self.note(stream, offset + 1);
        }
        is_later
    }

    /// All of a stream before this offset has been told, or never will be.
    pub(super) fn note(&mut self, stream: &str, next: u64) {
        self.changes += 1;
        self.told.insert(stream.to_owned(), (next, self.changes));
        if self.told.len() > RESUME_CURSORS_MAX {
            let oldest = self.told.iter().min_by_key(|(_, (_, at))| *at).map(|(stream, _)| stream.clone());
            oldest.map(|stream| self.told.remove(&stream));
        }
    }

    /// How long to wait before the next attempt, ms; `after_ms` is what the gateway asked for, `share` a random number
    /// from 0 to 1.
    pub(super) fn wait_ms(&mut self, after_ms: u32, share: f64) -> u64 {
        let wait_ms = (WAIT_MS << self.attempts.min(16)).min(WAIT_MAX_MS);
        self.attempts += 1;
        u64::from(after_ms) + wait_ms + (wait_ms as f64 * share) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(session: Id, resumed: bool) -> Welcome {
        Welcome {
            session,
            entity: session + 100,
            world: "plaza".into(),
            min: [0.0; 3],
            max: [1.0; 3],
            speed: 1.0,
            tick_ms: 50.0,
            time: 0.0,
            radius: 50.0,
            budget: 1,
            resumed,
            token: Some(format!("token {session}")),
            user: session,
        }
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let mut pass = Pass::default();
        assert_eq!(pass.resume(1), None);
        assert_eq!(pass.welcome(&welcome(1, false)), Come::New);
        assert!(pass.heard("region/0/0", 5) && !pass.heard("region/0/0", 5) && pass.heard("region/0/0", 9));
        pass.note("partition/3", 7);
        let resume = pass.resume(4).expect("it was there");
        assert_eq!((resume.token.as_str(), resume.open), ("token 1", Some(4)));
        assert_eq!(resume.cursors, [("partition/3".to_owned(), 7), ("region/0/0".to_owned(), 10)]);
        assert_eq!(pass.welcome(&welcome(1, true)), Come::Back);
        assert!(!pass.heard("region/0/0", 9), "told before it went");
        assert_eq!(pass.welcome(&welcome(2, false)), Come::Changed(101));
        assert!(pass.heard("region/0/0", 9), "another session has been told nothing");
    }

    #[test]
    fn the_streams_that_changed_last_are_said() {
        let mut pass = Pass::default();
        pass.welcome(&welcome(1, false));
        (0..RESUME_CURSORS_MAX as u64 + 1).for_each(|x| pass.note(&format!("region/{x}/0"), x));
        let cursors = pass.resume(1).expect("it was there").cursors;
        assert!(cursors.len() == RESUME_CURSORS_MAX && cursors.iter().all(|(stream, _)| stream != "region/0/0"));
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut pass = Pass::default();
        let waits: Vec<u64> = (0..7).map(|_| pass.wait_ms(0, 0.0)).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        pass.welcome(&welcome(1, false));
        assert_eq!(pass.wait_ms(1_000, 0.5), 1_300);
    }
}
