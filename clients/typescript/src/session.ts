// Who we are to the gateway, beyond one connection: token, cursors, commands without an answer.

import type { Pos, Resume, Welcome } from "./codec/messages.ts";
import { Commands, type SavedCommands } from "./commands.ts";

/** A gateway looks at so many cursors. */
const CURSORS_MAX = 64;

/** What to keep, as JSON, to go on as the same avatar after a reload of the page. Whoever has it is the session. */
export interface Saved {
  token: string;
  cursors: [stream: string, next: number][];
  commands: SavedCommands;
  /** Where the avatar was, so that it need not move before it does something. */
  place?: { pos: Pos; yaw: number };
}

/** The session. */
export class Session {
  readonly commands = new Commands();
  #token: string | undefined;
  readonly #cursors = new Map<string, number>();

  constructor(saved?: Saved) {
    if (!saved) return;
    this.#token = saved.token;
    for (const [stream, next] of saved.cursors) this.#cursors.set(stream, next);
    this.commands.restore(saved.commands);
  }

  /** What to keep over a reload; `undefined` before there is a session. */
  save(): Saved | undefined {
    if (this.#token === undefined) return undefined;
    return { token: this.#token, cursors: [...this.#cursors], commands: this.commands.save() };
  }

  /** What to say to go on. */
  resume(): Resume | undefined {
    if (this.#token === undefined) return undefined;
    return { token: this.#token, open: this.commands.lowest, cursors: [...this.#cursors] };
  }

  /** The gateway says who we are. */
  welcomed({ token, resumed }: Welcome): void {
    this.#token = token;
    if (resumed) return;
    this.#cursors.clear();
    this.commands.lost();
  }

  /** There is no going on. */
  forget(): void {
    this.#token = undefined;
    this.#cursors.clear();
    this.commands.end();
  }

  /** All before this offset has been told. What changed last is last. */
  cursor(stream: string, next: number): void {
    this.#cursors.delete(stream);
    this.#cursors.set(stream, next);
    if (this.#cursors.size > CURSORS_MAX) this.#cursors.delete(this.#cursors.keys().next().value!);
  }
}
