// The TypeScript client, as it is published, on a real gateway: its example runs as printed, two see and hear each other,
// and when the gateway is killed and started again they go on as who they were.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect, Lost, Refused } from "../../clients/typescript/dist/index.js";
import { crowd } from "./crowd.mjs";
import { startGateway, until } from "./gateway.mjs";

const CLIENT = new URL("../../clients/typescript/", import.meta.url);
const EXAMPLE = new URL("examples/ten-lines.mjs", CLIENT);
const data = mkdtempSync(join(tmpdir(), "nearcast-"));
let gateway;
const clients = [];

after(async () => {
  for (const client of clients) client.close();
  await gateway?.close();
  rmSync(data, { recursive: true });
});

async function enter(profile, x, options = {}) {
  const client = await connect(gateway.ws, { world: "plaza", profile, ...options });
  clients.push(client);
  client.move([x, 0, 0], 90);
  return client;
}

const named = (client, profile) => [...client.avatars()].find((avatar) => avatar.profile === profile);

test("its README quotes the example word for word", () => {
  const [, quoted] = readFileSync(new URL("README.md", CLIENT), "utf8").split("```js\n");
  assert.equal(quoted.split("```")[0], readFileSync(EXAMPLE, "utf8"));
});

test("the example runs as printed", async () => {
  gateway = await startGateway({ data });
  const walkers = crowd(gateway.ws, 2);
  const child = spawn(process.execPath, ["--experimental-websocket", "--no-warnings", EXAMPLE.pathname, gateway.ws]);
  let [text, errors] = ["", ""];
  child.stdout.on("data", (data) => (text += data));
  child.stderr.on("data", (data) => (errors += data));
  try {
    await until("Ada came", () => text.includes("Ada came"));
    await until("it has waved", () => text.includes("waved: {"));
    await until("it says where Ada is", () => /Ada is at \{[^}]*x: [\d.]+/.test(text));
  } finally {
    child.kill();
    walkers.close();
  }
  assert.equal(errors, "");
});

test("two see each other walk, whatever they speak", async () => {
  const [ann, bob] = [await enter("Ann", 30), await enter("Bob", 33, { encoding: "json" })];
  await until("they see each other", () => named(ann, "Bob") && named(bob, "Ann"));
  const began = performance.now();
  const walk = setInterval(() => ann.move([30 + (performance.now() - began) / 1_000, 0, 0], 0), 50);
  const drawn = [];
  await until("Bob sees Ann walk two metres", () => {
    const moment = bob.moment();
    drawn.push(bob.draw(named(bob, "Ann"), moment).x);
    return drawn.at(-1) > 32;
  });
  clearInterval(walk);
  // Drawn ahead where a sample was late, and then taken back by as much as 100 ms of it.
  assert.ok(drawn.every((x, i) => i === 0 || x >= drawn[i - 1] - 0.1), `not back: ${drawn}`);
  const { ageP50, states, bytes } = bob.figures();
  assert.ok(ageP50 > 0 && states > 5 && bytes > 50, JSON.stringify(bob.figures()));
  await until("what is told is fresh, and drawn soon", () => bob.figures().ageP50 < 150 && ann.delay < 250, 30_000);
});

test("what one does the other hears once, and things are there for both", async () => {
  const [ann, bob] = clients;
  const heard = [];
  const off = bob.on("event", ({ from, name, data, mine }) => heard.push([from, name, data, mine]));
  await ann.act("say", { data: "hello" });
  await until("Bob hears it", () => heard.length > 0);
  assert.deepEqual(heard, [[ann.welcome.entity, "say", "hello", false]]);
  const { object } = await ann.create("lamp", { fields: { on: "no" } });
  await until("Bob sees the lamp", () => bob.things.get(object));
  await assert.rejects(bob.remove(bob.things.get(object)), (error) => error instanceof Refused && error.code === "not_yours");
  await bob.change(bob.things.get(object), { on: "yes" }, { expect: 1 });
  await until("Ann sees it shine", () => ann.things.get(object)?.fields.on === "yes");
  await ann.grab(ann.things.get(object));
  await until("Bob sees who has it", () => bob.things.get(object).holder === ann.welcome.entity);
  await bob.act("say", { data: "to you alone", to: ann.welcome.user });
  off();
});

test("both ends hold the same, and the gateway is told how old things are", async () => {
  const [ann, bob] = clients;
  let steps = 0;
  const walk = setInterval(() => bob.move([33 + (steps++ % 40) * 0.05, 0, 0]), 50);
  await until("128 states", () => ann.digest.number > 130, 15_000);
  clearInterval(walk);
  const count = (same) => gateway.metric(`nearcast_digests_total{same="${same}"}`);
  await until("a digest has been compared", async () => (await count("true")) > 0);
  assert.equal(await count("false"), 0);
  assert.ok((await gateway.metric(`nearcast_reported_age_seconds_count{share="p99"}`)) > 0);
});

test("after a kill they go on as who they were, and promises are kept", async () => {
  const [ann, bob] = clients;
  const before = [ann, bob].map((client) => client.welcome.entity);
  const told = [];
  ann.on("status", ({ status }) => told.push(status));
  const { listen } = gateway;
  await gateway.close();
  await until("Ann knows", () => !ann.isConnected);
  const waved = ann.act("wave");
  assert.ok(named(ann, "Bob"), "he stays on the screen");
  gateway = await startGateway({ listen, data });
  const { offset } = await waved;
  assert.ok(offset >= 0);
  await until("Bob is back", () => bob.isConnected);
  assert.deepEqual([ann, bob].map((client) => client.welcome.entity), before);
  assert.ok(ann.welcome.resumed && told.includes("waiting") && told.at(-1) === "connected", told.join());
  // What they showed before is shown until then, so one has to go elsewhere.
  ann.move([29, 0, 3], 90);
  await until("Bob sees where Ann is now", () => named(bob, "Ann")?.last.z === 3);
});

test("a reload goes on as the same avatar, and whoever comes by the old way is told to stay away", async () => {
  const [ann] = clients;
  const again = await connect(gateway.ws, { world: "plaza", saved: JSON.parse(JSON.stringify(ann.save())) });
  clients.push(again);
  assert.equal(again.welcome.entity, ann.welcome.entity);
  const ended = [];
  ann.on("status", ({ status, code }) => ended.push([status, code]));
  await until("the old one is over", () => ended.length > 0);
  assert.deepEqual(ended, [["closed", 4504]]);
  await assert.rejects(ann.act("wave"), Lost);
});
