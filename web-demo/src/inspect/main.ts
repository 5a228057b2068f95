// The operators' page: asks the gateway now and then, and shows what it says.

import "./style.css";
import { draw } from "./map.ts";
import { Hops } from "./hops.ts";

/** So often the gateway is asked, ms. */
const EVERY_MS = 1_000;
/** Rows of the list of sessions: more are not read by anybody. */
const ROWS = 200;

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
  const silent = shown.silent > 0 ? `; ${shown.silent} drivers have too much to do to answer` : "";
  $("summary").textContent = `${shown.sessions.length} sessions here, ${avatars} avatars in ${shown.regions.length} regions, tick ${shown.tick}${silent}`;
  draw($("map"), shown, dark.matches);
  list(shown);
  await judge(shown);
}

function cell(text: string): HTMLTableCellElement {
  return Object.assign(document.createElement("td"), { textContent: text });
}

function list({ sessions, profiles }: Overview): void {
  const rows = sessions.slice(0, ROWS).map((account) => {
    const row = document.createElement("tr");
    const place = account.pos ? `${account.pos[0].toFixed(1)} / ${account.pos[2].toFixed(1)}` : "nowhere yet";
    const flags = [account.joining && "joining", account.stale && "stale", account.server && "server"].filter(Boolean).join(", ");
    const cells = [
      String(account.entity),
      `${profiles[account.entity] ?? ""}${flags ? ` (${flags})` : ""}`,
      place,
      `${account.radius} m`,
      String(account.held),
      String(account.budget),
      String(account.unseen),
      `${(account.heard_ms / 1_000).toFixed(1)} s`,
      account.encoding.replace("nearcast.v1.", ""),
    ];
    row.append(...cells.map(cell));
    row.tabIndex = 0;
    row.className = String(account.entity) === viewer.value ? "viewer" : String(account.entity) === entity.value ? "entity" : "";
    row.onclick = () => choose(account.entity);
    row.onkeydown = ({ key }) => key === "Enter" && choose(account.entity);
    return row;
  });
  // Not while somebody is about to choose one.
  const body = $("sessions").querySelector("tbody")!;
  if (!body.matches(":hover")) body.replaceChildren(...rows);
  const options = sessions.slice(0, ROWS).map((account) => new Option(profiles[account.entity] ?? "", String(account.entity)));
  if (document.activeElement !== viewer && document.activeElement !== entity) $("avatars").replaceChildren(...options);
}

/** The first that is clicked is the viewer, the next is seen; then both anew. */
function choose(avatar: number): void {
  if (!viewer.value || entity.value) [viewer.value, entity.value] = [String(avatar), ""];
  else entity.value = String(avatar);
  void look();
}

async function judge({ world, tick_ms, sessions }: Overview): Promise<void> {
  const [a, b] = [Number(viewer.value), Number(entity.value)];
  if (!viewer.value || !entity.value) return;
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
  void look();
};
$("pair").onsubmit = (event) => event.preventDefault();
for (const input of [viewer, entity, world]) input.onchange = () => void look();

async function go(): Promise<void> {
  try {
    await look();
  } catch {
    $("summary").textContent = "the gateway does not answer";
  }
  setTimeout(() => void go(), EVERY_MS);
}
void go();
