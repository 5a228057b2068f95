// What clients and gateways say: schemas/protocol.md. Fields have the names of the protocol, as they travel; a `state`, which
// has two forms on the wire, is a {@link Delta} in both.

/** Ids and counters: whole, from 0 to 2^53 − 1. */
export type Id = number;

/** East, up, south: metres. */
export type Pos = [x: number, y: number, z: number];

/** Who is told of an action: whose radius reaches the place, who is in its region of 128 m, everybody, or one user. */
export type Scope = "nearby" | "region" | "world" | "user";

/** What is wished of an object, or of a place. */
export type Wish = "create" | "change" | "grab" | "release" | "remove" | "environment";

/** Fields to change: a text, or null to take one away. */
export type Changes = Record<string, string | null>;

/** What a session goes on by. */
export interface Resume {
  token: string;
  open?: number;
  cursors?: [stream: string, next: number][];
}

/** How far to see, and how many bytes may come. What is left out stays as it is. */
export interface View {
  /** How far to see, metres; 1 to 128. */
  radius?: number;
  /** Bytes per second that may come; 2048 to 262144. */
  budget?: number;
}

/** The first word of a connection. */
export interface Hello {
  world: string;
  token?: string;
  resume?: Resume;
  profile?: string;
  view?: View;
}

/** Where the own avatar is. */
export interface Move {
  time: number;
  pos: Pos;
  yaw?: number;
  state?: Uint8Array;
  seen?: number;
  held_ms?: number;
}

/** An action, as it travels. */
export interface Act {
  n: number;
  scope: Scope;
  to?: Id;
  name: string;
  data?: string;
  time: number;
  pos: Pos;
}

/** A wish about a thing or a place, as it travels. */
export interface Set {
  n: number;
  wish: Wish;
  object?: Id;
  expect?: number;
  kind?: string;
  fields?: Changes;
  to?: Pos;
  yaw?: number;
  pos: Pos;
  scope?: "region" | "world";
}

/** What the client holds, and how old it was when it came. */
export interface Report {
  number: number;
  digest: number;
  /** How old updates have lately been on receipt: half of them no more, 99 of 100 no more. */
  age_ms?: [p50: number, p99: number];
}

/** What a client says, by name. */
export interface In {
  hello: Hello;
  move: Move;
  act: Act;
  set: Set;
  profile: { profile: string };
  view: View;
  seen: { seen: number; held_ms?: number };
  ping: { time: number };
  report: Report;
  bye: Record<string, never>;
}

/** The gateway lets a client in. */
export interface Welcome {
  session: Id;
  entity: Id;
  world: string;
  /** West, bottom, north corner of the world. */
  min: Pos;
  /** East, top, south corner. */
  max: Pos;
  /** The highest speed, m/s. */
  speed: number;
  tick_ms: number;
  /** The gateway's clock, ms. */
  time: number;
  /** Radius of interest, metres. */
  radius: number;
  /** Bytes per second. */
  budget: number;
  /** Whether this is the session of before. */
  resumed?: boolean;
  token?: string;
  user: Id;
}

/** Something that somebody did. */
export interface Event {
  /** `region/X/Z`, `world` or `user/N`: order holds within a stream. */
  stream: string;
  offset: number;
  /** Whose avatar did it; it need not be in sight. */
  from: Id;
  user: Id;
  scope: Scope;
  name: string;
  data?: string;
  pos: Pos;
}

/** A thing in the world. */
export interface Thing {
  object: Id;
  /** Counts its changes, from 1. */
  version: number;
  kind: string;
  /** Where it is; while somebody holds it, where it was taken. */
  pos: Pos;
  /** Degrees. */
  yaw: number;
  /** Whose avatar holds it: draw it there. */
  holder?: Id;
  fields?: Record<string, string>;
}

/** What a region, or the world, is like. */
export interface Place {
  /** `region/X/Z` or `world`. */
  place: string;
  version: number;
  fields?: Record<string, string>;
}

/** What is new of things and places in sight. */
export interface Objects {
  begin?: boolean;
  put?: Thing[];
  gone?: Id[];
  places?: Place[];
}

/** A command took effect. */
export interface Ack {
  n: number;
  /** Where it stands in its partition of the log. */
  offset: number;
  /** Of a `set`: which object; 0: a place. */
  object?: Id;
  version?: number;
}

/** Something has no effect. */
export interface Refuse {
  n?: number;
  of: string;
  code: string;
  text: string;
}

/** The gateway ends the connection. */
export interface Bye {
  code: number;
  text: string;
  again?: boolean;
  after_ms?: number;
}

/** What a gateway says beside states, by name. */
export interface Out {
  welcome: Welcome;
  event: Event;
  object: Objects;
  ack: Ack;
  refuse: Refuse;
  unknown: { n: number };
  reset: { partition: number; offset: number };
  cursor: { stream: string; offset: number };
  stale: { stale: boolean };
  pong: { time: number; server: number };
  bye: Bye;
}

/** A slot of the table, and which of its uses. */
export interface Slot {
  slot: number;
  generation: number;
}

/** A sample of an avatar: whole centimetres, yaw in 1/256 turn. */
export interface Row extends Slot {
  x: number;
  y: number;
  z: number;
  yaw: number;
  /** So much older than the tick. */
  ageMs: number;
  /** It did not walk here. */
  jumped: boolean;
  /** What it took in a binary state; 0 in JSON. */
  bits: number;
}

/** Who comes into sight. */
export interface Enter extends Row {
  entity: Id;
  profile: string;
  state: Uint8Array;
}

/** What is new of somebody in sight; `undefined`: nothing. */
export interface Change extends Slot {
  profile: string | undefined;
  state: Uint8Array | undefined;
}

/** A difference to the table that a client holds. Applied in the order of the fields, `fullEnd` last. */
export interface Delta {
  number: number;
  tick: number;
  fullBegin: boolean;
  partial: boolean;
  leaves: Slot[];
  enters: Enter[];
  changes: Change[];
  updates: Row[];
  fullEnd: boolean;
}

/** A message of a gateway, read. */
export type Heard = { state: Delta } | { [Name in keyof Out]: { [key in Name]: Out[Name] } }[keyof Out];
