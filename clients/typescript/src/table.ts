// Who is in sight: the table that states are differences to. schemas/protocol.md, "The table".

import type { Change, Delta, Enter, Id, Row, Slot } from "./codec/messages.ts";
import { Malformed } from "./codec/malformed.ts";
import { Path, type Sample } from "./path.ts";

/** The gateway's longest stride, ticks. */
const STRIDE_MAX = 64;
/** Who comes this far, m/s, between two rows has walked, and not stood. */
const WALKS = 0.5;
/** Bytes are averaged over so long, ms. */
const BYTES_OVER_MS = 3_000;

/** Somebody in sight. */
export class Avatar {
  readonly entity: Id;
  /** The application's: a name, or JSON. */
  profile: string;
  /** The application's: up to 16 bytes. */
  state: Uint8Array;
  /** Where it was last, as told. */
  row: Row;
  readonly path: Path;
  /** At which tick that was. */
  toldTick: number;
  /** Every so many ticks it is told while it moves, as it seems: the nearest at each. It is a power of two up to 64. */
  stride = 1;
  #gap = 1;
  #bytes = 0;
  #toldAt = performance.now();

  constructor({ entity, profile, state, ...row }: Enter, tick: number, path: Path) {
    [this.entity, this.profile, this.state, this.row, this.path, this.toldTick] = [entity, profile, state, row, path, tick];
  }

  /** What it costs, as its rows took in binary states of late. */
  get bytesPerSecond(): number {
    return this.#bytes * Math.exp((this.#toldAt - performance.now()) / BYTES_OVER_MS);
  }

  /** It was told anew. The distance to where it was told before, cm, and ticks since. */
  tell(row: Row, tick: number, sample: Sample): [away: number, ticks: number] {
    const gap = Math.max(tick - this.toldTick, 1);
    // Rows keep to the beat of their stride: it is the largest power of two in the last gaps. Who moves now and then has none.
    const both = gap | this.#gap | STRIDE_MAX;
    [this.stride, this.#gap] = [both & -both, gap];
    this.#bytes = this.bytesPerSecond + row.bits / 8 / (BYTES_OVER_MS / 1_000);
    this.#toldAt = performance.now();
    const { x, y, z } = this.row;
    const away = row.jumped ? 0 : Math.hypot(row.x - x, row.y - y, row.z - z);
    [this.row, this.toldTick] = [row, tick];
    this.path.add(sample, row.jumped, this.stride);
    return [away, gap];
  }

  /** Its newest sample: metres, degrees, ms on the gateway's clock. */
  get last(): Sample {
    return this.path.last!;
  }
}

/** What a state did to the table. */
export class Changed {
  readonly entered: Avatar[] = [];
  readonly left: Avatar[] = [];
  /** Other profiles or application states. */
  readonly changed: Avatar[] = [];
  /** How far off the worst place was that was held until then, cm. */
  errorCm = 0;
  /** Those who walk had been told so many ticks before, at least; 0 if nobody does. */
  gapTicks = 0;
}

/** The table of one connection. */
export class Table {
  readonly #tickMs: number;
  #slots = new Map<number, Avatar>();
  #entities = new Map<Id, Avatar>();
  readonly #generations = new Map<number, number>();
  /** What a full view is about to replace. */
  #old = new Map<Id, Avatar>();

  /** Empty. */
  constructor(tickMs: number) {
    this.#tickMs = tickMs;
  }

  /** Who is to be shown: the new table, and of the old one those who are not in the new yet. */
  *shown(): Generator<Avatar, void, undefined> {
    yield* this.#slots.values();
    for (const avatar of this.#old.values()) if (!this.#entities.has(avatar.entity)) yield avatar;
  }

  /** Somebody who is shown. */
  find(entity: Id): Avatar | undefined {
    return this.#entities.get(entity) ?? this.#old.get(entity);
  }

  /** Everybody is about to come again, on a new connection: shown until a full view is whole. */
  carryOver(before: Table): void {
    for (const avatar of before.shown()) this.#old.set(avatar.entity, avatar);
  }

  /**
   * Applies a state, and adds to `changed` what it does.
   *
   * @throws {Malformed} When it contradicts what came before.
   */
  apply(delta: Delta, changed = new Changed()): void {
    if (delta.fullBegin) this.#begin();
    for (const slot of delta.leaves) {
      const avatar = this.#held(slot);
      this.#slots.delete(slot.slot);
      this.#entities.delete(avatar.entity);
      changed.left.push(avatar);
    }
    for (const enter of delta.enters) this.#enter(enter, delta.tick, changed);
    for (const change of delta.changes) changed.changed.push(this.#change(change));
    for (const row of delta.updates) {
      const avatar = this.#held(row);
      const [away, ticks] = avatar.tell(row, delta.tick, this.#sample(row, delta.tick));
      changed.errorCm = Math.max(changed.errorCm, away);
      if (away > ticks * this.#tickMs * (WALKS / 10)) changed.gapTicks = Math.min(changed.gapTicks || ticks, ticks);
    }
    if (delta.fullEnd) {
      for (const avatar of this.#old.values()) if (!this.#entities.has(avatar.entity)) changed.left.push(avatar);
      this.#old = new Map();
    }
  }

  #begin(): void {
    // At a second beginning, what the first had brought is shown like the old.
    for (const avatar of this.#slots.values()) this.#old.set(avatar.entity, avatar);
    this.#slots = new Map();
    this.#entities = new Map();
  }

  #enter(enter: Enter, tick: number, changed: Changed): void {
    const { slot, generation, entity } = enter;
    if (this.#slots.has(slot) || this.#generations.get(slot) === generation || this.#entities.has(entity)) {
      throw new Malformed(`${entity} cannot enter slot ${slot}/${generation}`);
    }
    // Who was shown before goes on from there.
    const before = this.#old.get(entity);
    const avatar = new Avatar(enter, tick, before?.path ?? new Path(this.#tickMs));
    avatar.path.add(this.#sample(enter, tick), false);
    this.#slots.set(slot, avatar);
    this.#entities.set(entity, avatar);
    this.#generations.set(slot, generation);
    if (!before) changed.entered.push(avatar);
    else if (before.profile !== avatar.profile) changed.changed.push(avatar);
  }

  #change(change: Change): Avatar {
    const avatar = this.#held(change);
    avatar.profile = change.profile ?? avatar.profile;
    avatar.state = change.state ?? avatar.state;
    return avatar;
  }

  #held({ slot, generation }: Slot): Avatar {
    const avatar = this.#slots.get(slot);
    if (avatar?.row.generation !== generation) throw new Malformed(`slot ${slot}/${generation} holds nobody`);
    return avatar;
  }

  #sample({ x, y, z, yaw, ageMs }: Row, tick: number): Sample {
    return { t: tick * this.#tickMs - ageMs, x: x / 100, y: y / 100, z: z / 100, yaw: (yaw * 360) / 256 };
  }

  /** Hash of the new table: FNV-1a of each slot, 32 bits, summed. schemas/protocol.md, "Digest". */
  digest(): number {
    let sum = 0;
    for (const { row, entity, state } of this.#slots.values()) {
      const bytes = new DataView(new ArrayBuffer(24));
      bytes.setUint16(0, row.slot, true);
      bytes.setUint8(2, row.generation);
      bytes.setBigUint64(3, BigInt(entity), true);
      bytes.setInt32(11, row.x, true);
      bytes.setInt32(15, row.y, true);
      bytes.setInt32(19, row.z, true);
      bytes.setUint8(23, row.yaw);
      let hash = 0x811c9dc5;
      const eat = (byte: number): void => void (hash = Math.imul(hash ^ byte, 0x01000193));
      new Uint8Array(bytes.buffer).forEach(eat);
      state.forEach(eat);
      sum = (sum + hash) >>> 0;
    }
    return sum;
  }
}
