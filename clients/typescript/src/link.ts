// One WebSocket at a time, and another after it: connecting, coming back, and when not to.

import type { Bye } from "./codec/messages.ts";

/** What of a WebSocket is used; another with the same may stand in for it. */
export interface Socket {
  /** Is set to `arraybuffer`. */
  binaryType: string;
  /** 1: it can send. */
  readonly readyState: number;
  /** It is open. */
  onopen: ((event: never) => void) | null;
  /** A text or an ArrayBuffer came. */
  onmessage: ((event: { data: never }) => void) | null;
  /** It is over. */
  onclose: ((event: { code: number }) => void) | null;
  /** It is over, or never began. */
  onerror: ((event: never) => void) | null;
  /** Sends. */
  send(data: string | Uint8Array<ArrayBuffer>): void;
  /** Ends it. */
  close(code?: number): void;
}

/** The pause before the second attempt, and the longest, ms. */
const [RETRY_MS, RETRY_MAX_MS] = [500, 15_000];
/** A connection that held so long makes up for attempts that failed. */
const HELD_MS = 10_000;
/** At least so much of a pause is chance, so that a crowd does not come back as one. */
const SPREAD_MS = 250;
const OPEN = 1;
/** The code of a socket that ended, or never began, without a word. */
export const NOBODY = 1_006;

/** Close codes of this and above mean: do not come back. schemas/protocol.md, "Close codes". */
const FOR_GOOD = 4_500;
const ENDS = [1000, 1002, 1007, 1009];

/** Why a connection is over, and whether there will be another. */
export interface Closed {
  code: number;
  text: string;
  /** When the next attempt begins, ms from now; `undefined`: never. */
  again: number | undefined;
}

/** What a link tells. */
export interface Ear {
  opened(): void;
  heard(data: string | Uint8Array): void;
  closed(closed: Closed): void;
}

/** Keeps up a connection. */
export class Link {
  readonly #open: () => Socket;
  readonly #ear: Ear;
  #socket: Socket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;
  #held: ReturnType<typeof setTimeout> | undefined;
  #goodbye: Bye | undefined;
  #isOver = false;

  constructor(open: () => Socket, ear: Ear) {
    [this.#open, this.#ear] = [open, ear];
  }

  /** Connects. */
  connect(): void {
    this.#goodbye = undefined;
    const socket = this.#open();
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#ear.opened();
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      if (socket === this.#socket) this.#ear.heard(typeof data === "string" ? data : new Uint8Array(data));
    };
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code);
    // Where nobody is there, Node 20 says no more than that something is wrong.
    socket.onerror = () => socket === this.#socket && this.#closed(NOBODY);
  }

  /** Sends, if there is a connection. */
  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(data);
  }

  /** The gateway has a session for us. */
  welcomed(): void {
    this.#held = setTimeout(() => (this.#attempts = 0), HELD_MS);
  }

  /** The gateway says goodbye; the socket's end follows. */
  bye(bye: Bye): void {
    this.#goodbye = bye;
  }

  /** Gives this connection up for another. */
  doubt(text: string): void {
    this.bye({ code: 4_000, text, again: true, after_ms: 0 });
    const socket = this.#socket;
    socket?.close();
    // Who closes may wait long for the other end; nobody needs to.
    if (socket) this.#closed(4_000);
  }

  /** Ends it for good. */
  close(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#held);
    this.#socket?.close(1000);
    this.#socket = undefined;
  }

  #closed(code: number): void {
    clearTimeout(this.#held);
    this.#socket = undefined;
    const bye = this.#goodbye;
    const again = bye ? Boolean(bye.again) : code < FOR_GOOD && !ENDS.includes(code);
    if (this.#isOver || !again) {
      this.#ear.closed({ code: bye?.code ?? code, text: bye?.text ?? "", again: undefined });
      return;
    }
    const patience = bye && this.#attempts === 0 ? 0 : Math.min(RETRY_MS * 2 ** this.#attempts, RETRY_MAX_MS);
    const pause = Math.max(bye?.after_ms ?? 0, patience);
    this.#attempts += 1;
    const wait = pause + Math.random() * Math.max(pause / 2, SPREAD_MS);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#ear.closed({ code: bye?.code ?? code, text: bye?.text ?? "", again: wait });
  }
}
