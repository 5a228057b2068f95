// A client of a nearcast gateway: what it says and hears on one connection after another, as one session.

import { Codec } from "./codec/codec.ts";
import type { Ack, Changes, Delta, Hello, Id, In, Out, Pos, Refuse, Thing, View, Welcome } from "./codec/messages.ts";
import { Clock, Playback } from "./clock.ts";
import type { Command } from "./commands.ts";
import { Emitter } from "./emitter.ts";
import { Receipts, type Figures } from "./figures.ts";
import { type Closed, Link, NOBODY, type Socket } from "./link.ts";
import type { Sample } from "./path.ts";
import type { Action, Events, Options } from "./options.ts";
import { type Saved, Session } from "./session.ts";
import { Stride } from "./stride.ts";
import { type Avatar, Changed, Table } from "./table.ts";
import { Things } from "./things.ts";

/** So soon after a move, the next one is expected to carry `seen`… */
const MOVING_MS = 60;
/** …or else it is said so long after a state came, at latest. */
const SEEN_WITHIN_MS = 80;
/** At every such number of a state both ends hash what the client holds. */
const DIGEST_EVERY = 128;
/** The clock is asked for so often at first, so many times, and then so often. */
const [PING_FIRST_MS, PINGS_FIRST, PING_MS] = [1_000, 10, 10_000];
/** What was refused and is so all the same is said again after so long… */
const REFUSED_AGAIN_MS = 1_000;
/** …a place after twice as long each time, up to this: ten seconds of a minute with one that is too fast end the session. */
const REFUSED_AGAIN_MAX_MS = 60_000;
/** A gateway says something every second once there is a place, and answers pings before: silence of so long is a lost link. */
const SILENT_MS = 20_000;
/** Samples older than this when told had waited for their turn; they say nothing of the way. */
const FRESH_MS = 250;
/** The application's state, and profiles: protocol.md, "Limits". */
const [STATE_BYTES_MAX, PROFILE_BYTES_MAX] = [16, 96];

/**
 * A connection to a world, kept up until {@link close}. Nothing is thrown by what comes from the gateway. Numbers that are
 * not finite, texts that are none, and profiles and states that are too long throw a `RangeError` or `TypeError` where they
 * are given: a gateway could not let us in with them, or would end the session.
 */
export class Client {
  #options: Options;
  readonly #emitter = new Emitter<Events>();
  readonly #link: Link;
  readonly #session: Session;
  readonly #stride: Stride;
  readonly #receipts = new Receipts();
  #codec: Codec;
  #table = new Table(50);
  #things = new Things();
  readonly #clock = new Clock();
  readonly #playback = new Playback();
  #welcome: Welcome | undefined;
  #isConnected = false;
  /** Avatars that this client was before: they stand for a while, and are not others. */
  readonly #former = new Set<Id>();
  /** Those of them that the gateway was told. */
  #told: Partial<Options>;
  #number = 0;
  #unseen: { seen: number; at: number } | undefined;
  #seenTimer: ReturnType<typeof setTimeout> | undefined;
  #pingTimer: ReturnType<typeof setTimeout> | undefined;
  #pings = 0;
  #againTimer: ReturnType<typeof setTimeout> | undefined;
  #pause = 0;
  #silentTimer: ReturnType<typeof setTimeout> | undefined;
  #ending: Closed | undefined;

  /** Begins to connect to a gateway's `ws://host:port/v1`. */
  constructor(url: string, options: Options) {
    this.#options = this.#told = checked({ ...options });
    this.#session = new Session(options.saved);
    this.#stride = new Stride((move) => {
      this.#say("move", { ...move, ...this.#takeSeen() });
      this.#heed();
    });
    const open = options.socket ?? platformSocket;
    this.#codec = new Codec(options.encoding ?? "msgpack");
    this.#link = new Link(() => this.#begin(open(url, this.#codec.subprotocol)), {
      opened: () => this.#say("hello", this.#hello()),
      heard: (data) => this.#heard(data),
      closed: (closed) => this.#closed(closed),
    });
    if (options.saved?.place) this.#stride.move(options.saved.place);
    this.#link.connect();
  }

  // --- what is known ----------------------------------------------------------------------------------------------

  /** What the gateway said when it let us in last; `undefined` before the first time. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** Whether we are in the world at the moment. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** Everybody in sight; never the own avatar. */
  *avatars(): Generator<Avatar, void, undefined> {
    for (const avatar of this.#table.shown()) if (!this.#former.has(avatar.entity)) yield avatar;
  }

  /** Somebody in sight. */
  avatar(entity: Id): Avatar | undefined {
    return this.#table.find(entity);
  }

  /** Things in sight, by number. */
  get things(): ReadonlyMap<Id, Thing> {
    return this.#things.things;
  }

  /** What places are like, by name: `world`, `region/X/Z`. */
  get places(): ReadonlyMap<string, Record<string, string>> {
    return this.#things.places;
  }

  /** The gateway's clock, ms since 1970; `undefined` until it is known. */
  get now(): number | undefined {
    return this.#clock.offset === undefined ? undefined : performance.now() + this.#clock.offset;
  }

  /** How long ago what is drawn was so, ms: it follows the link. */
  get delay(): number {
    return this.#playback.delay;
  }

  /** Commands without an answer. */
  get open(): number {
    return this.#session.commands.size;
  }

  /** The number of the last state, and the hash of what is held: what the gateway compares now and then. */
  get digest(): { number: number; digest: number } {
    return { number: this.#number, digest: this.#table.digest() };
  }

  /** How fresh and how much, of the last five seconds. */
  figures(): Figures {
    return this.#receipts.figures(performance.now());
  }

  /** Which moment to draw, ms on the gateway's clock. Ask once a frame, and {@link draw} everybody there. */
  moment(): number | undefined {
    const now = this.now;
    return now === undefined ? undefined : this.#playback.moment(now);
  }

  /** Where to draw somebody at a moment: metres, degrees. */
  draw(avatar: Avatar, moment: number | undefined): Sample {
    return moment === undefined ? avatar.last : avatar.path.draw(moment);
  }

  // --- what is said -----------------------------------------------------------------------------------------------

  /** Listens to what happens. What comes back ends it. */
  on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  /**
   * The avatar is here: metres, degrees counter-clockwise from east, up to 16 bytes for the application. Call it as often as
   * you like: it is said at most 20 times a second, and the newest always.
   */
  move(pos: Pos, yaw = 0, state?: Uint8Array): void {
    at(pos, yaw);
    short(state, STATE_BYTES_MAX);
    this.#stride.move({ pos, yaw, state });
  }

  /**
   * Does something here: before the first `move` there is no here, and it waits. The promise is of its effect: it is rejected
   * with `Refused`, or `Lost`.
   */
  act(name: string, { data, scope = "nearby", to, pos }: Action = {}): Promise<Ack> {
    this.#stride.flush();
    const target = to === undefined ? { scope } : { scope: "user" as const, to };
    at(pos);
    texts(name, data);
    const said = { ...target, name, ...(data !== undefined && { data }) };
    return this.#command(() => ({ act: { ...said, time: performance.now(), pos: pos ?? this.#here() } }));
  }

  /** Makes a thing; the answer tells its number. */
  create(kind: string, { fields = {}, pos, yaw = 0 }: { fields?: Record<string, string>; pos?: Pos; yaw?: number } = {}): Promise<Ack> {
    at(pos, yaw);
    texts(kind, ...Object.values(fields));
    return this.#wish(() => ({ wish: "create", kind, fields, yaw, pos: pos ?? this.#here() }));
  }

  /** Changes fields of a thing (null takes one away), or its place. `expect`: only if it has this version. */
  change(thing: Thing, fields: Changes, { expect, to, yaw = 0 }: { expect?: number; to?: Pos; yaw?: number } = {}): Promise<Ack> {
    at(to, yaw);
    texts(...Object.values(fields));
    return this.#wish(() => ({ wish: "change", object: thing.object, fields, pos: thing.pos, ...(to && { to, yaw }), ...(expect !== undefined && { expect }) }));
  }

  /** Takes a thing: it goes along with the avatar. */
  grab(thing: Thing): Promise<Ack> {
    return this.#wish(() => ({ wish: "grab", object: thing.object, pos: thing.pos }));
  }

  /** Puts down what is held; here if no place is given. */
  release(thing: Thing, to?: Pos, yaw = 0): Promise<Ack> {
    at(to, yaw);
    return this.#wish(() => ({ wish: "release", object: thing.object, pos: thing.pos, to: to ?? this.#here(), yaw }));
  }

  /** Takes a thing out of the world. Only who made it may. */
  remove(thing: Thing): Promise<Ack> {
    return this.#wish(() => ({ wish: "remove", object: thing.object, pos: thing.pos }));
  }

  /** What the region around a place, or the world, is to be like. Game servers only. */
  environment(fields: Changes, { scope = "region", pos }: { scope?: "region" | "world"; pos?: Pos } = {}): Promise<Ack> {
    return this.#wish(() => ({ wish: "environment", fields, scope, pos: pos ?? this.#here() }));
  }

  /** Another profile. */
  profile(profile: string): void {
    this.#options = checked({ ...this.#options, profile });
    if (this.#isConnected) this.#looks();
  }

  /** Another radius, another budget. What is left out stays. */
  view(view: View): void {
    this.#options = checked({ ...this.#options, view: { ...this.#options.view, ...view } });
    if (this.#isConnected) this.#looks();
  }

  /** What to keep over a reload of the page (`sessionStorage`): with it as `saved` a new client goes on as this avatar. */
  save(): Saved | undefined {
    const saved = this.#ending ? undefined : this.#session.save();
    const { place } = this.#stride;
    return saved && place ? { ...saved, place: { pos: place.pos, yaw: place.yaw } } : saved;
  }

  /** Leaves the world for good; with `stay` the avatar stands for a while, and the session can go on by what {@link save} gave. */
  close({ stay = false } = {}): void {
    if (!stay) this.#say("bye", {});
    this.#link.close();
    if (!this.#ending) this.#closed({ code: 1000, text: "closed", again: undefined });
  }

  #here(): Pos {
    return this.#stride.place?.pos ?? [0, 0, 0];
  }

  #wish(make: () => Extract<Command, { set: unknown }>["set"]): Promise<Ack> {
    this.#stride.flush();
    return this.#command(() => ({ set: make() }));
  }

  #command(make: () => Command): Promise<Ack> {
    const promise = this.#session.commands.send(make);
    if (this.#ending) this.#session.commands.end();
    return promise;
  }

  #say<Name extends keyof In>(name: Name, fields: In[Name]): void {
    if (this.#isConnected || name === "hello") this.#link.send(this.#codec.encode(name, fields));
  }

  // --- one connection ---------------------------------------------------------------------------------------------

  #begin(socket: Socket): Socket {
    this.#codec = new Codec(this.#codec.encoding);
    this.#clock.begin();
    this.#alive();
    this.#emitter.emit("status", { status: "connecting" });
    return socket;
  }

  #hello(): Hello {
    const { world, token, profile, view } = this.#options;
    this.#told = this.#options;
    const resume = this.#session.resume();
    return { world, ...(token && { token }), ...(profile && { profile }), ...(view && { view }), ...(resume && { resume }) };
  }

  #heard(data: string | Uint8Array): void {
    try {
      this.#on(data);
    } catch (error) {
      // Nothing after it can be read; what is shown stays until the next connection has a whole view.
      this.#link.doubt(String(error));
    }
  }

  #on(data: string | Uint8Array): void {
    const now = performance.now();
    this.#alive();
    const heard = this.#codec.decode(data);
    const { state } = heard as { state?: Delta };
    this.#receipts.message(now, data.length, state !== undefined);
    if (state) return this.#state(state, now);
    const commands = this.#session.commands;
    if ("welcome" in heard) this.#welcomed(heard.welcome);
    else if ("event" in heard) {
      this.#session.cursor(heard.event.stream, heard.event.offset + 1);
      this.#emitter.emit("event", { ...heard.event, mine: heard.event.from === this.#welcome?.entity });
    } else if ("object" in heard) this.#object(heard.object);
    else if ("ack" in heard) commands.acked(heard.ack);
    else if ("refuse" in heard) this.#refused(heard.refuse);
    else if ("unknown" in heard) commands.unknown(heard.unknown.n);
    else if ("cursor" in heard) this.#session.cursor(heard.cursor.stream, heard.cursor.offset);
    else if ("reset" in heard) {
      this.#session.cursor(`partition/${heard.reset.partition}`, heard.reset.offset);
      this.#emitter.emit("reset", heard.reset);
    } else if ("stale" in heard) this.#emitter.emit("stale", heard.stale.stale);
    else if ("pong" in heard) this.#clock.answered(heard.pong.time, heard.pong.server, now);
    else if ("bye" in heard) this.#link.bye(heard.bye);
    // Names that are reserved for later mean nothing yet.
  }

  #welcomed(welcome: Welcome): void {
    if (this.#welcome && !welcome.resumed) this.#former.add(this.#welcome.entity);
    const table = new Table(welcome.tick_ms);
    table.carryOver(this.#table);
    [this.#welcome, this.#table, this.#number] = [welcome, table, 0];
    this.#isConnected = true;
    this.#link.welcomed();
    this.#session.welcomed(welcome);
    this.#looks();
    [this.#pings, this.#unseen, this.#pause] = [0, undefined, REFUSED_AGAIN_MS / 2];
    this.#ping();
    this.#session.commands.connected((name, fields) => this.#say(name, fields));
    this.#stride.again();
    this.#heed();
    this.#emitter.emit("status", { status: "connected" });
    this.#emitter.emit("welcome", welcome);
  }

  /** Commands go out once the avatar has a place: what is done is done somewhere. */
  #heed(): void {
    if (this.#isConnected && this.#stride.place) this.#session.commands.begin();
  }

  #state(delta: Delta, now: number): void {
    const changed = new Changed();
    try {
      this.#table.apply(delta, changed);
    } finally {
      // Of a state that contradicts the table, what was applied stays.
      for (const avatar of changed.entered) if (!this.#former.has(avatar.entity)) this.#emitter.emit("enter", avatar);
      for (const avatar of changed.changed) this.#emitter.emit("change", avatar);
      for (const avatar of changed.left) if (!this.#former.delete(avatar.entity)) this.#emitter.emit("leave", avatar);
    }
    this.#number = delta.number;
    this.#unseen = { seen: delta.number, at: now };
    // Timers of hidden pages come late, so what they would say is said at once.
    const isHidden = (globalThis as { document?: { hidden: boolean } }).document?.hidden;
    if (isHidden || now - this.#stride.saidAt > MOVING_MS) this.#saySeen();
    else this.#seenTimer ??= setTimeout(() => this.#saySeen(), SEEN_WITHIN_MS);
    this.#date(delta, now, changed.gapTicks || 1);
    if (delta.number % DIGEST_EVERY === 0) this.#report(delta.number);
    this.#emitter.emit("state", { ...delta, errorCm: changed.errorCm, gapTicks: changed.gapTicks });
  }

  /** What is so, and not only done, is said again: where we are, and what we look like. */
  #refused(refuse: Refuse): void {
    this.#session.commands.refused(refuse);
    const { n, of, code, text } = refuse;
    // Said again it would be refused again.
    if (of === "hello") this.#link.bye({ code: 1_008, text: `${of}: ${text}`, again: false });
    if (of === "move") this.#againTimer ??= setTimeout(() => this.#again(), (this.#pause = Math.min(this.#pause * 2, REFUSED_AGAIN_MAX_MS)));
    else if (code === "rate" && n === undefined) {
      this.#told = {};
      this.#againTimer ??= setTimeout(() => this.#again(), REFUSED_AGAIN_MS);
    }
    this.#emitter.emit("refuse", refuse);
  }

  #again(): void {
    this.#againTimer = undefined;
    this.#looks();
    this.#stride.again();
  }

  /** Says profile and view, if others than these were said. */
  #looks(): void {
    const { profile, view } = this.#options;
    if (profile !== undefined && profile !== this.#told.profile) this.#say("profile", { profile });
    if (view && view !== this.#told.view) this.#say("view", view);
    this.#told = this.#options;
  }

  /** Nothing for so long, and there is something wrong that nobody has noticed. */
  #alive(): void {
    clearTimeout(this.#silentTimer);
    if (!this.#ending) this.#silentTimer = setTimeout(() => this.#link.doubt("nothing was heard"), SILENT_MS);
  }

  /** How old what came is. */
  #date(delta: Delta, now: number, gapTicks: number): void {
    const { offset } = this.#clock;
    if (offset === undefined || !this.#welcome) return;
    const since = now + offset - delta.tick * this.#welcome.tick_ms;
    let oldest = -Infinity;
    for (const { ageMs } of delta.updates) {
      this.#receipts.age(now, since + ageMs);
      if (ageMs < FRESH_MS) oldest = Math.max(oldest, since + ageMs);
    }
    // In its first two seconds a page is busy with itself: that says nothing of the link.
    if (oldest > -Infinity && this.#pings > 2) this.#playback.heard(oldest + gapTicks * this.#welcome.tick_ms);
  }

  #report(number: number): void {
    const { ageP50, ageP99 } = this.figures();
    const ages = ageP50 === undefined || ageP99 === undefined ? {} : { age_ms: [ageP50, ageP99] as [number, number] };
    this.#say("report", { number, digest: this.#table.digest(), ...ages });
  }

  #object(objects: Out["object"]): void {
    const { put, gone, places } = this.#things.apply(objects);
    for (const thing of gone) this.#emitter.emit("gone", thing);
    for (const thing of put) this.#emitter.emit("thing", thing);
    for (const { place, fields = {} } of places) this.#emitter.emit("place", { place, fields });
  }

  #takeSeen(): { seen: number; held_ms: number } | undefined {
    const unseen = this.#unseen;
    clearTimeout(this.#seenTimer);
    [this.#unseen, this.#seenTimer] = [undefined, undefined];
    return unseen && { seen: unseen.seen, held_ms: performance.now() - unseen.at };
  }

  #saySeen(): void {
    const seen = this.#takeSeen();
    if (seen) this.#say("seen", seen);
  }

  #ping(): void {
    this.#say("ping", { time: performance.now() });
    clearTimeout(this.#pingTimer);
    this.#pingTimer = setTimeout(() => this.#ping(), this.#pings++ < PINGS_FIRST ? PING_FIRST_MS : PING_MS);
  }

  #closed(closed: Closed): void {
    this.#isConnected = false;
    for (const timer of [this.#pingTimer, this.#seenTimer, this.#againTimer, this.#silentTimer]) clearTimeout(timer);
    [this.#seenTimer, this.#againTimer] = [undefined, undefined];
    this.#session.commands.disconnected();
    const isOver = closed.again === undefined;
    if (isOver) {
      this.#ending = closed;
      this.#stride.stop();
      this.#session.forget();
    }
    this.#emitter.emit("status", { status: isOver ? "closed" : "waiting", ...closed });
  }
}

function checked(options: Options): Options {
  const { world, profile = "", view = {} } = options;
  texts(world ?? 0, profile);
  finite(...Object.values(view));
  short(new TextEncoder().encode(profile), PROFILE_BYTES_MAX);
  return options;
}

function short(bytes: Uint8Array | undefined, most: number): void {
  if (bytes && bytes.length > most) throw new RangeError(`${bytes.length} bytes, ${most} at most`);
}

function at(pos: Pos = [0, 0, 0], yaw = 0): void {
  finite(...pos, yaw, pos[2]);
}

function texts(...texts: unknown[]): void {
  if (texts.some((text) => typeof (text ?? "") !== "string")) throw new TypeError(`no texts: ${texts}`);
}

function finite(...numbers: number[]): void {
  if (!numbers.every(Number.isFinite)) throw new RangeError(`no place: ${numbers}`);
}

function platformSocket(url: string, subprotocol: string): Socket {
  if (typeof WebSocket === "undefined") {
    throw new Error("no WebSocket: Node 20 has one with --experimental-websocket");
  }
  return new WebSocket(url, subprotocol) as unknown as Socket;
}

/**
 * Connects, and waits until the gateway lets us in. The promise is rejected if it does not want us, or if nobody is there at
 * first; later a {@link Client} comes back by itself, as one does from the beginning that is made by `new Client`.
 */
export function connect(url: string, options: Options): Promise<Client> {
  return new Promise((resolve, reject) => {
    const client = new Client(url, options);
    client.on("welcome", () => resolve(client));
    client.on("status", (status) => {
      if (status.status === "closed") reject(new Error(`${status.code}: ${status.text || "closed"}`));
      else if (status.status === "waiting" && !client.welcome && status.code === NOBODY) {
        reject(new Error(`no gateway at ${url}: its path is /v1`));
        client.close();
      }
    });
  });
}
