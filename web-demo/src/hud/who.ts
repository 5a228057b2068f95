// The list of who is seen, and why: the nearest are told at each tick, the others as often as the budget allows.

import type { Avatar, Client } from "@nearcast/client";
import { tierOf } from "../overlays.ts";

const ROWS = 12;
const EVERY_MS = 400;

/** Somebody, and how far away. */
export interface Near {
  avatar: Avatar;
  name: string;
  metres: number;
}

/** The list. */
export class Who {
  readonly #client: Client;
  readonly #panel: HTMLElement;
  readonly #rows: HTMLElement;
  readonly #why: HTMLElement;
  #due = 0;

  constructor(client: Client, panel: HTMLElement) {
    this.#client = client;
    this.#panel = panel;
    this.#rows = panel.querySelector("#rows")!;
    this.#why = panel.querySelector("#why")!;
  }

  /** Goes on, if it is open and it is time. `people` by distance, the nearest first; `gapTicks`: how far apart states are. */
  frame(now: number, people: Near[], gapTicks: number): void {
    const { welcome } = this.#client;
    if (this.#panel.hidden || now < this.#due || !welcome) return;
    this.#due = now + EVERY_MS;
    const tick = (this.#client.now ?? 0) / welcome.tick_ms;
    const spent = this.#client.figures().bytes / welcome.budget;
    this.#why.textContent = `${people.length} within ${welcome.radius} m, nearest first, for ${Math.round(spent * 100)} % of ${(welcome.budget / 1_000).toFixed(0)} kB/s. ${gapTicks > 1 ? `Your link is slow: you are told every ${gapTicks} ticks.` : "What you have not been told of somebody is at most as old as their turn."}`;
    // The nearest, and a few of those behind, so that one sees how turns get longer.
    const behind = [0.4, 0.6, 0.8, 1].map((share) => Math.ceil(people.length * share) - 1);
    const ranks = new Set([...Array(Math.min(people.length, ROWS - behind.length)).keys(), ...behind.filter((rank) => rank >= 0)]);
    this.#rows.replaceChildren(
      ...[...ranks].map((rank) => {
        const { avatar, name, metres } = people[rank]!;
        const { colour, text } = tierOf(avatar, gapTicks);
        const row = document.createElement("tr");
        const cells = [
          `${rank + 1}. ${name}`,
          metres.toFixed(1),
          text,
          `${Math.max(((tick - avatar.toldTick) * welcome.tick_ms) / 1_000, 0).toFixed(1)} s`,
          avatar.bytesPerSecond > 0 ? avatar.bytesPerSecond.toFixed(0) : "–",
        ];
        for (const cell of cells) row.append(Object.assign(document.createElement("td"), { textContent: cell }));
        row.style.setProperty("--tier", `#${colour.getHexString()}`);
        return row;
      }),
    );
  }
}
