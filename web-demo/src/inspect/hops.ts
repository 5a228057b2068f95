// Quantiles of the hops, from the histograms of /metrics: of what was counted between two looks some seconds apart.

/** Looks that are kept: the oldest is what the newest is compared with. */
const LOOKS = 6;
const BUCKET = /^nearcast_hop_seconds_bucket\{hop="(\w+)",le="([^"]+)"\} (\d+)/;

/** In the order of the flow. */
const FLOW = ["client_to_gateway", "decode_admit", "batch_wait", "log_round_trip", "fold_to_tick", "freeze", "view_encode", "socket_write", "write_to_seen", "end_to_end"];

type Buckets = Map<string, [end: number, count: number][]>;

/** The table. */
export class Hops {
  readonly #body: HTMLElement;
  #looks: { at: number; buckets: Buckets }[] = [];

  constructor(table: HTMLElement) {
    this.#body = table.querySelector("tbody")!;
  }

  /** Takes what /metrics says, and shows what is new. */
  take(text: string, at: number): void {
    const buckets = parse(text);
    this.#looks = [...this.#looks, { at, buckets }].slice(-LOOKS);
    const before = this.#looks[0]!;
    const seconds = Math.max((at - before.at) / 1_000, 0.001);
    this.#body.replaceChildren(
      ...[...buckets].sort(([a], [b]) => FLOW.indexOf(a) - FLOW.indexOf(b)).map(([hop, ends]) => {
        const old = new Map(before.buckets.get(hop));
        const gained = ends.map(([end, count]): [number, number] => [end, count - (at === before.at ? 0 : (old.get(end) ?? 0))]);
        const ms = (share: number): string => {
          const value = quantile(gained, share);
          return value === undefined ? "–" : value < 0.01 ? value.toFixed(3) : value.toFixed(2);
        };
        const all = gained.at(-1)?.[1] ?? 0;
        const row = document.createElement("tr");
        for (const text of [hop.replaceAll("_", " "), ms(0.5), ms(0.99), at === before.at ? "–" : Math.round(all / seconds).toString()]) {
          row.append(Object.assign(document.createElement("td"), { textContent: text }));
        }
        return row;
      }),
    );
  }
}

function parse(text: string): Buckets {
  const buckets: Buckets = new Map();
  for (const line of text.split("\n")) {
    const [, hop, end, count] = BUCKET.exec(line) ?? [];
    if (!hop || !end) continue;
    const ends = buckets.get(hop) ?? [];
    ends.push([end === "+Inf" ? Number.POSITIVE_INFINITY : Number(end), Number(count)]);
    buckets.set(hop, ends);
  }
  return buckets;
}

/** Within its bucket evenly spread, ms; in the last, endless one the end of the one before. */
function quantile(buckets: [end: number, count: number][], share: number): number | undefined {
  const wanted = (buckets.at(-1)?.[1] ?? 0) * share;
  if (wanted <= 0) return undefined;
  let [from, below] = [0, 0];
  for (const [end, count] of buckets) {
    if (count >= wanted) return 1_000 * (Number.isFinite(end) ? from + ((end - from) * (wanted - below)) / Math.max(count - below, 1) : from);
    [from, below] = [end, count];
  }
  return undefined;
}
