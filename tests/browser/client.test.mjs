// The client that the README quotes stands there as it is, and sees another avatar walk.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { crowd } from "./crowd.mjs";
import { startGateway, until } from "./gateway.mjs";

const PATH = new URL("../../clients/plain/client.mjs", import.meta.url).pathname;
let gateway, child, walkers;

after(async () => {
  child?.kill();
  walkers?.close();
  await gateway?.close();
});

test("the README quotes it word for word", () => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const [, quoted] = readme.split("```js\n");
  assert.equal(quoted.split("```")[0], readFileSync(PATH, "utf8"));
});

test("the plain client sees and is seen", async () => {
  gateway = await startGateway();
  let seen, updates = 0;
  walkers = crowd(gateway.ws, 1, {
    heard(name, message) {
      if (name !== "state") return;
      seen ??= message.enter?.find((row) => row[9] === "Ann");
      updates += message.update?.length ?? 0;
    },
  });
  child = spawn(process.execPath, ["--experimental-websocket", "--no-warnings", PATH, gateway.ws], { stdio: ["ignore", "pipe", "pipe"] });
  let [text, errors] = ["", ""];
  child.stdout.on("data", (data) => (text += data));
  child.stderr.on("data", (data) => (errors += data));
  await until("it lists Ada", () => text.includes("profile: 'Ada'"));
  await until("its avatar is seen to walk", () => seen && updates > 10, 8_000);
  await until("states go on", () => text.split("near:").length > 3);
  assert.equal(errors, "");
});

test("the plain client says so when nobody is there", async () => {
  const alone = spawn(process.execPath, ["--experimental-websocket", "--no-warnings", PATH, "ws://127.0.0.1:1/v1"]);
  let text = "";
  alone.stdout.on("data", (data) => (text += data));
  await new Promise((ended) => alone.on("close", ended));
  assert.match(text, /nobody is there/);
});
