// A gateway and a browser for one test file. What is started here is ended by `close`.

import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const BIN = process.env.NEARCAST_BIN ?? new URL("../../target/release/nearcast", import.meta.url).pathname;
const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "chrome"];
// Without the two last the compositor leaves holes in a headless page.
const FLAGS = [
  "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
];

/** Who says this is a game server, to all gateways that are started here. */
export const SERVER_TOKEN = "0123456789abcdef".repeat(4);

/** Starts a gateway on free ports, or where another has been; its log is in memory, or in a folder. */
export async function startGateway({ listen: address = "127.0.0.1:0", data } = {}) {
  const log = data ? ["--data", data] : ["--log", "memory"];
  const flags = ["serve", "--listen", address, "--admin", "127.0.0.1:0", ...log];
  const child = spawn(BIN, flags, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NEARCAST_SERVER_TOKEN: SERVER_TOKEN } });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  let errors = "";
  child.stderr.on("data", (data) => (errors = (errors + data).slice(-4_000)));
  const ready = await new Promise((resolve, reject) => {
    child.once("error", () => reject(new Error(`cannot start ${BIN}: build it, or set NEARCAST_BIN`)));
    child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}:\n${errors}`)));
    let text = "";
    child.stdout.on("data", (data) => {
      const match = /ready listen=(\S+) admin=(\S+)/.exec((text += data));
      if (match) resolve(match);
    });
  });
  const [, listen, admin] = ready;
  return {
    listen,
    http: `http://${listen}/`,
    ws: `ws://${listen}/v1`,
    admin: `http://${admin}/`,
    /** The value of a metric, by its name and labels as they stand in the text. */
    async metric(name) {
      const text = await (await fetch(`http://${admin}/metrics`)).text();
      const line = text.split("\n").find((line) => line.startsWith(`${name} `));
      if (!line) throw new Error(`no metric ${name}`);
      return Number(line.slice(name.length + 1));
    },
    /** Asks it to go: it tells its clients. */
    drain: () => child.kill("SIGTERM"),
    /** Ends it as `kill -9` does. */
    async close() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Starts the browser on this machine: `CHROMIUM`, or one of the usual names on the path. */
export async function startBrowser() {
  return chromium.launch({ executablePath: findBrowser(), args: FLAGS });
}

function findBrowser() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    for (const name of BROWSERS) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {} // not this one
    }
  }
  throw new Error("no Chromium: apt-get install chromium, or set CHROMIUM to its path");
}

/** Waits until `ask` gives something true, and gives it back; fails with `what` after so many ms. */
export async function until(what, ask, ms = 15_000) {
  const end = performance.now() + ms;
  for (;;) {
    const got = await ask();
    if (got) return got;
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
