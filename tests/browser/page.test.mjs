// The page in a real browser: two of them and a small crowd meet on a real gateway.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { crowd } from "./crowd.mjs";
import { startBrowser, startGateway, until } from "./gateway.mjs";

const CROWD = 8;
let gateway, browser, walkers;
const pages = {};
const complaints = [];

before(async () => {
  gateway = await startGateway();
  browser = await startBrowser();
  walkers = crowd(gateway.ws, CROWD);
  for (const [name, x] of [["Ann", 28], ["Bob", 34]]) {
    const page = (pages[name] = await browser.newPage({ viewport: { width: 800, height: 600 } }));
    page.on("console", (message) => message.type() === "error" && complaints.push(`${name}: ${message.text()}`));
    page.on("pageerror", (error) => complaints.push(`${name}: ${error}`));
    await page.goto(`${gateway.http}?name=${name}#${x},0`);
  }
});

after(async () => {
  walkers?.close();
  await browser?.close();
  await gateway?.close();
});

/** Where a page shows an avatar of this name, as its last sample says. */
const find = (page, name) =>
  page.evaluate((name) => [...nearcast.client.shown()].find((a) => a.profile === name)?.last, name);
const figure = async (page, id) => Number((await page.textContent(`#${id}`)).replace("…", ""));
const feed = (page) => page.evaluate(() => [...document.querySelectorAll("#feed li")].map((line) => line.textContent));

test("they see each other and the crowd", async () => {
  await until("Ann sees Bob", () => find(pages.Ann, "Bob"));
  await until("Bob sees Ann", () => find(pages.Bob, "Ann"));
  for (const page of Object.values(pages)) {
    await until("all are near", async () => (await figure(page, "near")) === CROWD + 1);
  }
});

test("each sees the other walk, as far as it walked", async () => {
  for (const [walker, viewer, key] of [["Ann", "Bob", "ArrowRight"], ["Bob", "Ann", "KeyW"]]) {
    const from = await find(pages[viewer], walker);
    const began = performance.now();
    const mine = () => pages[walker].evaluate(() => ({ x: nearcast.me.x, z: nearcast.me.z }));
    const start = await mine();
    await pages[walker].keyboard.down(key);
    await until(`${walker} walks`, async () => {
      const now = await mine();
      return Math.hypot(now.x - start.x, now.z - start.z) > 1.5;
    });
    await pages[walker].keyboard.up(key);
    const me = await pages[walker].evaluate(() => ({ x: nearcast.me.x, z: nearcast.me.z }));
    const close = (at) => Math.hypot(at.x - me.x, at.z - me.z) < 0.02;
    const to = await until(`${viewer} sees where ${walker} stopped`, async () => {
      const at = await find(pages[viewer], walker);
      return at && close(at) && at;
    });
    const way = key === "ArrowRight" ? to.x - from.x : from.z - to.z;
    const seconds = (performance.now() - began) / 1_000;
    assert.ok(way > 1 && way < 5 * seconds, `${walker} walked ${way} m in ${seconds} s`);
    assert.equal(to.yaw, key === "ArrowRight" ? 0 : 90, "and looks where it went");
  }
});

test("a wave arrives at the other exactly once", async () => {
  await pages.Ann.mouse.click(400, 200);
  await until("Bob is told", async () => (await feed(pages.Bob)).some((line) => line.startsWith("Ann: wave")), 8_000);
  await until("Ann has her answer", () => pages.Ann.evaluate(() => nearcast.client.acts.size === 0));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const told = (await feed(pages.Bob)).filter((line) => line.startsWith("Ann: wave"));
  assert.equal(told.length, 1, told.join("; "));
  await until("Ann is told too", async () => (await feed(pages.Ann)).includes("You: wave"));
});

test("the figures are sane", async () => {
  for (const page of Object.values(pages)) {
    assert.equal(await page.textContent("#status"), "connected");
    // A page that has just come, on a busy machine, says seen late: its states are fewer for some seconds.
    await until("more than 10 states/s", async () => (await figure(page, "rate")) > 10, 12_000);
    const [rate, kilobytes] = [await figure(page, "rate"), await figure(page, "bytes")];
    const [age50, age99] = [await figure(page, "age50"), await figure(page, "age99")];
    assert.ok(rate <= 22, `${rate} states/s`);
    assert.ok(kilobytes > 1 && kilobytes < 25, `${kilobytes} kB/s`);
    assert.ok(age50 > 0 && age50 <= age99, `age p50 ${age50} ms, p99 ${age99} ms`);
    assert.ok(age50 < 150, `age p50 ${age50} ms`);
    assert.equal(await page.isVisible("#banner"), false);
  }
});

test("the tables are those that the gateway keeps", async () => {
  const states = () => pages.Ann.evaluate(() => nearcast.client.number);
  await until("128 states", async () => (await states()) > 130, 12_000);
  const digests = (same) => gateway.metric(`nearcast_digests_total{same="${same}"}`);
  await until("a digest has been compared", async () => (await digests("true")) > 0);
  assert.equal(await digests("false"), 0);
});

test("a page that is closed goes at once", async () => {
  await pages.Bob.close({ runBeforeUnload: true });
  await until("Bob is gone", async () => !(await find(pages.Ann, "Bob")), 3_000);
});

test("the gateway's end is told, and nothing was complained about", async () => {
  assert.deepEqual(complaints, []);
  walkers.close();
  gateway.drain();
  await until("Ann waits", async () => (await pages.Ann.textContent("#status")) === "coming back");
});
