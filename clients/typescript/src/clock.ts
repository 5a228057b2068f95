// What time it is at the gateway, and at which moment to draw.

/** The clock is told by the best answer of so long, of those that the newest does not contradict: after a sleep it does… */
const ANSWERS_FOR_MS = 300_000;
/** …and an old one is worth less, as clocks drift apart by up to so much (RFC 5905 reckons with 15 in a million). */
const DRIFT = 5e-5;

/** The gateway's clock, by the answers to pings (Cristian, 1989: the shortest round trip is off by the least). */
export class Clock {
  #answers: { at: number; roundTrip: number; offset: number }[] = [];
  /** The gateway's clock less this one's, ms; `undefined` until the first answer. */
  offset: number | undefined;

  /** Another gateway may have another clock. Until it answers, the one before goes on. */
  begin(): void {
    this.#answers = [];
  }

  /** A ping that was said at `said` was answered by the gateway's time, and heard at `now`; ms. */
  answered(said: number, server: number, now: number): void {
    const answer = { at: now, roundTrip: now - said, offset: server - (said + now) / 2 };
    const off = (of: typeof answer): number => of.roundTrip / 2 + (now - of.at) * DRIFT;
    const agrees = (of: typeof answer): boolean => now - of.at < ANSWERS_FOR_MS && Math.abs(of.offset - answer.offset) <= off(of) + off(answer);
    this.#answers = [...this.#answers.filter(agrees), answer];
    this.offset = this.#answers.reduce((best, other) => (off(other) < off(best) ? other : best)).offset;
  }
}

/** States that the delay is learnt from: five seconds of them. */
const STATES = 100;
/** The delay is never below… */
const DELAY_MIN_MS = 60;
/** …nor above this: then a link is so slow that waiting longer shows nothing better. */
const DELAY_MAX_MS = 1_000;
/** To begin with. */
const DELAY_AT_FIRST_MS = 120;
/** While the delay rises, drawn time passes by so much slower, and while it falls, by so much faster. */
const [SLOWER, FASTER] = [0.2, 0.05];
/** Much faster where the delay is far too long, by so much of what it is too long: what a page's own beginning has cost is soon
 *  forgotten. */
const EXCESS_MS = 2_000;
/** Drawn time never steps back, unless by so much: then it was the clock that did. */
const CLOCK_STEP_MS = 1_000;

/** How long ago the moment is that is drawn: as short as samples come in time for, most of the time. */
export class Playback {
  #ages: number[] = [];
  #delay = DELAY_AT_FIRST_MS;
  #now = NaN;
  #drawn = -Infinity;

  /** How long ago, ms. */
  get delay(): number {
    return this.#delay;
  }

  /** A state came, and what had been held until then of those who move had become so old, ms. */
  heard(ageMs: number): void {
    this.#ages.push(ageMs);
    if (this.#ages.length > STATES) this.#ages.shift();
  }

  /** What to draw at `now`, on the gateway's clock, ms. Never steps back, unless the clock does. */
  moment(now: number): number {
    const passed = Number.isNaN(this.#now) ? 0 : Math.min(Math.max(now - this.#now, 0), 1_000);
    this.#now = now;
    if (this.#ages.length > 0) {
      const sorted = [...this.#ages].sort((a, b) => a - b);
      const slow = sorted[Math.floor(sorted.length * 0.95)] ?? 0;
      const wanted = Math.min(Math.max(slow, DELAY_MIN_MS), DELAY_MAX_MS);
      const change = wanted - this.#delay;
      this.#delay += Math.min(Math.max(change, -passed * Math.max(FASTER, -change / EXCESS_MS)), SLOWER * passed);
    }
    const moment = now - this.#delay;
    if (moment > this.#drawn || moment < this.#drawn - CLOCK_STEP_MS) this.#drawn = moment;
    return this.#drawn;
  }
}
