// The page's table without a gateway: the examples of schemas/protocol.md, full views, contradictions.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Nearcast, placeAt } from "../../web-demo/nearcast.js";

const PROSE = readFileSync(new URL("../../schemas/protocol.md", import.meta.url), "utf8");

/** A client whose socket goes nowhere; `said` holds the names of what it says, and `close` where it closes. */
function client() {
  const said = [];
  globalThis.WebSocket = class {
    static OPEN = 1;
    readyState = 1;
    send = (text) => said.push(...Object.keys(JSON.parse(text)));
    close = () => said.push("close");
  };
  const client = new Nearcast("ws://nowhere", {});
  client.connect();
  client.welcome = { tick_ms: 50 };
  let number = 0;
  const state = (fields) => client._state({ number: ++number, tick: 100 + number, ...fields }, performance.now(), "");
  const shown = () => [...client.shown()].map((a) => `${a.entity}@${a.last.x}`).sort().join(" ");
  return { client, state, said, shown };
}

const row = (slot, generation, x, entity) => [slot, generation, x, 0, 0, 0, 0, 0, ...(entity ? [entity, "", ""] : [])];

test("the examples of the protocol give its digests", () => {
  const { client: c } = client();
  for (const n of [1, 2]) {
    const [, json] = PROSE.split("```json state " + n + "\n");
    c._state(JSON.parse(json.split("```")[0]).state, performance.now(), "");
    const [, digest] = new RegExp(`after state ${n}: \`([0-9a-f]{8})\``).exec(PROSE);
    assert.equal(c.digest().toString(16).padStart(8, "0"), digest);
  }
  assert.deepEqual([...c.table.values()].map((a) => a.profile), ["Ann", "Zoë"]);
});

test("a full view stands beside the old one until it is whole", () => {
  const { state, shown, said } = client();
  state({ full_begin: true, full_end: true, enter: [row(0, 0, 1, 7), row(1, 0, 1, 8), row(2, 0, 1, 9)] });
  state({ full_begin: true, enter: [row(0, 1, 2, 8)] });
  assert.equal(shown(), "7@1 8@2 9@1");
  state({ full_begin: true, enter: [row(0, 2, 3, 9)] });
  assert.equal(shown(), "7@1 8@2 9@3", "a second beginning: 8 is shown as the first had it");
  state({ full_end: true, enter: [row(1, 1, 4, 8)] });
  assert.equal(shown(), "8@4 9@3", "7 has gone");
  assert.ok(!said.includes("close"));
});

test("whoever contradicts the table is left", () => {
  const begin = { full_begin: true, full_end: true, enter: [row(0, 0, 1, 7)] };
  for (const wrong of [
    { leave: [[1, 0]] },
    { update: [row(0, 1, 2)] },
    { change: [[3, 0, "x", null]] },
    { enter: [row(0, 1, 2, 8)] },
    { enter: [row(1, 0, 2, 7)] },
    { leave: [[0, 0]], enter: [row(0, 0, 2, 8)] },
    { number: 5 },
  ]) {
    const { state, said } = client();
    state(begin);
    assert.ok(!said.includes("close"));
    state(wrong);
    assert.ok(said.includes("close") && !said.includes("bye"), JSON.stringify(wrong));
  }
});

test("who comes back says how far it was told, and again what has no answer", () => {
  const { client: c } = client();
  const pos = [0, 0, 0];
  c._welcome({ token: "first", resumed: false });
  ["a", "b", "c"].forEach((name) => c.act(name, pos));
  c._ack({ n: 1 });
  c._event({ stream: "region/0/0", offset: 5 });
  c._cursor({ stream: "partition/0", offset: 9 });
  c._reset({ partition: 1, offset: 3 });
  const texts = [];
  c.connect();
  c.socket.send = (text) => texts.push(JSON.parse(text));
  c.socket.onopen();
  const cursors = [["region/0/0", 6], ["partition/0", 9], ["partition/1", 3]];
  assert.deepEqual(texts, [{ hello: { resume: { token: "first", open: 2, cursors } } }]);
  c._welcome({ token: "second", resumed: true });
  assert.deepEqual(texts.flatMap((text) => text.act?.n ?? []), [2, 3]);
  c._welcome({ token: "third", resumed: false });
  assert.equal(c.acts.size + c.cursors.size, 0, "somebody else");
  clearTimeout(c.pinger); // else it asks for the clock for ever
});

test("avatars are drawn on the line between samples, and stand through a pause", () => {
  const samples = [{ t: 0, x: 0, y: 0, z: 0, yaw: 350 }, { t: 100, x: 10, y: 0, z: 0, yaw: 10 }];
  assert.equal(placeAt({ samples }, 50).x, 5);
  assert.equal(placeAt({ samples }, 50).yaw, 360, "the short way round");
  assert.equal(placeAt({ samples }, 900).x, 10);
  const { client: c, state } = client();
  state({ full_begin: true, full_end: true, enter: [row(0, 0, 0, 7)] });
  state({ tick: 142, update: [row(0, 0, 10)] });
  assert.equal(placeAt(c.table.get(0), 142 * 50 - 101).x, 0);
  assert.equal(placeAt(c.table.get(0), 142 * 50 - 50).x, 5);
});

test("objects are held as told last, and wishes name them", () => {
  const { client: c, said } = client();
  const lamp = (version, on) => ({ object: 1024, version, kind: "lamp", pos: [1, 0, 2], yaw: 0, fields: { on } });
  c._object({ begin: true, put: [lamp(1, "no"), { ...lamp(1, "no"), object: 2048 }] });
  c._object({ put: [lamp(2, "yes")], gone: [2048], places: [{ place: "world", version: 1, fields: { time: "noon" } }] });
  assert.deepEqual([...c.objects.values()], [lamp(2, "yes")]);
  assert.equal(c.places.get("world").fields.time, "noon");
  c.connected = true;
  c.set("change", c.objects.get(1024), { expect: 2, fields: { on: "no" } });
  assert.equal(said.at(-1), "set");
  const [set] = c.acts.values();
  assert.deepEqual([set.n, set.object, set.pos, set.expect], [1, 1024, [1, 0, 2], 2]);
  c._ack({ n: 1, object: 1024, version: 3 });
  assert.equal(c.acts.size, 0);
  c._object({ begin: true });
  assert.equal(c.objects.size + c.places.size, 0);
});
