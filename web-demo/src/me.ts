// The own avatar: where it is, and where hands send it.

import type { Client, Pos } from "@nearcast/client";

/** Metres per second. */
const WALK = 4.2;
/** Faster when Shift is held. */
const RUN = 7.5;
/** A turn takes about so long, seconds. */
const TURN_S = 0.1;
/** So near a goal it is reached, metres. */
const THERE = 0.25;

/** Where hands want it to go: a direction relative to the camera, or a place on the ground. */
export interface Will {
  /** Right and forward, each −1 to 1. */
  way: [right: number, forward: number];
  /** How fast the camera turns: around and up, radians per second. */
  turn: [around: number, up: number];
  /** A place to walk to: east and south, metres. */
  goal: [x: number, z: number] | undefined;
  runs: boolean;
}

/** The own avatar. */
export class Me {
  x: number;
  z: number;
  /** Degrees, counter-clockwise from east. */
  yaw = 90;
  speed = 0;

  constructor(x: number, z: number) {
    [this.x, this.z] = [x, z];
  }

  /** Where it is. */
  get pos(): Pos {
    return [this.x, 0, this.z];
  }

  /** Walks for so many seconds, as a camera that looks along `heading` (radians, from east to south) sees it. */
  walk(will: Will, heading: number, seconds: number, client: Client): void {
    const [dx, dz] = this.#direction(will, heading);
    const length = Math.hypot(dx, dz);
    const top = Math.min(will.runs ? RUN : WALK, client.welcome?.speed ?? WALK);
    this.speed = length > 0 ? top * Math.min(length, 1) : 0;
    if (length === 0) return;
    const left = will.goal ? Math.hypot(will.goal[0] - this.x, will.goal[1] - this.z) : Number.POSITIVE_INFINITY;
    const step = Math.min(this.speed * seconds, left);
    this.x += (dx / length) * step;
    this.z += (dz / length) * step;
    const wanted = (Math.atan2(-dz, dx) * 180) / Math.PI;
    const turn = ((((wanted - this.yaw) % 360) + 540) % 360) - 180;
    this.yaw += turn * Math.min(seconds / TURN_S, 1);
    const { min, max } = client.welcome ?? { min: [-2_048, 0, -2_048], max: [2_048, 0, 2_048] };
    this.x = Math.min(Math.max(this.x, min[0]), max[0]);
    this.z = Math.min(Math.max(this.z, min[2]), max[2]);
  }

  #direction({ way: [right, forward], goal }: Will, heading: number): [x: number, z: number] {
    if (right !== 0 || forward !== 0) {
      const [cos, sin] = [Math.cos(heading), Math.sin(heading)];
      const length = Math.max(Math.hypot(right, forward), 1);
      return [(forward * cos - right * sin) / length, (forward * sin + right * cos) / length];
    }
    if (!goal) return [0, 0];
    const way: [number, number] = [goal[0] - this.x, goal[1] - this.z];
    const left = Math.hypot(...way);
    return left < THERE ? [0, 0] : [way[0] / left, way[1] / left];
  }
}
