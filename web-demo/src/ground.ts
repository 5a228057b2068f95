// The place: paving in rings around a fountain, trees and benches, grass beyond. Nothing in it is shared; all see the same.

import {
  BoxGeometry, CanvasTexture, CircleGeometry, Color, ConeGeometry, CylinderGeometry, DodecahedronGeometry, Group, InstancedMesh,
  Matrix4, Mesh, MeshLambertMaterial, type Object3D, Quaternion, RingGeometry, SRGBColorSpace, TorusGeometry, Vector3,
} from "three";

/** The middle of the plaza, east and south of the world's origin: metres. */
export const MIDDLE: [x: number, z: number] = [32, 0];
/** How far paving reaches. */
const PAVED_M = 46;
const TREES = 72;
const BENCHES = 14;
const UP = new Vector3(0, 1, 0);

/** A number from 0 to 1 that is always the same for the same `n`. */
function chance(n: number): number {
  const x = Math.sin(n * 127.1 + 311.7) * 43_758.5453;
  return x - Math.floor(x);
}

/** Builds it. */
export function ground(detail: "high" | "low"): Object3D {
  const group = new Group();
  const grass = new Mesh(new CircleGeometry(420, 48), new MeshLambertMaterial({ color: "#a9bd86" }));
  grass.rotation.x = -Math.PI / 2;
  grass.position.set(MIDDLE[0], -0.03, MIDDLE[1]);
  const paved = new Mesh(new CircleGeometry(PAVED_M, 96), new MeshLambertMaterial({ map: paving() }));
  paved.rotation.x = -Math.PI / 2;
  paved.position.set(MIDDLE[0], 0, MIDDLE[1]);
  const kerb = new Mesh(new RingGeometry(PAVED_M, PAVED_M + 0.7, 96), new MeshLambertMaterial({ color: "#cdbb99" }));
  kerb.rotation.x = -Math.PI / 2;
  kerb.position.set(MIDDLE[0], 0.01, MIDDLE[1]);
  group.add(grass, paved, kerb, fountain(), trees(detail), benches());
  return group;
}

/** Stone in rings, drawn once. */
function paving(): CanvasTexture {
  const size = 1_024;
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const pen = canvas.getContext("2d")!;
  pen.fillStyle = "#e9dcc3";
  pen.fillRect(0, 0, size, size);
  const scale = size / 2 / PAVED_M;
  pen.translate(size / 2, size / 2);
  for (let ring = 0; ring * 2.4 < PAVED_M; ring++) {
    const [inner, outer] = [ring * 2.4, (ring + 1) * 2.4];
    const stones = Math.max(6, Math.round((outer * 2 * Math.PI) / 3.2));
    for (let stone = 0; stone < stones; stone++) {
      const from = ((stone + (ring % 2) / 2) / stones) * 2 * Math.PI;
      const light = 78 + chance(ring * 131 + stone) * 7 - (ring % 6 === 5 ? 12 : 0);
      pen.beginPath();
      pen.arc(0, 0, outer * scale, from, from + (2 * Math.PI) / stones);
      pen.arc(0, 0, inner * scale, from + (2 * Math.PI) / stones, from, true);
      pen.closePath();
      pen.fillStyle = `hsl(38 ${ring % 6 === 5 ? 26 : 40}% ${light}%)`;
      pen.fill();
      pen.strokeStyle = "rgb(140 118 84 / 0.28)";
      pen.lineWidth = 1.1;
      pen.stroke();
    }
  }
  const texture = new CanvasTexture(canvas);
  texture.colorSpace = SRGBColorSpace;
  texture.anisotropy = 4;
  return texture;
}

function fountain(): Object3D {
  const group = new Group();
  const stone = new MeshLambertMaterial({ color: "#cbb994" });
  const water = new MeshLambertMaterial({ color: "#6fb3c9", transparent: true, opacity: 0.85 });
  const at = (mesh: Mesh, y: number): void => {
    mesh.position.y = y;
    group.add(mesh);
  };
  at(new Mesh(new CylinderGeometry(3.1, 3.3, 0.5, 28), stone), 0.25);
  at(new Mesh(new CylinderGeometry(2.75, 2.75, 0.06, 28), water), 0.5);
  at(new Mesh(new CylinderGeometry(0.32, 0.5, 1.7, 12), stone), 1.1);
  at(new Mesh(new CylinderGeometry(1.1, 0.35, 0.35, 18), stone), 2);
  at(new Mesh(new CylinderGeometry(0.95, 0.95, 0.05, 18), water), 2.19);
  const rim = new Mesh(new TorusGeometry(3.1, 0.14, 6, 36), stone);
  rim.rotation.x = Math.PI / 2;
  at(rim, 0.52);
  // The middle is the people's.
  group.position.set(MIDDLE[0] + 17, 0, MIDDLE[1] - 19);
  return group;
}

function trees(detail: "high" | "low"): Object3D {
  const group = new Group();
  const crown = detail === "high" ? new DodecahedronGeometry(1, 1) : new DodecahedronGeometry(1, 0);
  const crowns = new InstancedMesh(crown, new MeshLambertMaterial({ flatShading: true }), TREES);
  const trunks = new InstancedMesh(new CylinderGeometry(0.16, 0.24, 1, 6), new MeshLambertMaterial({ color: "#7b5b3d" }), TREES);
  const firs = new InstancedMesh(new ConeGeometry(1, 1, 7), new MeshLambertMaterial({ color: "#55794f", flatShading: true }), TREES);
  const matrix = new Matrix4();
  const [still, shape] = [new Quaternion(), new Vector3()];
  for (let i = 0; i < TREES; i++) {
    // A ring along the kerb, then a scattering that thins out.
    const isRing = i < 26;
    const angle = isRing ? (i / 26) * 2 * Math.PI : chance(i) * 2 * Math.PI;
    const away = isRing ? PAVED_M + 3.2 : PAVED_M + 9 + chance(i + 0.5) * 90;
    const [x, z] = [MIDDLE[0] + away * Math.cos(angle), MIDDLE[1] + away * Math.sin(angle)];
    const size = (isRing ? 1.9 : 1.6 + chance(i + 7) * 1.7) * (isRing ? 1 : 1.25);
    const isFir = !isRing && chance(i + 3) > 0.62;
    const high = isFir ? 0 : size * 1.35;
    crowns.setMatrixAt(i, matrix.compose(new Vector3(x, high + size * 0.7, z), still.setFromAxisAngle(UP, i), shape.setScalar(isFir ? 0 : size)));
    crowns.setColorAt(i, new Color().setHSL(0.2 + chance(i + 11) * 0.07, 0.34, 0.42 + chance(i + 13) * 0.1));
    trunks.setMatrixAt(i, matrix.compose(new Vector3(x, (high + 0.4) / 2, z), still, shape.set(1, high + 0.4, 1)));
    firs.setMatrixAt(i, matrix.compose(new Vector3(x, 0.4 + size * 1.5, z), still, shape.set(size * 0.75, isFir ? size * 3 : 0, size * 0.75)));
  }
  group.add(trunks, crowns, firs);
  return group;
}

function benches(): Object3D {
  const seats = new InstancedMesh(new BoxGeometry(0.5, 0.1, 1.9), new MeshLambertMaterial({ color: "#8b6a48" }), BENCHES);
  const feet = new InstancedMesh(new BoxGeometry(0.4, 0.42, 1.5), new MeshLambertMaterial({ color: "#b7a581" }), BENCHES);
  const [matrix, turn, shape] = [new Matrix4(), new Quaternion(), new Vector3(1, 1, 1)];
  for (let i = 0; i < BENCHES; i++) {
    const angle = ((i + 0.5) / BENCHES) * 2 * Math.PI;
    const [x, z] = [MIDDLE[0] + (PAVED_M - 2.2) * Math.cos(angle), MIDDLE[1] + (PAVED_M - 2.2) * Math.sin(angle)];
    turn.setFromAxisAngle(UP, -angle);
    seats.setMatrixAt(i, matrix.compose(new Vector3(x, 0.47, z), turn, shape));
    feet.setMatrixAt(i, matrix.compose(new Vector3(x, 0.21, z), turn, shape));
  }
  const group = new Group();
  group.add(seats, feet);
  return group;
}
