// Builds the browser's half of `@bers/emit`, which the server hands out, into the server's own folder.
import { defineConfig } from "vite";

export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../../../../../core/bers/web/built",
    emptyOutDir: true,
    target: "es2022",
    lib: { entry: "../../../../contrib/bers-emit-js/src/browser.ts", formats: ["es"], fileName: () => "emit.js" },
  },
});
