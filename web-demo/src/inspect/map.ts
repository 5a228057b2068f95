// Regions as a heat map: a square of 128 m each, the fuller the warmer; sessions as dots.

import type { Overview } from "./main.ts";

const REGION_M = 128;

/** Draws it, as large as what is there. */
export function draw(canvas: HTMLCanvasElement, { regions, sessions }: Overview, isDark: boolean): void {
  const pen = canvas.getContext("2d")!;
  const { width, height } = canvas;
  pen.fillStyle = isDark ? "#141d22" : "#f4efe4";
  pen.fillRect(0, 0, width, height);
  if (regions.length === 0) return;
  const [xs, zs] = [regions.map(([x]) => x), regions.map(([, z]) => z)];
  const [left, top] = [Math.min(...xs) - 0.5, Math.min(...zs) - 0.5];
  const [across, down] = [Math.max(...xs) + 1.5 - left, Math.max(...zs) + 1.5 - top];
  const size = Math.min(width / across, height / down);
  const [indent, drop] = [(width - across * size) / 2, (height - down * size) / 2];
  const at = (x: number, z: number): [number, number] => [indent + (x - left) * size, drop + (z - top) * size];
  const most = Math.max(...regions.map(([, , count]) => count));
  for (const [x, z, count] of regions) {
    const [px, py] = at(x, z);
    // By the logarithm: one crowd must not make all others look empty.
    const heat = Math.log1p(count) / Math.log1p(most);
    pen.fillStyle = `hsl(${210 - 190 * heat} 70% ${isDark ? 26 + 26 * heat : 82 - 30 * heat}%)`;
    pen.fillRect(px, py, size - 1, size - 1);
    if (size < 34) continue;
    pen.fillStyle = heat > 0.6 || isDark ? "#fff" : "#23302f";
    pen.font = "600 13px system-ui, sans-serif";
    pen.fillText(String(count), px + 7, py + 18);
    pen.font = "10px system-ui, sans-serif";
    pen.fillText(`${x}/${z}`, px + 7, py + size - 8);
  }
  pen.fillStyle = isDark ? "rgb(255 255 255 / 0.6)" : "rgb(20 30 30 / 0.55)";
  for (const { pos } of sessions) {
    if (!pos) continue;
    const [px, py] = at(pos[0] / REGION_M, pos[2] / REGION_M);
    pen.fillRect(px - 1, py - 1, 2, 2);
  }
}
