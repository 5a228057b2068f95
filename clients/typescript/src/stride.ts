// Says where the avatar is: as often as the gateway listens, the newest always, and nothing twice.

import type { Move, Pos } from "./codec/messages.ts";

/** A gateway listens 20 times a second; a little less, as timers are late. */
const EVERY_MS = 48;

/** A place of one's own avatar. */
export interface Place {
  pos: Pos;
  yaw: number;
  state?: Uint8Array | undefined;
}

/** Paces what is said. */
export class Stride {
  readonly #say: (move: Move) => void;
  #place: (Place & { time: number }) | undefined;
  #said: Place | undefined;
  #saidAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(say: (move: Move) => void) {
    this.#say = say;
  }

  /** Where it is. */
  get place(): Place | undefined {
    return this.#place;
  }

  /** When it was said last, ms. */
  get saidAt(): number {
    return this.#saidAt;
  }

  /** It is here now. */
  move(place: Place): void {
    this.#place = { ...place, time: performance.now() };
    const due = this.#saidAt + EVERY_MS - performance.now();
    if (due <= 0) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), due);
  }

  /** Says it at once, if it has not been said. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const place = this.#place;
    if (!place || (this.#said && isSame(this.#said, place))) return;
    [this.#said, this.#saidAt] = [place, performance.now()];
    const { time, pos, yaw, state } = place;
    this.#say({ time, pos, yaw, ...(state && { state }) });
  }

  /** On a new connection nothing has been said. */
  again(): void {
    this.#said = undefined;
    if (this.#place) this.#place.time = performance.now();
    this.flush();
  }

  /** Nothing is said any more. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function isSame(a: Place, b: Place): boolean {
  const text = ({ pos, yaw, state }: Place): string => String([pos, yaw, state]);
  return text(a) === text(b);
}
