// Things to use together: lamps, doors, balls and boards, as the gateway tells them.

import { type Client, Refused, type Thing } from "@nearcast/client";
import {
  BoxGeometry, type BufferGeometry, CanvasTexture, Color, CylinderGeometry, Group, IcosahedronGeometry, Mesh, MeshBasicMaterial, MeshLambertMaterial, type Object3D,
  PlaneGeometry, PointLight, type Raycaster, SRGBColorSpace,
} from "three";

/** How far one reaches: a little less than the gateway allows, metres. */
const REACH_M = 4.6;
/** Notes on a board: fields `0` to this. */
const NOTES = 6;
/** Somebody else may write on it at the same moment; then the next place is taken, so many times. */
const NOTE_TRIES = 4;
/** Lights that shine on others: each costs, so only the nearest lamps have one. */
const LIGHTS = 3;

const BALLS = ["#e4573d", "#2f86c4", "#e3b23c", "#6bab4f"];

/** A thing as it is drawn. */
interface Shown {
  thing: Thing;
  object: Object3D;
  /** Shows it as its fields say. */
  dress(thing: Thing): void;
}

/** What can be done with a thing, in a word or two. */
export function deed(thing: Thing, mine: boolean): string {
  const { kind, fields = {}, holder } = thing;
  if (kind === "lamp") return fields["on"] === "yes" ? "switch the lamp off" : "switch the lamp on";
  if (kind === "door") return fields["open"] === "yes" ? "close the door" : "open the door";
  if (kind === "board") return "write on the board";
  if (holder !== undefined) return mine ? `put the ${kind} down` : `somebody has the ${kind}`;
  return `take the ${kind}`;
}

/** Writes on a board: in the place of the oldest note. */
export async function write(client: Client, board: Thing, note: string): Promise<void> {
  for (let tries = NOTE_TRIES; ; tries--) {
    const { fields = {}, version } = client.things.get(board.object) ?? board;
    // Whatever somebody else has written there.
    const place = Math.abs(Math.trunc(Number(fields["next"])) || 0) % NOTES;
    try {
      await client.change(board, { [place]: note, next: String((place + 1) % NOTES) }, { expect: version });
      return;
    } catch (error) {
      if (tries === 1 || !(error instanceof Refused) || error.code !== "version") throw error;
      // The answer may come before the news of what the other has written.
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Does what can be done with it, but for writing. */
export function use(client: Client, thing: Thing): Promise<unknown> | undefined {
  const { kind, fields = {}, holder, version } = thing;
  const flip = (name: string): Promise<unknown> => client.change(thing, { [name]: fields[name] === "yes" ? "no" : "yes" }, { expect: version });
  if (kind === "lamp") return flip("on");
  if (kind === "door") return flip("open");
  if (holder === client.welcome?.entity) return client.release(thing);
  return holder === undefined ? client.grab(thing) : undefined;
}

/** All that are in sight. */
export class Things {
  readonly object = new Group();
  readonly #shown = new Map<number, Shown>();
  readonly #lights = Array.from({ length: LIGHTS }, () => new PointLight("#ffd68a", 0, 16, 1.6));

  constructor(hasLights: boolean) {
    if (hasLights) this.object.add(...this.#lights);
  }

  /** Puts everything where it is: what is held is where its holder is. `placeOf` knows that. */
  show(things: Iterable<Thing>, placeOf: (entity: number) => [x: number, y: number, z: number] | undefined, me: [x: number, z: number]): void {
    const gone = new Set(this.#shown.keys());
    const lit: { x: number; z: number; metres: number }[] = [];
    for (const thing of things) {
      gone.delete(thing.object);
      const shown = this.#of(thing);
      const held = thing.holder === undefined ? undefined : placeOf(thing.holder);
      shown.object.visible = thing.holder === undefined || held !== undefined;
      const [x, y, z] = held ? [held[0], held[1] + 1.75, held[2]] : thing.pos;
      shown.object.position.set(x, y, z);
      if (thing.kind === "lamp" && thing.fields?.["on"] === "yes") lit.push({ x, z, metres: Math.hypot(x - me[0], z - me[1]) });
    }
    for (const id of gone) {
      this.object.remove(this.#shown.get(id)!.object);
      this.#shown.delete(id);
    }
    lit.sort((a, b) => a.metres - b.metres);
    this.#lights.forEach((light, i) => {
      const lamp = lit[i];
      light.intensity = lamp ? 26 : 0;
      if (lamp) light.position.set(lamp.x, 2.6, lamp.z);
    });
  }

  /** The thing that a ray meets first. */
  hit(ray: Raycaster): number | undefined {
    const [first] = ray.intersectObject(this.object, true);
    for (const [id, { object }] of this.#shown) if (first && object.getObjectById(first.object.id)) return id;
    return undefined;
  }

  /** What is near enough to be used, the nearest first. */
  near(things: Iterable<Thing>, placeOf: (entity: number) => [number, number, number] | undefined, [x, z]: [number, number]): Thing[] {
    const metres = (thing: Thing): number => {
      const at = thing.holder === undefined ? thing.pos : (placeOf(thing.holder) ?? thing.pos);
      return Math.hypot(at[0] - x, at[2] - z);
    };
    return [...things].filter((thing) => metres(thing) < REACH_M).sort((a, b) => metres(a) - metres(b));
  }

  #of(thing: Thing): Shown {
    let shown = this.#shown.get(thing.object);
    if (!shown) {
      shown = make(thing);
      shown.object.rotation.y = (thing.yaw * Math.PI) / 180;
      this.#shown.set(thing.object, shown);
      this.object.add(shown.object);
      shown.dress(thing);
    } else if (shown.thing.version !== thing.version) {
      shown.thing = thing;
      shown.object.rotation.y = (thing.yaw * Math.PI) / 180;
      shown.dress(thing);
    }
    return shown;
  }
}

const SHAPES = {
  pole: new CylinderGeometry(0.06, 0.09, 2.5, 8),
  bulb: new IcosahedronGeometry(0.26, 2),
  post: new BoxGeometry(0.14, 2.3, 0.14),
  beam: new BoxGeometry(0.14, 0.14, 1.34),
  leaf: new BoxGeometry(0.07, 2.1, 1.06).translate(0, 0, 0.53),
  ball: new IcosahedronGeometry(0.24, 2),
  box: new BoxGeometry(0.5, 0.5, 0.5),
  board: new BoxGeometry(0.08, 1.5, 2.4),
  sheet: new PlaneGeometry(2.25, 1.35),
};
const WOOD = new MeshLambertMaterial({ color: "#80583a" });
const IRON = new MeshLambertMaterial({ color: "#3d4a4f" });

function mesh(shape: BufferGeometry, material: MeshLambertMaterial | MeshBasicMaterial, y: number, z = 0): Mesh {
  const mesh = new Mesh(shape, material);
  mesh.position.set(0, y, z);
  return mesh;
}

function make(thing: Thing): Shown {
  const object = new Group();
  let dress: Shown["dress"] = () => {};
  if (thing.kind === "lamp") {
    const glass = new MeshBasicMaterial();
    object.add(mesh(SHAPES.pole, IRON, 1.25), mesh(SHAPES.bulb, glass, 2.65));
    dress = ({ fields }) => void glass.color.set(fields?.["on"] === "yes" ? "#ffe3a1" : "#7d8a8c");
  } else if (thing.kind === "door") {
    const leaf = mesh(SHAPES.leaf, new MeshLambertMaterial({ color: "#2f7f74" }), 1.05, -0.53);
    object.add(mesh(SHAPES.post, WOOD, 1.15, -0.6), mesh(SHAPES.post, WOOD, 1.15, 0.6), mesh(SHAPES.beam, WOOD, 2.3), leaf);
    dress = ({ fields }) => void (leaf.rotation.y = fields?.["open"] === "yes" ? -1.9 : 0);
  } else if (thing.kind === "ball") {
    object.add(mesh(SHAPES.ball, new MeshLambertMaterial({ color: new Color(BALLS[(thing.object / 1_024) % BALLS.length | 0]) }), 0.24));
  } else if (thing.kind === "board") {
    const canvas = Object.assign(document.createElement("canvas"), { width: 768, height: 460 });
    const texture = new CanvasTexture(canvas);
    texture.colorSpace = SRGBColorSpace;
    // Paper: bright by day, and just to be read at night.
    const paper = new MeshLambertMaterial({ map: texture, emissiveMap: texture, emissive: "#8a8a8a" });
    const front = mesh(SHAPES.sheet, paper, 1.5);
    front.rotation.y = Math.PI / 2;
    front.position.x = 0.045;
    const posts = [-1, 1].map((z) => mesh(SHAPES.post, WOOD, 0.75, z));
    for (const post of posts) post.position.x = -0.1;
    object.add(mesh(SHAPES.board, WOOD, 1.5), ...posts, front);
    dress = ({ fields }) => {
      notes(canvas, fields ?? {});
      texture.needsUpdate = true;
    };
  } else object.add(mesh(SHAPES.box, WOOD, 0.25));
  return { thing, object, dress };
}

/** Writes the notes of a board on its paper. */
function notes(canvas: HTMLCanvasElement, fields: Record<string, string>): void {
  const pen = canvas.getContext("2d")!;
  pen.fillStyle = "#f6f1e4";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const [width, height] = [canvas.width / 3, canvas.height / 2];
  for (let i = 0; i < NOTES; i++) {
    const [x, y] = [(i % 3) * width, Math.floor(i / 3) * height];
    const text = fields[String(i)];
    pen.fillStyle = text ? ["#ffe48a", "#ffc7b0", "#bfe6c8", "#bfdcf2", "#e4cdf3", "#ffd9a3"][i]! : "#ece5d4";
    pen.fillRect(x + 12, y + 12, width - 24, height - 24);
    if (!text) continue;
    pen.fillStyle = "#2c2a26";
    // The largest letters with which it has room.
    const size = [30, 24, 19, 15].find((size) => lines(pen, text, size, width - 52).length * size * 1.2 <= height - 48) ?? 15;
    const most = Math.floor((height - 48) / (size * 1.2));
    lines(pen, text, size, width - 52).slice(0, most).forEach((line, i) => pen.fillText(line, x + 26, y + 22 + (i + 1) * size * 1.2));
  }
}

/** A text in lines no longer than so many pixels; words that are longer than a line are broken. */
function lines(pen: CanvasRenderingContext2D, text: string, size: number, width: number): string[] {
  pen.font = `${size}px ui-rounded, system-ui, sans-serif`;
  const fits = (line: string): boolean => pen.measureText(line).width <= width;
  const done = [""];
  for (const word of text.split(/\s+/)) {
    const line = done.at(-1)!;
    const joined = line ? `${line} ${word}` : word;
    if (fits(joined)) {
      done[done.length - 1] = joined;
      continue;
    }
    if (line) done.push("");
    for (const letter of word) {
      const grown = done.at(-1)! + letter;
      if (fits(grown)) done[done.length - 1] = grown;
      else done.push(letter);
    }
  }
  return done;
}
