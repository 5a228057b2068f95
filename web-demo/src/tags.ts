// Names over heads and what people say: elements of the page, laid over the picture, so that texts are sharp.

import { type Camera, Vector3 } from "three";

/** So many names are shown, of the nearest. */
const NAMES = 22;
/** A bubble stands so long, ms, and longer the more it says. */
const [BUBBLE_MS, PER_LETTER_MS] = [3_500, 55];
/** What is only done is soon over. */
const DEED_MS = 1_200;
/** Names nearer to each other than this cover each other: the nearest is shown, pixels. */
const APART_PX: [x: number, y: number] = [64, 17];
/** Beyond this nobody can read, metres. */
const READABLE_M = 45;

/** Somebody who has a name. */
export interface Named {
  entity: number;
  name: string;
  x: number;
  y: number;
  z: number;
  metres: number;
}

interface Tag {
  element: HTMLElement;
  name: HTMLElement;
  text: string;
  /** How far away it is shown to be, metres: the page is restyled only where that has changed. */
  metres: number;
}

interface Bubble {
  element: HTMLElement;
  until: number;
}

/** The tags. */
export class Tags {
  readonly #layer: HTMLElement;
  readonly #free: Tag[] = [];
  readonly #shown = new Map<number, Tag>();
  readonly #bubbles = new Map<number, Bubble>();
  readonly #at = new Vector3();
  /** Where names stand in this frame. */
  #taken: [x: number, y: number][] = [];

  constructor(layer: HTMLElement) {
    this.#layer = layer;
  }

  /** Somebody says something, shows a feeling, or does something. */
  say(entity: number, text: string, kind: "words" | "emote" | "deed"): void {
    // What somebody has said is not covered by what they do.
    if (kind === "deed" && this.#bubbles.has(entity)) return;
    this.#bubbles.get(entity)?.element.remove();
    const element = document.createElement("p");
    element.className = `bubble ${kind}`;
    element.textContent = text;
    this.#bubbles.set(entity, { element, until: performance.now() + (kind === "deed" ? DEED_MS : BUBBLE_MS + text.length * PER_LETTER_MS) });
  }

  /** Puts names and bubbles over those who have one. `people` by distance, the nearest first. */
  show(people: Named[], camera: Camera): void {
    const now = performance.now();
    for (const [entity, { element, until }] of this.#bubbles) {
      if (now < until) continue;
      element.remove();
      this.#bubbles.delete(entity);
    }
    const near = people.filter(({ entity, metres }, i) => metres < READABLE_M && (i < NAMES || this.#bubbles.has(entity)));
    const stay = new Set(near.map(({ entity }) => entity));
    for (const [entity, tag] of this.#shown) {
      if (stay.has(entity)) continue;
      tag.element.hidden = true;
      this.#shown.delete(entity);
      this.#free.push(tag);
    }
    this.#taken = [];
    for (const person of near) this.#put(this.#tag(person), person, camera);
  }

  #tag({ entity, name }: Named): Tag {
    let tag = this.#shown.get(entity);
    if (!tag) {
      tag = this.#free.pop() ?? this.#make();
      this.#shown.set(entity, tag);
    }
    if (tag.text !== name) tag.name.textContent = tag.text = name;
    const bubble = this.#bubbles.get(entity)?.element;
    const before = tag.element.querySelector(".bubble");
    if (before && before !== bubble) before.remove();
    if (bubble && bubble.parentElement !== tag.element) tag.element.prepend(bubble);
    return tag;
  }

  #make(): Tag {
    const [element, name] = [document.createElement("div"), document.createElement("span")];
    element.append(name);
    this.#layer.append(element);
    return { element, name, text: "", metres: -1 };
  }

  #put(tag: Tag, { x, y, z, metres }: Named, camera: Camera): void {
    const { element } = tag;
    const { x: sx, y: sy, z: depth } = this.#at.set(x, y + 1.95, z).project(camera);
    const [left, top] = [((sx + 1) / 2) * innerWidth, ((1 - sy) / 2) * innerHeight];
    const isCovered = this.#taken.some(([x, y]) => Math.abs(x - left) < APART_PX[0] && Math.abs(y - top) < APART_PX[1]);
    const isSeen = depth < 1 && Math.abs(sx) < 1.1 && Math.abs(sy) < 1.1 && (!isCovered || element.childElementCount > 1);
    element.hidden = !isSeen;
    if (!isSeen) return;
    this.#taken.push([left, top]);
    element.style.transform = `translate(-50%, -100%) translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
    if (tag.metres === Math.round(metres)) return;
    tag.metres = Math.round(metres);
    element.style.opacity = Math.min(1, 1.35 - metres / READABLE_M).toFixed(2);
    element.style.zIndex = String(1_000 - tag.metres);
  }
}
