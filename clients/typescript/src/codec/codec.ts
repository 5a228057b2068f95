// One connection's codec: what travels is text or bytes, what comes out is the same for both.

import { decode, encode } from "@msgpack/msgpack";
import { deltaOf, toBase64 } from "./json.ts";
import { Malformed } from "./malformed.ts";
import type { Heard, In, Move } from "./messages.ts";
import { Known } from "./state.ts";

/** How messages travel: `msgpack` is a few bytes, `json` can be read by people. */
export type Encoding = "msgpack" | "json";

/** What a socket takes and gives. */
export type Frame = string | Uint8Array<ArrayBuffer>;

/** Writes and reads the messages of one connection, of which each `state` is relative to those before. */
export class Codec {
  readonly encoding: Encoding;
  readonly #known = new Known();
  #number = 0; // of the last state in JSON

  constructor(encoding: Encoding) {
    this.encoding = encoding;
  }

  /** The WebSocket subprotocol that asks for this encoding. */
  get subprotocol(): string {
    return `nearcast.v1.${this.encoding}`;
  }

  /** A message as it travels. */
  encode<Name extends keyof In>(name: Name, fields: In[Name]): Frame {
    if (this.encoding === "msgpack") return encode({ [name]: fields }, { ignoreUndefined: true });
    const state = (fields as Move).state;
    return JSON.stringify({ [name]: state ? { ...fields, state: toBase64(state) } : fields });
  }

  /**
   * Reads a message.
   *
   * @throws {Malformed} When it is none of protocol v1, or a state that is not the next.
   */
  decode(frame: string | Uint8Array): Heard {
    const message = this.encoding === "msgpack" ? unpacked(frame) : parsed(frame);
    const names = typeof message === "object" && message !== null ? Object.keys(message) : [];
    if (names.length !== 1) throw new Malformed("a message is a map of one name");
    const { s, state } = message as { s?: unknown; state?: Parameters<typeof deltaOf>[0] };
    if (s !== undefined) {
      if (!(s instanceof Uint8Array)) throw new Malformed("a state's field is not binary");
      return { state: this.#known.decode(s) };
    }
    if (state === undefined) return message as Heard;
    const delta = deltaOf(state, this.#number);
    this.#number = delta.number;
    return { state: delta };
  }
}

function unpacked(frame: string | Uint8Array): unknown {
  if (typeof frame === "string") throw new Malformed("a text came where bytes were asked for");
  try {
    return decode(frame);
  } catch (error) {
    throw new Malformed(`no MessagePack: ${String(error)}`);
  }
}

function parsed(frame: string | Uint8Array): unknown {
  if (typeof frame !== "string") throw new Malformed("bytes came where text was asked for");
  try {
    return JSON.parse(frame);
  } catch (error) {
    throw new Malformed(`no JSON: ${String(error)}`);
  }
}
