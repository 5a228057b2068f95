// The operators' page: asks the gateway now and then, and shows what it says.

import "./style.css";
import { draw } from "./map.ts";
import { Hops } from "./hops.ts";

/** So often the gateway is asked, ms. */
const EVERY_MS = 1_000;
/** Rows of the list of sessions: more are not read by anybody. */
const [ROWS, COLUMNS] = [200, 9];

/** What `/inspect.json` says of a world. */
export interface Overview {
  world: string;
  tick: number;
  tick_ms: number;
  regions: [x: number, z: number, count: number][];
  sessions: Account[];
  profiles: Record<string, string>;
  silent: number;
}

interface Account {
  session: number;
  entity: number;
  user: number;
  server: boolean;
  encoding: string;
  pos: [number, number, number] | null;
  radius: number;
  budget: number;
  held: number;
  joining: boolean;
  unseen: number;
  stale: boolean;
  heard_ms: number;
}

interface Regard {
  why: string;
  distance: number | null;
  rank: number | null;
  of: number;
  stride: number | null;
  told: number | null;
  bits: number | null;
  budget: number;
}

const $ = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E;
const [world, viewer, entity] = [$<HTMLSelectElement>("world"), $<HTMLInputElement>("viewer"), $<HTMLInputElement>("entity")];
const hops = new Hops($("hops"));
const dark = matchMedia("(prefers-color-scheme: dark)");

async function ask<T>(path: string): Promise<T | undefined> {
  const answer = await fetch(path);
  return answer.ok ? ((await answer.json()) as T) : undefined;
}

async function look(): Promise<void> {
  const worlds = (await ask<Overview[]>("/inspect.json")) ?? [];
  const names = worlds.map((of) => of.world);
  if (names.join() !== [...world.options].map((option) => option.value).join()) {
    world.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  const shown = worlds.find((of) => of.world === world.value) ?? worlds[0];
  hops.take(await (await fetch("/metrics")).text(), performance.now());
  if (!shown) return;
  const avatars = shown.regions.reduce((sum, [, , count]) => sum + count, 0);
  const left = shown.sessions.length > ROWS ? ` (the newest ${ROWS} are listed)` : "";
  const silent = shown.silent > 0 ? `; ${shown.silent} drivers have too much to do to answer` : "";
  $("summary").textContent = `${shown.sessions.length} sessions here${left}, ${avatars} avatars in ${shown.regions.length} regions, tick ${shown.tick}${silent}`;
  draw($("map"), shown, dark.matches);
  list(shown);
  await judge(shown);
}

/** Rows of the list, by avatar: they stay where they are while somebody is about to choose one. */
const listed = new Map<number, HTMLTableRowElement>();

function list({ sessions, profiles }: Overview): void {
  // Who came last is first: whoever looks for themselves finds themselves.
  const shown = sessions.toSorted((a, b) => b.entity - a.entity).slice(0, ROWS);
  const gone = new Set(listed.keys());
  const body = $("sessions").querySelector("tbody")!;
  for (const [place, account] of shown.entries()) {
    gone.delete(account.entity);
    const row = listed.get(account.entity) ?? rowOf(account.entity);
    if (!row.isConnected) body.insertBefore(row, body.children[place] ?? null);
    row.className = String(account.entity) === viewer.value ? "viewer" : String(account.entity) === entity.value ? "entity" : "";
    texts(account, profiles[account.entity] ?? "").forEach((text, i) => {
      if (row.cells[i]!.textContent !== text) row.cells[i]!.textContent = text;
    });
  }
  for (const entity of gone) {
    listed.get(entity)!.remove();
    listed.delete(entity);
  }
  const options = shown.map((account) => new Option(profiles[account.entity] ?? "", String(account.entity)));
  if (document.activeElement !== viewer && document.activeElement !== entity) $("avatars").replaceChildren(...options);
}

function rowOf(entity: number): HTMLTableRowElement {
  const row = document.createElement("tr");
  for (let cells = 0; cells < COLUMNS; cells++) row.insertCell();
  row.tabIndex = 0;
  row.onclick = () => choose(entity);
  row.onkeydown = ({ key }) => key === "Enter" && choose(entity);
  listed.set(entity, row);
  return row;
}

function texts(account: Account, profile: string): string[] {
  const flags = [account.joining && "joining", account.stale && "stale", account.server && "server"].filter(Boolean).join(", ");
  return [
    String(account.entity),
    `${profile}${flags ? ` (${flags})` : ""}`,
    account.pos ? `${account.pos[0].toFixed(1)} / ${account.pos[2].toFixed(1)}` : "nowhere yet",
    `${account.radius} m`,
    String(account.held),
    String(account.budget),
    String(account.unseen),
    `${(account.heard_ms / 1_000).toFixed(1)} s`,
    account.encoding.replace("nearcast.v1.", ""),
  ];
}

/** The first that is clicked is the viewer, the next is seen; then both anew. */
function choose(avatar: number): void {
  if (!viewer.value || entity.value) [viewer.value, entity.value] = [String(avatar), ""];
  else entity.value = String(avatar);
  void lookNow();
}

async function judge({ world, tick_ms, sessions }: Overview): Promise<void> {
  const [a, b] = [Number(viewer.value), Number(entity.value)];
  if (!viewer.value || !entity.value) {
    $("verdict").textContent = "Choose two avatars: click one in the list, and another.";
    return $("regard").replaceChildren();
  }
  if (Number.isNaN(a + b)) {
    $("verdict").textContent = "An avatar is a number: that in the first column of the list.";
    return $("regard").replaceChildren();
  }
  const regard = await ask<Regard>(`/inspect/regard.json?world=${encodeURIComponent(world)}&viewer=${a}&entity=${b}`);
  if (!regard) {
    $("verdict").textContent = sessions.some((account) => account.entity === a) ? "The gateway did not answer." : `${a} has no session on this gateway.`;
    return $("regard").replaceChildren();
  }
  $("verdict").textContent = `${regard.told === null ? "No" : "Yes"}: ${regard.why}.`;
  const rows: [string, string | undefined][] = [
    ["distance", regard.distance === null ? undefined : `${regard.distance.toFixed(1)} m`],
    ["rank", regard.rank === null ? undefined : `${regard.rank} of ${regard.of} within reach`],
    ["told every", regard.stride === null ? undefined : `${regard.stride * tick_ms} ms`],
    ["told last", regard.told === null ? undefined : `${regard.told * tick_ms} ms ago`],
    ["next row", regard.bits === null ? undefined : `${regard.bits} bits`],
    ["budget", `${regard.budget} bytes/s`],
  ];
  const shown = rows.filter((row): row is [string, string] => row[1] !== undefined);
  $("regard").replaceChildren(
    ...shown.map(([name, value]) => {
      const pair = document.createElement("div");
      pair.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value }));
      return pair;
    }),
  );
}

$("swap").onclick = () => {
  [viewer.value, entity.value] = [entity.value, viewer.value];
  void lookNow();
};
$("pair").onsubmit = (event) => event.preventDefault();
for (const input of [viewer, entity, world]) input.onchange = () => void lookNow();

async function lookNow(): Promise<void> {
  try {
    await look();
  } catch {
    $("summary").textContent = "the gateway does not answer";
  }
}

async function go(): Promise<void> {
  await lookNow();
  setTimeout(() => void go(), EVERY_MS);
}
void go();
