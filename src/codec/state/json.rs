//! A `state` as JSON: rows of numbers, every position whole.

use super::{Change, Context, Delta, Enter, Row, Rows, Slot};
use crate::codec::message::{ChangeRow, EnterRow, State, UpdateRow};
use crate::codec::reader::Malformed;
use crate::space::{Pos, yaw_degrees, yaw_from_degrees};

/// A `state` for JSON; numbers it, and moves `context` on.
#[must_use]
pub fn to_json(context: &mut Context, delta: &Delta) -> State {
    context.number += 1;
    context.tick = delta.tick;
    let row = |row: &Row| {
        let [x, y, z] = row.pos.metres();
        UpdateRow(row.slot.index, row.slot.generation, x, y, z, yaw_degrees(row.yaw), row.age_ms, row.flags)
    };
    State {
        number: context.number,
        tick: delta.tick,
        full_begin: delta.full_begin,
        full_end: delta.full_end,
        partial: delta.partial,
        leave: delta.leaves.iter().map(|slot| (slot.index, slot.generation)).collect(),
        enter: delta
            .enters
            .iter()
            .map(|enter| {
                let UpdateRow(slot, generation, x, y, z, yaw, age, flags) = row(&enter.row);
                EnterRow(
                    slot,
                    generation,
                    x,
                    y,
                    z,
                    yaw,
                    age,
                    flags,
                    enter.entity,
                    enter.profile.to_string(),
                    enter.state,
                )
            })
            .collect(),
        change: delta
            .changes
            .iter()
            .map(|c| ChangeRow(c.slot.index, c.slot.generation, c.profile.as_deref().map(str::to_owned), c.state))
            .collect(),
        update: delta.updates.iter().map(row).collect(),
    }
}

/// Reads a JSON `state`; checks and moves `context` on.
pub fn from_json(context: &mut Context, state: State) -> Result<Delta, Malformed> {
    if state.number != context.number + 1 {
        return Err(Malformed::Bad("state number"));
    }
    let row = |UpdateRow(index, generation, x, y, z, yaw, age_ms, flags)| {
        Ok::<Row, Malformed>(Row {
            slot: Slot { index, generation },
            pos: Pos::from_metres([x, y, z]).ok_or(Malformed::Bad("position"))?,
            yaw: yaw_from_degrees(yaw).ok_or(Malformed::Bad("yaw"))?,
            age_ms,
            flags,
        })
    };
    let delta = Delta {
        tick: state.tick,
        full_begin: state.full_begin,
        full_end: state.full_end,
        partial: state.partial,
        origin: context.origin,
        leaves: state.leave.iter().map(|&(index, generation)| Slot { index, generation }).collect(),
        enters: state
            .enter
            .into_iter()
            .map(|EnterRow(slot, generation, x, y, z, yaw, age, flags, entity, profile, state)| {
                let row = row(UpdateRow(slot, generation, x, y, z, yaw, age, flags))?;
                Ok(Enter { row, entity, profile: profile.into(), state })
            })
            .collect::<Result<_, Malformed>>()?,
        changes: state
            .change
            .into_iter()
            .map(|ChangeRow(index, generation, profile, state)| Change {
                slot: Slot { index, generation },
                profile: profile.map(Into::into),
                state,
            })
            .collect(),
        updates: state.update.into_iter().map(row).collect::<Result<_, Malformed>>()?,
        rows: Rows::default(),
    };
    context.number += 1;
    context.tick = state.tick;
    Ok(delta)
}
