// A client of protocol v1 over JSON: connects, comes back and goes on as who it was, keeps the table of who is near, says
// `seen`, reports digests, knows the gateway's clock. Draws nothing. The prose is in schemas/protocol.md.

const MOVING_MS = 60; // so soon after a move, the next one is expected to carry `seen`…
const SEEN_WITHIN_MS = 80; // …or else a timer says it; hidden pages get theirs late, so they say it at once
const PINGS_FOR_MS = 30_000; // the gateway's clock is known by the best answer of so long
const GAP_MS = 250; // two samples further apart had a stand between them…
const STEP_MS = 100; // …which ended this long before the second
const SAMPLES_KEPT = 8;
const DIGEST_EVERY = 128;
const RETRY_MS = [500, 15_000]; // pause before the second attempt, and the longest
const CURSORS_MAX = 64;

export class Nearcast {
  /** `on` holds functions by event: welcome, state, event, object, ack, refuse, stale, reset, status; each may be left out. */
  constructor(url, hello, on = {}) {
    Object.assign(this, { url, hello, on, tries: 0, connected: false });
    this.token = undefined; // opens our session again
    this.#forget();
  }

  // Nothing is open any more, and nothing missed.
  #forget() {
    this.acts = new Map(); // n → an action that waits for its answer
    this.nextAct = 1;
    this.cursors = new Map(); // stream → the next offset; what changed last is last
  }

  connect() {
    this.table = new Map(); // slot → avatar
    this.old = new Map(); // entity → avatar: what a full view is about to replace
    this.byEntity = new Map();
    this.generations = new Map(); // slot → the generation it had last
    this.objects = new Map(); // id → what is in sight, as told last
    this.places = new Map(); // name → what it is like
    this.number = this.moved = 0;
    this.offset = undefined; // the gateway's clock less ours, ms
    this.pings = [];
    this.goodbye = this.unseen = undefined;
    this.#status("connecting");
    const socket = (this.socket = new WebSocket(this.url, "nearcast.v1.json"));
    socket.onopen = () => this.say("hello", { ...this.hello, resume: this.#resume() });
    socket.onmessage = ({ data }) => {
      const now = performance.now();
      const [[name, message]] = Object.entries(JSON.parse(data));
      this[`_${name}`]?.(message, now, data);
    };
    // Where nobody is there, Node 20 says no more than that something is wrong.
    socket.onclose = socket.onerror = () => socket !== this.ended && this.#closed((this.ended = socket));
  }

  say(name, fields) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ [name]: fields }));
  }

  /** Says where the avatar is; `seen` goes along. */
  move(pos, yaw) {
    if (!this.connected) return;
    this.moved = performance.now();
    this.say("move", { time: this.moved, pos, yaw, ...this.#takeSeen() });
  }

  /** Does something; sent again until the gateway knows what became of it. */
  act(name, pos, data = "", scope = "nearby") {
    if (!this.connected) return;
    const act = { n: this.nextAct++, scope, name, data, time: performance.now(), pos };
    this.acts.set(act.n, act);
    this.say("act", act);
  }

  /** Wishes something of an object, where it was told to be; or of none. Sent again as `act` is. */
  set(wish, object, fields) {
    if (!this.connected) return;
    const set = { n: this.nextAct++, wish, object: object?.object, pos: object?.pos, ...fields };
    this.acts.set(set.n, set);
    this.say("set", set);
  }

  /** The gateway's clock, ms; undefined until the first pong. */
  now() {
    return this.offset === undefined ? undefined : performance.now() + this.offset;
  }

  /** Who is to be shown: the new table, and of the old one those who are not in the new yet. */
  *shown() {
    yield* this.table.values();
    for (const avatar of this.old.values()) if (!this.byEntity.has(avatar.entity)) yield avatar;
  }

  // --- what the gateway says ------------------------------------------------------------------------------------

  _welcome(welcome) {
    Object.assign(this, { welcome, tries: 0, connected: true, asked: 0, token: welcome.token });
    if (!welcome.resumed) this.#forget();
    for (const act of this.acts.values()) this.say("act", act); // what has no answer, unchanged
    this.#ping();
    this.#status("connected");
    this.on.welcome?.(welcome);
  }

  _state(state, now, data) {
    if (state.number !== this.number + 1) return this.#doubt("a state is missing");
    this.number = state.number;
    if (!this.#apply(state)) return this.#doubt("a state contradicts the table");
    this.unseen = { seen: state.number, at: now };
    if (now - this.moved > MOVING_MS || globalThis.document?.hidden) this.#saySeen();
    else this.seenTimer ??= setTimeout(() => this.#saySeen(), SEEN_WITHIN_MS);
    if (state.number % DIGEST_EVERY === 0) this.say("report", { number: state.number, digest: this.digest() });
    this.on.state?.(state, now, data);
  }

  _pong({ time, server }, now) {
    const recent = this.pings.filter((ping) => now - ping.at < PINGS_FOR_MS);
    this.pings = [...recent, { at: now, rtt: now - time, offset: server - (time + now) / 2 }];
    this.offset = this.pings.reduce((best, ping) => (ping.rtt < best.rtt ? ping : best)).offset;
  }

  _object({ begin, put = [], gone = [], places = [] }) {
    if (begin) for (const held of [this.objects, this.places]) held.clear();
    for (const id of gone) this.objects.delete(id);
    for (const object of put) this.objects.set(object.object, object);
    for (const place of places) this.places.set(place.place, place);
    this.on.object?.({ put, gone, places });
  }

  _event(event, now) {
    this.#cursor(event.stream, event.offset + 1);
    this.on.event?.(event, now);
  }
  _cursor({ stream, offset }) { this.#cursor(stream, offset); }
  _ack(ack) { this.acts.delete(ack.n); this.on.ack?.(ack); }
  _refuse(refuse) { this.acts.delete(refuse.n); this.on.refuse?.(refuse); }
  _unknown({ n }) {
    const act = this.acts.get(n);
    if (act) setTimeout(() => this.acts.get(n) === act && this.say(act.wish ? "set" : "act", act), 1_000);
  }
  _stale({ stale }) { this.on.stale?.(stale); }
  _reset(reset) {
    this.#cursor(`partition/${reset.partition}`, reset.offset);
    this.on.reset?.(reset);
  }
  _bye(bye) { this.goodbye = bye; }

  // --- the table ------------------------------------------------------------------------------------------------

  /** Applies a state; false if it contradicts what came before. */
  #apply({ tick, full_begin, full_end, leave = [], enter = [], change = [], update = [] }) {
    const held = ([slot, generation]) => {
      const avatar = this.table.get(slot);
      return avatar?.generation === generation ? avatar : undefined;
    };
    if (full_begin) {
      // At a second beginning, what the first had brought is shown like the old.
      for (const avatar of this.table.values()) this.old.set(avatar.entity, avatar);
      this.table = new Map();
      this.byEntity = new Map();
    }
    for (const row of leave) {
      const avatar = held(row);
      if (!avatar) return false;
      this.table.delete(avatar.slot);
      this.byEntity.delete(avatar.entity);
    }
    for (const [slot, generation, x, y, z, yaw, age, , entity, profile, state] of enter) {
      if (this.table.has(slot) || this.byEntity.has(entity) || this.generations.get(slot) === generation) return false;
      const samples = this.old.get(entity)?.samples ?? []; // who was shown before goes on from there
      const avatar = { slot, generation, entity, profile, state, samples };
      this.#sample(avatar, tick, x, y, z, yaw, age, false);
      this.table.set(slot, avatar);
      this.byEntity.set(entity, avatar);
      this.generations.set(slot, generation);
    }
    for (const [slot, generation, profile, state] of change) {
      const avatar = held([slot, generation]);
      if (!avatar) return false;
      Object.assign(avatar, profile !== null && { profile }, state !== null && { state });
    }
    for (const row of update) {
      const avatar = held(row);
      if (!avatar) return false;
      const [, , x, y, z, yaw, age, flags] = row;
      this.#sample(avatar, tick, x, y, z, yaw, age, flags & 1);
    }
    if (full_end) this.old.clear();
    return true;
  }

  #sample(avatar, tick, x, y, z, yaw, age, jumped) {
    const sample = { t: tick * this.welcome.tick_ms - age, x, y, z, yaw };
    const last = avatar.samples.at(-1);
    if (!last || jumped || sample.t < last.t) avatar.samples = [sample];
    else if (sample.t === last.t) avatar.samples[avatar.samples.length - 1] = sample;
    else {
      if (sample.t - last.t > GAP_MS) avatar.samples.push({ ...last, t: sample.t - STEP_MS });
      avatar.samples = [...avatar.samples, sample].slice(-SAMPLES_KEPT);
    }
    avatar.last = sample;
  }

  /** FNV-1a over each slot, summed; of the new table only. */
  digest() {
    let sum = 0;
    for (const { slot, generation, entity, state, last } of this.table.values()) {
      const row = new DataView(new ArrayBuffer(24));
      row.setUint16(0, slot, true);
      row.setUint8(2, generation);
      row.setUint32(3, entity % 2 ** 32, true);
      row.setUint32(7, Math.floor(entity / 2 ** 32), true);
      [last.x, last.y, last.z].forEach((metres, i) => row.setInt32(11 + 4 * i, Math.round(metres * 100), true));
      row.setUint8(23, Math.round((last.yaw / 360) * 256) % 256);
      let hash = 0x811c9dc5;
      const eat = (byte) => (hash = Math.imul(hash ^ byte, 0x01000193));
      new Uint8Array(row.buffer).forEach(eat);
      for (const char of atob(state)) eat(char.charCodeAt(0));
      sum = (sum + hash) >>> 0;
    }
    return sum;
  }

  // --- seen, clock, coming back -----------------------------------------------------------------------------------

  #takeSeen() {
    const unseen = this.unseen;
    clearTimeout(this.seenTimer);
    this.unseen = this.seenTimer = undefined;
    return unseen && { seen: unseen.seen, held_ms: performance.now() - unseen.at };
  }

  #saySeen() {
    const seen = this.#takeSeen();
    if (seen) this.say("seen", seen);
  }

  // Once a second until the clock is known, then every ten.
  #ping() {
    this.say("ping", { time: performance.now() });
    clearTimeout(this.pinger);
    this.pinger = setTimeout(() => this.#ping(), this.asked++ < 10 ? 1_000 : 10_000);
  }

  // What to go on with, once we were somebody.
  #resume() {
    const { token, cursors } = this;
    return token && { token, open: Math.min(this.nextAct, ...this.acts.keys()), cursors: [...cursors] };
  }

  #cursor(stream, next) {
    this.cursors.delete(stream);
    this.cursors.set(stream, next);
    if (this.cursors.size > CURSORS_MAX) this.cursors.delete(this.cursors.keys().next().value);
  }

  #status(status, detail = "") {
    this.on.status?.(status, detail);
  }

  #doubt(why) {
    this.goodbye = { again: true, after_ms: 0, text: why };
    this.socket.close();
  }

  #closed() {
    const bye = this.goodbye;
    this.connected = false;
    clearTimeout(this.pinger);
    clearTimeout(this.seenTimer);
    this.seenTimer = undefined;
    if (bye && !bye.again) return this.#status("closed", bye.text);
    const [first, longest] = RETRY_MS;
    const patience = bye && this.tries === 0 ? 0 : Math.min(first * 2 ** this.tries, longest);
    const pause = Math.max(bye?.after_ms ?? 0, patience);
    this.tries += 1; // until the next welcome
    const wait = pause + Math.random() * Math.max(pause / 2, 250); // so that a crowd does not come back as one
    this.#status("waiting", bye?.text ?? "");
    setTimeout(() => this.connect(), wait);
  }
}

/** Where an avatar was at a moment on the gateway's clock: on the line between two samples; never beyond the last. */
export function placeAt({ samples }, t) {
  const after = samples.findIndex((sample) => sample.t >= t);
  if (after === 0) return samples[0];
  if (after < 0) return samples.at(-1);
  const [a, b] = [samples[after - 1], samples[after]];
  const share = (t - a.t) / (b.t - a.t);
  const mix = (from, to) => from + (to - from) * share;
  const turn = ((b.yaw - a.yaw + 540) % 360) - 180; // the short way round
  return { t, x: mix(a.x, b.x), y: mix(a.y, b.y), z: mix(a.z, b.z), yaw: a.yaw + turn * share };
}
