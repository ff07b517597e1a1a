// The keyboard: letters go to views, `?` says which.

import { byId, h } from "./dom";

const KEYS: readonly (readonly [string, string, string])[] = [
  ["o", "Overview", "/"],
  ["a", "Alerts", "/alerts"],
  ["r", "Runs", "/runs"],
  ["m", "Metrics", "/metric"],
  ["p", "Pipelines", "/pipelines"],
  ["h", "Operations", "/operations"],
];

export function keyboard(): void {
  const dialog = h(
    "dialog",
    { attributes: { id: "keys", "aria-labelledby": "keys-title" } },
    h("h2", { attributes: { id: "keys-title" } }, "Keyboard"),
    h(
      "dl",
      {},
      ...KEYS.flatMap(([key, name]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, name)]),
      h("dt", {}, h("kbd", {}, "?")),
      h("dd", {}, "This list"),
      h("dt", {}, h("kbd", {}, "Esc")),
      h("dd", {}, "Close"),
    ),
    h("form", { attributes: { method: "dialog" } }, h("button", {}, "Close")),
  );
  document.body.append(dialog);
  const opener = byId("help");
  opener.hidden = false;
  opener.addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    const at = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || at.closest("input, textarea, select, dialog")) return;
    if (event.key === "?") dialog.showModal();
    const to = KEYS.find(([key]) => key === event.key)?.[2];
    if (to) location.assign(to);
  });
}
