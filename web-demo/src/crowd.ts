// Everybody, in three draw calls: bodies, heads and the shadows under them, each an instance of one mesh.

import {
  CircleGeometry, type Color, DynamicDrawUsage, Float32BufferAttribute, Group, IcosahedronGeometry, InstancedBufferAttribute, InstancedMesh, LatheGeometry,
  MeshBasicMaterial, MeshLambertMaterial, type Object3D, Vector2,
} from "three";
import { coat, skin } from "./people.ts";

/** So many are drawn at most, the nearest: a gateway may tell of 4,096, but nobody sees them. */
const MOST = 1_024;
/** Metres of a step, both feet. */
const STEP_M = 1.5;
/** A walker is taken for one who stands below this, m/s. */
const STANDS = 0.15;

/** Somebody, as drawn. */
export interface Figure {
  entity: number;
  x: number;
  y: number;
  z: number;
  /** Degrees. */
  yaw: number;
  /** Instead of their own colours. */
  colour?: Color;
  /** The colour of what lies under their feet, instead of a shadow. */
  under?: Color;
}

/** What is remembered of somebody between frames. */
interface Gait {
  x: number;
  z: number;
  way: number;
  speed: number;
  seen: number;
}

/** The crowd. */
export class Crowd {
  readonly object: Object3D;
  readonly #bodies: InstancedMesh;
  readonly #heads: InstancedMesh;
  readonly #spots: InstancedMesh;
  readonly #gaits = new Map<number, Gait>();
  readonly #calm: MediaQueryList;
  #frame = 0;

  constructor(detail: "high" | "low") {
    const round = detail === "high" ? 12 : 7;
    const outline = [[0, 0.02], [0.17, 0.03], [0.19, 0.3], [0.22, 0.6], [0.235, 0.64], [0.25, 0.8], [0.28, 1.1], [0.22, 1.28], [0.1, 1.36], [0, 1.38]];
    const body = new LatheGeometry(outline.map(([x, y]) => new Vector2(x, y)), round);
    body.setAttribute("color", shades(body));
    const head = new IcosahedronGeometry(0.19, detail === "high" ? 2 : 1);
    const many = (mesh: InstancedMesh): InstancedMesh => {
      mesh.instanceMatrix.setUsage(DynamicDrawUsage);
      mesh.instanceColor = new InstancedBufferAttribute(new Float32Array(MOST * 3), 3).setUsage(DynamicDrawUsage);
      mesh.frustumCulled = false;
      mesh.count = 0;
      return mesh;
    };
    this.#bodies = many(new InstancedMesh(body, new MeshLambertMaterial({ vertexColors: true }), MOST));
    this.#heads = many(new InstancedMesh(head, new MeshLambertMaterial(), MOST));
    const spot = new CircleGeometry(0.5, 14).rotateX(-Math.PI / 2);
    this.#spots = many(new InstancedMesh(spot, new MeshBasicMaterial({ transparent: true, opacity: 0.3, depthWrite: false }), MOST));
    this.object = new Group().add(this.#spots, this.#bodies, this.#heads);
    this.#calm = matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** Puts everybody where they are; `seconds` have passed since the last time. */
  show(figures: Iterable<Figure>, seconds: number): void {
    this.#frame += 1;
    let count = 0;
    for (const figure of figures) {
      if (count === MOST) break;
      this.#place(count++, figure, this.#gait(figure, seconds));
    }
    for (const mesh of [this.#bodies, this.#heads, this.#spots]) {
      mesh.count = count;
      mesh.instanceMatrix.clearUpdateRanges();
      mesh.instanceMatrix.addUpdateRange(0, count * 16);
      mesh.instanceMatrix.needsUpdate = true;
      mesh.instanceColor!.clearUpdateRanges();
      mesh.instanceColor!.addUpdateRange(0, count * 3);
      mesh.instanceColor!.needsUpdate = true;
    }
    if (this.#frame % 600 === 0) for (const [entity, { seen }] of this.#gaits) if (seen < this.#frame - 300) this.#gaits.delete(entity);
  }

  #gait({ entity, x, z }: Figure, seconds: number): Gait {
    let gait = this.#gaits.get(entity);
    if (!gait) this.#gaits.set(entity, (gait = { x, z, way: entity % 7, speed: 0, seen: 0 }));
    const metres = Math.hypot(x - gait.x, z - gait.z);
    const now = seconds > 0 ? Math.min(metres / seconds, 12) : 0;
    gait.speed += (now - gait.speed) * Math.min(seconds * 8, 1);
    gait.way += Math.min(metres, 1);
    [gait.x, gait.z, gait.seen] = [x, z, this.#frame];
    return gait;
  }

  #place(i: number, { entity, x, y, z, yaw, colour, under }: Figure, { way, speed }: Gait): void {
    const walks = speed > STANDS && !this.#calm.matches;
    const phase = (way / STEP_M) * 2 * Math.PI;
    const bob = walks ? Math.abs(Math.sin(phase)) * 0.05 : 0;
    const sway = walks ? Math.sin(phase) * 0.05 : 0;
    const lean = walks ? Math.min(speed * 0.03, 0.2) : 0;
    const turn = (yaw * Math.PI) / 180;
    write(this.#bodies.instanceMatrix.array, i, x, y + bob, z, turn, lean, sway);
    const [ahead, aside] = [Math.sin(lean) * 1.5, Math.sin(sway) * 1.5];
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    write(this.#heads.instanceMatrix.array, i, x + ahead * cos + aside * sin, y + bob + 1.5, z - ahead * sin + aside * cos, turn, 0, 0);
    write(this.#spots.instanceMatrix.array, i, x, y + 0.03, z, 0, 0, 0);
    this.#bodies.setColorAt(i, colour ?? coat(entity));
    this.#heads.setColorAt(i, skin(entity));
    const spot = this.#spots.instanceColor!.array;
    [spot[i * 3], spot[i * 3 + 1], spot[i * 3 + 2]] = under ? [under.r, under.g, under.b] : [0.12, 0.1, 0.08];
  }
}

/** Trousers are darker than coats, and what is below catches less light. */
function shades(body: LatheGeometry): Float32BufferAttribute {
  const { count } = body.getAttribute("position");
  const shade = Array.from({ length: count }, (_, i) => {
    const y = body.getAttribute("position").getY(i);
    return y < 0.62 ? 0.42 : 0.85 + 0.15 * Math.min((y - 0.62) / 0.6, 1);
  });
  return new Float32BufferAttribute(shade.flatMap((light) => [light, light, light]), 3);
}

/** A matrix that leans forward and aside, turns about the upright, and moves; columns one after another. */
function write(out: { [i: number]: number }, i: number, x: number, y: number, z: number, turn: number, lean: number, sway: number): void {
  const [ct, st] = [Math.cos(turn), Math.sin(turn)];
  const [cl, sl] = [Math.cos(lean), -Math.sin(lean)];
  const [cs, ss] = [Math.cos(sway), Math.sin(sway)];
  const at = i * 16;
  // Rotation about y by `turn`, then about the own z by −lean (forward is x), then about the own x by sway.
  out[at] = ct * cl;
  out[at + 1] = sl;
  out[at + 2] = -st * cl;
  out[at + 3] = 0;
  out[at + 4] = -ct * sl * cs + st * ss;
  out[at + 5] = cl * cs;
  out[at + 6] = st * sl * cs + ct * ss;
  out[at + 7] = 0;
  out[at + 8] = ct * sl * ss + st * cs;
  out[at + 9] = -cl * ss;
  out[at + 10] = -st * sl * ss + ct * cs;
  out[at + 11] = 0;
  out[at + 12] = x;
  out[at + 13] = y;
  out[at + 14] = z;
  out[at + 15] = 1;
}
