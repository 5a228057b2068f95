// Shows the page with a crowd: `node --experimental-websocket show.mjs picture` takes the picture of the README, `frame` tells
// how long a frame's script takes with 300 avatars in view. Needs `make build`.

import { spawn } from "node:child_process";
import { startBrowser, startGateway, until } from "./gateway.mjs";

const LOADTEST = process.env.LOADTEST_BIN ?? new URL("../../target/release/nearcast-loadtest", import.meta.url).pathname;
const PICTURE = new URL("../../docs/plaza.png", import.meta.url).pathname;
/** A frame's script may take so long, ms: half of them no longer. */
const SCRIPT_MS = 4;
const AVATARS = 300;

const what = process.argv[2];
const gateway = await startGateway();
const isPicture = what === "picture";
// The crowd of `make demo`, or all in one spot.
const people = isPicture ? ["--scenario", "plaza500", "--bots", "400"] : ["--scenario", "spot300", "--bots", String(AVATARS)];
const crowd = spawn(LOADTEST, ["run", "--url", gateway.listen, ...people, "--seconds", "120"], { stdio: "ignore" });
const browser = await startBrowser();
try {
  const viewport = isPicture ? { width: 1280, height: 720 } : { width: 960, height: 540 };
  const page = await browser.newPage({ viewport });
  await page.goto(`${gateway.http}?name=You${isPicture ? "&detail=high#27,11" : "#4,14"}`);
  const wanted = isPicture ? 45 : AVATARS;
  await until("everybody is in view", () => page.evaluate((all) => [...nearcast.client.avatars()].length >= all, wanted), 60_000);
  if (isPicture) await picture(page);
  else if (!(await frames(page))) process.exitCode = 1;
} finally {
  crowd.kill();
  await browser.close();
  await gateway.close();
}

async function picture(page) {
  await page.waitForTimeout(20_000); // plots fill
  await page.evaluate(() => nearcast.client.act("say", { data: "Hello, everybody!" }));
  await page.waitForTimeout(1_500);
  await page.screenshot({ path: PICTURE });
  console.log(`written: ${PICTURE}`);
}

/** By the browser's own count of what scripts take, over ten seconds. */
async function frames(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const read = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    const script = metrics.find(({ name }) => name === "ScriptDuration").value;
    return { script, frames: await page.evaluate(() => nearcast.frames()) };
  };
  await page.waitForTimeout(5_000);
  const before = await read();
  await page.waitForTimeout(10_000);
  const after = await read();
  const count = after.frames - before.frames;
  const mean = ((after.script - before.script) * 1_000) / count;
  const own = await page.evaluate(() => nearcast.script.toSorted((a, b) => a - b));
  const [half, most] = [own[Math.floor(own.length / 2)], own[Math.floor(own.length * 0.95)]];
  console.log(`${AVATARS} avatars, ${(count / 10).toFixed(1)} frames/s (pixels by the processor): a frame's script takes ${half.toFixed(1)} ms (p50), ${most.toFixed(1)} (p95), of all scripts ${mean.toFixed(1)} ms a frame; wanted: ${SCRIPT_MS}`);
  return half <= SCRIPT_MS;
}
