// What was said and has no answer yet. Each is sent again until its fate is known, and takes effect once.

import type { Ack, Act, In, Refuse, Set } from "./codec/messages.ts";

/** So many may be without an answer: protocol.md, `act`. The others wait here. */
const OPEN_MAX = 32;
/** What nobody knows the fate of is said again after so long. */
const AGAIN_MS = 1_000;

/** An action or a wish, without the number that it gets when it is sent. */
export type Command = { act: Omit<Act, "n"> } | { set: Omit<Set, "n"> };

/** Something was refused: it has no effect, and never will. */
export class Refused extends Error {
  override readonly name = "Refused";
  /** Why, in a word: protocol.md, "Refusals". */
  readonly code: string;

  constructor({ of, code, text }: Refuse) {
    super(`${of}: ${text} (${code})`);
    this.code = code;
  }
}

/** The session has ended, and whether it took effect is not known. */
export class Lost extends Error {
  override readonly name = "Lost";

  constructor() {
    super("the session is over: nobody knows whether this took effect");
  }
}

interface Settle {
  resolve: (ack: Ack) => void;
  reject: (error: Error) => void;
}

/** Has been said, and is said again as it was. */
interface Promised {
  command: Command;
  settle?: Settle;
}

/** Has not been said: what it is, with time and place, is decided when it is. */
interface Waiting {
  make: () => Command;
  settle: Settle;
}

/** What of them is kept over a reload of the page. */
export interface SavedCommands {
  next: number;
  open: [n: number, command: Command][];
}

/** How commands are sent. */
export type Say = <Name extends "act" | "set">(name: Name, fields: In[Name]) => void;

/** Those of one session. */
export class Commands {
  #next = 1;
  readonly #open = new Map<number, Promised>();
  #waiting: Waiting[] = [];
  #say: Say | undefined;
  /** New ones may be said: the avatar has a place. */
  #mayBegin = false;

  /** How many have no answer. */
  get size(): number {
    return this.#open.size + this.#waiting.length;
  }

  /** The lowest number that has no answer, or the next. */
  get lowest(): number {
    return Math.min(this.#next, ...this.#open.keys());
  }

  /** What to keep over a reload. */
  save(): SavedCommands {
    return { next: this.#next, open: [...this.#open].map(([n, { command }]) => [n, command]) };
  }

  /** Goes on with what was kept. */
  restore({ next, open }: SavedCommands): void {
    this.#next = next;
    for (const [n, command] of open) this.#open.set(n, { command });
  }

  /** Makes and sends a command as soon as there is a connection and room. The promise is of its effect. */
  send(make: () => Command): Promise<Ack> {
    const promise = new Promise<Ack>((resolve, reject) => {
      this.#waiting.push({ make, settle: { resolve, reject } });
      this.#flush();
    });
    // Who does not wait for it does not end by it: refusals are told as events besides.
    promise.catch(() => {});
    return promise;
  }

  /** The session is another: of what had no answer nothing is known. */
  lost(): void {
    const lost = [...this.#open.values()];
    this.#open.clear();
    this.#next = 1;
    for (const { settle } of lost) settle?.reject(new Lost());
  }

  /** There is a connection: what has no answer is said again, unchanged. */
  connected(say: Say): void {
    [this.#say, this.#mayBegin] = [say, false];
    this.#again();
  }

  /** The avatar has a place on this connection: what waits is said. */
  begin(): void {
    this.#mayBegin = true;
    this.#flush();
  }

  #again(): void {
    for (const [n, { command }] of this.#open) this.#tell(n, command);
  }

  /** There is none any more. */
  disconnected(): void {
    this.#say = undefined;
  }

  /** There will be none any more. */
  end(): void {
    this.disconnected();
    this.lost();
    for (const { settle } of this.#waiting.splice(0)) settle.reject(new Lost());
  }

  /** One took effect. */
  acked(ack: Ack): void {
    this.#take(ack.n)?.settle?.resolve(ack);
  }

  /** One was refused. */
  refused(refuse: Refuse): void {
    if (refuse.n !== undefined) this.#take(refuse.n)?.settle?.reject(new Refused(refuse));
    // Above the rate the gateway does not look at what it is that it refuses.
    else if (refuse.code === "rate" && refuse.of !== "move") this.#later(() => this.#again());
  }

  /** Nobody knows. */
  unknown(n: number): void {
    const promised = this.#open.get(n);
    this.#later(() => promised && this.#open.get(n) === promised && this.#tell(n, promised.command));
  }

  /** Unless there is another connection by then, on which all is said again anyway. */
  #later(what: () => void): void {
    const say = this.#say;
    setTimeout(() => this.#say === say && what(), AGAIN_MS);
  }

  #take(n: number): Promised | undefined {
    const promised = this.#open.get(n);
    this.#open.delete(n);
    this.#flush();
    return promised;
  }

  #flush(): void {
    while (this.#say && this.#mayBegin && this.#waiting.length > 0 && this.#next - this.lowest < OPEN_MAX) {
      const { make, settle } = this.#waiting.shift()!;
      const [n, command] = [this.#next++, make()];
      this.#open.set(n, { command, settle });
      this.#tell(n, command);
    }
  }

  #tell(n: number, command: Command): void {
    if ("act" in command) this.#say?.("act", { n, ...command.act });
    else this.#say?.("set", { n, ...command.set });
  }
}
