// Builds the page's script and style sheet into `../built`, with names that change with their content.
import { defineConfig } from "vite";

export default defineConfig({
  base: "/assets/",
  publicDir: false,
  build: {
    outDir: "../built",
    emptyOutDir: true,
    manifest: "manifest.json",
    assetsDir: "",
    assetsInlineLimit: 0, // The page's policy allows nothing inline.
    modulePreload: false,
    target: "es2022",
    rollupOptions: { input: ["src/main.ts", "src/first.ts"] },
  },
});
