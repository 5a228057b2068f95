// Bits, the lowest of a byte first, and the code that small numbers are written in.

import { Malformed } from "./malformed.ts";

/** Rice codes count in ones up to here; larger numbers follow these ones as 32 bits. */
const QUOTIENT_MAX = 12;

/** Takes bits off bytes. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #at: number; // in bits
  readonly #end: number;

  /** From a byte on, to the end of `bytes`. */
  constructor(bytes: Uint8Array, from: number) {
    this.#bytes = bytes;
    this.#at = from * 8;
    this.#end = bytes.length * 8;
  }

  /** Whether nothing is left but the ones that fill the last byte. */
  get isAtEnd(): boolean {
    const left = this.#end - this.#at;
    return left === 0 || (left < 8 && this.#bytes[this.#bytes.length - 1]! >> (8 - left) === 0xff >> (8 - left));
  }

  /** Bits taken so far, counted from the first byte. */
  get at(): number {
    return this.#at;
  }

  /** One bit. */
  bit(): number {
    if (this.#at >= this.#end) throw new Malformed("bytes end too early");
    const bit = (this.#bytes[this.#at >> 3]! >> (this.#at & 7)) & 1;
    this.#at += 1;
    return bit;
  }

  /** So many bits, 32 at most, as a number from 0. */
  take(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) value += this.bit() * 2 ** i;
    return value;
  }

  /** A number in the Rice code of parameter `k` (R. F. Rice, 1979): its quotient by 2^k in ones and a zero, then its low bits. */
  rice(k: number): number {
    let quotient = 0;
    while (quotient < QUOTIENT_MAX && this.bit() === 1) quotient += 1;
    if (quotient < QUOTIENT_MAX) return quotient * 2 ** k + this.take(k);
    const value = this.take(32);
    if (Math.floor(value / 2 ** k) < QUOTIENT_MAX) throw new Malformed("a number is longer than it need be");
    return value;
  }

  /** A number of either sign: 0, 1, 2, 3 … are 0, −1, 1, −2 … */
  signed(k: number): number {
    const value = this.rice(k);
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
