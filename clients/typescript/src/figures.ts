// How fresh and how much: what this client received of late.

/** Ages are kept for so long, and bytes and states are counted over it. */
const WINDOW_MS = 5_000;
/** Ages kept at most: in a crowd a share of them tells the same. */
const AGES_MAX = 4_096;

/** Figures of the last five seconds. */
export interface Figures {
  /** From where somebody was to here: half of all updates took no longer, ms. */
  ageP50: number | undefined;
  /** 99 of 100. */
  ageP99: number | undefined;
  /** States per second. */
  states: number;
  /** Bytes per second of payloads; in JSON characters. */
  bytes: number;
}

/** Collects them. */
export class Receipts {
  #ages: { at: number; age: number }[] = [];
  #states: { at: number; bytes: number; isState: boolean }[] = [];
  #since = NaN;

  /** A message of so many bytes came. */
  message(now: number, bytes: number, isState: boolean): void {
    if (Number.isNaN(this.#since)) this.#since = now;
    this.#states.push({ at: now, bytes, isState });
    while (now - this.#states[0]!.at > WINDOW_MS) this.#states.shift();
  }

  /** An update was so old when it came, ms. */
  age(now: number, age: number): void {
    this.#ages.push({ at: now, age });
    while (this.#ages.length > AGES_MAX || now - this.#ages[0]!.at > WINDOW_MS) this.#ages.shift();
  }

  /** What came of late. */
  figures(now: number): Figures {
    const ages = this.#ages.filter(({ at }) => now - at <= WINDOW_MS).map(({ age }) => age);
    ages.sort((a, b) => a - b);
    const share = (of: number): number | undefined => ages[Math.min(ages.length - 1, Math.floor(ages.length * of))];
    const heard = this.#states.filter(({ at }) => now - at <= WINDOW_MS);
    const seconds = Math.min(Math.max(now - this.#since, 1_000), WINDOW_MS) / 1_000 || 1;
    return {
      ageP50: share(0.5),
      ageP99: share(0.99),
      states: heard.filter(({ isState }) => isState).length / seconds,
      bytes: heard.reduce((sum, { bytes }) => sum + bytes, 0) / seconds,
    };
  }
}
