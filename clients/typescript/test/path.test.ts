// Where somebody is drawn.

import { expect, test } from "vitest";
import { Clock, Playback } from "../src/clock.ts";
import { Path } from "../src/path.ts";

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

test("beyond the newest on for 100 ms, and not further", () => {
  const walked = path(at(0, 0), at(100, 1));
  expect(walked.draw(150).x).toBeCloseTo(1.5);
  expect(walked.draw(200).x).toBeCloseTo(2);
  expect(walked.draw(900).x).toBeCloseTo(2);
  expect(path(at(0, 7)).draw(900).x).toBe(7);
});

test("a stand is a stand, and not a creeping", () => {
  const stood = path(at(0, 0), at(50, 1), at(2_000, 2));
  expect(stood.draw(1_800).x).toBe(1);
  expect(stood.draw(1_950).x).toBeCloseTo(1.5);
});

test("who is told seldom walks on between, drawn so far back that the next sample is there in time", () => {
  const far = path(at(0, 0));
  let [last, still] = [0, 0];
  for (let t = 10; t < 20_000; t += 10) {
    if (t % 800 === 0) far.add(at(t, t / 100), false);
    const { x } = far.draw(t - 70);
    if (t > 5_000) still = x === last ? still + 1 : still;
    expect(x).toBeGreaterThanOrEqual(last - 1e-9);
    if (t > 5_000) expect(x - last, "10 ms at 10 m/s").toBeLessThan(0.15);
    last = x;
  }
  expect(still).toBe(0);
  expect(last, "800 ms further back, less a tick").toBeCloseTo((19_990 - 70 - 750) / 100);
  // Told at each tick again, it comes back up.
  for (let t = 20_000; t < 25_000; t += 50) far.add(at(t, t / 100), false), far.draw(t - 70);
  expect(far.draw(24_900).x).toBeCloseTo(249);
});

test("whoever was away for long and came far has not walked there", () => {
  const back = path(at(0, 0), at(50, 0), at(9_000, 40));
  expect(back.draw(8_950).x).toBe(40);
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
  walked.add(at(100, 0.5), false); // it had stopped
  const steps = [141, 160, 200, 400, 800].map((t) => walked.draw(t).x);
  expect(steps[0]).toBeCloseTo(1.4, 1);
  for (let i = 1; i < steps.length; i++) expect(steps[i]!).toBeLessThan(steps[i - 1]!);
  expect(steps.at(-1)).toBeCloseTo(0.5, 2);
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
  expect(clock).toMatchObject({ offset: 1_000_000, roundTrip: 100 });
  clock.answered(40_000, 1_040_405, 40_800);
  expect(clock.offset, "a slow one is worse than what was known").toBe(1_000_000);
  clock.begin();
  expect(clock.offset, "until another gateway has answered").toBe(1_000_000);
  clock.answered(50_000, 2_050_100, 50_200);
  expect(clock.offset).toBe(2_000_000);
  clock.answered(400_000, 2_400_205, 400_400);
  expect(clock.offset, "the quick one is too long ago").toBe(2_000_005);
});

test("the delay follows the link, and drawn time never steps back", () => {
  const playback = new Playback(50);
  let last = Number.NEGATIVE_INFINITY;
  const run = (from: number, to: number, age: number): number => {
    for (let now = from; now < to; now += 10) {
      if (now % 50 === 0) playback.heard(age);
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
