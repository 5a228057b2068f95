// The sky, as the world's fields say: `time` (dawn, noon, dusk, night) and `weather` (clear, rain); a mild afternoon if
// nobody says anything.

import { BufferGeometry, Color, Float32BufferAttribute, LineBasicMaterial, LineSegments } from "three";
import type { Sky } from "./stage.ts";

const SKIES: Record<string, Sky> = {
  noon: { zenith: new Color("#cfe4f0"), sun: new Color("#fff3dc"), ground: new Color("#b59f7a"), brightness: 1 },
  dawn: { zenith: new Color("#f2d9d0"), sun: new Color("#ffd1ad"), ground: new Color("#a58f83"), brightness: 0.85 },
  dusk: { zenith: new Color("#e8b79a"), sun: new Color("#ff9d66"), ground: new Color("#806a6e"), brightness: 0.7 },
  night: { zenith: new Color("#16233a"), sun: new Color("#8fa9d8"), ground: new Color("#1d2430"), brightness: 0.34 },
};
const RAIN = new Color("#9fb0bb");
const DROPS = 500;
/** Rain falls in a box of this half side around who looks, metres. */
const AROUND_M = 16;

/** What the world is like now. */
export function skyOf(fields: Record<string, string>): Sky {
  const sky = SKIES[fields["time"] ?? "noon"] ?? SKIES["noon"]!;
  if (fields["weather"] !== "rain") return sky;
  return { ...sky, zenith: sky.zenith.clone().lerp(RAIN, 0.55), brightness: sky.brightness * 0.75 };
}

/** Rain, where it rains. */
export class Rain {
  readonly object: LineSegments;
  readonly #drops: Float32Array;

  constructor() {
    this.#drops = new Float32Array(DROPS * 6);
    for (let i = 0; i < DROPS; i++) {
      const [x, y, z] = [Math.random() - 0.5, Math.random(), Math.random() - 0.5];
      this.#drops.set([x * 2 * AROUND_M, y * 14, z * 2 * AROUND_M, x * 2 * AROUND_M, y * 14 + 0.5, z * 2 * AROUND_M], i * 6);
    }
    const shape = new BufferGeometry().setAttribute("position", new Float32BufferAttribute(this.#drops, 3));
    this.object = new LineSegments(shape, new LineBasicMaterial({ color: "#dbe7ef", transparent: true, opacity: 0.55 }));
    this.object.frustumCulled = false;
    this.object.visible = false;
  }

  /** Falls for so long around a place. */
  fall(isRaining: boolean, x: number, z: number, seconds: number): void {
    this.object.visible = isRaining;
    this.object.position.set(x, 0, z);
    if (!isRaining || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const positions = this.object.geometry.getAttribute("position");
    for (let i = 0; i < DROPS; i++) {
      const y = (positions.getY(i * 2) - seconds * 13 + 14) % 14;
      positions.setY(i * 2, y);
      positions.setY(i * 2 + 1, y + 0.5);
    }
    positions.needsUpdate = true;
  }
}
