//! Who may go on as which session, by the records of `direct` as they entered; and who does. One opening of a session is in
//! force, each gateway acts by it within the way through the log, and a token opens nothing once a newer one is confirmed.
//! Time is not judged here: a run is shorter than the 120 s in which a session may go on.

use std::collections::{BTreeMap, BTreeSet};

use nearcast::codec::message::Id;
use nearcast::codec::record::{Opening, Record, Signal};
use nearcast::region::Opened;

use crate::sight::Who;

/// A session by its openings.
struct Session {
    entity: Id,
    confirmed: u64,
    last: u64,
    /// When the last entered.
    last_us: u64,
    /// Who asked for it.
    last_opener: Id,
    closed: bool,
}

/// An opening of an existing session that has won, as it enters.
pub struct Won {
    /// The avatar.
    pub entity: Id,
    /// Whoever asked for it is gone: nobody holds the session now.
    pub in_vain: bool,
}

/// What is known of openings.
#[derive(Default)]
pub struct Openings {
    sessions: BTreeMap<Id, Session>,
    /// By whoever asked: what their opening came to. `None`: it was refused.
    verdicts: BTreeMap<Id, Option<u64>>,
    /// Those who asked and have no answer yet, with their connections.
    asking: BTreeMap<Id, Who>,
    /// Openings whose asker has no answer yet.
    unanswered: BTreeMap<Id, Id>,
    gone: BTreeSet<Id>,
    /// Connections that speak for a session: which, and by which opening.
    held: BTreeMap<u64, (Id, u64, Who)>,
    resumed: u64,
    refused: u64,
    superseded: u64,
}

impl Openings {
    /// For the report.
    pub fn counts(&self) -> String {
        let Openings { resumed, refused, superseded, .. } = self;
        format!("{resumed} resumed, {refused} refused, {superseded} superseded")
    }

    /// Somebody asks to be a session.
    pub fn asks(&mut self, opener: Id, who: Who) {
        self.asking.insert(opener, who);
    }

    /// A record entered `direct`, at this offset of a partition.
    pub fn entered(&mut self, offset: u64, record: &Record, now_us: u64) -> Option<Won> {
        match record {
            Record::Opening(opening) => return self.opening(offset + 1, opening, now_us),
            Record::Signs(signal, signs) => {
                for sign in signs {
                    let known = self.sessions.get_mut(&sign.session);
                    let Some(session) = known.filter(|session| session.last == sign.incarnation) else { continue };
                    match signal {
                        Signal::Closed => session.closed = true,
                        Signal::Live | Signal::Lost if sign.confirmed => session.confirmed = sign.incarnation,
                        Signal::Live | Signal::Lost => {}
                    }
                }
            }
            Record::Motion(_)
            | Record::Beat
            | Record::Command(_)
            | Record::Arrive { .. }
            | Record::Landed { .. }
            | Record::Piece(_)
            | Record::Hash { .. }
            | Record::Rules(_)
            | Record::Gateway(_) => {}
        }
        None
    }

    fn opening(&mut self, incarnation: u64, opening: &Opening, now_us: u64) -> Option<Won> {
        let Opening { session, entity, opener, names, .. } = *opening;
        let new =
            Session { entity, confirmed: 0, last: incarnation, last_us: now_us, last_opener: opener, closed: false };
        let Some(names) = names else {
            self.sessions.entry(session).or_insert(new);
            return None;
        };
        let known = self.sessions.get_mut(&session);
        let takes = |s: &&mut Session| !s.closed && (names == s.last || names == s.confirmed);
        let Some(known) = known.filter(takes) else {
            self.verdicts.insert(opener, None);
            self.refused += 1;
            return None;
        };
        if names == known.last {
            known.confirmed = names;
        }
        (known.last, known.last_us, known.last_opener) = (incarnation, now_us, opener);
        self.verdicts.insert(opener, Some(incarnation));
        self.unanswered.insert(opener, entity);
        Some(Won { entity, in_vain: self.gone.contains(&opener) })
    }

    /// A gateway tells whoever asked that they are a session now.
    ///
    /// # Errors
    /// If they are not, by the log.
    pub fn opened(&mut self, opener: Id, asked: bool, opened: &Opened, stepped: bool) -> Result<(), String> {
        let Some(who) = self.asking.remove(&opener) else {
            return Err(format!("{opener:x} is opened and does not ask"));
        };
        self.unanswered.remove(&opener);
        let Opened { session, entity, incarnation, resumed, .. } = *opened;
        let verdict = self.verdicts.get(&opener).copied();
        let known = self.sessions.get(&session);
        let right = known.is_some_and(|known| known.entity == entity)
            && match verdict {
                Some(Some(won)) => resumed && won == incarnation,
                // By the log's time the session may be over, which is not known here.
                Some(None) => !resumed && session == opener,
                None => !resumed && session == opener && !asked,
            };
        let is_over = stepped && !resumed;
        if !right && !is_over {
            return Err(format!("{opener:x} is told {opened:?}, the log says {verdict:?}"));
        }
        self.resumed += u64::from(resumed);
        self.held.insert(who.conn, (session, incarnation, who));
        Ok(())
    }

    /// Whether the last who has opened a session had gone before they were told.
    pub fn is_nobodys(&self, session: Id) -> bool {
        self.sessions.get(&session).is_some_and(|session| self.gone.contains(&session.last_opener))
    }

    /// A connection is over at its gateway. The avatar of a session that nobody holds by that: its opening has won, and nobody
    /// is there any more to be told.
    pub fn released(&mut self, conn: u64, superseded: bool) -> Option<Id> {
        self.superseded += u64::from(superseded);
        self.held.remove(&conn);
        let opener = self.asking.iter().find(|(_, who)| who.conn == conn).map(|(opener, _)| *opener)?;
        self.asking.remove(&opener);
        self.gone.insert(opener);
        self.unanswered.remove(&opener)
    }

    /// By which opening a connection speaks for its session, if it does.
    pub fn incarnation(&self, conn: u64) -> Option<u64> {
        self.held.get(&conn).map(|(_, incarnation, _)| *incarnation)
    }

    /// Connections of a gateway that died.
    pub fn of_gateway(&self, gateway: usize) -> Vec<u64> {
        let held = self.held.values().map(|(_, _, who)| who);
        held.chain(self.asking.values()).filter(|who| who.gateway == gateway).map(|who| who.conn).collect()
    }

    /// Connections that speak for a session that goes on elsewhere since before `by_us`.
    pub fn overdue(&self, by_us: u64) -> Vec<String> {
        let is_old = |(session, incarnation, who): &(Id, u64, Who)| {
            let last = self.sessions.get(session).filter(|s| s.last > *incarnation && s.last_us < by_us)?;
            let Who { bot, conn, .. } = who;
            Some(format!(
                "connection {conn} of bot {bot} speaks for {session:x}, which opening {} has taken",
                last.last
            ))
        };
        self.held.values().filter_map(is_old).collect()
    }
}
