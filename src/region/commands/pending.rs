//! Actions that wait for their answer: `ack` when they are folded, `refuse` when none of their sendings can be in the
//! log, `unknown` otherwise and after 10 s.

use rustc_hash::FxHashMap;

use crate::codec::message::Id;
use crate::limits::{ANSWER_US, REMEMBERED_US};
use crate::log::{Health, Outcome, Source, Ticket};
use crate::region::motion::fold::Map;
use crate::region::submit::{Answer, Answered};

/// An action's id: its session, and the session's number for it.
pub type Key = (Id, u64);

#[derive(Default)]
struct Open {
    deadline_us: u64,
    /// `unknown` was told.
    told: bool,
    /// Sendings whose end is not known.
    sendings: u32,
    /// A sending is in the log, or may be: then no other one's end is the action's.
    maybe_logged: bool,
    /// Where it was published.
    source: Option<Source>,
}

/// The actions of one gateway without an answer.
#[derive(Default)]
pub struct Pending {
    tickets: FxHashMap<Ticket, Key>,
    open: Map<Key, Open>,
}

impl Pending {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Sendings whose end is not known.
    #[must_use]
    pub fn tickets(&self) -> usize {
        self.tickets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// An action was published, for the first time or again.
    pub fn sent(&mut self, ticket: Ticket, key: Key, source: Source, now_us: u64) {
        self.tickets.insert(ticket, key);
        let open = self.open.entry(key).or_default();
        (open.deadline_us, open.told, open.source) = (now_us + ANSWER_US, false, Some(source));
        open.sendings += 1;
    }

    /// An action was folded. Whether it waited for that.
    pub fn folded(&mut self, key: Key) -> bool {
        self.open.swap_remove(&key).is_some()
    }

    /// A publish ended, with the log in this state; `knows` says whether a partition has folded an action. Returns the answer,
    /// if that is one.
    pub fn ended(
        &mut self,
        ticket: Ticket,
        (outcome, health): (Outcome, Health),
        knows: impl Fn(Source, Key) -> bool,
    ) -> Option<Answered> {
        let key = self.tickets.remove(&ticket)?;
        let open = self.open.get_mut(&key)?;
        // A sending from before the answer to an earlier one is not counted here; then the fold knows the action.
        open.sendings = open.sendings.saturating_sub(1);
        open.maybe_logged |= outcome != Outcome::NeverEntered;
        let answer = match outcome {
            // The fold answers.
            Outcome::At(_) => return None,
            // A resend that crossed the answer to an earlier sending; or the earlier one was another gateway's, and nobody
            // here has told its answer: who still waits for one sends it again.
            Outcome::NeverEntered if open.source.is_some_and(|source| knows(source, key)) => Answer::Unknown,
            Outcome::NeverEntered if open.sendings > 0 => return None,
            Outcome::NeverEntered if !open.maybe_logged => Answer::NotLogged(health),
            Outcome::NeverEntered | Outcome::Unknown => Answer::Unknown,
        };
        let told = std::mem::replace(&mut open.told, true);
        if let Answer::NotLogged(_) = answer {
            self.open.swap_remove(&key);
        }
        (!told).then_some(Answered { to: key.0, n: key.1, answer })
    }

    /// Appends `unknown` for all that have waited too long, and forgets the oldest.
    pub fn overdue(&mut self, now_us: u64, out: &mut Vec<Answered>) {
        for (&(session, n), open) in &mut self.open {
            if now_us >= open.deadline_us && !std::mem::replace(&mut open.told, true) {
                out.push(Answered { to: session, n, answer: Answer::Unknown });
            }
        }
        self.open.retain(|_, open| now_us < open.deadline_us + REMEMBERED_US);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Topic;

    const SOURCE: Source = Source { topic: Topic::Events, partition: 0 };

    #[test]
    fn what_another_gateway_has_written_is_asked_for_again_and_not_left_without_an_answer() {
        for (known, answer) in [(true, Answer::Unknown), (false, Answer::NotLogged(Health::Well))] {
            let mut pending = Pending::default();
            pending.sent(Ticket(1), (7, 9), SOURCE, 0);
            let ended = pending.ended(Ticket(1), (Outcome::NeverEntered, Health::Well), |_, _| known);
            assert_eq!(ended, Some(Answered { to: 7, n: 9, answer }));
            assert_eq!((pending.len(), pending.tickets()), (usize::from(known), 0));
        }
    }
}
