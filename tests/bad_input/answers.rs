//! Who joins a room to say what is wrong, and what they are answered.

use nearcast::codec::Encoding;
use nearcast::codec::message::{Hello, In, Out, Ping};
use nearcast::region::Submit;
use nearcast::session::Input;

use super::room::Room;

impl Room {
    /// Connects and says hello.
    pub fn join(&mut self, encoding: Encoding) -> usize {
        let who = self.connect(encoding);
        self.say(who, &In::Hello(Hello { world: "plaza".into(), ..Hello::default() }));
        self.settle();
        assert!(matches!(self.people[who].heard[..], [Out::Welcome(_)]), "{:?}", self.people[who].heard);
        self.people[who].heard.clear();
        who
    }

    /// Connects, says hello and stands somewhere.
    pub fn stand(&mut self, encoding: Encoding, x: f64, z: f64) -> usize {
        let who = self.join(encoding);
        self.walk(who, x, z);
        self.people[who].submits.clear();
        who
    }

    /// Says whatever; if it is a hello, it is answered at once.
    pub fn raw(&mut self, who: usize, bytes: &[u8]) {
        let before = self.people[who].submits.len();
        self.input(who, Input::Message(bytes));
        if let Some(Submit::Open { .. }) = self.people[who].submits.get(before) {
            self.settle();
        }
    }

    /// Its session answers, if it has not been closed.
    pub fn lives(&mut self, who: usize, after: &str) {
        self.people[who].heard.clear();
        self.say(who, &In::Ping(Ping { time: 7.0 }));
        let answer = self.people[who].heard.drain(..).find(|out| matches!(out, Out::Pong(pong) if pong.time == 7.0));
        assert!(answer.is_some(), "{after}: no answer to a ping");
    }

    /// The codes of refusals, and of the `bye`, since this was asked.
    pub fn codes(&mut self, who: usize) -> Vec<String> {
        let heard = std::mem::take(&mut self.people[who].heard);
        heard.iter().filter_map(code).collect()
    }
}

/// What a refusal or an end is called.
pub fn code(out: &Out) -> Option<String> {
    match out {
        Out::Refuse(refuse) => {
            assert!(!refuse.text.is_empty(), "{refuse:?} says why");
            Some(refuse.code.to_string())
        }
        Out::Bye(bye) => Some(bye.code.to_string()),
        _ => None,
    }
}
