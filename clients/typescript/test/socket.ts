// A socket that goes nowhere: what the client says is kept, and what the gateway says is put in by the test.

import type { In, Out } from "../src/codec/messages.ts";
import { Client } from "../src/client.ts";
import type { Socket } from "../src/link.ts";
import type { Options } from "../src/options.ts";

/** The other end. */
export class FakeSocket implements Socket {
  binaryType = "";
  readyState = 1;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: never }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  onerror: (() => void) | null = null;
  said: { [Name in keyof In]?: In[Name] }[] = [];

  send(data: string | Uint8Array): void {
    this.said.push(JSON.parse(data as string));
  }

  close(): void {
    this.readyState = 3;
  }

  /** The gateway says something. */
  hears(name: keyof Out | "state", fields: object): void {
    this.onmessage?.({ data: JSON.stringify({ [name]: fields }) as never });
  }

  /** The socket is gone. */
  loses(code = 1006): void {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  /** What was said of a name. */
  of<Name extends keyof In>(name: Name): In[Name][] {
    return this.said.flatMap((message) => (message[name] ? [message[name] as In[Name]] : []));
  }
}

/** A client on sockets that go nowhere, and these, the newest last. */
export function fake(options: Partial<Options> = {}): { client: Client; sockets: FakeSocket[]; socket: () => FakeSocket } {
  const sockets: FakeSocket[] = [];
  const open = (): Socket => {
    const socket = new FakeSocket();
    sockets.push(socket);
    return socket;
  };
  const client = new Client("ws://nowhere", { world: "plaza", encoding: "json", socket: open, ...options });
  return { client, sockets, socket: () => sockets.at(-1)! };
}

/** What a gateway says first. */
export function welcome(fields: Partial<Out["welcome"]> = {}): Out["welcome"] {
  const bounds = { min: [-2048, -64, -2048], max: [2048, 448, 2048] } as Pick<Out["welcome"], "min" | "max">;
  return { session: 2, entity: 3, world: "plaza", ...bounds, speed: 10, tick_ms: 50, time: 0, radius: 50, budget: 24_576, user: 2, token: "first", ...fields };
}

/** A row of JSON. */
export function row(slot: number, generation: number, x: number, entity?: number, profile = ""): unknown[] {
  return [slot, generation, x, 0, 0, 0, 0, 0, ...(entity === undefined ? [] : [entity, profile, ""])];
}

