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

/** Two samples further apart had a stand between them, unless updates come so seldom at the moment… */
const GAP_MS = 250;
/** …which ended this long before the second… */
const STEP_MS = 100;
/** …and whoever came further meanwhile did not walk: no line leads there. */
const STEP_M = 3;
/** Updates are taken for seldom when a gap is no longer than the one before by more than this. */
const STRIDE_GROWS = 1.5;
/** Nobody is drawn further back than this beyond the others. */
const BACK_MAX_MS = 1_600;
/** While somebody is drawn further and further back, time passes by so much slower there, and by so much faster on the way again. */
const [SLOWER, FASTER] = [0.5, 0.25];
/** How fast somebody walks on is told by two samples so far apart: such as are nearly one tell nothing. */
const SPEED_OVER_MS = 40;
/** How far beyond the newest sample somebody is drawn to walk on. */
const AHEAD_MS = 100;
/** What was drawn ahead and turned out wrong is made good with this time constant. */
const BLEND_MS = 80;
const SAMPLES_KEPT = 8;

/** The way of one avatar. */
export class Path {
  readonly #tickMs: number;
  #samples: Sample[] = [];
  #gap = 0;
  /** It is told every so often, ms: the shorter of the last two gaps, as one of them may have been a stand. */
  #stride = 0;
  /** How far back it is drawn, and for which moment that was asked. */
  #back = 0;
  #asked = Number.NaN;
  /** What was drawn last. */
  #drawn = Number.NaN;
  /** How far off that was, and since when it is made good. */
  #off = { t: 0, x: 0, y: 0, z: 0 };

  /** Of ticks so long. */
  constructor(tickMs: number) {
    this.#tickMs = tickMs;
  }

  /** The newest sample. */
  get last(): Sample | undefined {
    return this.#samples[this.#samples.length - 1];
  }

  /** Goes on to a sample; `jumped`: no line leads there. One that is older than the last begins anew. */
  add(sample: Sample, jumped: boolean): void {
    const last = this.last;
    if (jumped || !last) return this.#begin(sample);
    const before = this.#at(this.#drawn);
    this.#append(sample, last);
    const after = this.#at(this.#drawn);
    if (Number.isNaN(this.#drawn)) return;
    const kept = this.#blend(this.#drawn);
    const [x, y, z] = [before.x - after.x + kept.x, before.y - after.y + kept.y, before.z - after.z + kept.z];
    this.#off = { t: this.#drawn, x, y, z };
  }

  #begin(sample: Sample): void {
    this.#samples = [sample];
    this.#off = { t: 0, x: 0, y: 0, z: 0 };
  }

  #append(sample: Sample, last: Sample): void {
    const gap = sample.t - last.t;
    if (gap === 0) this.#samples[this.#samples.length - 1] = sample;
    if (gap === 0) return;
    const isStand = gap > GAP_MS && (this.#gap <= GAP_MS || gap > this.#gap * STRIDE_GROWS);
    const metres = Math.hypot(sample.x - last.x, sample.y - last.y, sample.z - last.z);
    if (gap < 0 || (isStand && metres > STEP_M)) this.#begin(sample);
    else if (isStand) this.#samples.push({ ...last, t: sample.t - STEP_MS }, sample);
    else this.#samples.push(sample);
    this.#samples = this.#samples.slice(-SAMPLES_KEPT);
    [this.#stride, this.#gap] = [Math.min(gap, this.#gap), gap];
  }

  /** Where to draw it at a moment; it is remembered, so that what comes next goes on from there. */
  draw(moment: number): Sample {
    const passed = Math.max(moment - this.#asked, 0) || 0;
    const wanted = Math.min(Math.max(this.#stride - this.#tickMs, 0), BACK_MAX_MS);
    this.#back += Math.min(Math.max(wanted - this.#back, -FASTER * passed), SLOWER * passed);
    [this.#asked, this.#drawn] = [moment, moment - this.#back];
    const at = this.#at(this.#drawn);
    const off = this.#blend(this.#drawn);
    return { ...at, x: at.x + off.x, y: at.y + off.y, z: at.z + off.z };
  }

  #blend(t: number): { x: number; y: number; z: number } {
    const left = Math.exp(-Math.max(t - this.#off.t, 0) / BLEND_MS);
    return { x: this.#off.x * left, y: this.#off.y * left, z: this.#off.z * left };
  }

  #at(t: number): Sample {
    const samples = this.#samples;
    const after = samples.findIndex((sample) => sample.t >= t);
    if (after === 0) return { ...samples[0]!, t };
    const b = after < 0 ? this.last! : samples[after]!;
    const a = after < 0 ? samples.findLast((sample) => b.t - sample.t >= SPEED_OVER_MS) : samples[after - 1];
    if (!a) return { ...b, t };
    const share = (Math.min(t, b.t + AHEAD_MS) - a.t) / (b.t - a.t);
    const mix = (from: number, to: number): number => from + (to - from) * share;
    const turn = ((b.yaw - a.yaw + 540) % 360) - 180; // the short way round
    return { t, x: mix(a.x, b.x), y: mix(a.y, b.y), z: mix(a.z, b.z), yaw: a.yaw + turn * Math.min(share, 1) };
  }
}
