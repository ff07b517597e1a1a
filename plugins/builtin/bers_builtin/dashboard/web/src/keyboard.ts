// The keyboard: letters go to views, `?` says which. Whoever speaks to the machine can switch the letters off.

import { byId, h } from "./dom";
import { recall, remember } from "./kept";

const KEYS: readonly (readonly [string, string, string])[] = [
  ["o", "Overview", "/"],
  ["m", "Metrics", "/metric"],
  ["a", "Alerts", "/alerts"],
  ["r", "Runs", "/runs"],
  ["p", "Pipelines", "/pipelines"],
  ["h", "Operations", "/operations"],
];

export function keyboard(): void {
  const letters = h("input", { attributes: { type: "checkbox", id: "letters" } });
  letters.checked = recall("letters") !== "off";
  letters.addEventListener("change", () => remember("letters", letters.checked ? "on" : "off"));
  const dialog = h(
    "dialog",
    { attributes: { id: "keys", "aria-labelledby": "keys-title" } },
    h("h2", { attributes: { id: "keys-title" } }, "Keyboard"),
    h(
      "dl",
      {},
      ...KEYS.flatMap(([key, name]) => said(key, name)),
      ...said("t", "Theme: the system's, light, dark"),
      ...said("?", "This list"),
      ...said("Esc", "Close"),
    ),
    h(
      "form",
      { attributes: { method: "dialog" } },
      h("label", { class: "check" }, letters, "Letters do this"),
      h("p", { class: "buttons" }, h("button", {}, "Close")),
    ),
  );
  document.body.append(dialog);
  const opener = byId("help");
  opener.hidden = false;
  opener.addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    const at = event.target as Element;
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (document.querySelector("dialog[open]")) return;
    // What stands in a dialog that was closed just now has the focus until the next frame, and nobody types into it.
    if (at.closest("input, textarea, select") && !at.closest("dialog")) return;
    if (event.key === "?") return dialog.showModal();
    if (!letters.checked) return undefined;
    if (event.key === "t") byId("theme").click();
    const to = KEYS.find(([key]) => key === event.key)?.[2];
    if (to) location.assign(to);
    return undefined;
  });
}

const said = (key: string, what: string) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)];
