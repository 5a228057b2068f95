// Where an avatar is drawn: on the line between its samples, a little in the past, and never far beyond the newest.

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
/** …which ended this long before the second. */
const STEP_MS = 100;
/** Updates are taken for seldom when a gap is no longer than the one before by more than this. */
const STRIDE_GROWS = 1.5;
/** How far beyond the newest sample somebody is drawn to walk on. */
const AHEAD_MS = 100;
/** What was drawn ahead and turned out wrong is made good with this time constant. */
const BLEND_MS = 80;
const SAMPLES_KEPT = 8;

/** The way of one avatar. */
export class Path {
  #samples: Sample[] = [];
  #gap = 0;
  /** When it was drawn last. */
  #drawn = Number.NaN;
  /** How far off that was, and since when it is made good. */
  #off = { t: 0, x: 0, y: 0, z: 0 };

  /** The newest sample. */
  get last(): Sample | undefined {
    return this.#samples[this.#samples.length - 1];
  }

  /** Goes on to a sample; `jumped`: no line leads there. One that is older than the last begins anew. */
  add(sample: Sample, jumped: boolean): void {
    const last = this.last;
    if (jumped || !last) {
      this.#samples = [sample];
      this.#off = { t: 0, x: 0, y: 0, z: 0 };
      return;
    }
    const before = this.#at(this.#drawn);
    this.#append(sample, last);
    const after = this.#at(this.#drawn);
    if (Number.isNaN(this.#drawn)) return;
    const kept = this.#blend(this.#drawn);
    const [x, y, z] = [before.x - after.x + kept.x, before.y - after.y + kept.y, before.z - after.z + kept.z];
    this.#off = { t: this.#drawn, x, y, z };
  }

  #append(sample: Sample, last: Sample): void {
    const gap = sample.t - last.t;
    if (gap < 0) this.#samples = [sample];
    else if (gap === 0) this.#samples[this.#samples.length - 1] = sample;
    else {
      const isStride = this.#gap > GAP_MS && gap < this.#gap * STRIDE_GROWS;
      if (gap > GAP_MS && !isStride) this.#samples.push({ ...last, t: sample.t - STEP_MS });
      this.#samples = [...this.#samples, sample].slice(-SAMPLES_KEPT);
      this.#gap = gap;
    }
  }

  /** Where to draw it at a moment; it is remembered, so that what comes next goes on from there. */
  draw(t: number): Sample {
    const at = this.#at(t);
    const off = this.#blend(t);
    this.#drawn = t;
    return { ...at, x: at.x + off.x, y: at.y + off.y, z: at.z + off.z };
  }

  #blend(t: number): { x: number; y: number; z: number } {
    const left = Math.exp(-Math.max(t - this.#off.t, 0) / BLEND_MS);
    return { x: this.#off.x * left, y: this.#off.y * left, z: this.#off.z * left };
  }

  #at(t: number): Sample {
    const samples = this.#samples;
    const after = samples.findIndex((sample) => sample.t >= t);
    if (after === 0 || samples.length < 2) return { ...samples[0]!, t };
    const [a, b] = after < 0 ? samples.slice(-2) as [Sample, Sample] : [samples[after - 1]!, samples[after]!];
    const share = (Math.min(t, b.t + AHEAD_MS) - a.t) / (b.t - a.t);
    const mix = (from: number, to: number): number => from + (to - from) * share;
    const turn = ((b.yaw - a.yaw + 540) % 360) - 180; // the short way round
    return { t, x: mix(a.x, b.x), y: mix(a.y, b.y), z: mix(a.z, b.z), yaw: a.yaw + turn * Math.min(share, 1) };
  }
}
