// What cannot be seen in a world: how far one sees, how often others are told, where regions end.

import type { Avatar } from "@nearcast/client";
import { BufferGeometry, Color, DoubleSide, Float32BufferAttribute, Group, Line, LineBasicMaterial, LineDashedMaterial, LineSegments, Mesh, MeshBasicMaterial, RingGeometry } from "three";

const REGION_M = 128;
/** Regions drawn to each side of the own. */
const REGIONS = 2;

/** Colours of the circle and of the grid. */
export const [CIRCLE, BORDER] = ["#1d6f8f", "#b4472f"];

/** How often somebody is told: up to so many ticks apart, in this colour. */
export const TIERS = [
  { ticks: 1, colour: new Color("#35c28f"), text: "every tick" },
  { ticks: 6, colour: new Color("#f0b23e"), text: "every 2 to 6" },
  { ticks: 16, colour: new Color("#e2723b"), text: "every 7 to 16" },
  { ticks: Number.POSITIVE_INFINITY, colour: new Color("#a05bb8"), text: "seldom" },
] as const;

/** The tier of somebody, where the gateway says something every so many ticks. */
export function tierOf({ stride }: Avatar, gapTicks: number): (typeof TIERS)[number] {
  return TIERS.find(({ ticks }) => Math.max(stride, gapTicks) <= ticks) ?? TIERS[3];
}

/** The circle and the grid. */
export class Overlays {
  readonly object = new Group();
  readonly #circle: Group;
  readonly #grid: LineSegments;
  #radius = 0;

  constructor() {
    const edge = new Line(ring(1), new LineDashedMaterial({ color: CIRCLE, dashSize: 0.02, gapSize: 0.012 }));
    edge.computeLineDistances();
    const outer = new Line(ring(1.1), new LineBasicMaterial({ color: CIRCLE, transparent: true, opacity: 0.35 }));
    const band = new Mesh(new RingGeometry(0.985, 1, 128).rotateX(-Math.PI / 2), new MeshBasicMaterial({ color: "#2a8fb5", transparent: true, opacity: 0.35, side: DoubleSide, depthWrite: false }));
    this.#circle = new Group().add(edge, outer, band);
    const points: number[] = [];
    const span = (REGIONS + 1) * REGION_M;
    for (let i = -REGIONS; i <= REGIONS + 1; i++) {
      points.push(i * REGION_M, 0, -span + REGION_M, i * REGION_M, 0, span, -span + REGION_M, 0, i * REGION_M, span, 0, i * REGION_M);
    }
    const lines = new BufferGeometry().setAttribute("position", new Float32BufferAttribute(points, 3));
    this.#grid = new LineSegments(lines, new LineBasicMaterial({ color: BORDER, transparent: true, opacity: 0.75 }));
    this.object.add(this.#circle, this.#grid);
    this.show("interest", false);
    this.show("regions", false);
  }

  /** Shows one of them, or not. */
  show(which: "interest" | "regions", isOn: boolean): void {
    (which === "interest" ? this.#circle : this.#grid).visible = isOn;
  }

  /** Around a place, as far as one sees. */
  move(x: number, z: number, radius: number): void {
    if (radius !== this.#radius) this.#circle.scale.set(radius, 1, radius);
    this.#radius = radius;
    this.#circle.position.set(x, 0.06, z);
    const [left, top] = regionAt(x, z);
    this.#grid.position.set(left * REGION_M, 0.05, top * REGION_M);
  }
}

/** Which region a place is in. */
export function regionAt(x: number, z: number): [number, number] {
  return [Math.floor(x / REGION_M), Math.floor(z / REGION_M)];
}

function ring(radius: number): BufferGeometry {
  const points = Array.from({ length: 129 }, (_, i) => {
    const angle = (i / 128) * 2 * Math.PI;
    return [radius * Math.cos(angle), 0, radius * Math.sin(angle)];
  });
  return new BufferGeometry().setAttribute("position", new Float32BufferAttribute(points.flat(), 3));
}
