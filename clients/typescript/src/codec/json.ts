// States as JSON tells them, and bytes in base64.

import { Malformed } from "./malformed.ts";
import type { Change, Delta, Enter, Row, Slot } from "./messages.ts";

/** Bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** Bytes of base64. */
export function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    throw new Malformed("an application state is no base64");
  }
}

type JsonRow = [number, number, number, number, number, number, number, number, ...unknown[]];

interface JsonState {
  number: number;
  tick: number;
  full_begin?: boolean;
  full_end?: boolean;
  partial?: boolean;
  leave?: [number, number][];
  enter?: JsonRow[];
  change?: [number, number, string | null, string | null][];
  update?: JsonRow[];
}

/** The delta of a `state`'s fields. `last` is the number of the one before. */
export function deltaOf(state: JsonState, last: number): Delta {
  if (state.number !== last + 1) throw new Malformed(`a state is missing: ${last + 1} was to come, not ${state.number}`);
  return {
    number: state.number,
    tick: state.tick,
    fullBegin: state.full_begin ?? false,
    fullEnd: state.full_end ?? false,
    partial: state.partial ?? false,
    leaves: (state.leave ?? []).map(([slot, generation]): Slot => ({ slot, generation })),
    enters: (state.enter ?? []).map((cells): Enter => {
      const [entity, profile, app] = cells.slice(8) as [number, string, string];
      return { ...row(cells), entity, profile, state: fromBase64(app) };
    }),
    changes: (state.change ?? []).map(
      ([slot, generation, profile, app]): Change => ({
        slot,
        generation,
        profile: profile ?? undefined,
        state: app === null ? undefined : fromBase64(app),
      }),
    ),
    updates: (state.update ?? []).map(row),
  };
}

function row([slot, generation, x, y, z, yaw, ageMs, flags]: JsonRow): Row {
  const cm = (metres: number): number => Math.round(metres * 100);
  const turn = Math.round((yaw / 360) * 256) & 255;
  return { slot, generation, x: cm(x), y: cm(y), z: cm(z), yaw: turn, ageMs, jumped: (flags & 1) === 1, bits: 0 };
}
