// The strip of live plots: where the time goes, what comes in, whom one sees, how far off that is.

import type { Client, Delta } from "@nearcast/client";

/** A point of a plot is so long, ms, and so many are shown. */
const [EVERY_MS, POINTS] = [500, 80];
const FRESH_MS = 250;

/** A plot: one figure over time, or several on top of each other. */
interface Plot {
  canvas: HTMLCanvasElement;
  value: HTMLElement;
  points: (number[] | undefined)[];
  /** The least that the whole height stands for. */
  least: number;
  colours: string[];
  text: (values: number[] | undefined) => string;
}

/** Figures of the link, as {@link Strip.figures} gives them: ms, bytes per second, people, centimetres. */
export interface Shown {
  capture: number | undefined;
  transit: number | undefined;
  held: number | undefined;
  bytes: number;
  inView: number;
  error: number | undefined;
}

/** The strip. */
export class Strip {
  readonly #client: Client;
  readonly #plots: Record<"hops" | "bytes" | "view" | "error", Plot>;
  #captures: number[] = [];
  #transits: number[] = [];
  #errors: number[] = [];
  #due = 0;
  #last: Shown = { capture: undefined, transit: undefined, held: undefined, bytes: 0, inView: 0, error: undefined };

  constructor(client: Client, parent: HTMLElement) {
    this.#client = client;
    const ms = (value: number | undefined): string => (value === undefined ? "–" : value.toFixed(0));
    const plot = (title: string, hint: string, least: number, colours: string[], text: Plot["text"]): Plot => {
      const [figure, caption] = [document.createElement("figure"), document.createElement("figcaption")];
      const [value, canvas] = [document.createElement("output"), document.createElement("canvas")];
      figure.title = hint;
      caption.append(title, " ", value);
      figure.append(caption, canvas);
      parent.append(figure);
      return { canvas, value, points: [], least, colours, text };
    };
    this.#plots = {
      hops: plot(
        "age, ms",
        "From where somebody was to your screen, medians: until the gateway's tick; from the tick to here; and the wait that makes motion smooth",
        150,
        ["--hop-a", "--hop-b", "--hop-c"],
        (values) => (values ? `${ms(values[0])} + ${ms(values[1])} + ${ms(values[2])}` : "–"),
      ),
      bytes: plot("kB/s", "What comes in, payloads of the last five seconds", 4_000, ["--hop-b"], (values) => ((values?.[0] ?? 0) / 1_000).toFixed(1)),
      view: plot("in view", "People you are told of", 20, ["--good"], (values) => String(values?.[0] ?? 0)),
      error: plot("error, cm", "How far off the last place of somebody was when the next one came, the worst of each state: median", 20, ["--warn"], (values) => ms(values?.[0])),
    };
  }

  /** A state was applied. */
  state(delta: Delta, errorCm: number): void {
    const { now, welcome } = this.#client;
    // Of a page that nobody looks at nothing is drawn.
    if (now === undefined || !welcome || document.hidden) return;
    const transit = now - delta.tick * welcome.tick_ms;
    for (const { ageMs } of delta.updates) {
      if (ageMs >= FRESH_MS) continue;
      this.#captures.push(ageMs);
      this.#transits.push(transit);
    }
    if (delta.updates.length > 0) this.#errors.push(errorCm);
  }

  /** What is shown at the moment. */
  get figures(): Shown {
    return this.#last;
  }

  /** Goes on, if it is time. */
  frame(now: number, inView: number): void {
    if (now < this.#due) return;
    this.#due = now + EVERY_MS;
    const [capture, transit] = [median(this.#captures), median(this.#transits)];
    const held = capture === undefined || transit === undefined ? undefined : Math.max(this.#client.delay - capture - transit, 0);
    const error = median(this.#errors);
    const { bytes } = this.#client.figures();
    [this.#captures, this.#transits, this.#errors] = [[], [], []];
    this.#last = { capture, transit, held, bytes, inView, error };
    this.#add(this.#plots.hops, held === undefined ? undefined : [capture!, transit!, held]);
    this.#add(this.#plots.bytes, [bytes]);
    this.#add(this.#plots.view, [inView]);
    this.#add(this.#plots.error, error === undefined ? undefined : [error]);
  }

  #add(plot: Plot, values: number[] | undefined): void {
    plot.points.push(values);
    if (plot.points.length > POINTS) plot.points.shift();
    plot.value.textContent = plot.text(values);
    draw(plot);
  }
}

function median(values: number[]): number | undefined {
  values.sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)];
}

function draw({ canvas, points, least, colours }: Plot): void {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width === 0) return;
  [canvas.width, canvas.height] = [width * devicePixelRatio, height * devicePixelRatio];
  const pen = canvas.getContext("2d")!;
  pen.scale(devicePixelRatio, devicePixelRatio);
  const style = getComputedStyle(canvas);
  const total = (values: number[] | undefined): number => (values ?? []).reduce((a, b) => a + b, 0);
  const most = Math.max(least, ...points.map(total)) * 1.08;
  const step = width / POINTS;
  points.forEach((values, i) => {
    let below = 0;
    const left = width - (points.length - i) * step;
    values?.forEach((value, part) => {
      pen.fillStyle = style.getPropertyValue(colours[part]!);
      const [low, high] = [(below / most) * height, ((below + value) / most) * height];
      pen.fillRect(left, height - high, step - 0.6, Math.max(high - low, values.length === 1 ? 1 : 0));
      below += value;
    });
  });
}
