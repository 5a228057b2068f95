//! JSON as one writes it without much thought: `{"players":[{"id":7,"x":1.5,"y":0,"z":-2,"yaw":90},…]}`, in metres and
//! degrees. Objects in a message are counted, not parsed: the swarm must not cost what the server does not.

use nearcast::codec::Payload;
use nearcast::codec::message::Move;

/// How a state begins.
const STATE: &[u8] = b"{\"players\":[";

pub(super) fn say(step: &Move) -> Payload {
    let ([x, y, z], yaw) = (step.pos, step.yaw);
    Payload::Text(format!(r#"{{"x":{x},"y":{y},"z":{z},"yaw":{yaw}}}"#))
}

/// Players in a message: no string of it has a brace.
pub(super) fn count(bytes: &[u8]) -> Result<usize, String> {
    let Some(players) = bytes.strip_prefix(STATE) else {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        return Err(format!("{start:?} is no state: it begins with {}", String::from_utf8_lossy(STATE)));
    };
    Ok(players.iter().filter(|byte| **byte == b'{').count())
}

#[cfg(test)]
mod tests {
    use super::super::a_move;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_move_is_an_object_and_a_state_is_counted_as_if_parsed() {
        let said: Value = serde_json::from_slice(say(&a_move()).bytes()).expect("it is JSON");
        assert_eq!(said, json!({"x": 1.5, "y": 0, "z": -2.25, "yaw": 90}));
        for players in 0..3 {
            let state = json!({"players": vec![json!({"id": 1, "x": 0.5, "y": 0, "z": -3.25, "yaw": 7}); players]});
            assert_eq!(count(state.to_string().as_bytes()), Ok(players));
        }
        assert!(count(b"{\"you\":1}").is_err());
    }
}
