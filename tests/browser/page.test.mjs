// The page in a real browser: two of them and a small crowd meet on a real gateway. Pictures go to `pictures/`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { crowd } from "./crowd.mjs";
import { connect } from "../../clients/typescript/dist/index.js";
import { SERVER_TOKEN, startBrowser, startGateway, until } from "./gateway.mjs";

const CROWD = 12;
const LOADTEST = process.env.LOADTEST_BIN ?? new URL("../../target/release/nearcast-loadtest", import.meta.url).pathname;
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
    pages[name] = await enter(name, x, { viewport: { width: 800, height: 520 } });
  }
});

after(async () => {
  walkers?.close();
  await browser?.close();
  await gateway?.close();
  rmSync(data, { recursive: true });
});

/** Somebody comes by a browser of their own, whose complaints are heard. */
async function enter(name, x, options, { http } = gateway) {
  const page = await (await browser.newContext(options)).newPage();
  // That a gateway which has been killed does not answer is no mistake of the page.
  page.on("console", (message) => message.type() === "error" && !message.text().includes("WebSocket connection") && complaints.push(`${name}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`${name}: ${error}`));
  await page.goto(`${http}?name=${name}#${x},12`);
  await page.evaluate(() => {
    globalThis.told = [];
    nearcast.client.on("event", ({ name, data }) => name === "say" && told.push(data));
  });
  return page;
}

/** Where a page holds an avatar of this name: metres. */
const find = (page, name) => page.evaluate((name) => nearcast.find(name)?.last, name);
const mine = (page) => page.evaluate(() => ({ x: nearcast.me.x, z: nearcast.me.z, entity: nearcast.client.welcome?.entity }));
const feed = (page) => page.evaluate(() => [...document.querySelectorAll("#feed li")].map((line) => line.textContent));
/** All words that a page was told since it was opened, in order. */
const heard = (page) => page.evaluate(() => told);
async function say(page, text) {
  await page.keyboard.press("Enter");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}
const picture = (page, name) => page.screenshot({ path: join(PICTURES, `${name}.png`) });

test("they see each other and the crowd", async () => {
  await until("Ann sees Bob", () => find(pages.Ann, "Bob"), 15_000);
  await until("Bob sees Ann", () => find(pages.Bob, "Ann"), 15_000);
  for (const page of Object.values(pages)) {
    await until("all are near", () => page.evaluate((all) => [...nearcast.client.avatars()].length === all, CROWD + 1));
  }
  await picture(pages.Ann, "plaza");
});

/** One walks, and the other sees it stop where it did. */
async function walk(walker, viewer, key) {
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

test("each sees the other walk, to where it walked", async () => {
  await walk("Ann", "Bob", "ArrowRight");
  await walk("Bob", "Ann", "KeyW");
});

test("a touch on the ground is walked to", async () => {
  const before = await mine(pages.Ann);
  await pages.Ann.mouse.click(600, 260);
  await until("Ann walks there", async () => {
    const now = await mine(pages.Ann);
    return Math.hypot(now.x - before.x, now.z - before.z) > 1;
  }, 20_000);
});

/** What is told of somebody on a page, ms from there to here: 99 of 100 of them. */
async function ageOf(page, name, ms) {
  await page.evaluate((name) => {
    const { client, find } = nearcast;
    globalThis.ages = [];
    globalThis.heed = client.on("state", ({ tick, updates }) => {
      const slot = find(name)?.row.slot;
      for (const row of updates) if (row.slot === slot) ages.push(client.now - tick * client.welcome.tick_ms + row.ageMs);
    });
  }, name);
  await page.waitForTimeout(ms);
  return page.evaluate(() => {
    heed();
    ages.sort((a, b) => a - b);
    return { count: ages.length, p99: ages[Math.ceil(ages.length * 0.99) - 1] };
  });
}

test("each sees the other move, at most 250 ms later", async () => {
  for (const [walker, viewer] of [["Ann", "Bob"], ["Bob", "Ann"]]) {
    // Pages that have just come, on a busy machine, are late themselves for a while: then once more.
    await until(`${viewer} sees ${walker} in time`, async () => {
      await pages[walker].keyboard.down("KeyA");
      const there = ageOf(pages[viewer], walker, 2_000);
      await pages[walker].waitForTimeout(1_000);
      await pages[walker].keyboard.up("KeyA");
      await pages[walker].keyboard.down("KeyD");
      const { count, p99 } = await there;
      await pages[walker].keyboard.up("KeyD");
      return count > 10 && p99 <= 250;
    }, 60_000);
  }
  for (const page of Object.values(pages)) {
    const { ageP50, ageP99, states, bytes } = await page.evaluate(() => nearcast.client.figures());
    assert.ok(states <= 22 && bytes > 200 && bytes < 24_576, `${states} states/s, ${bytes} bytes/s`);
    assert.ok(ageP50 > 0 && ageP50 <= ageP99, `age p50 ${ageP50} ms, p99 ${ageP99} ms`);
    assert.equal(await page.isVisible("#banner"), false);
  }
});

test("what is said arrives at the other exactly once", async () => {
  await say(pages.Ann, "Hello, Bob!");
  await until("Bob is told", async () => (await feed(pages.Bob)).includes("Ann: Hello, Bob!"), 20_000);
  await until("there is a bubble", () => pages.Bob.evaluate(() => [...document.querySelectorAll(".bubble")].some((b) => b.textContent === "Hello, Bob!")));
  await until("Ann has her answer", () => pages.Ann.evaluate(() => nearcast.client.open === 0));
  // Once a later one is there, a second of the first would be, too.
  await say(pages.Ann, "Bye, Bob!");
  await until("Bob is told", async () => (await heard(pages.Bob)).includes("Bye, Bob!"));
  assert.deepEqual(await heard(pages.Bob), ["Hello, Bob!", "Bye, Bob!"]);
  await picture(pages.Bob, "talk");
});

test("things are used together", async () => {
  await pages.Ann.evaluate(() => nearcast.client.create("lamp", { fields: { on: "no" } }));
  await until("Ann is asked", () => pages.Ann.evaluate(() => document.querySelector("#prompt").textContent.includes("switch the lamp on")));
  await pages.Ann.keyboard.press("KeyE");
  await until("Bob sees it shine", () => pages.Bob.evaluate(() => [...nearcast.client.things.values()].some((thing) => thing.kind === "lamp" && thing.fields.on === "yes")));
});

test("what one writes on a board all can read", async () => {
  const { object } = await pages.Ann.evaluate(() => nearcast.client.create("board", { pos: [nearcast.me.x - 1, 0, nearcast.me.z] }));
  await pages.Ann.evaluate(async () => {
    // The lamp is out of the way then.
    for (const thing of [...nearcast.client.things.values()].filter(({ kind }) => kind === "lamp")) await nearcast.client.remove(thing);
  });
  await until("Ann is asked", async () => (await pages.Ann.textContent("#prompt")) === "E: write on the board");
  await pages.Ann.click("#prompt");
  await pages.Ann.keyboard.type("Meet me at the fountain");
  await pages.Ann.keyboard.press("Enter");
  await until("Bob can read it", () => pages.Bob.evaluate((id) => nearcast.client.things.get(id)?.fields?.[0] === "Meet me at the fountain", object));
  await picture(pages.Ann, "board");
});

test("the sky is as a game server makes it", async () => {
  const server = await connect(gateway.ws, { world: "plaza", token: SERVER_TOKEN });
  server.move([30, 0, 300]);
  const sky = (page) => page.evaluate(() => nearcast.stage.scene.background.getHexString());
  const before = await sky(pages.Bob);
  await server.environment({ time: "night", weather: "rain" }, { scope: "world" });
  await until("it is night", async () => (await sky(pages.Bob)) !== before);
  await picture(pages.Bob, "night");
  await server.environment({ time: "noon", weather: "clear" }, { scope: "world" });
  await until("it is noon", async () => (await sky(pages.Bob)) === before);
  server.close();
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
  const own = await startGateway();
  const others = await Promise.all(Array.from({ length: 8 }, (_, i) => connect(own.ws, { world: "plaza", profile: `Walker ${i}` })));
  let step = 0;
  const walk = setInterval(() => {
    step += 1;
    others.forEach((client, i) => client.move([30 + i + 2 * Math.cos(step / 30 + i), 0, 2 * Math.sin(step / 30 + i)]));
  }, 50);
  const page = await enter("Cleo", 31, {}, own);
  try {
    const names = ["state_bytes_count", "state_bytes_sum", "view_entities_sum", "view_entities_count"].map((name) => `nearcast_${name}`);
    const read = async () => [performance.now(), ...(await Promise.all(names.map((name) => own.metric(name))))];
    await until("Cleo sees all", () => page.evaluate(() => [...nearcast.client.avatars()].length === 8));
    // A page whose pixels the processor computes says seen late while it comes, and is told less often.
    await until("she is told often", () => page.evaluate(() => nearcast.client.figures().states > 10), 60_000);
    const before = await read();
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    const [ms, states, bytes, held, views] = (await read()).map((value, i) => value - before[i]);
    const seconds = ms / 1_000;
    const { figures, shown } = await page.evaluate(() => ({ figures: nearcast.client.figures(), shown: nearcast.strip.figures }));
    const all = [figures, ...others.map((client) => client.figures())];
    const sum = (of) => all.reduce((sum, figures) => sum + of(figures), 0);
    const near = (what, told, counted, share) => assert.ok(Math.abs(told - counted) < share * counted, `${what}: clients say ${told}, the gateway ${counted}`);
    assert.equal(shown.inView, Math.round(held / views));
    near("states/s", sum(({ states }) => states), states / seconds, 0.1);
    // Its bytes are those of frames: two more, or four for the largest; clients hear a few things besides.
    near("bytes/s", sum(({ bytes, states }) => bytes + 2 * states), bytes / seconds, 0.15);
    near("hers", figures.bytes + 2 * figures.states, bytes / seconds / all.length, 0.5);
    // Of the reports from now on: those of a page's first seconds are of its own beginning.
    const told = () => Promise.all(["sum", "count"].map((part) => own.metric(`nearcast_reported_age_seconds_${part}{share="p50"}`)));
    const [toldBefore, number] = [await told(), (await page.evaluate(() => nearcast.client.digest)).number];
    await until("128 states more", () => page.evaluate((number) => nearcast.client.digest.number > number + 130, number), 40_000);
    const [sum_s, count] = (await told()).map((value, i) => value - toldBefore[i]);
    const reported = (1_000 * sum_s) / count;
    const ages = all.map(({ ageP50 }) => ageP50).sort((a, b) => a - b);
    assert.ok(reported > ages[0] - 25 && reported < ages.at(-1) + 50, `clients' ages are ${ages} ms at p50, the gateway was told ${reported}`);
  } finally {
    clearInterval(walk);
    for (const client of others) client.close();
    await page.close();
    await own.close();
  }
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
  const own = await startGateway();
  const bots = spawn(LOADTEST, ["run", "--url", own.listen, "--scenario", "spot300", "--bots", "200", "--seconds", "120"], { stdio: "ignore" });
  const page = await enter("Sue", 4, {}, own);
  const slide = (value) => page.evaluate((value) => {
    const slider = document.querySelector("#slow input");
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  }, value);
  try {
    await until("Sue sees all", () => page.evaluate(() => [...nearcast.client.avatars()].length >= 200), 60_000);
    await slide(7);
    assert.equal(await page.textContent("#slow output"), "1 kB/s");
    // What had been on its way comes first; by then the gateway knows what the link carries.
    await page.waitForTimeout(12_000);
    const age = () => page.evaluate(() => nearcast.client.figures().ageP50);
    await until("what is shown is fresh again", async () => (await age()) < 3_000, 40_000);
    const ages = [];
    for (let second = 0; second < 6; second++) {
      await page.waitForTimeout(1_000);
      ages.push(await age());
    }
    const { states, bytes } = await page.evaluate(() => nearcast.client.figures());
    assert.ok(states < 12 && states > 0.3 && bytes < 1_500, `${states} states/s, ${bytes} bytes/s`);
    // As old as two states of a kilobyte or two take; without flow control they would be older by the second.
    assert.ok(ages.every((age) => age < 5_000), `ages of six seconds: ${ages} ms`);
    assert.equal(await page.evaluate(() => nearcast.client.isConnected && nearcast.client.welcome.resumed !== true), true, "nobody was kicked");
    await picture(page, "slow");
    await slide(0);
    await until("it is itself again", () => page.evaluate(() => nearcast.client.figures().states > 12), 30_000);
  } finally {
    bots.kill();
    await page.close();
    await own.close();
  }
});

test("a reload is the same avatar", async () => {
  const { entity, x } = await mine(pages.Bob);
  await pages.Bob.reload();
  await until("Bob is back", async () => (await mine(pages.Bob)).entity !== undefined);
  const after = await mine(pages.Bob);
  assert.equal(after.entity, entity);
  assert.ok(Math.abs(after.x - x) < 0.5, `was at ${x}, is at ${after.x}`);
});

test("when the gateway is killed and started again pages recover by themselves, and hear all of it once", async () => {
  const before = await Promise.all(Object.values(pages).map(async (page) => (await mine(page)).entity));
  await pages.Bob.evaluate(() => {
    globalThis.told = [];
    nearcast.client.on("event", ({ name, data }) => name === "say" && told.push(data));
  });
  const { listen } = gateway;
  walkers.close();
  await say(pages.Ann, "before");
  await until("Ann has her answer", () => pages.Ann.evaluate(() => nearcast.client.open === 0));
  await gateway.close();
  await until("Ann is told", () => pages.Ann.isVisible("#banner"));
  await say(pages.Ann, "meanwhile");
  gateway = await startGateway({ listen, data });
  for (const page of Object.values(pages)) await until("it is back", () => page.evaluate(() => nearcast.client.isConnected), 20_000);
  const after = await Promise.all(Object.values(pages).map(async (page) => (await mine(page)).entity));
  assert.deepEqual(after, before);
  await say(pages.Ann, "after");
  await until("Bob hears it", async () => (await heard(pages.Bob)).includes("after"), 20_000);
  assert.deepEqual(await heard(pages.Bob), ["before", "meanwhile", "after"]);
  await pages.Ann.keyboard.press("Escape");
  await walk("Ann", "Bob", "KeyA");
  await until("the banner goes", async () => !(await pages.Ann.isVisible("#banner")));
});

test("who goes on in another window is told so in the first, and a second tab is somebody else", async () => {
  const tab = await pages.Bob.context().newPage();
  await tab.goto(`${gateway.http}?name=Bea#31,12`);
  await until("Bea is there", () => find(pages.Ann, "Bea"));
  const [bob, bea] = [await mine(pages.Bob), await mine(tab)];
  assert.notEqual(bea.entity, bob.entity);
  // A copied tab has what the first has kept; here that is what Bob would keep now.
  const kept = await pages.Bob.evaluate(() => JSON.stringify({ saved: nearcast.client.save(), name: "Bob", x: nearcast.me.x, z: nearcast.me.z }));
  await tab.addInitScript((kept) => sessionStorage.setItem("nearcast", kept), kept);
  await tab.goto(gateway.http);
  await until("Bob is told", async () => (await pages.Bob.textContent("#banner")) === "You go on in another window");
  assert.equal((await mine(tab)).entity, bob.entity);
  await tab.close();
  await pages.Bob.reload();
  await until("Bob is there again", async () => (await mine(pages.Bob)).entity !== undefined);
  assert.notEqual((await mine(pages.Bob)).entity, bob.entity, "the other window had been he");
});

test("a phone has room for everything, goes where it is touched, and is calm if that is wished", async () => {
  const page = await enter("Pia", 31, { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, reducedMotion: "reduce" });
  await until("Pia is there", () => find(pages.Ann, "Pia"));
  const start = await mine(page);
  await page.touchscreen.tap(250, 330);
  await until("Pia walks there", async () => {
    const now = await mine(page);
    return Math.hypot(now.x - start.x, now.z - start.z) > 1;
  }, 20_000);
  await page.tap("#emotes button:nth-child(2)");
  await until("she sees her heart", () => page.isVisible(".bubble.emote"));
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector(".bubble")).animationName), "none");
  const inside = await page.evaluate(() => [...document.querySelectorAll("header, nav, footer, #strip figure, #talk, #slow")].every((element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return left >= -1 && right <= innerWidth + 1 && top >= -1 && bottom <= innerHeight + 1;
  }));
  await picture(page, "phone");
  assert.ok(inside, "something stands out: see pictures/phone.png");
  await page.close();
});

test("who cannot draw is told so", async () => {
  const page = await browser.newPage();
  await page.addInitScript(() => (HTMLCanvasElement.prototype.getContext = () => null));
  await page.goto(gateway.http);
  await until("it is said", async () => (await page.textContent("#banner")).startsWith("This browser draws no WebGL 2"));
  await page.close();
});

test("the page travels packed, and once", async () => {
  const ask = (path, headers = {}) => fetch(`${gateway.http}${path}`, { headers });
  const index = await ask("", { "accept-encoding": "gzip" });
  const html = await index.text();
  const script = /src="\/(assets\/index-[^"]+\.js)"/.exec(html)[1];
  const [packed, plain] = await Promise.all([ask(script, { "accept-encoding": "gzip" }), ask(script, { "accept-encoding": "identity" })]);
  assert.deepEqual([packed.headers.get("content-encoding"), plain.headers.get("content-encoding")], ["gzip", null]);
  assert.equal(await packed.text(), await plain.text());
  assert.match(packed.headers.get("cache-control"), /immutable/);
  assert.notEqual(packed.headers.get("etag"), plain.headers.get("etag"));
  const again = await ask("", { "accept-encoding": "gzip", "if-none-match": index.headers.get("etag") });
  assert.equal(again.status, 304);
  assert.match(index.headers.get("content-security-policy"), /default-src 'none'/);
  for (const path of ["inspect.html", "inspect.html.gz", "index.html.gz", "nothing"]) assert.equal((await ask(path)).status, 404, path);
});

test("nothing was complained about", () => assert.deepEqual(complaints, []));
