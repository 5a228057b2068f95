// Packs what was built, so that the gateway need not: `index.html.gz` beside `index.html`, where that is worth it.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const dist = new URL("dist/", import.meta.url).pathname;
/** Of less than this nobody notices anything, bytes. */
const BYTES_MIN = 1_000;

for (const { name, parentPath } of readdirSync(dist, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())) {
  const plain = readFileSync(join(parentPath, name));
  if (plain.length < BYTES_MIN) continue;
  writeFileSync(join(parentPath, `${name}.gz`), gzipSync(plain, { level: 9 }));
}
