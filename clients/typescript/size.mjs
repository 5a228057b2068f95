// What the client weighs in a page: bundled with its one dependency, minified, gzipped.

import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** A page should not notice it. */
const BYTES_MAX = 15_000;

const entry = new URL("dist/index.js", import.meta.url).pathname;
const { outputFiles } = await build({ entryPoints: [entry], bundle: true, minify: true, format: "esm", target: "es2022", write: false });
const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
console.log(`${(bytes / 1_000).toFixed(1)} kB minified and gzipped, of ${BYTES_MAX / 1_000}`);
if (bytes > BYTES_MAX) process.exit(1);
