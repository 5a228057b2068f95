// The page: one more client, who walks in a plaza that all see. Here everything meets, once a frame.

import "./style.css";
import { type Avatar, Client, Refused, type Saved, type Thing } from "@nearcast/client";
import { Crowd, type Figure } from "./crowd.ts";
import { ground, MIDDLE } from "./ground.ts";
import { hands } from "./hands.ts";
import { Feed } from "./hud/feed.ts";
import { Strip } from "./hud/strip.ts";
import { isEmote, Talk } from "./hud/talk.ts";
import { type Near, Who } from "./hud/who.ts";
import { Me } from "./me.ts";
import { BORDER, CIRCLE, Overlays, regionAt, TIERS, tierOf } from "./overlays.ts";
import { MINE, nameOf, someName } from "./people.ts";
import { RATES, setRate, slow, slowSocket } from "./slow-link.ts";
import { Stage } from "./stage.ts";
import { type Named, Tags } from "./tags.ts";
import { deed, Things, use, write } from "./things.ts";
import { Rain, skyOf } from "./weather.ts";

/** What was kept when the page went, or when nobody looked at it. A page that was copied from one that is looked at finds nothing:
 *  it is somebody else. */
const KEPT = "nearcast";
/** Without anything heard for so long something is wrong, ms. */
const SILENT_MS = 2_500;
/** Between two pictures that the processor draws, ms. */
const SOFTWARE_FRAME_MS = 45;
/** A touch so near to a thing is meant for it, metres. */
const TOUCH_M = 1.2;

const $ = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E;

// --- who I am ------------------------------------------------------------------------------------------------------

const asked = new URLSearchParams(location.search);
const kept = takeKept();
const start = location.hash.slice(1).split(",").map(Number);
const isPlace = start.length === 2 && start.every(Number.isFinite);
const around = (middle: number, metres: number): number => middle + (Math.random() - 0.5) * metres;
const me = new Me(kept?.x ?? (isPlace ? start[0]! : around(MIDDLE[0], 14)), kept?.z ?? (isPlace ? start[1]! : MIDDLE[1] + 9 + Math.random() * 4));
const name = [...(asked.get("name") ?? kept?.name ?? someName())].slice(0, 24).join("");

/** What is kept over a reload. */
interface Kept {
  saved: Saved;
  name: string;
  x: number;
  z: number;
}

function takeKept(): Kept | undefined {
  try {
    const text = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
    return text ? (JSON.parse(text) as Kept) : undefined;
  } catch {
    return undefined; // storage is blocked: a reload is somebody new
  }
}

function keep(): void {
  const saved = client.save();
  if (!saved) return; // it has been kept, or there is nothing to come back to
  const kept: Kept = { saved, name, x: me.x, z: me.z };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {} // as above
}

addEventListener("pagehide", () => {
  keep();
  client.close({ stay: true });
});

// A phone may end a page that nobody looks at without another word.
document.addEventListener("visibilitychange", () => (document.hidden ? keep() : client.save() && takeKept()));

// A page that the browser has kept aside has said goodbye already.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

// --- the parts ----------------------------------------------------------------------------------------------------

const client = new Client(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1`, {
  world: asked.get("world") ?? "plaza",
  profile: name,
  encoding: asked.get("encoding") === "json" ? "json" : "msgpack",
  socket: slowSocket,
  ...(kept?.saved && { saved: kept.saved }),
});
const stage = stageOrWord();

function stageOrWord(): Stage {
  try {
    return new Stage($("stage"), asked.get("detail") === "high");
  } catch (error) {
    client.close();
    $("banner").hidden = false;
    $("banner").textContent = "This browser draws no WebGL 2, and the plaza is made of that: switch on hardware acceleration, or take another browser.";
    throw error;
  }
}

const detail = stage.isSoftware ? "low" : "high";
const crowd = new Crowd(detail);
const things = new Things(!stage.isSoftware);
const overlays = new Overlays();
const rain = new Rain();
const tags = new Tags($("tags"));
const feed = new Feed($("feed"));
const strip = new Strip(client, $("strip"));
const who = new Who(client, $("who"));
stage.scene.add(ground(detail), crowd.object, things.object, overlays.object, rain.object);

const talk = new Talk($("talk"), {
  say: (text) => done(client.act("say", { data: text, pos: me.pos })),
  emote: (emote) => done(client.act("emote", { data: emote, pos: me.pos })),
});
const will = hands($("stage"), {
  turn: (around, up) => stage.turn(around, up),
  zoom: (factor) => stage.zoom(factor),
  touch,
  use: () => useIt(),
  emote: (number) => talk.emote(number),
  talk: () => talk.open(),
});

// --- what is done -------------------------------------------------------------------------------------------------

/** Says so if it was refused. That a session is over is said elsewhere. */
function done(promise: Promise<unknown> | undefined): void {
  promise?.catch((error: unknown) => error instanceof Refused && feed.tell(error.message));
}

function placeOf(entity: number): [number, number, number] | undefined {
  if (entity === client.welcome?.entity) return [me.x, 0, me.z];
  const avatar = client.avatar(entity);
  if (!avatar) return undefined;
  const { x, y, z } = client.draw(avatar, moment);
  return [x, y, z];
}

/** What is near enough to be used, the nearest first; what somebody else holds is not. */
function usable(): Thing[] {
  const near = things.near(client.things.values(), placeOf, [me.x, me.z]);
  return near.filter(({ holder }) => holder === undefined || holder === client.welcome?.entity);
}

function useIt(thing = usable()[0]): void {
  if (!thing) return;
  client.move(me.pos, me.yaw);
  if (thing.kind === "board") talk.open((text) => done(write(client, thing, text)));
  else done(use(client, thing));
}

/** A touch on what is near uses it, any other says where to go. */
function touch(x: number, y: number): void {
  const hit = things.hit(stage.ray(x, y));
  const at = stage.ground(x, y);
  const isMeant = ({ object, pos, holder }: Thing): boolean => object === hit || (holder === undefined && at !== undefined && Math.hypot(pos[0] - at.x, pos[2] - at.z) < TOUCH_M);
  const thing = usable().find(isMeant);
  if (thing) return useIt(thing);
  if (!at) return;
  will.goal = [at.x, at.z];
}

const shows = { interest: false, regions: false, who: false };
for (const button of document.querySelectorAll<HTMLButtonElement>("[data-overlay]")) {
  button.onclick = () => {
    const which = button.dataset["overlay"] as keyof typeof shows;
    shows[which] = !shows[which];
    button.setAttribute("aria-pressed", String(shows[which]));
    overlays.show("interest", shows.interest);
    overlays.show("regions", shows.regions);
    $("who").hidden = !shows.who;
    // The list has the same colours in the same place.
    $("legend").hidden = shows.who || !(shows.interest || shows.regions);
    for (const line of $("legend").children) (line as HTMLElement).hidden = !shows[(line as HTMLElement).dataset["of"] as keyof typeof shows];
  };
}
const legend: [of: keyof typeof shows, colour: string, text: string][] = [
  ["interest", CIRCLE, "as far as you see"],
  ...TIERS.map(({ colour, text }): (typeof legend)[number] => ["interest", colour.getStyle(), `told ${text}`]),
  ["regions", BORDER, "a border of regions, 128 m each: the log's partitions"],
];
for (const [of, colour, text] of legend) {
  const line = Object.assign(document.createElement("li"), { textContent: text });
  line.dataset["of"] = of;
  line.style.setProperty("--tier", colour);
  $("legend").append(line);
}

const slider = $("slow").querySelector("input")!;
slider.oninput = () => {
  setRate(RATES[Number(slider.value)]!);
  const text = Number.isFinite(slow.bytesPerS) ? `${slow.bytesPerS / 1_000} kB/s` : "off";
  $("slow").querySelector("output")!.textContent = text;
};
// Else arrows would go on to move it; who has moved it by arrows wants that.
slider.onpointerup = () => slider.blur();

// --- what is heard ------------------------------------------------------------------------------------------------

let heard = performance.now();
let [isStale, isThere, isOver] = [false, false, ""];
client.on("welcome", (welcome) => {
  if (document.hidden) keep();
  heard = performance.now();
  client.move(me.pos, me.yaw);
  feed.tell(welcome.resumed ? "You are back as who you were." : `You are ${name}. Walk with arrows or a touch, Q and R turn, E uses, Enter speaks.`);
});
client.on("status", (status) => {
  isThere = status.status === "connected";
  $("where").dataset["status"] = status.status;
  if (status.status === "closed") isOver = status.code === 4_504 ? "You go on in another window" : `The gateway says: ${status.text || status.code}`;
  else if (status.status === "waiting" && status.text) feed.tell(status.text);
});
/** Of the last states: those who walk had been told so many ticks before. */
const gaps: number[] = [];
client.on("state", (state) => {
  heard = performance.now();
  if (state.gapTicks > 0) gaps.push(state.gapTicks);
  if (gaps.length > 15) gaps.shift();
  strip.state(state, state.errorCm);
});
client.on("event", ({ from, name: what, data = "" }) => {
  const kind = what === "emote" && isEmote(data) ? "emote" : what === "say" ? "words" : "deed";
  tags.say(from, kind === "deed" ? what : data, kind);
  const avatar = client.avatar(from);
  const speaker = from === client.welcome?.entity ? "You" : avatar ? nameOf(avatar) : "Somebody";
  if (what === "say") feed.tell(`${speaker}: ${data}`);
});
client.on("refuse", ({ of, text }) => of === "move" && feed.tell(`A step was not taken: ${text}`));
client.on("reset", () => feed.tell("You missed some of what was said."));
client.on("stale", (stale) => (isStale = stale));
client.on("place", ({ place }) => place === "world" && stage.dress(skyOf(client.places.get("world") ?? {})));
stage.dress(skyOf({}));

// --- once a frame -------------------------------------------------------------------------------------------------

let [before, moment] = [performance.now(), client.moment()];

function frame(now: number): void {
  // First of all: a mistake in one frame is not the last of them.
  requestAnimationFrame(frame);
  // Without graphics hardware each picture takes the processor's time, which those who listen need, too.
  if (stage.isSoftware && now - before < SOFTWARE_FRAME_MS) return;
  const seconds = Math.min(Math.max((now - before) / 1_000, 0), 0.1);
  const took = now - before;
  before = now;
  stage.turn(will.turn[0] * seconds, will.turn[1] * seconds);
  me.walk(will, stage.heading, seconds, client);
  if (will.goal && Math.hypot(will.goal[0] - me.x, will.goal[1] - me.z) < 0.3) will.goal = undefined;
  client.move(me.pos, me.yaw);
  moment = client.moment();
  const gap = gapTicks();
  const { figures, people } = everybody(gap);
  crowd.show(figures, seconds);
  things.show(client.things.values(), placeOf, [me.x, me.z]);
  overlays.move(me.x, me.z, client.welcome?.radius ?? 0);
  rain.fall(client.places.get("world")?.["weather"] === "rain", me.x, me.z, seconds);
  stage.follow(me.x, 0, me.z);
  stage.draw(took);
  const mine: Named = { entity: client.welcome?.entity ?? 0, name: `${name} (you)`, x: me.x, y: 0, z: me.z, metres: 0 };
  tags.show([mine, ...people.map(({ avatar, name, metres, at }) => ({ entity: avatar.entity, name, metres, ...at }))], stage.camera);
  strip.frame(now, people.length);
  who.frame(now, people, gap);
  say(now);
  script.push(performance.now() - now);
  if (script.length > 240) script.shift();
  frames += 1;
}

/** How long a frame's script took, ms: what is not spent waiting for the picture. */
const script: number[] = [];
let frames = 0;

/** How many ticks apart states are that move somebody: more than one where the link is slow. */
function gapTicks(): number {
  return gaps.toSorted((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? 1;
}

/** Everybody as they are drawn, and by distance. */
function everybody(gap: number): { figures: Figure[]; people: (Near & { at: { x: number; y: number; z: number } })[] } {
  const people = [];
  for (const avatar of client.avatars()) {
    const at = client.draw(avatar, moment);
    people.push({ avatar, name: nameOf(avatar), metres: Math.hypot(at.x - me.x, at.z - me.z), at });
  }
  people.sort((a, b) => a.metres - b.metres);
  const figures: Figure[] = [{ entity: client.welcome?.entity ?? 0, x: me.x, y: 0, z: me.z, yaw: me.yaw, colour: MINE, under: MINE }];
  for (const { avatar, at } of people) figures.push({ entity: avatar.entity, x: at.x, y: at.y, z: at.z, yaw: at.yaw, ...(shows.interest && { under: tierOf(avatar, gap).colour }) });
  return { figures, people };
}

/** What is written on the page. */
function say(now: number): void {
  const [rx, rz] = regionAt(me.x, me.z);
  const where = isOver ? "not in the world" : client.welcome ? `${client.welcome.world}, region ${rx}/${rz}, ${stage.isSoftware ? "no graphics hardware" : name}` : "on the way";
  if ($("where").textContent !== where) $("where").textContent = where;
  const thing = usable()[0];
  const prompt = thing ? `E: ${deed(thing, thing.holder !== undefined && thing.holder === client.welcome?.entity)}` : "";
  $("prompt").hidden = !thing;
  if ($("prompt").textContent !== prompt) $("prompt").textContent = prompt;
  const troubles: [boolean, string][] = [
    [isOver !== "", isOver],
    [!isThere, "Not connected; coming back"],
    [now - heard > SILENT_MS, "Nothing heard from the gateway"],
    [isStale, "Part of this is old: the world's log is silent"],
  ];
  const banner = troubles.find(([is]) => is)?.[1] ?? "";
  $("banner").hidden = banner === "" || (client.welcome === undefined && !isOver);
  if ($("banner").textContent !== banner) $("banner").textContent = banner;
}

$("prompt").onclick = () => useIt();
requestAnimationFrame(frame);

/** To look at from the console, and for tests. */
Object.assign(globalThis, {
  nearcast: { client, me, strip, stage, script, frames: () => frames, find: (wanted: string): Avatar | undefined => [...client.avatars()].find((avatar) => nameOf(avatar) === wanted) },
});
