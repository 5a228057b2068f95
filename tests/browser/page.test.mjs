// The page in a real browser: two of them and a small crowd meet on a real gateway. Pictures go to `pictures/`.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { crowd } from "./crowd.mjs";
import { startBrowser, startGateway, until } from "./gateway.mjs";

const CROWD = 12;
const PICTURES = new URL("pictures/", import.meta.url).pathname;
const data = mkdtempSync(join(tmpdir(), "nearcast-"));
let gateway, browser, walkers;
const pages = {};
const complaints = [];

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  gateway = await startGateway({ data });
  browser = await startBrowser();
  walkers = crowd(gateway.ws, CROWD);
  for (const [name, x] of [["Ann", 28], ["Bob", 34]]) {
    const page = (pages[name] = await browser.newPage({ viewport: { width: 800, height: 520 } }));
    // That a gateway which has been killed does not answer is no mistake of the page.
    page.on("console", (message) => message.type() === "error" && !message.text().includes("WebSocket connection") && complaints.push(`${name}: ${message.text()}`));
    page.on("pageerror", (error) => complaints.push(`${name}: ${error}`));
    await page.goto(`${gateway.http}?name=${name}#${x},12`);
  }
});

after(async () => {
  walkers?.close();
  await browser?.close();
  await gateway?.close();
  rmSync(data, { recursive: true });
});

/** Where a page holds an avatar of this name: metres. */
const find = (page, name) => page.evaluate((name) => nearcast.find(name)?.last, name);
const mine = (page) => page.evaluate(() => ({ x: nearcast.me.x, z: nearcast.me.z, entity: nearcast.client.welcome?.entity }));
const feed = (page) => page.evaluate(() => [...document.querySelectorAll("#feed li")].map((line) => line.textContent));
const picture = (page, name) => page.screenshot({ path: join(PICTURES, `${name}.png`) });

test("they see each other and the crowd", async () => {
  await until("Ann sees Bob", () => find(pages.Ann, "Bob"), 15_000);
  await until("Bob sees Ann", () => find(pages.Bob, "Ann"), 15_000);
  for (const page of Object.values(pages)) {
    await until("all are near", () => page.evaluate((all) => [...nearcast.client.avatars()].length === all, CROWD + 1));
  }
  await picture(pages.Ann, "plaza");
});

test("each sees the other walk, to where it walked", async () => {
  for (const [walker, viewer, key] of [["Ann", "Bob", "ArrowRight"], ["Bob", "Ann", "KeyW"]]) {
    const start = await mine(pages[walker]);
    await pages[walker].keyboard.down(key);
    await until(`${walker} walks`, async () => {
      const now = await mine(pages[walker]);
      return Math.hypot(now.x - start.x, now.z - start.z) > 1.5;
    }, 20_000);
    await pages[walker].keyboard.up(key);
    await until(`${viewer} sees where ${walker} stopped`, async () => {
      const [at, me] = [await find(pages[viewer], walker), await mine(pages[walker])];
      return at && Math.hypot(at.x - me.x, at.z - me.z) < 0.02;
    });
  }
});

test("a touch on the ground is walked to", async () => {
  const before = await mine(pages.Ann);
  await pages.Ann.mouse.click(600, 260);
  await until("Ann walks there", async () => {
    const now = await mine(pages.Ann);
    return Math.hypot(now.x - before.x, now.z - before.z) > 1;
  }, 20_000);
});

test("what is seen is not old", async () => {
  for (const page of Object.values(pages)) {
    // A page that has just come, on a busy machine, says seen late: its states are fewer for some seconds.
    await until("more than 10 states/s, and none old", () => page.evaluate(() => {
      const { states, ageP99 } = nearcast.client.figures();
      return states > 10 && ageP99 <= 250;
    }), 60_000);
    const { ageP50, ageP99, states, bytes } = await page.evaluate(() => nearcast.client.figures());
    assert.ok(states <= 22 && bytes > 200 && bytes < 24_576, `${states} states/s, ${bytes} bytes/s`);
    assert.ok(ageP50 > 0 && ageP50 <= ageP99, `age p50 ${ageP50} ms, p99 ${ageP99} ms`);
    assert.equal(await page.isVisible("#banner"), false);
  }
});

test("what is said arrives at the other exactly once", async () => {
  await pages.Ann.keyboard.press("Enter");
  await pages.Ann.keyboard.type("Hello, Bob!");
  await pages.Ann.keyboard.press("Enter");
  await until("Bob is told", async () => (await feed(pages.Bob)).includes("Ann: Hello, Bob!"), 20_000);
  await until("there is a bubble", () => pages.Bob.evaluate(() => [...document.querySelectorAll(".bubble")].some((b) => b.textContent === "Hello, Bob!")));
  await until("Ann has her answer", () => pages.Ann.evaluate(() => nearcast.client.open === 0));
  const told = (await feed(pages.Bob)).filter((line) => line === "Ann: Hello, Bob!");
  assert.equal(told.length, 1, told.join("; "));
  await picture(pages.Bob, "talk");
});

test("things are used together", async () => {
  await pages.Ann.evaluate(() => nearcast.client.create("lamp", { fields: { on: "no" } }));
  await until("Ann is asked", () => pages.Ann.evaluate(() => document.querySelector("#prompt").textContent.includes("switch the lamp on")));
  await pages.Ann.keyboard.press("KeyE");
  await until("Bob sees it shine", () => pages.Bob.evaluate(() => [...nearcast.client.things.values()].some((thing) => thing.kind === "lamp" && thing.fields.on === "yes")));
});

test("overlays say who is seen, and why", async () => {
  const page = pages.Ann;
  for (const overlay of ["interest", "regions", "who"]) await page.click(`[data-overlay=${overlay}]`);
  await until("the nearest are listed", async () => (await page.textContent("#rows tr:first-child")).includes("every tick"));
  const [first] = await page.evaluate(() => [...document.querySelectorAll("#rows tr")].map((row) => [...row.cells].map((cell) => cell.textContent)));
  const nearest = await page.evaluate(() => Math.min(...[...nearcast.client.avatars()].map(({ last }) => Math.hypot(last.x - nearcast.me.x, last.z - nearcast.me.z))));
  assert.ok(Math.abs(Number(first[1]) - nearest) < 2, `${first} beside ${nearest} m`);
  await picture(page, "overlays");
  for (const overlay of ["interest", "regions", "who"]) await page.click(`[data-overlay=${overlay}]`);
});

test("its figures agree with those of the gateway", async () => {
  const names = ["nearcast_state_bytes_count", "nearcast_view_entities_sum", "nearcast_view_entities_count"];
  const read = () => Promise.all(names.map((name) => gateway.metric(name)));
  const [before, began] = [await read(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const [states, held, views] = (await read()).map((value, i) => value - before[i]);
  const perClient = states / ((performance.now() - began) / 1_000) / (CROWD + 2);
  const { figures, shown } = await pages.Ann.evaluate(() => ({ figures: nearcast.client.figures(), shown: nearcast.strip.figures }));
  assert.ok(Math.abs(shown.inView - held / views) < 1, `${shown.inView} in view, the gateway says ${held / views}`);
  assert.ok(Math.abs(figures.states - perClient) < 8, `${figures.states} states/s, the gateway says ${perClient} a client`);
  await until("128 states", () => pages.Ann.evaluate(() => nearcast.client.digest.number > 130), 40_000);
  const age = (share, part) => gateway.metric(`nearcast_reported_age_seconds_${part}{share="${share}"}`);
  const reported = (1_000 * (await age("p50", "sum"))) / (await age("p50", "count"));
  assert.ok(Math.abs(figures.ageP50 - reported) < 150, `half of what came was ${figures.ageP50} ms old, the gateway was told ${reported}`);
});

test("operators see who sees whom, and why", async () => {
  const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
  page.on("pageerror", (error) => complaints.push(`inspect: ${error}`));
  page.on("console", (message) => message.type() === "error" && complaints.push(`inspect: ${message.text()}`));
  await page.goto(`${gateway.admin}inspect`);
  const { entity } = await mine(pages.Ann);
  const other = await pages.Ann.evaluate(() => nearcast.find("Bob").entity);
  await until("all are listed", () => page.evaluate((all) => document.querySelectorAll("#sessions tbody tr").length === all, CROWD + 2));
  await page.fill("#viewer", String(entity));
  await page.fill("#entity", String(other));
  await page.dispatchEvent("#entity", "change");
  await until("Ann sees Bob", async () => (await page.textContent("#verdict")).startsWith("Yes: one of the nearest"));
  const metres = await pages.Ann.evaluate(() => Math.hypot(nearcast.find("Bob").last.x - nearcast.me.x, nearcast.find("Bob").last.z - nearcast.me.z));
  const distance = Number(/distance([\d.]+) m/.exec(await page.textContent("#regard"))[1]);
  assert.ok(Math.abs(distance - metres) < 0.1, `${distance} m, the page says ${metres}`);
  await until("hops are counted", async () => Number(await page.textContent("#hops tbody tr:first-child td:nth-child(4)")) > 0, 20_000);
  await page.screenshot({ path: join(PICTURES, "inspect.png") });
  await page.close();
});

test("the tables are those that the gateway keeps", async () => {
  await until("128 states", () => pages.Ann.evaluate(() => nearcast.client.digest.number > 130), 40_000);
  const digests = (same) => gateway.metric(`nearcast_digests_total{same="${same}"}`);
  await until("a digest has been compared", async () => (await digests("true")) > 0);
  assert.equal(await digests("false"), 0);
});

test("a slow link shows less often, and what it shows stays fresh", async () => {
  const page = pages.Bob;
  const slide = (value) => page.evaluate((value) => {
    const slider = document.querySelector("#slow input");
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  }, value);
  await slide(7); // 200 bytes a second
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const { states, ageP50 } = await page.evaluate(() => nearcast.client.figures());
  assert.ok(states < 12 && states > 0.5, `${states} states/s`);
  assert.ok(ageP50 < 1_500, `what is shown is ${ageP50} ms old`);
  assert.equal(await page.evaluate(() => nearcast.client.isConnected), true);
  await picture(page, "slow");
  await slide(0);
  await until("it is itself again", () => page.evaluate(() => nearcast.client.figures().states > 12), 20_000);
});

test("a reload is the same avatar", async () => {
  const { entity, x } = await mine(pages.Bob);
  await pages.Bob.reload();
  await until("Bob is back", async () => (await mine(pages.Bob)).entity !== undefined);
  const after = await mine(pages.Bob);
  assert.equal(after.entity, entity);
  assert.ok(Math.abs(after.x - x) < 0.5, `was at ${x}, is at ${after.x}`);
});

test("when the gateway is killed and started again pages recover by themselves", async () => {
  const before = await Promise.all(Object.values(pages).map(async (page) => (await mine(page)).entity));
  const { listen } = gateway;
  walkers.close();
  await gateway.close();
  await until("Ann is told", () => pages.Ann.isVisible("#banner"));
  gateway = await startGateway({ listen, data });
  for (const page of Object.values(pages)) await until("it is back", () => page.evaluate(() => nearcast.client.isConnected), 20_000);
  const after = await Promise.all(Object.values(pages).map(async (page) => (await mine(page)).entity));
  assert.deepEqual(after, before);
  await until("they see each other", async () => (await find(pages.Ann, "Bob")) && find(pages.Bob, "Ann"));
  assert.equal(await pages.Ann.isVisible("#banner"), false);
});

test("a phone's width has room for everything", async () => {
  const page = pages.Ann;
  await page.setViewportSize({ width: 390, height: 780 });
  await page.waitForTimeout(500);
  const inside = await page.evaluate(() => [...document.querySelectorAll("header, nav, footer, #strip figure, #talk, #slow")].every((element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return left >= -1 && right <= innerWidth + 1 && top >= -1 && bottom <= innerHeight + 1;
  }));
  await picture(page, "phone");
  assert.ok(inside, "something stands out: see pictures/phone.png");
});

test("nothing was complained about", () => assert.deepEqual(complaints, []));
