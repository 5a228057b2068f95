//! The floor's frames: little-endian 16-bit words, see [`crate::floor`].

use nearcast::codec::Payload;
use nearcast::codec::message::Move;

use crate::floor::{RECORD_BYTES, SAID_BYTES, UNITS_PER_M};

/// Position in units and facing in parts of 65,536 of a turn, as i16.
pub(super) fn words(step: &Move) -> [i16; 4] {
    let [x, y, z] = step.pos.map(|at| (at * UNITS_PER_M) as i16);
    [x, y, z, (step.yaw / 360.0 * 65_536.0) as i32 as i16]
}

pub(super) fn say(step: &Move) -> Payload {
    let mut said = Vec::with_capacity(SAID_BYTES);
    words(step).iter().for_each(|word| said.extend_from_slice(&word.to_le_bytes()));
    Payload::Binary(said.into())
}

/// Records in a message.
pub(super) fn count(bytes: &[u8]) -> Result<usize, String> {
    if bytes.len().is_multiple_of(RECORD_BYTES) {
        return Ok(bytes.len() / RECORD_BYTES);
    }
    Err(format!("{} bytes are no records of {RECORD_BYTES}", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::super::a_move;
    use super::*;

    #[test]
    fn a_move_is_four_words_and_a_state_is_counted_in_records() {
        assert_eq!(say(&a_move()).bytes(), [48, 0, 0, 0, 0xB8, 0xFF, 0, 0x40]);
        assert_eq!((count(&[0; 30]), count(&[])), (Ok(3), Ok(0)));
        assert!(count(&[0; 29]).is_err());
    }
}
