// The binary form of a `state`: schemas/protocol.md, "Binary states". Both ends remember what was told before, so a state
// can only be read after the one that came before it.

import { BitReader } from "./bits.ts";
import { Malformed } from "./malformed.ts";
import type { Delta, Row } from "./messages.ts";
import { Reader } from "./reader.ts";

const PROFILE_BYTES_MAX = 96;
const APP_STATE_BYTES_MAX = 16;

const HEAD_NEXT = 1;
const HEAD_WHAT = 2;
const WHAT = { fullBegin: 1, fullEnd: 2, partial: 4, origin: 8, leaves: 16, enters: 32, changes: 64, singles: 128 };

const COUNT_PARAMETER = 4;
const SINGLE_PARAMETER = 2;
const GAP_PARAMETER_BITS = 3;
const TURN_PARAMETER = 3;
const SURPRISE_BITS = 4;
const SURPRISE_AT_FIRST = 2;

/** What the next sample of a slot is told relative to. Positions are whole centimetres, yaw 1/256 turn, age a byte. */
interface Trail {
  generation: number;
  x: number;
  y: number;
  z: number;
  yaw: number;
  age: number;
  step: [number, number, number];
  surprise: number;
}

/** What is remembered from state to state. */
export class Known {
  #number = 0;
  #tick = 0;
  #origin: [number, number, number] = [0, 0, 0];
  #entity = 0n;
  #trails: (Trail | undefined)[] = [];

  /**
   * Reads the binary field of a state.
   *
   * @throws {Malformed} When it is none, or not the next after the last. Nothing can be read after that.
   */
  decode(body: Uint8Array): Delta {
    const reader = new Reader(body);
    const head = reader.u8();
    const number = this.#number + 1;
    if (head >> 2 !== number % 64) throw new Malformed(`a state is missing: ${number} was to come`);
    const what = head & HEAD_WHAT ? reader.u8() : 0;
    const ticks = head & HEAD_NEXT ? 1 : reader.count();
    const tick = what & WHAT.fullBegin ? ticks : this.#tick + ticks;
    if (tick > Number.MAX_SAFE_INTEGER) throw new Malformed("a number is too large");
    if (what & WHAT.origin) this.#origin = [reader.i32(), reader.i32(), reader.i32()];
    if (what & WHAT.fullBegin) this.#trails = [];
    const delta: Delta = {
      number,
      tick,
      fullBegin: Boolean(what & WHAT.fullBegin),
      fullEnd: Boolean(what & WHAT.fullEnd),
      partial: Boolean(what & WHAT.partial),
      leaves: [],
      enters: [],
      changes: [],
      updates: [],
    };
    if (what & WHAT.leaves) this.#leaves(reader, delta);
    if (what & WHAT.enters) this.#enters(reader, delta);
    if (what & WHAT.changes) changes(reader, delta);
    this.#updates(new BitReader(body, reader.at), Boolean(what & WHAT.singles), delta);
    this.#number = number;
    this.#tick = tick;
    return delta;
  }

  #leaves(reader: Reader, { leaves }: Delta): void {
    for (let left = reader.count(); left > 0; left--) {
      const [slot, generation] = [reader.u16(), reader.u8()];
      if (slot >= this.#trails.length) throw new Malformed(`slot ${slot} holds nobody`);
      this.#trails[slot] = undefined;
      leaves.push({ slot, generation });
    }
  }

  #enters(reader: Reader, { enters }: Delta): void {
    for (let left = reader.count(); left > 0; left--) {
      const from = reader.at;
      const [slot, generation] = [reader.u16(), reader.u8()];
      const [x, y, z] = this.#origin.map((from) => within(from + reader.i16())) as [number, number, number];
      const [yaw, age] = [reader.u8(), reader.u8()];
      const difference = reader.varint();
      this.#entity = BigInt.asUintN(64, this.#entity + ((difference >> 1n) ^ -(difference & 1n)));
      this.#trails[slot] = { generation, x, y, z, yaw, age, step: [0, 0, 0], surprise: SURPRISE_AT_FIRST };
      const [profile, state] = [reader.text(PROFILE_BYTES_MAX), reader.short(APP_STATE_BYTES_MAX)];
      const row = { slot, generation, x, y, z, yaw, ageMs: ageMs(age), jumped: false, bits: (reader.at - from) * 8 };
      enters.push({ ...row, entity: Number(this.#entity), profile, state });
    }
  }

  #updates(bits: BitReader, hasSingles: boolean, { updates }: Delta): void {
    let next = 0;
    const row = (parameter: number, isSingle: boolean): void => {
      const from = bits.at;
      const slot = next + bits.rice(parameter);
      const trail = this.#trails[slot];
      if (!trail) throw new Malformed(`slot ${slot} holds nobody`);
      next = slot + 1;
      const jumped = isSingle && bits.bit() === 1;
      go(trail, bits, jumped);
      updates.push(told(slot, trail, jumped, bits.at - from));
    };
    if (hasSingles) for (let left = bits.rice(COUNT_PARAMETER); left > 0; left--) row(SINGLE_PARAMETER, true);
    if (bits.isAtEnd) return;
    const parameter = bits.take(GAP_PARAMETER_BITS);
    next = 0;
    do row(parameter, false);
    while (!bits.isAtEnd);
  }
}

function changes(reader: Reader, { changes }: Delta): void {
  for (let left = reader.count(); left > 0; left--) {
    const [slot, generation, what] = [reader.u16(), reader.u8(), reader.u8()];
    const profile = what & 1 ? reader.text(PROFILE_BYTES_MAX) : undefined;
    const state = what & 2 ? reader.short(APP_STATE_BYTES_MAX) : undefined;
    changes.push({ slot, generation, profile, state });
  }
}

/** Takes a sample off the bits: the trail goes on to it. */
function go(trail: Trail, bits: BitReader, jumped: boolean): void {
  const { surprise, step } = trail;
  // Sums wrap as those of 32 bits do.
  const expected = [(trail.x + step[0]) | 0, (trail.y + step[1]) | 0, (trail.z + step[2]) | 0] as const;
  const x = (expected[0] + bits.signed(surprise)) | 0;
  const z = (expected[2] + bits.signed(surprise)) | 0;
  let y = expected[1];
  if (bits.bit()) {
    if (bits.bit()) {
      const turn = bits.signed(TURN_PARAMETER);
      if (turn < -128 || turn > 127) throw new Malformed(`a turn of ${turn}/256`);
      trail.yaw = (trail.yaw + turn) & 255;
    }
    if (bits.bit()) y = (y + bits.signed(Math.max(surprise - 2, 0))) | 0;
    if (bits.bit()) trail.age = bits.take(8);
    if (bits.bit()) trail.surprise = bits.take(SURPRISE_BITS);
  }
  const way: [number, number, number] = [(x - trail.x) | 0, (y - trail.y) | 0, (z - trail.z) | 0];
  trail.step = jumped || way.some((axis) => axis < -32_768 || axis > 32_767) ? [0, 0, 0] : way;
  [trail.x, trail.y, trail.z] = [x, y, z];
}

function told(slot: number, { generation, x, y, z, yaw, age }: Trail, jumped: boolean, bits: number): Row {
  return { slot, generation, x, y, z, yaw, ageMs: ageMs(age), jumped, bits };
}

function within(cm: number): number {
  if (cm !== (cm | 0)) throw new Malformed("a position is beyond 32 bits");
  return cm;
}

/** What the age byte says, ms: steps of 1 up to 127, then of 8; 255 is 1144 or older. */
export function ageMs(byte: number): number {
  if (byte < 128) return byte;
  return byte < 255 ? 128 + (byte - 128) * 8 : 1144;
}
