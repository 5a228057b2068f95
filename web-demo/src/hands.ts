// Keys, mouse and fingers: where to walk, how to look, what to use.

import type { Will } from "./me.ts";

/** A touch shorter than this, and no further, is meant for a place; others turn the camera. */
const TAP_MS = 300;
const TAP_PX = 9;
/** Radians per pixel. */
const TURN = 0.005;

const KEYS: Record<string, [right: number, forward: number]> = {
  ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0],
  KeyW: [0, 1], KeyS: [0, -1], KeyA: [-1, 0], KeyD: [1, 0],
};
/** The camera, by radians per second. */
const TURNS: Record<string, [around: number, up: number]> = { KeyQ: [-1.6, 0], KeyR: [1.6, 0], PageUp: [0, 0.9], PageDown: [0, -0.9] };
const ZOOMS: Record<string, number> = { Equal: 0.85, NumpadAdd: 0.85, Minus: 1.18, NumpadSubtract: 1.18 };

/** What hands do, apart from walking. */
export interface Deeds {
  /** The camera turns by radians: around, and up. */
  turn(around: number, up: number): void;
  /** It comes nearer or goes away by a factor. */
  zoom(factor: number): void;
  /** A place of the screen is touched, pixels. */
  touch(x: number, y: number): void;
  /** What is near is used. */
  use(): void;
  /** The emote of this number, from 0. */
  emote(number: number): void;
  /** Somebody wants to say something. */
  talk(): void;
}

/** Listens to hands; what they want of the avatar stands in the answer. */
export function hands(canvas: HTMLCanvasElement, deeds: Deeds): Will {
  const will: Will = { way: [0, 0], turn: [0, 0], goal: undefined, runs: false };
  const held = new Set<string>();
  const sum = (keys: typeof KEYS): [number, number] => [...held].reduce<[number, number]>(([a, b], code) => [a + (keys[code]?.[0] ?? 0), b + (keys[code]?.[1] ?? 0)], [0, 0]);
  const steer = (): void => {
    [will.way, will.turn] = [sum(KEYS), sum(TURNS)];
    if (will.way[0] || will.way[1]) will.goal = undefined;
  };

  addEventListener("keydown", (event) => {
    will.runs = event.shiftKey;
    const isTyping = event.target instanceof HTMLInputElement && event.target.type !== "range";
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if ((KEYS[event.code] ?? TURNS[event.code]) && !(event.target instanceof HTMLInputElement)) {
      event.preventDefault();
      held.add(event.code);
      steer();
    } else if (ZOOMS[event.code]) deeds.zoom(ZOOMS[event.code]!);
    else if (event.code === "KeyE" && !event.repeat) {
      // Else the letter would be the first of a note.
      event.preventDefault();
      deeds.use();
    } else if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement)) {
      event.preventDefault();
      deeds.talk();
    } else if (/^Digit[1-9]$/.test(event.code) && !event.repeat) deeds.emote(Number(event.code.slice(5)) - 1);
  });
  addEventListener("keyup", (event) => {
    will.runs = event.shiftKey;
    held.delete(event.code);
    steer();
  });
  addEventListener("blur", () => {
    held.clear();
    steer();
  });

  // Else Enter and Space would press what was clicked last.
  addEventListener("click", ({ detail, target }) => detail > 0 && target instanceof HTMLButtonElement && target.blur());

  const pointers = new Map<number, { x: number; y: number; from: [number, number]; at: number }>();
  const spread = (): number => {
    const [a, b] = pointers.values();
    return a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    const { clientX: x, clientY: y } = event;
    pointers.set(event.pointerId, { x, y, from: [x, y], at: event.timeStamp });
  });
  canvas.addEventListener("pointermove", (event) => {
    const pointer = pointers.get(event.pointerId);
    if (!pointer) return;
    const before = spread();
    const [dx, dy] = [event.clientX - pointer.x, event.clientY - pointer.y];
    [pointer.x, pointer.y] = [event.clientX, event.clientY];
    if (pointers.size === 2 && before > 0) deeds.zoom(before / spread());
    deeds.turn((dx * TURN) / pointers.size, (dy * TURN) / pointers.size);
  });
  for (const kind of ["pointerup", "pointercancel"] as const) {
    canvas.addEventListener(kind, (event) => {
      const pointer = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      if (!pointer || kind === "pointercancel" || pointers.size > 0) return;
      const far = Math.hypot(pointer.x - pointer.from[0], pointer.y - pointer.from[1]);
      if (far < TAP_PX && event.timeStamp - pointer.at < TAP_MS) deeds.touch(pointer.x, pointer.y);
    });
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    deeds.zoom(Math.exp(event.deltaY / 700));
  }, { passive: false });
  return will;
}
