//! Coming back: who lost the connection waits a while and goes on as the same session; and how that went.

use std::time::Duration;

use super::Swarm;
use super::dialect::Dialect;

/// Who lost the connection and came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// Connections lost, though nobody said bye.
    pub lost: u64,
    /// Who came back as the same session and avatar.
    pub resumed: u64,
    /// Who came back as another.
    pub not_resumed: u64,
    /// Commands that had no answer when the same session came back: they are sent again.
    pub resent: u64,
    /// `reset`s heard: somebody was told that events were missed.
    pub resets: u64,
    /// The longest time from a lost connection to the `welcome` of the same session, µs.
    pub away_max_us: u64,
}

impl Returns {
    /// Somebody came back as the same, after so long, with so many commands that had no answer.
    pub(super) fn resumed(&mut self, away_us: u64, open: usize) {
        self.resumed += 1;
        self.resent += open as u64;
        self.away_max_us = self.away_max_us.max(away_us);
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Returns) -> Returns {
        Returns {
            lost: self.lost + other.lost,
            resumed: self.resumed + other.resumed,
            not_resumed: self.not_resumed + other.not_resumed,
            resent: self.resent + other.resent,
            resets: self.resets + other.resets,
            away_max_us: self.away_max_us.max(other.away_max_us),
        }
    }
}

impl Swarm {
    /// A bot has no connection any more, or could not open one. How long to wait before the next attempt; `None` if it stays
    /// away: it had never been in, was told not to come back, or cannot go on with what it was told.
    pub(super) fn wait_to_return(&self, number: usize, ended: &str) -> Option<Duration> {
        let mut bot = self.bots[number].borrow_mut();
        if bot.is_broken {
            // Said when it was found.
            return None;
        }
        let is_first = bot.pass.attempts == 0;
        let bye = bot.bye.take();
        let returns = matches!(self.plan.dialect, Dialect::Nearcast(_))
            && bot.pass.has_been_in()
            && bye.as_ref().is_none_or(|bye| bye.again);
        if is_first || !returns {
            let reason = bye.as_ref().map_or_else(|| ended.to_owned(), |bye| format!("bye {}: {}", bye.code, bye.text));
            self.lost(number, &reason);
        }
        if is_first {
            bot.pass.lost_us = self.clock.now_us();
            self.counters.borrow_mut().returns.lost += 1;
            if returns && self.joined() == 0 {
                self.acked_before.set(Some(self.acked()));
                // A gateway that has lost what it acknowledged must not be taken at its word of before.
                self.ledger.borrow_mut().forget_sights();
            }
        }
        let after_ms = bye.map_or(0, |bye| bye.after_ms);
        returns.then(|| Duration::from_millis(bot.pass.wait_ms(after_ms, fastrand::f64())))
    }
}
