import { defineConfig } from "vite";

const page = (name: string): string => new URL(name, import.meta.url).pathname;

// `npm run dev` shows the pages while they are being written, beside a gateway that runs on the usual ports.
export default defineConfig({
  server: {
    proxy: {
      "/v1": { target: "ws://127.0.0.1:8080", ws: true },
      "^/(metrics|inspect\\.json|inspect/.*)": { target: "http://127.0.0.1:9090" },
    },
  },
  build: {
    target: "es2022",
    // three.js is one piece.
    chunkSizeWarningLimit: 900,
    assetsInlineLimit: 0,
    rollupOptions: { input: [page("index.html"), page("inspect.html")] },
  },
});
