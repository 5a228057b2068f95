// Where an avatar is drawn: on the line between its samples, a little in the past, and never far beyond the newest. Who is
// told seldom is drawn further in the past, so that the next sample is there when the line to the last one ends.

/** A sample: metres, degrees, at a moment on the gateway's clock in ms. */
export interface Sample {
  t: number;
  x: number;
  y: number;
  z: number;
  yaw: number;
}

/** Two samples further apart had a stand between them, unless the two before were half as far apart… */
const GAP_MS = 250;
const STRIDE_GROWS = 2.1;
/** …which ended this long before the second… */
const STEP_MS = 100;
/** …and whoever came further meanwhile did not walk: no line leads there. */
const STEP_M = 3;
/** How far beyond the newest sample somebody is drawn to walk on. Who is not told of by then has stopped, and goes back with this time constant. */
const [AHEAD_MS, SETTLE_MS] = [100, 300];
/** How fast somebody walks on is told by two samples so far apart: such as are nearly one tell nothing. */
const SPEED_OVER_MS = 40;
/** What was drawn otherwise than it turned out is made good with this time constant, and no faster than this, m/s. */
const [BLEND_MS, BLEND_SPEED] = [80, 5];
/** While somebody is drawn further and further back, time passes by so much slower there, and by so much faster on the way again. */
const [SLOWER, FASTER] = [0.5, 0.25];
/** More are kept only as long as they have not been drawn: the longest stride of the gateway's at every tick, and a second. */
const SAMPLES_MAX = 84;

const NOTHING = { t: 0, x: 0, y: 0, z: 0, ms: 1 };

/** The way of one avatar. */
export class Path {
  readonly #tickMs: number;
  #samples: Sample[] = [];
  #gap = 0;
  /** How far back it is to be drawn, how far it is, and for which moment that was asked last. */
  #wanted = 0;
  #back = 0;
  #asked = NaN;
  /** What was drawn last. */
  #drawn = NaN;
  /** How far off that was, since when it is made good, and how fast. */
  #off = NOTHING;

  /** Of ticks so long. */
  constructor(tickMs: number) {
    this.#tickMs = tickMs;
  }

  /** The newest sample. */
  get last(): Sample | undefined {
    return this.#samples[this.#samples.length - 1];
  }

  /**
   * Goes on to a sample; `jumped`: no line leads there. It is told every `stride` ticks while it moves. One that is older
   * than the last begins anew.
   */
  add(sample: Sample, jumped: boolean, stride = 1): void {
    const { last } = this;
    const gap = last ? sample.t - last.t : 0;
    const isStand = gap > GAP_MS && gap > this.#gap * STRIDE_GROWS;
    const metres = last ? Math.hypot(sample.x - last.x, sample.y - last.y, sample.z - last.z) : 0;
    this.#wanted = (stride - 1) * this.#tickMs;
    if (gap > 0) this.#gap = gap;
    if (!last || jumped || ((isStand || gap < 0) && metres > STEP_M)) {
      this.#samples = [sample];
      this.#off = NOTHING;
      return;
    }
    const before = this.#shown();
    if (gap < 0) this.#samples = [];
    if (gap === 0) this.#samples.pop();
    if (isStand) this.#samples.push({ ...last, t: sample.t - STEP_MS });
    this.#samples.push(sample);
    const drawn = this.#samples.findLastIndex(({ t }) => t <= this.#drawn);
    this.#samples = this.#samples.slice(Math.max(drawn - 2, 0)).slice(-SAMPLES_MAX);
    if (Number.isNaN(this.#drawn)) return;
    const after = this.#at(this.#drawn);
    const [x, y, z] = [before.x - after.x, before.y - after.y, before.z - after.z];
    this.#off = { t: this.#drawn, x, y, z, ms: Math.max(BLEND_MS, (Math.hypot(x, y, z) / BLEND_SPEED) * 1_000) };
  }

  /** Where to draw it at a moment; it is remembered, so that what comes next goes on from there. */
  draw(moment: number): Sample {
    const passed = Math.max(moment - this.#asked, 0) || 0;
    this.#back += Math.min(Math.max(this.#wanted - this.#back, -FASTER * passed), SLOWER * passed);
    [this.#asked, this.#drawn] = [moment, moment - this.#back];
    return this.#shown();
  }

  #shown(): Sample {
    const [at, off] = [this.#at(this.#drawn), this.#off];
    const left = Math.exp(-Math.max(this.#drawn - off.t, 0) / off.ms);
    return { ...at, x: at.x + off.x * left, y: at.y + off.y * left, z: at.z + off.z * left };
  }

  #at(t: number): Sample {
    const samples = this.#samples;
    const after = samples.findIndex((sample) => sample.t >= t);
    if (after === 0) return { ...samples[0]!, t };
    const b = after < 0 ? this.last! : samples[after]!;
    const a = after < 0 ? samples.findLast((sample) => b.t - sample.t >= SPEED_OVER_MS) : samples[after - 1];
    if (!a) return { ...b, t };
    const over = t - b.t - AHEAD_MS;
    const until = over > 0 ? b.t + AHEAD_MS * Math.exp(-over / SETTLE_MS) : t;
    const share = (until - a.t) / (b.t - a.t);
    const mix = (from: number, to: number): number => from + (to - from) * share;
    const turn = ((b.yaw - a.yaw + 540) % 360) - 180; // the short way round
    return { t, x: mix(a.x, b.x), y: mix(a.y, b.y), z: mix(a.z, b.z), yaw: a.yaw + turn * Math.min(share, 1) };
  }
}
