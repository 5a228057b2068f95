// The map: one more client, drawn from above. Walks its own avatar, draws who is near, shows how fresh that is.
// Speaks to the gateway through nearcast.js only. The address may name a start: `/?name=Ann#32,0` (x, z in metres).

import { Nearcast, placeAt } from "./nearcast.js";

const WALK_M_PER_S = 4.5;
const MOVE_EVERY_MS = 50;
const SHOWN_LATE_MS = 120; // others are drawn this long ago, so that there are two samples to draw between
const HOLD_MS = 220; // a pointer held this long, or dragged, walks; a shorter touch waves
const DRAG_PX = 7;
const THING_PX = 16; // a touch so near a thing is meant for it
const RING_MS = 1_400;
const FEED_LINES = 5;
const FEED_MS = 12_000;
const NAMES_MAX = 30;
const ZOOM = [0.6, 40]; // pixels per metre
const REGION_M = 128;
const HUES = ["#4f86c6", "#3f9b82", "#b1842c", "#8d6cc0", "#5b9a3c", "#c0628f", "#2f95a6", "#a5704c"];
const BIRDS = ["Avocet", "Bittern", "Curlew", "Dunlin", "Egret", "Fulmar", "Godwit", "Heron", "Knot", "Lapwing", "Plover", "Wren"];
const KEYS = {
  ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0],
  KeyW: [0, -1], KeyS: [0, 1], KeyA: [-1, 0], KeyD: [1, 0],
};

const $ = (id) => document.getElementById(id);
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const canvas = $("map");
const pen = canvas.getContext("2d");

// --- who I am, and what I see -------------------------------------------------------------------------------------

const asked = new URLSearchParams(location.search);
const start = location.hash.slice(1).split(",").map(Number);
const isPlace = start.length === 2 && start.every(Number.isFinite);
const near = (at) => at + (Math.random() - 0.5) * 8;
const me = {
  name: (asked.get("name") || `${pick(BIRDS)} ${Math.floor(Math.random() * 90) + 10}`).slice(0, 24),
  x: isPlace ? start[0] : near(32),
  z: isPlace ? start[1] : near(0),
  yaw: 90,
  walking: false,
  said: 0,
};
const camera = { x: me.x, z: me.z, scale: 8, follows: true };
const rings = [];
const stats = { states: [], ages: [], skipped: 0, heard: 0, stale: false, partial: false, last: undefined };

const socket = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1`;
const client = new Nearcast(socket, { world: asked.get("world") || "plaza", profile: me.name }, {
  welcome(welcome) {
    Object.assign(stats, { stale: false, heard: performance.now(), last: undefined });
    camera.scale = clamp((Math.min(innerWidth, innerHeight - 130) * 0.47) / welcome.radius, ...ZOOM);
    walk(0);
    sayWhere();
  },
  state: count,
  event(event) {
    const mine = event.from === client.welcome.entity;
    const [x, , z] = event.pos;
    rings.push({ x, z, at: performance.now(), colour: mine ? ink.me : hue(event.from) });
    const who = mine ? "You" : name(client.byEntity.get(event.from)) ?? "Somebody";
    const metres = Math.round(Math.hypot(x - me.x, z - me.z));
    tell(`${who}: ${event.name}${mine ? "" : `, ${metres} m away`}`);
  },
  refuse: ({ of, text }) => tell(`${of} refused: ${text}`),
  reset: () => tell("Some events were missed"),
  stale: (stale) => (stats.stale = stale),
  status(status, detail) {
    const text = { waiting: "coming back", closed: "closed" }[status] ?? status;
    $("link").dataset.status = status;
    $("status").textContent = text;
    if (detail) tell(`${text}: ${detail}`);
  },
});

/** A profile is a name, or JSON with one. */
function name(avatar) {
  if (!avatar?.profile) return undefined;
  if (avatar.name?.of !== avatar.profile) {
    let text = avatar.profile;
    try {
      text = String(JSON.parse(text).name ?? text);
    } catch {} // no JSON: the text itself is the name
    avatar.name = { of: avatar.profile, text: text.slice(0, 24) };
  }
  return avatar.name.text;
}

function hue(entity) {
  return HUES[Math.imul(entity % 2 ** 31, 0x9e3779b1) >>> 29];
}

// --- walking --------------------------------------------------------------------------------------------------------

const held = new Set();
const pointers = new Map(); // id → where it is, and where and when it went down
let gesture; // walk | pan | pinch

function direction() {
  const sum = [...held].reduce(([x, z], code) => [x + KEYS[code][0], z + KEYS[code][1]], [0, 0]);
  if (sum[0] || sum[1]) return sum;
  if (gesture !== "walk") return [0, 0];
  const [pointer] = pointers.values();
  const [x, z] = toWorld(pointer.x, pointer.y);
  const way = [x - me.x, z - me.z];
  return Math.hypot(...way) > 0.5 ? way : [0, 0];
}

/** Walks for so many seconds, within the world. */
function walk(seconds) {
  const [x, z] = direction();
  const length = Math.hypot(x, z);
  me.walking = length > 0;
  if (me.walking) {
    const step = (WALK_M_PER_S * seconds) / length;
    Object.assign(me, { x: me.x + x * step, z: me.z + z * step, yaw: (Math.atan2(-z, x) * 180) / Math.PI });
  }
  if (client.welcome) {
    const { min, max } = client.welcome;
    Object.assign(me, { x: clamp(me.x, min[0], max[0]), z: clamp(me.z, min[2], max[2]) });
  }
}

const height = () => clamp(0, client.welcome.min[1], client.welcome.max[1]);
const here = () => [me.x, height(), me.z];

function sayWhere() {
  me.said = performance.now();
  me.told = `${me.x} ${me.z} ${me.yaw}`;
  client.move(here(), me.yaw);
}

function wave() {
  if (!client.connected) return;
  sayWhere();
  client.act("wave", here());
}

/** Switches a lamp, opens a door, takes a ball or puts it down. */
function use(thing) {
  sayWhere();
  const { kind, fields = {}, holder, version } = thing;
  const toggle = (name) => ({ expect: version, fields: { [name]: fields[name] === "yes" ? "no" : "yes" } });
  if (kind === "lamp") client.set("change", thing, toggle("on"));
  else if (kind === "door") client.set("change", thing, toggle("open"));
  else if (holder === client.welcome.entity) client.set("release", thing, { to: here(), yaw: me.yaw });
  else client.set("grab", thing);
}

/** What lies at a place of the screen, or is carried past it. */
function thingAt(x, y) {
  const away = (thing) => Math.hypot(thing.screen[0] - x, thing.screen[1] - y);
  const near = things().filter((thing) => away(thing) < THING_PX);
  return near.sort((a, b) => away(a) - away(b))[0]?.object;
}

/** Things in sight and where they are on the screen: what is held is where its holder is. */
function things() {
  const t = client.now() - SHOWN_LATE_MS;
  const held = (avatar) => avatar && placeAt(avatar, Number.isNaN(t) ? Infinity : t);
  return [...client.objects.values()].flatMap((object) => {
    const { holder, pos: [x, , z] } = object;
    const at = holder === undefined ? { x, z } : holder === client.welcome.entity ? me : held(client.byEntity.get(holder));
    return at ? [{ object, screen: toScreen(at.x, at.z) }] : [];
  });
}

// --- hands --------------------------------------------------------------------------------------------------------

addEventListener("keydown", (event) => {
  if (event.code === "Space" && event.target.tagName !== "BUTTON" && !event.repeat) wave();
  if (!KEYS[event.code] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  held.add(event.code);
  follow(true);
});
addEventListener("keyup", (event) => held.delete(event.code));
addEventListener("blur", () => held.clear());

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  const { clientX: x, clientY: y } = event;
  pointers.set(event.pointerId, { x, y, from: [x, y], at: event.timeStamp });
  if (pointers.size === 2) gesture = "pinch";
  else if (event.button !== 0 || event.shiftKey) gesture = "pan";
});
canvas.addEventListener("pointermove", (event) => {
  const pointer = pointers.get(event.pointerId);
  if (!pointer) return;
  const before = spread();
  const [dx, dy] = [event.clientX - pointer.x, event.clientY - pointer.y];
  Object.assign(pointer, { x: event.clientX, y: event.clientY });
  pointer.dragged ||= Math.hypot(pointer.x - pointer.from[0], pointer.y - pointer.from[1]) > DRAG_PX;
  if (!gesture && pointer.dragged) gesture = "walk";
  if (gesture === "pan" || gesture === "pinch") pan(dx / pointers.size, dy / pointers.size);
  if (gesture === "pinch" && before > 0) zoom(spread() / before);
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, (event) => {
    const pointer = pointers.get(event.pointerId);
    pointers.delete(event.pointerId);
    // Judged by when the hand came and went, not by when a busy page got to know.
    const short = pointer && !pointer.dragged && event.timeStamp - pointer.at < HOLD_MS;
    if (short && kind === "pointerup" && (!gesture || gesture === "walk")) {
      const thing = client.connected && thingAt(event.clientX, event.clientY);
      if (thing) use(thing);
      else wave();
    }
    if (pointers.size === 0) gesture = undefined;
  });
}
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 500));
}, { passive: false });
$("in").onclick = () => zoom(1.4);
$("out").onclick = () => zoom(1 / 1.4);
$("wave").onclick = wave;
$("centre").onclick = () => follow(true);

const spread = () => {
  const [a, b] = pointers.values();
  return b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
};

function zoom(factor) {
  camera.scale = clamp(camera.scale * factor, ...ZOOM);
}

function pan(dx, dy) {
  follow(false);
  camera.x -= dx / camera.scale;
  camera.z -= dy / camera.scale;
}

function follow(follows) {
  camera.follows = follows;
  $("centre").hidden = follows;
}

// --- figures --------------------------------------------------------------------------------------------------------

/** Counts a state. Ages are of updates: enters may be of people who have long stood. */
function count(state, now, text) {
  const bytes = new TextEncoder().encode(text).length;
  stats.states.push({ now, bytes: bytes + (bytes < 126 ? 2 : 4) });
  Object.assign(stats, { heard: now, partial: state.partial || client.old.size > 0 });
  const updates = state.update ?? [];
  if (client.now() !== undefined) {
    const tick = state.tick * client.welcome.tick_ms;
    for (const row of updates) stats.ages.push({ now, age: now + client.offset - (tick - row[6]) });
  }
  // Nothing is sent when nothing changed, so only a gap between two busy states was a skip.
  const busy = updates.length >= 5;
  if (busy && stats.last?.busy) stats.skipped += state.tick - stats.last.tick - 1;
  stats.last = { busy, tick: state.tick };
}

function showFigures() {
  const now = performance.now();
  stats.states = stats.states.filter((state) => now - state.now <= 3_000);
  stats.ages = stats.ages.filter((age) => now - age.now <= 5_000);
  const seconds = 3;
  const ages = stats.ages.map(({ age }) => age).sort((a, b) => a - b);
  const share = (q) => (ages.length ? Math.round(ages[Math.min(ages.length - 1, Math.floor(ages.length * q))]) : "–");
  const bytes = stats.states.reduce((sum, state) => sum + state.bytes, 0);
  $("near").textContent = client.connected ? `${client.table.size}${stats.partial ? "…" : ""}` : "–";
  $("rate").textContent = (stats.states.length / seconds).toFixed(1);
  $("bytes").textContent = (bytes / seconds / 1_000).toFixed(1);
  $("age50").textContent = share(0.5);
  $("age99").textContent = share(0.99);
  $("skipped").textContent = stats.skipped;
  $("where").textContent = client.welcome
    ? `${client.welcome.world}, ${me.x.toFixed(0)} / ${me.z.toFixed(0)} m, as ${me.name}`
    : "";
  const silent = client.connected && now - stats.heard > 2_000;
  $("banner").hidden = !stats.stale && !silent;
  $("banner").textContent = silent ? "Nothing heard from the gateway" : "Part of this is old: the world log is silent";
}

function tell(text) {
  const line = document.createElement("li");
  line.textContent = text;
  $("feed").append(line);
  while ($("feed").children.length > FEED_LINES) $("feed").firstChild.remove();
  setTimeout(() => line.classList.add("old"), FEED_MS - 1_000);
  setTimeout(() => line.remove(), FEED_MS);
}

// --- drawing --------------------------------------------------------------------------------------------------------

let ink = {};
function readInk() {
  const style = getComputedStyle(document.documentElement);
  const names = ["known", "beyond", "ink", "faint", "line", "region", "me", "good", "warn"];
  ink = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const middle = () => [innerWidth / 2, (innerHeight - $("strip").offsetHeight) / 2];
function toScreen(x, z) {
  const [mx, my] = middle();
  return [mx + (x - camera.x) * camera.scale, my + (z - camera.z) * camera.scale];
}
function toWorld(x, y) {
  const [mx, my] = middle();
  return [camera.x + (x - mx) / camera.scale, camera.z + (y - my) / camera.scale];
}

function draw(now) {
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.fillStyle = ink.beyond;
  pen.fillRect(0, 0, innerWidth, innerHeight);
  const [x, y] = toScreen(me.x, me.z);
  const reach = (client.welcome?.radius ?? 0) * camera.scale;
  disc(x, y, reach, ink.known);
  drawGrid();
  pen.setLineDash([2, 5]);
  circle(x, y, reach, ink.faint, 1.2);
  pen.setLineDash([]);
  drawRings(now);
  if (client.welcome) for (const { object, screen } of things()) drawThing(...screen, object);
  const t = client.now() - SHOWN_LATE_MS;
  const others = [...client.shown()].map((avatar) => {
    const at = placeAt(avatar, Number.isNaN(t) ? Infinity : t);
    return { avatar, yaw: at.yaw, metres: Math.hypot(at.x - me.x, at.z - me.z), screen: toScreen(at.x, at.z) };
  });
  others.sort((a, b) => b.metres - a.metres);
  for (const { avatar, screen, yaw } of others) drawAvatar(...screen, yaw, hue(avatar.entity), 1);
  drawAvatar(x, y, me.yaw, ink.me, 1.25);
  drawNames(others.reverse(), [x, y]);
}

function drawGrid() {
  const [left, top] = toWorld(0, 0);
  const [right, bottom] = toWorld(innerWidth, innerHeight);
  const lines = (step, colour, width) => {
    pen.beginPath();
    for (let x = Math.ceil(left / step) * step; x <= right; x += step) {
      const [at] = toScreen(x, 0);
      pen.moveTo(Math.round(at) + 0.5, 0);
      pen.lineTo(Math.round(at) + 0.5, innerHeight);
    }
    for (let z = Math.ceil(top / step) * step; z <= bottom; z += step) {
      const [, at] = toScreen(0, z);
      pen.moveTo(0, Math.round(at) + 0.5);
      pen.lineTo(innerWidth, Math.round(at) + 0.5);
    }
    Object.assign(pen, { strokeStyle: colour, lineWidth: width });
    pen.stroke();
  };
  if (camera.scale > 2) lines(REGION_M / 16, ink.line, 1);
  lines(REGION_M, ink.region, 1.5);
  Object.assign(pen, { fillStyle: ink.faint, font: "12px system-ui, sans-serif", textAlign: "left", textBaseline: "top" });
  if (camera.scale * REGION_M < 90) return;
  for (let rx = Math.floor(left / REGION_M); rx * REGION_M < right; rx++) {
    for (let rz = Math.floor(top / REGION_M); rz * REGION_M < bottom; rz++) {
      const [x, y] = toScreen(rx * REGION_M, rz * REGION_M);
      pen.fillText(`region ${rx}/${rz}`, x + 7, y + 7);
    }
  }
}

/** A drop that points where the avatar looks, with a rim that sets it off from others. */
function drawAvatar(x, y, yaw, colour, size) {
  const r = avatarPx() * size;
  const ahead = (-yaw * Math.PI) / 180;
  const open = 0.75; // half the angle under which the tip opens into the round
  pen.beginPath();
  pen.arc(x, y, r, ahead + open, ahead - open + 2 * Math.PI);
  pen.lineTo(x + Math.cos(ahead) * r * 2.1, y + Math.sin(ahead) * r * 2.1);
  pen.closePath();
  Object.assign(pen, { strokeStyle: ink.known, fillStyle: colour, lineWidth: 2.5, lineJoin: "round" });
  pen.stroke();
  pen.fill();
}

/** A lamp shines or does not, a door is a gap or a bar, a ball is round, anything else a box. */
function drawThing(x, y, { kind, yaw, fields = {} }) {
  const r = avatarPx() * 0.8;
  if (kind === "lamp" && fields.on === "yes") {
    pen.globalAlpha = 0.35;
    disc(x, y, r * 3, ink.warn);
    pen.globalAlpha = 1;
  }
  if (kind === "lamp") disc(x, y, r * 0.8, fields.on === "yes" ? ink.warn : ink.faint);
  else if (kind === "ball") disc(x, y, r * 0.7, ink.good);
  else {
    const [long, wide] = kind === "door" ? [r * 1.6, r * 0.4] : [r * 0.8, r * 0.8];
    const turn = ((fields.open === "yes" ? yaw + 90 : yaw) * -Math.PI) / 180;
    pen.save();
    pen.translate(x, y);
    pen.rotate(turn);
    pen.fillStyle = ink.ink;
    pen.fillRect(-long, -wide, long * 2, wide * 2);
    pen.restore();
    return;
  }
  circle(x, y, r * 0.8, ink.known, 1.5);
}

const avatarPx = () => clamp(0.5 * camera.scale, 4.5, 11);

/** Names of the nearest, as far as they do not cover each other. */
function drawNames(others, [x, y]) {
  const r = avatarPx();
  const taken = others.map(({ screen: [x, y] }) => [x - r, y - r, x + r, y + r]);
  const label = (text, x, y, colour) => {
    const half = pen.measureText(text).width / 2 + 2;
    const box = [x - half, y - 8, x + half, y + 8];
    if (colour !== ink.me && taken.some((b) => box[0] < b[2] && box[2] > b[0] && box[1] < b[3] && box[3] > b[1])) return;
    taken.push(box);
    Object.assign(pen, { strokeStyle: ink.known, fillStyle: colour, lineWidth: 3.5, lineJoin: "round" });
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  };
  const below = r + 13;
  Object.assign(pen, { textAlign: "center", textBaseline: "middle", font: "650 13px system-ui, sans-serif" });
  label(me.name, x, y + below + 3, ink.me);
  pen.font = "12px system-ui, sans-serif";
  for (const { avatar, screen } of others.slice(0, NAMES_MAX)) {
    const text = name(avatar);
    if (text) label(text, screen[0], screen[1] + below, ink.ink);
  }
}

function drawRings(now) {
  while (rings.length && now - rings[0].at > RING_MS) rings.shift();
  for (const { x, z, at, colour } of rings) {
    const age = clamp((now - at) / RING_MS, 0, 1);
    pen.globalAlpha = 1 - age;
    const metres = calm.matches ? 3 : 0.8 + 7 * (1 - (1 - age) ** 3);
    circle(...toScreen(x, z), metres * camera.scale, colour, 3);
  }
  pen.globalAlpha = 1;
}

function disc(x, y, r, colour) {
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.fillStyle = colour;
  pen.fill();
}

function circle(x, y, r, colour, width) {
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  Object.assign(pen, { strokeStyle: colour, lineWidth: width });
  pen.stroke();
}

// --- the loop -------------------------------------------------------------------------------------------------------

function fit() {
  canvas.width = innerWidth * devicePixelRatio;
  canvas.height = innerHeight * devicePixelRatio;
}

let before = performance.now();
function frame(now) {
  const [pointer] = pointers.values();
  if (pointer && !gesture && now - pointer.at > HOLD_MS) gesture = "walk";
  walk(clamp((now - before) / 1_000, 0, 0.1));
  before = now;
  const moved = me.told !== `${me.x} ${me.z} ${me.yaw}`;
  if (client.connected && moved && performance.now() - me.said >= MOVE_EVERY_MS - 4) sayWhere();
  if (camera.follows) Object.assign(camera, { x: me.x, z: me.z });
  draw(now);
  requestAnimationFrame(frame);
}

addEventListener("resize", fit);
addEventListener("pagehide", () => client.say("bye", {}));
dark.addEventListener("change", readInk);
setInterval(showFigures, 500);
readInk();
fit();
client.connect();
requestAnimationFrame(frame);

globalThis.nearcast = { client, me, stats }; // to look at from the console, and for tests
