// Where somebody is drawn.

import { expect, test } from "vitest";
import { Clock, Playback } from "../src/clock.ts";
import type { Row } from "../src/codec/messages.ts";
import { Path } from "../src/path.ts";
import { Changed, Table } from "../src/table.ts";

const at = (t: number, x: number, yaw = 0) => ({ t, x, y: 0, z: 0, yaw });

/** A path by samples. */
function path(...samples: ReturnType<typeof at>[]): Path {
  const path = new Path(50);
  for (const sample of samples) path.add(sample, false);
  return path;
}

test("between two samples on the line, the short way round", () => {
  const walked = path(at(0, 0, 350), at(100, 10, 10));
  expect(walked.draw(50)).toMatchObject({ x: 5, yaw: 360 });
  expect(walked.draw(100).x).toBe(10);
});

test("beyond the newest on for 100 ms; who is not told of by then has stopped", () => {
  const walked = path(at(0, 0), at(100, 1));
  expect(walked.draw(150).x).toBeCloseTo(1.5);
  expect(walked.draw(200).x).toBeCloseTo(2);
  const back = [250, 300, 400].map((t) => walked.draw(t).x);
  expect(back.every((x, i) => x < (back[i - 1] ?? 2)), String(back)).toBe(true);
  expect(walked.draw(2_000).x).toBeCloseTo(1, 2);
  expect(path(at(0, 7)).draw(900).x).toBe(7);
});

test("a stand is a stand, and not a creeping", () => {
  const stood = path(at(0, 0), at(50, 1), at(2_000, 2));
  expect(stood.draw(1_800).x).toBe(1);
  expect(stood.draw(1_950).x).toBeCloseTo(1.5);
});

/** Somebody walks along x by `way` (metres at ms), told every `stride(ms)` ticks where that has changed, and is drawn 60 times a second. */
function film(seconds: number, way: (ms: number) => number, stride: (ms: number) => number): { t: number; x: number; truth: number }[] {
  const table = new Table(50);
  const row = (ms: number): Row => ({ slot: 0, generation: 0, x: Math.round(way(ms) * 100), y: 0, z: 0, yaw: 0, ageMs: 0, jumped: false, bits: 8 });
  const delta = { number: 0, fullBegin: false, fullEnd: false, partial: false, leaves: [], enters: [], changes: [], updates: [] };
  table.apply({ ...delta, tick: 0, enters: [{ ...row(0), entity: 1, profile: "", state: new Uint8Array() }] });
  const avatar = table.find(1)!;
  const drawn = [];
  for (let ms = 10; ms < seconds * 1_000; ms += 10) {
    const tick = ms / 50;
    const isTold = tick % stride(ms) === 0 && row(ms).x !== avatar.row.x;
    if (isTold) table.apply({ ...delta, tick, updates: [row(ms)] });
    if (ms % 20 === 0) drawn.push({ t: ms, x: avatar.path.draw(ms - 70).x, truth: way(ms - 70) });
  }
  return drawn;
}

/** Metres per second from picture to picture, the lowest and the highest, between two moments in seconds. */
function speeds(drawn: ReturnType<typeof film>, from: number, to: number): [number, number] {
  const part = drawn.filter(({ t }) => t >= from * 1_000 && t < to * 1_000);
  const all = part.slice(1).map(({ x }, i) => (x - part[i]!.x) / 0.02);
  return [Math.min(...all), Math.max(...all)];
}

test("who is told seldom walks as evenly as who is told at each tick", () => {
  for (const stride of [1, 2, 4, 8, 16, 32, 64]) {
    const drawn = film(30, (ms) => ms * 0.0014, () => stride);
    const [low, high] = speeds(drawn, 18, 30);
    expect(low, `every ${stride}`).toBeGreaterThan(1.2);
    expect(high, `every ${stride}`).toBeLessThan(1.6);
    const { x, truth } = drawn.at(-1)!;
    expect(truth - x, "one stride further back, less a tick").toBeCloseTo((stride - 1) * 0.07, 1);
  }
});

test("from far to near and back nobody runs, nor walks backwards", () => {
  // Every six seconds another stride: out to 64, and in again.
  const strides = [1, 2, 4, 8, 16, 32, 64, 64, 32, 16, 8, 4, 2, 1, 1, 1];
  const drawn = film(strides.length * 6, (ms) => ms * 0.0014, (ms) => strides[Math.floor(ms / 6_000)]!);
  const [low, high] = speeds(drawn, 1, strides.length * 6);
  // Back to where he was told to be, for who was taken to have stopped.
  expect(low).toBeGreaterThan(-0.6);
  expect(high).toBeLessThan(6.5);
  expect(Math.abs(drawn.at(-1)!.x - drawn.at(-1)!.truth)).toBeLessThan(0.02);
});

test("who takes a step now and then is not taken for one who is told seldom", () => {
  // A step of 30 cm every 1.3 s, told at once; then a walk.
  const drawn = film(20, (ms) => (ms < 15_000 ? Math.floor(ms / 1_300) * 0.3 : 3.3 + (ms - 15_000) * 0.0014), () => 1);
  const late = drawn.filter(({ t }) => t > 15_300).map(({ x, truth }) => Math.abs(truth - x));
  expect(Math.max(...late)).toBeLessThan(0.1);
});

test("whoever was away for long and came far has not walked there", () => {
  const back = path(at(0, 0), at(50, 0));
  back.draw(8_900);
  back.add(at(9_000, 40), false);
  expect(back.draw(8_930).x).toBe(40);
});

test("two samples that are nearly one do not tell how fast somebody is", () => {
  const hasty = path(at(0, 0), at(50, 0.1), at(52, 0.2));
  expect(hasty.draw(152).x).toBeLessThan(0.6);
  expect(path(at(0, 0), at(4, 0.1)).draw(100).x).toBe(0.1);
});

test("no line leads through a jump", () => {
  const jumped = path(at(0, 0), at(50, 1));
  jumped.draw(60);
  jumped.add(at(100, 90), true);
  expect(jumped.draw(70).x).toBe(90);
});

test("what was drawn ahead is made good without a leap", () => {
  const walked = path(at(0, 0), at(50, 0.5));
  expect(walked.draw(140).x).toBeCloseTo(1.4);
  walked.add(at(100, 0.6), false); // it has slowed down
  const steps = [141, 160, 200, 400, 800].map((t) => walked.draw(t).x);
  expect(steps[0]).toBeCloseTo(1.4, 1);
  for (let i = 1; i < steps.length; i++) expect(steps[i]!).toBeLessThan(steps[i - 1]!);
  expect(steps.at(-1)).toBeCloseTo(0.6, 1);
});

test("a sample that is older than the last begins anew", () => {
  const back = path(at(100, 1), at(150, 2), at(120, 5));
  expect(back.draw(90).x).toBe(5);
});

test("of the answers to pings the quickest tells the time", () => {
  const clock = new Clock();
  expect(clock.offset).toBeUndefined();
  clock.answered(0, 1_000_050, 100);
  clock.answered(1_000, 1_001_090, 1_300);
  expect(clock).toMatchObject({ offset: 1_000_000 });
  clock.answered(40_000, 1_040_405, 40_800);
  expect(clock.offset, "a slow one is worse than what was known").toBe(1_000_000);
  clock.begin();
  expect(clock.offset, "until another gateway has answered").toBe(1_000_000);
  clock.answered(50_000, 2_050_100, 50_200);
  expect(clock.offset).toBe(2_000_000);
  clock.answered(60_000, 2_070_300, 60_600);
  expect(clock.offset, "it contradicts: one of the two clocks has slept").toBe(2_010_000);
  clock.answered(400_000, 2_400_205, 400_400);
  expect(clock.offset, "the quick one is too long ago").toBe(2_000_005);
});

test("the delay follows the link, and drawn time never steps back", () => {
  const playback = new Playback();
  let last = Number.NEGATIVE_INFINITY;
  const run = (from: number, to: number, age: number): number => {
    for (let now = from; now < to; now += 10) {
      if (now % 50 === 0) playback.heard(age + 50);
      const moment = playback.moment(now);
      expect(moment).toBeGreaterThanOrEqual(last);
      last = moment;
    }
    return playback.delay;
  };
  expect(run(0, 10_000, 20)).toBeCloseTo(70);
  expect(run(10_000, 20_000, 300)).toBeCloseTo(350);
  expect(run(20_000, 40_000, 5)).toBeCloseTo(60);
  expect(run(40_000, 60_000, 9_000)).toBe(1_000);
  expect(playback.moment(30_000), "a clock was set back").toBe(29_000);
});

test("ticks that are skipped show in those who walk, and not in those who stand", () => {
  const gaps = (cmPerTick: number): number => {
    const [table, empty] = [new Table(50), { number: 0, fullBegin: false, fullEnd: false, partial: false, leaves: [], enters: [], changes: [], updates: [] }];
    const row = (x: number): Row => ({ slot: 0, generation: 0, x, y: 0, z: 0, yaw: 0, ageMs: 0, jumped: false, bits: 8 });
    table.apply({ ...empty, tick: 0, enters: [{ ...row(0), entity: 1, profile: "", state: new Uint8Array() }] });
    const changed = new Changed();
    table.apply({ ...empty, tick: 6, updates: [row(6 * cmPerTick)] }, changed);
    return changed.gapTicks;
  };
  expect([gaps(7), gaps(1)]).toEqual([6, 0]);
});
