// How to connect, and what a client tells: the types of its outside.

import type { Encoding } from "./codec/codec.ts";
import type { Delta, Event, Id, Out, Pos, Refuse, Scope, Thing, View, Welcome } from "./codec/messages.ts";
import type { Closed, Socket } from "./link.ts";
import type { Saved } from "./session.ts";
import type { Avatar } from "./table.ts";

/** How to connect. */
export interface Options {
  /** The world to enter. */
  world: string;
  /** Shown to all who see the avatar: a name, or JSON; up to 96 bytes. */
  profile?: string;
  /** Makes a game server of who knows the gateway's secret. */
  token?: string;
  /** How far to see, and how many bytes may come. */
  view?: View;
  /** `msgpack` if left out; `json` can be read in the browser's network panel. */
  encoding?: Encoding;
  /** What {@link Client.save} gave, to go on as the same avatar. */
  saved?: Saved;
  /** Opens a WebSocket; the platform's if left out. */
  socket?: (url: string, subprotocol: string) => Socket;
}

/** How the connection is. */
export type Status =
  /** On the way to a `welcome`. */
  | { status: "connecting" }
  /** In the world. */
  | { status: "connected" }
  /** Lost; another attempt follows. */
  | ({ status: "waiting" } & Closed)
  /** Over for good. */
  | ({ status: "closed" } & Closed);

/** What a client tells, by name. */
export interface Events {
  /** How the connection is. */
  status: Status;
  /** The gateway lets us in, again with each connection. */
  welcome: Welcome;
  /** Somebody came into sight. */
  enter: Avatar;
  /** Somebody is out of sight. */
  leave: Avatar;
  /** Somebody's profile or application state is another. */
  change: Avatar;
  /**
   * A state was applied. `errorCm`: how far off the worst place was that was held until then. `gapTicks`: those who walk had
   * been told so many ticks before, at least; 0 if nobody does.
   */
  state: Delta & { errorCm: number; gapTicks: number };
  /** Something was done. `mine`: by this avatar. */
  event: Event & { mine: boolean };
  /** A thing came into sight, or is another. */
  thing: Thing;
  /** A thing is out of sight, or removed. */
  gone: Thing;
  /** What a region or the world is like. */
  place: { place: string; fields: Record<string, string> };
  /** Something was refused; a command's promise is rejected besides. */
  refuse: Refuse;
  /** Events were missed: there were too many. */
  reset: Out["reset"];
  /** Part of the view is old, as the world's log is silent; or fresh again. */
  stale: boolean;
}

/** What to do, beside its name. */
export interface Action {
  data?: string;
  /** `nearby` if left out; with `to` it is that user. */
  scope?: Exclude<Scope, "user">;
  /** Only this user is told. */
  to?: Id;
  /** Where; here if left out. */
  pos?: Pos;
}
