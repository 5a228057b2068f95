// A client without a gateway: what it says at which moment, and what it makes of what it hears.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Lost, Refused } from "../src/commands.ts";
import { connect } from "../src/client.ts";
import { FakeSocket, fake, row, welcome } from "./socket.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
afterEach(() => void vi.useRealTimers());

/** A client that has been let in. */
function entered() {
  const all = fake();
  all.socket().onopen?.();
  all.socket().hears("welcome", welcome());
  return all;
}

/** The same, and it stands somewhere. */
function placed() {
  const all = entered();
  all.client.move([5, 0, 0]);
  return all;
}

test("hello comes first, and nothing before the welcome", () => {
  const { client, socket } = fake({ profile: "Ann", view: { radius: 30 } });
  client.move([1, 0, 2], 90);
  void client.act("wave");
  expect(socket().said).toEqual([]);
  socket().onopen?.();
  expect(socket().said).toEqual([{ hello: { world: "plaza", profile: "Ann", view: { radius: 30 } } }]);
  socket().hears("welcome", welcome());
  expect(socket().said.slice(1).flatMap(Object.keys)).toEqual(["ping", "move", "act"]);
  client.close();
});

test("what is done waits for a place to do it", () => {
  const { client, socket } = entered();
  void client.act("wave");
  expect(socket().of("act")).toEqual([]);
  client.move([1, 0, 2]);
  expect(socket().said.slice(1).flatMap(Object.keys)).toEqual(["ping", "move", "act"]);
  expect(socket().of("act")[0]?.pos, "it is done where we are then").toEqual([1, 0, 2]);
  client.close();
});

test("a place is said 20 times a second at most, the newest always, and no place twice", () => {
  const { client, socket } = entered();
  for (let ms = 0; ms < 1_000; ms += 5) {
    client.move([ms, 0, 0]);
    vi.advanceTimersByTime(5);
  }
  vi.advanceTimersByTime(100);
  const moves = socket().of("move");
  expect(moves.length).toBeGreaterThan(17);
  expect(moves.length).toBeLessThan(23);
  expect(moves.at(-1)?.pos).toEqual([995, 0, 0]);
  client.move([995, 0, 0]);
  vi.advanceTimersByTime(500);
  expect(socket().of("move").length).toBe(moves.length);
  client.close();
});

test("seen is said with a move, or soon by itself", () => {
  const { client, socket } = entered();
  client.move([1, 0, 0]);
  socket().hears("state", { number: 1, tick: 100, full_begin: true, full_end: true });
  vi.advanceTimersByTime(50);
  client.move([2, 0, 0]);
  expect(socket().of("move").at(-1)).toMatchObject({ seen: 1, held_ms: 50 });
  socket().hears("state", { number: 2, tick: 101 });
  vi.advanceTimersByTime(90);
  expect(socket().of("seen")).toEqual([{ seen: 2, held_ms: 80 }]);
  vi.advanceTimersByTime(500);
  socket().hears("state", { number: 3, tick: 102 });
  expect(socket().of("seen").at(-1), "who stands says it at once").toEqual({ seen: 3, held_ms: 0 });
  client.close();
});

test("a hidden page says at once what it has seen, as its timers are late", () => {
  const { client, socket } = placed();
  vi.stubGlobal("document", { hidden: true });
  try {
    socket().hears("state", { number: 1, tick: 100, full_begin: true, full_end: true });
    expect(socket().of("seen")).toEqual([{ seen: 1, held_ms: 0 }]);
  } finally {
    vi.unstubAllGlobals();
  }
  client.close();
});

test("connect gives up where nobody is, and does not where somebody says to come back", async () => {
  const sockets: FakeSocket[] = [];
  const socket = (): FakeSocket => (sockets.push(new FakeSocket()), sockets.at(-1)!);
  const nobody = connect("ws://nowhere", { world: "plaza", socket });
  sockets[0]!.loses();
  await expect(nobody).rejects.toThrow("no gateway at ws://nowhere");
  vi.advanceTimersByTime(60_000);
  expect(sockets.length, "nor does it try again").toBe(1);
  const busy = connect("ws://busy", { world: "plaza", encoding: "json", socket });
  sockets[1]!.hears("bye", { code: 4005, text: "later", again: true, after_ms: 100 });
  sockets[1]!.loses(4005);
  vi.advanceTimersByTime(2_000);
  sockets[2]!.hears("welcome", welcome());
  const client = await busy;
  expect(client.isConnected).toBe(true);
  client.close();
});

test("what could not be read is not said", () => {
  const { client, socket } = placed();
  const said = socket().said.length;
  expect(() => client.move([Number.NaN, 0, 0])).toThrow(RangeError);
  expect(() => client.move([0, 0, 0], 0, new Uint8Array(17))).toThrow("17 bytes, 16 at most");
  expect(() => void client.act("wave", { pos: [0, Infinity, 0] })).toThrow(RangeError);
  expect(() => void client.create("ball", { yaw: Number.NaN })).toThrow(RangeError);
  expect(() => client.move([1, 2] as never)).toThrow(RangeError);
  expect(() => void client.act("wave", { data: { x: 1 } as never })).toThrow(TypeError);
  expect(() => void client.create("lamp", { fields: { on: true } as never })).toThrow("no texts: lamp,true");
  expect(() => fake({ world: undefined as never })).toThrow(TypeError);
  vi.advanceTimersByTime(500);
  expect(socket().said.length).toBe(said);
  client.close();
});

test("what changes on the way to the welcome is said after it, and options stay the caller's", () => {
  const options = { profile: "Ann", view: { radius: 30 } };
  const { client, socket } = fake(options);
  socket().onopen?.();
  client.profile("Ann!");
  client.view({ budget: 9_000 });
  socket().hears("welcome", welcome());
  expect(socket().of("profile")).toEqual([{ profile: "Ann!" }]);
  expect(socket().of("view")).toEqual([{ radius: 30, budget: 9_000 }]);
  expect(options).toEqual({ profile: "Ann", view: { radius: 30 } });
  client.close();
});

test("who comes and goes is told once, over a new connection too", () => {
  const { client, socket } = entered();
  const told: string[] = [];
  client.on("enter", ({ profile }) => told.push(`+${profile}`));
  client.on("leave", ({ profile }) => told.push(`-${profile}`));
  socket().hears("state", { number: 1, tick: 100, full_begin: true, full_end: true, enter: [row(0, 0, 1, 7, "Bob"), row(1, 0, 2, 8, "Eve")] });
  socket().hears("state", { number: 2, tick: 101, leave: [[7, 0]] });
  expect(socket().readyState, "it contradicts the table").toBe(3);
  expect([...client.avatars()].length, "they stay on the screen").toBe(2);
  vi.advanceTimersByTime(2_000);
  socket().onopen?.();
  expect(socket().of("hello")[0]?.resume).toEqual({ token: "first", open: 1, cursors: [] });
  socket().hears("welcome", welcome({ resumed: true, token: "second" }));
  socket().hears("state", { number: 1, tick: 140, full_begin: true, enter: [row(0, 0, 1, 7, "Bob")] });
  expect([...client.avatars()].map(({ profile }) => profile).sort()).toEqual(["Bob", "Eve"]);
  socket().hears("state", { number: 2, tick: 141, full_end: true });
  expect([...client.avatars()].map(({ profile }) => profile)).toEqual(["Bob"]);
  expect(told).toEqual(["+Bob", "+Eve", "-Eve"]);
  client.close();
});

test("the avatar that we were is nobody else", () => {
  const { client, socket } = entered();
  const told: string[] = [];
  client.on("enter", ({ profile }) => told.push(profile));
  socket().loses();
  vi.advanceTimersByTime(2_000);
  socket().onopen?.();
  socket().hears("welcome", welcome({ entity: 9, resumed: false }));
  socket().hears("state", { number: 1, tick: 100, full_begin: true, full_end: true, enter: [row(0, 0, 1, 3, "me"), row(1, 0, 2, 8, "Eve")] });
  expect([...client.avatars()].map(({ profile }) => profile)).toEqual(["Eve"]);
  expect(told).toEqual(["Eve"]);
  client.close();
});

test("what has no answer is said again, unchanged, and its promise is kept", async () => {
  const { client, socket } = placed();
  const wave = client.act("wave", { data: "hi" });
  const said = socket().of("act")[0];
  socket().hears("unknown", { n: 1 });
  vi.advanceTimersByTime(1_100);
  expect(socket().of("act")).toEqual([said, said]);
  socket().loses();
  vi.advanceTimersByTime(2_000);
  socket().onopen?.();
  socket().hears("welcome", welcome({ resumed: true }));
  expect(socket().of("act")).toEqual([said]);
  socket().hears("ack", { n: 1, offset: 41 });
  await expect(wave).resolves.toEqual({ n: 1, offset: 41 });
  expect(client.open).toBe(0);
  client.close();
});

test("a refusal rejects, and so does a session that is not that of before", async () => {
  const { client, socket } = placed();
  const [first, second] = [client.act("a"), client.act("b")];
  socket().hears("refuse", { n: 1, of: "act", code: "rate", text: "slow down" });
  await expect(first).rejects.toMatchObject({ code: "rate" });
  await expect(first).rejects.toBeInstanceOf(Refused);
  socket().loses();
  vi.advanceTimersByTime(2_000);
  socket().onopen?.();
  socket().hears("welcome", welcome({ resumed: false, entity: 11 }));
  await expect(second).rejects.toBeInstanceOf(Lost);
  void client.act("c");
  expect(socket().of("act").map(({ n, name }) => [n, name])).toEqual([[1, "c"]]);
  client.close();
});

test("32 are open at most, the others wait", () => {
  const { client, socket } = placed();
  for (let n = 1; n <= 40; n++) void client.act("wave");
  expect(socket().of("act").length).toBe(32);
  socket().hears("ack", { n: 2, offset: 1 });
  expect(socket().of("act").length, "the window begins at the lowest without an answer").toBe(32);
  socket().hears("ack", { n: 1, offset: 1 });
  expect(socket().of("act").length).toBe(34);
  client.close();
});

test("a reload goes on as the same avatar", () => {
  const before = placed();
  void before.client.act("wave");
  before.socket().hears("event", { stream: "region/0/0", offset: 5, from: 9, user: 9, scope: "nearby", name: "hi", pos: [0, 0, 0] });
  before.socket().hears("cursor", { stream: "partition/3", offset: 8 });
  const saved = JSON.parse(JSON.stringify(before.client.save()));
  before.client.close({ stay: true });
  expect(before.socket().of("bye")).toEqual([]);
  const { client, socket } = fake({ saved });
  socket().onopen?.();
  expect(socket().of("hello")[0]?.resume).toEqual({ token: "first", open: 1, cursors: [["region/0/0", 6], ["partition/3", 8]] });
  socket().hears("welcome", welcome({ resumed: true }));
  expect(socket().of("act").map(({ n }) => n)).toEqual([1]);
  expect(client.open).toBe(1);
  client.close();
});

test("close codes are heeded", () => {
  for (const [code, bye, comesBack] of [
    [1006, undefined, true],
    [4000, { code: 4000, text: "going", again: true, after_ms: 3_000 }, true],
    [4504, { code: 4504, text: "elsewhere", again: false }, false],
    [4505, undefined, false],
    [1000, undefined, false],
  ] as const) {
    const { client, sockets, socket } = entered();
    const status: string[] = [];
    client.on("status", (value) => status.push(value.status));
    if (bye) socket().hears("bye", bye);
    socket().loses(code);
    expect(status.at(-1)).toBe(comesBack ? "waiting" : "closed");
    vi.advanceTimersByTime(2_500);
    expect(sockets.length, `${code}: not before the time that the gateway named`).toBe(comesBack && !bye ? 2 : 1);
    vi.advanceTimersByTime(10_000);
    expect(sockets.length > 1).toBe(comesBack);
    client.close();
  }
});

test("a listener's mistake is its own", async () => {
  const mistakes: unknown[] = [];
  const catches = (error: unknown): void => void mistakes.push(error);
  process.on("uncaughtException", catches);
  const { client, socket } = entered();
  const told: string[] = [];
  client.on("enter", () => {
    throw new Error("mine");
  });
  client.on("enter", ({ profile }) => told.push(profile));
  socket().hears("state", { number: 1, tick: 100, full_begin: true, full_end: true, enter: [row(0, 0, 1, 7, "Bob")] });
  expect([told, socket().readyState]).toEqual([["Bob"], 1]);
  await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  process.off("uncaughtException", catches);
  expect(mistakes.length).toBe(1);
  client.close();
});

test("a silent gateway is left for another connection", () => {
  const { client, sockets } = entered();
  client.move([1, 0, 0]);
  vi.advanceTimersByTime(19_000);
  expect(sockets.length).toBe(1);
  vi.advanceTimersByTime(3_000);
  expect(sockets.length).toBe(2);
  client.close();
});

test("a place that was refused is said again, ever more seldom: too often would end the session", () => {
  const { client, socket } = placed();
  const moves = () => socket().of("move").length;
  let before = moves();
  const said: number[] = [];
  for (let second = 1; second <= 60; second++) {
    socket().hears("refuse", { of: "move", code: "speed", text: "too fast" });
    vi.advanceTimersByTime(1_000);
    if (moves() > before) said.push(second);
    before = moves();
  }
  expect(said).toEqual([1, 3, 7, 15, 31]);
  client.close();
});

test("what we look like is said again where it came too fast", () => {
  const { client, socket } = placed();
  client.profile("A");
  client.profile("Ann");
  socket().hears("refuse", { of: "profile", code: "rate", text: "slower" });
  vi.advanceTimersByTime(1_100);
  expect(socket().of("profile").map(({ profile }) => profile)).toEqual(["A", "Ann", "Ann"]);
  vi.advanceTimersByTime(5_000);
  expect(socket().of("profile").length).toBe(3);
  void client.act("wave");
  socket().hears("refuse", { n: 1, of: "act", code: "rate", text: "slower" });
  vi.advanceTimersByTime(5_000);
  expect(socket().of("profile").length, "that was an action").toBe(3);
  client.close();
});

test("a hello that is refused is an end, and says why", async () => {
  const sockets: FakeSocket[] = [];
  const socket = (): FakeSocket => (sockets.push(new FakeSocket()), sockets.at(-1)!);
  const refused = connect("ws://busy", { world: "no such world", encoding: "json", socket });
  sockets[0]!.hears("refuse", { of: "hello", code: "length", text: "the world's name is too long" });
  sockets[0]!.loses(4102);
  await expect(refused).rejects.toThrow("1008: hello: the world's name is too long");
  vi.advanceTimersByTime(60_000);
  expect(sockets.length).toBe(1);
  expect(() => fake({ profile: "ä".repeat(49) })).toThrow("98 bytes, 96 at most");
  expect(() => fake({ view: { radius: Number.NaN } })).toThrow(RangeError);
});

test("what was above the rate is said again", () => {
  const { client, socket } = placed();
  void client.act("wave");
  socket().hears("refuse", { of: "message", code: "rate", text: "slow down" });
  vi.advanceTimersByTime(1_100);
  expect(socket().of("act").map(({ n }) => n)).toEqual([1, 1]);
  client.close();
});

test("after a reload the avatar is where it was, and what was said is said again", () => {
  const before = placed();
  void before.client.act("wave");
  const saved = JSON.parse(JSON.stringify(before.client.save()));
  before.client.close({ stay: true });
  const { client, socket } = fake({ saved });
  socket().onopen?.();
  void client.act("new");
  socket().hears("welcome", welcome({ resumed: true }));
  expect(socket().of("move").map(({ pos }) => pos)).toEqual([[5, 0, 0]]);
  expect(socket().of("act").map(({ name, pos }) => [name, pos[0]])).toEqual([["wave", 5], ["new", 5]]);
  client.close();
});

test("an error is an end, once", () => {
  const { client, sockets, socket } = fake();
  const status: string[] = [];
  client.on("status", (value) => status.push(value.status));
  socket().onerror?.();
  socket().loses();
  vi.advanceTimersByTime(1_000);
  expect([status, sockets.length]).toEqual([["waiting", "connecting"], 2]);
  client.close();
});

test("attempts that fail come seldom, and never all at once", () => {
  const { client, sockets, socket } = fake();
  const times: number[] = [];
  for (let attempt = 0; attempt < 8; attempt++) {
    const [before, count] = [performance.now(), sockets.length];
    socket().loses();
    while (sockets.length === count) vi.advanceTimersByTime(10);
    times.push(performance.now() - before);
  }
  expect(times[0]).toBeLessThan(800);
  expect(times[7]).toBeGreaterThan(15_000);
  expect(times[7]).toBeLessThan(23_000);
  client.close();
});

test("whoever contradicts the table is left for another connection", () => {
  const begin = { number: 1, tick: 100, full_begin: true, full_end: true, enter: [row(0, 0, 1, 7)] };
  for (const wrong of [
    { number: 2, tick: 101, leave: [[1, 0]] },
    { number: 2, tick: 101, update: [row(0, 1, 2)] },
    { number: 2, tick: 101, change: [[3, 0, "x", null]] },
    { number: 2, tick: 101, enter: [row(0, 1, 2, 8)] },
    { number: 2, tick: 101, enter: [row(1, 0, 2, 7)] },
    { number: 2, tick: 101, leave: [[0, 0]], enter: [row(0, 0, 2, 8)] },
    { number: 5, tick: 101 },
  ]) {
    const { client, sockets, socket } = entered();
    socket().hears("state", begin);
    expect(socket().readyState).toBe(1);
    socket().hears("state", wrong);
    expect(socket().readyState, JSON.stringify(wrong)).toBe(3);
    vi.advanceTimersByTime(1_000);
    expect(sockets.length).toBe(2);
    client.close();
  }
});

test("of what contradicts the table, what was applied before is told, and told once", () => {
  const { client, socket } = entered();
  const told: string[] = [];
  client.on("enter", ({ profile }) => told.push(`+${profile}`));
  client.on("leave", ({ profile }) => told.push(`-${profile}`));
  socket().hears("state", { number: 1, tick: 100, full_begin: true, full_end: true, enter: [row(0, 0, 1, 7, "Bob")] });
  socket().hears("state", { number: 2, tick: 101, leave: [[0, 0]], enter: [row(1, 0, 1, 8, "Eve")], update: [row(5, 0, 2)] });
  expect(told).toEqual(["+Bob", "+Eve", "-Bob"]);
  vi.advanceTimersByTime(1_000);
  socket().onopen?.();
  socket().hears("welcome", welcome({ resumed: true }));
  socket().hears("state", { number: 1, tick: 120, full_begin: true, full_end: true, enter: [row(0, 0, 1, 8, "Eve")] });
  expect(told).toEqual(["+Bob", "+Eve", "-Bob"]);
  client.close();
});

test("digests and ages are reported", () => {
  const { client, socket } = entered();
  const { time } = socket().of("ping")[0]!;
  socket().hears("pong", { time, server: 10_000 });
  socket().hears("state", { number: 1, tick: 200, full_begin: true, full_end: true, enter: [row(0, 0, 1, 7)] });
  for (let number = 2; number <= 128; number++) {
    vi.advanceTimersByTime(50);
    socket().hears("state", { number, tick: 199 + number, update: [[0, 0, number, 0, 0, 0, 20, 0]] });
  }
  const [report] = socket().of("report");
  expect(report).toEqual({ number: 128, digest: client.digest.digest, age_ms: [20, 20] });
  expect(client.figures().states).toBeGreaterThan(18);
  client.close();
});

test("things are held as told last", () => {
  const { client, socket } = placed();
  const told: string[] = [];
  client.on("thing", ({ object, version }) => told.push(`${object}@${version}`));
  client.on("gone", ({ object }) => told.push(`-${object}`));
  const lamp = (object: number, version: number, on: string) => ({ object, version, kind: "lamp", pos: [1, 0, 2], yaw: 0, fields: { on } });
  socket().hears("object", { begin: true, put: [lamp(1024, 1, "no"), lamp(2048, 1, "no")], places: [{ place: "world", version: 1, fields: { sky: "rain" } }] });
  socket().hears("object", { put: [lamp(1024, 2, "yes")], gone: [2048] });
  expect([...client.things.keys()]).toEqual([1024]);
  expect(client.places.get("world")).toEqual({ sky: "rain" });
  void client.change(client.things.get(1024)!, { on: "no" }, { expect: 2 });
  expect(socket().of("set")[0]).toEqual({ n: 1, wish: "change", object: 1024, fields: { on: "no" }, pos: [1, 0, 2], expect: 2 });
  socket().hears("object", { begin: true, put: [lamp(4096, 1, "no")] });
  expect([...client.things.keys()]).toEqual([4096]);
  expect(told).toEqual(["1024@1", "2048@1", "-2048", "1024@2", "-1024", "4096@1"]);
  client.close();
});
