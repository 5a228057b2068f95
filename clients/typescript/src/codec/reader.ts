// Takes whole bytes off bytes, little-endian.

import { Malformed } from "./malformed.ts";

const TEXT = new TextDecoder("utf-8", { fatal: true });

/** Takes numbers and texts off bytes. */
export class Reader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  /** Where the next byte is. */
  at = 0;

  /** From the first byte on. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #take(bytes: number): number {
    const at = this.at;
    if (at + bytes > this.#bytes.length) throw new Malformed("bytes end too early");
    this.at += bytes;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  i16(): number {
    return this.#view.getInt16(this.#take(2), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  /** An unsigned LEB128 of up to 64 bits. */
  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 64n; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) {
        if (value >> 64n) break;
        return value;
      }
    }
    throw new Malformed("a number has more than 64 bits");
  }

  /** The same, of which more than 2^53 − 1 is none. */
  count(): number {
    const value = this.varint();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Malformed("a number is too large");
    return Number(value);
  }

  /** A byte that says how many follow, and these: a copy. */
  short(max: number): Uint8Array {
    const length = this.u8();
    if (length > max) throw new Malformed(`${length} bytes, of ${max} at most`);
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  /** The same as text. */
  text(max: number): string {
    try {
      return TEXT.decode(this.short(max));
    } catch (error) {
      throw new Malformed(`no text: ${error}`);
    }
  }
}
