// The golden vectors of schemas/vectors: what the Rust codec writes and reads.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { Codec } from "../src/codec/codec.ts";
import { toBase64 } from "../src/codec/json.ts";
import { Malformed } from "../src/codec/malformed.ts";
import type { Delta, Heard, Row } from "../src/codec/messages.ts";
import { Table } from "../src/table.ts";

const load = (name: string) => JSON.parse(readFileSync(new URL(`../../../schemas/vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const delta = (heard: Heard): Delta => {
  if (!("state" in heard)) throw new Error("no state");
  return heard.state;
};

/** A delta as JSON tells it. */
function cells({ number, tick, fullBegin, fullEnd, partial, leaves, enters, changes, updates }: Delta): object {
  const row = ({ slot, generation, x, y, z, yaw, ageMs, jumped }: Row) => [slot, generation, x / 100, y / 100, z / 100, (yaw * 360) / 256, ageMs, Number(jumped)];
  const lists = {
    leave: leaves.map(({ slot, generation }) => [slot, generation]),
    enter: enters.map((enter) => [...row(enter), enter.entity, enter.profile, toBase64(enter.state)]),
    change: changes.map(({ slot, generation, profile, state }) => [slot, generation, profile ?? null, state ? toBase64(state) : null]),
    update: updates.map(row),
  };
  const flags = { full_begin: fullBegin, full_end: fullEnd, partial };
  const said = Object.entries({ ...flags, ...lists }).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value));
  return { state: { number, tick, ...Object.fromEntries(said) } };
}

test("states are read as JSON tells them, and tables hash as the gateway's", () => {
  let [codec, json, table] = [new Codec("msgpack"), new Codec("json"), new Table(50)];
  let states = 0;
  for (const item of load("states")) {
    if (item.sequence) {
      [codec, json, table] = [new Codec("msgpack"), new Codec("json"), new Table(50)];
      continue;
    }
    const heard = delta(codec.decode(bytes(item.msgpack)));
    expect(cells(heard)).toEqual(item.json);
    expect(cells(delta(json.decode(JSON.stringify(item.json))))).toEqual(item.json);
    table.apply(heard);
    expect(table.digest().toString(16).padStart(8, "0")).toBe(item.digest);
    states += 1;
  }
  expect(states).toBeGreaterThan(70);
});

test("messages of the gateway are the same in both encodings", () => {
  const messages = load("messages").filter(({ to, json }: { to: string; json: object }) => to === "client" && !("state" in json));
  for (const { json, msgpack } of messages) {
    expect(new Codec("msgpack").decode(bytes(msgpack))).toEqual(json);
    expect(new Codec("json").decode(JSON.stringify(json))).toEqual(json);
  }
  expect(messages.length).toBeGreaterThan(10);
});

test("messages to the gateway are written as it reads them", () => {
  let exact = 0;
  for (const { to, json, msgpack } of load("messages")) {
    if (to !== "gateway") continue;
    const [[name, fields]] = Object.entries(json) as [[never, never]];
    const said = structuredClone(fields) as { state?: unknown };
    if (typeof said.state === "string") said.state = Uint8Array.from(Buffer.from(said.state, "base64"));
    expect(JSON.parse(new Codec("json").encode(name, said as never) as string)).toEqual(json);
    // Numbers that are whole travel as integers here, which the gateway takes for the same; maps have another order.
    const written = new Codec("msgpack").encode(name, said as never) as Uint8Array;
    const back = new Codec("msgpack").decode(written);
    expect(back).toEqual(new Codec("msgpack").decode(bytes(msgpack)));
    exact += Number(hex(written) === msgpack);
  }
  expect(exact).toBeGreaterThan(0);
});

test("what is no message is refused", () => {
  let refused = 0;
  for (const { to, json, msgpack, after, why } of load("bad")) {
    // Shapes of what a client says are the gateway's to check.
    if (to !== "client") continue;
    const codec = new Codec(json === undefined ? "msgpack" : "json");
    const table = new Table(50);
    if (after) table.apply(delta(codec.decode(bytes(after))));
    expect(() => table.apply(delta(codec.decode(json ?? bytes(msgpack)))), why).toThrow();
    refused += 1;
  }
  expect(refused).toBeGreaterThan(20);
});

test("what is cut anywhere, or changed in a bit, is never an accident", () => {
  const whole = load("states").filter((item: { msgpack?: string }) => item.msgpack).map((item: { msgpack: string }) => bytes(item.msgpack));
  for (const message of whole.slice(0, 20)) {
    for (let length = 0; length < message.length; length++) {
      expect(() => new Codec("msgpack").decode(message.slice(0, length))).toThrow(Malformed);
    }
    for (let bit = 0; bit < message.length * 8; bit++) {
      const bent = message.slice();
      bent[bit >> 3]! ^= 1 << (bit & 7);
      try {
        new Codec("msgpack").decode(bent);
      } catch (error) {
        expect(error).toBeInstanceOf(Malformed);
      }
    }
  }
});
