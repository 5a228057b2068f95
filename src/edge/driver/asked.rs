//! What operators ask of sessions.

use super::Driver;
use crate::edge::line::Question;

impl Driver {
    /// Answers; whoever asked may not wait any longer.
    pub(super) fn answer(&self, question: Question) {
        let seats = || self.connections.iter().flatten().filter_map(|connection| connection.seat.as_ref());
        match question {
            Question::Accounts { hall, reply } => {
                let now_us = self.clock.now_us();
                let here = seats().filter(|seat| seat.hall == hall);
                let _ = reply.send(here.filter_map(|seat| seat.session.account(now_us)).collect());
            }
            Question::Regard { hall, viewer, entity, reply } => {
                let tick = self.ticks[hall].borrow().clone();
                let mut here = seats().filter(|seat| seat.hall == hall);
                let seat = here.find(|seat| seat.session.entity() == viewer);
                let _ = reply.send(seat.map(|seat| seat.session.regard(&tick, entity)));
            }
        }
    }
}
