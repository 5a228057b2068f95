// The renderer, the light and the camera; and how much detail this machine can draw.

import {
  Color, DirectionalLight, Fog, HemisphereLight, PerspectiveCamera, Plane, Raycaster, Scene, SRGBColorSpace, Vector2, Vector3, WebGLRenderer,
} from "three";

/** Frames that take longer than this, on average, are made of fewer pixels… */
const SLOW_MS = 24;
/** …and those below this of more, for a try. */
const FAST_MS = 18.5;
/** Whoever looks at something else meanwhile has no slow frame, ms. */
const AWAY_MS = 250;
const [PIXELS_MIN, PIXELS_MAX] = [0.5, 2];
/** So often detail is thought over, frames. */
const LOOK_EVERY = 60;
/** So many good looks before a try; twice as many after one that failed, up to the last. */
const [LOOKS, LOOKS_MAX] = [4, 256];

/** Day and night. */
export interface Sky {
  zenith: Color;
  sun: Color;
  ground: Color;
  brightness: number;
}

/** What is drawn on. */
export class Stage {
  readonly scene = new Scene();
  readonly camera = new PerspectiveCamera(48, 1, 0.2, 900);
  readonly renderer: WebGLRenderer;
  /** Pixels are computed by the processor: there is no graphics hardware. */
  readonly isSoftware: boolean;
  readonly #sun = new DirectionalLight("#fff1d6", 2.2);
  readonly #sky = new HemisphereLight("#dcecf7", "#b59f7a", 1.5);
  readonly #ray = new Raycaster();
  readonly #isDetailed: boolean;
  #pixels: number;
  #frames = 0;
  #took = 0;
  #good = 0;
  #looks = LOOKS;
  /** Around and above: radians; and how far, metres. */
  heading = -Math.PI / 2;
  #pitch = 0.34;
  #distance = 13;

  /** `isDetailed`: all detail, however long that takes this machine. */
  constructor(canvas: HTMLCanvasElement, isDetailed: boolean) {
    const antialias = isDetailed || !isSoftwareRendered();
    this.renderer = new WebGLRenderer({ canvas, antialias, powerPreference: "high-performance" });
    this.isSoftware = !antialias;
    this.#isDetailed = isDetailed;
    this.renderer.outputColorSpace = SRGBColorSpace;
    this.#pixels = this.isSoftware ? PIXELS_MIN : Math.min(devicePixelRatio, PIXELS_MAX);
    this.#sun.position.set(40, 80, 30);
    this.scene.add(this.#sun, this.#sky);
    this.scene.fog = new Fog("#dfe9ee", 60, 320);
    this.fit();
    addEventListener("resize", () => this.fit());
  }

  /** Takes the size of the window. */
  fit(): void {
    this.renderer.setPixelRatio(this.#pixels);
    this.renderer.setSize(innerWidth, innerHeight, false);
    this.camera.aspect = innerWidth / Math.max(innerHeight, 1);
    // On a phone held upright the world would be a slit.
    this.camera.fov = this.camera.aspect < 0.8 ? 64 : 48;
    this.camera.updateProjectionMatrix();
  }

  /** What the sky is like. */
  dress({ zenith, sun, ground, brightness }: Sky): void {
    this.scene.background = zenith;
    (this.scene.fog as Fog).color = zenith;
    this.#sky.color = zenith;
    this.#sky.groundColor = ground;
    this.#sky.intensity = 1.5 * brightness;
    this.#sun.color = sun;
    this.#sun.intensity = 2.2 * brightness;
  }

  /** The camera turns, by radians. */
  turn(around: number, up: number): void {
    this.heading += around;
    this.#pitch = Math.min(Math.max(this.#pitch + up, 0.12), 1.35);
  }

  /** It comes nearer or goes away. */
  zoom(factor: number): void {
    this.#distance = Math.min(Math.max(this.#distance * factor, 4), 90);
  }

  /** Looks at a place. */
  follow(x: number, y: number, z: number): void {
    const flat = Math.cos(this.#pitch) * this.#distance;
    this.camera.position.set(x - Math.cos(this.heading) * flat, y + 1.4 + Math.sin(this.#pitch) * this.#distance, z - Math.sin(this.heading) * flat);
    this.camera.lookAt(x, y + 1.4, z);
  }

  /** What is looked along at a point of the window. */
  ray(x: number, y: number): Raycaster {
    this.#ray.setFromCamera(new Vector2((x / innerWidth) * 2 - 1, 1 - (y / innerHeight) * 2), this.camera);
    return this.#ray;
  }

  /** Where the ground is under a point of the window. */
  ground(x: number, y: number): Vector3 | undefined {
    this.ray(x, y);
    const hit = this.#ray.ray.intersectPlane(new Plane(new Vector3(0, 1, 0), 0), new Vector3());
    return hit && hit.distanceTo(this.camera.position) < 250 ? hit : undefined;
  }

  /** Draws, and thinks detail over. `took`: from the last frame to this one, ms. */
  draw(took: number): void {
    this.renderer.render(this.scene, this.camera);
    if (took > AWAY_MS || this.#isDetailed || this.isSoftware) return;
    this.#took += took;
    this.#frames += 1;
    if (this.#frames < LOOK_EVERY) return;
    this.#think(this.#took / this.#frames);
    [this.#frames, this.#took] = [0, 0];
  }

  /** Fewer pixels if frames take long. More if they do not, which shows only when it is tried. */
  #think(mean: number): void {
    const before = this.#pixels;
    if (mean > SLOW_MS) {
      this.#pixels = Math.max(before * 0.8, PIXELS_MIN);
      [this.#good, this.#looks] = [0, Math.min(this.#looks * 2, LOOKS_MAX)];
    } else if (mean < FAST_MS && ++this.#good >= this.#looks) {
      this.#pixels = Math.min(before * 1.2, devicePixelRatio, PIXELS_MAX);
      this.#good = 0;
    }
    if (this.#pixels !== before) this.fit();
  }
}

function isSoftwareRendered(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  const names = gl?.getExtension("WEBGL_debug_renderer_info");
  const renderer = gl && names ? String(gl.getParameter(names.UNMASKED_RENDERER_WEBGL)) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(renderer);
}
