// A rule as it is edited: its text with numbered lines, the keys that are changed most as fields, and what is wrong at its place.

import { h, renew, show } from "../dom";
import type { Fault } from "./rule";
import { offsetOf, valueOf, withValue } from "./text";

const FIELDS: readonly { key: string; label: string; hint: string }[] = [
  { key: "above", label: "Bad above", hint: "5s, 80%, target" },
  { key: "below", label: "Bad below", hint: "95%" },
  { key: "for", label: "For at least", hint: "5m" },
  { key: "window", label: "Window", hint: "30m" },
  { key: "clear", label: "Good again at", hint: "as soon as not bad" },
  { key: "keep_firing_for", label: "Keeps firing for", hint: "10m" },
];
const SEVERITIES = ["info", "warning", "error", "critical"];
const FEWEST_LINES = 8;

export class Editor {
  readonly node: HTMLElement;
  readonly #area: HTMLTextAreaElement;
  readonly #gutter = h("pre", { class: "gutter", attributes: { "aria-hidden": "true" } });
  readonly #faults = h("ul", { class: "faults", attributes: { id: "faults", role: "alert" } });
  readonly #fields = new Map<string, HTMLInputElement | HTMLSelectElement>();
  #wrong: readonly Fault[] = [];

  constructor(changed: (text: string) => void) {
    this.#area = h("textarea", { attributes: { id: "rule-text", wrap: "off", spellcheck: "false", autocapitalize: "off", "aria-describedby": "faults" } });
    this.#area.addEventListener("input", () => {
      this.#number();
      this.#read();
      changed(this.text);
    });
    const inputs = FIELDS.map(({ key, label, hint }) => {
      const input = h("input", { attributes: { placeholder: hint, autocomplete: "off", name: key } });
      this.#fields.set(key, input);
      return h("label", {}, label, input);
    });
    const severity = h("select", { attributes: { name: "severity" } }, ...SEVERITIES.map((one) => h("option", { attributes: { value: one } }, one)));
    this.#fields.set("severity", severity);
    const fields = h("div", { class: "fields" }, ...inputs, h("label", {}, "Severity", severity));
    fields.addEventListener("input", (event) => {
      const field = event.target as HTMLInputElement;
      this.#area.value = withValue(this.text, field.name, field.value.trim());
      this.#number();
      changed(this.text);
    });
    const label = h("label", { class: "unseen", attributes: { for: "rule-text" } }, "The rule as YAML");
    this.node = h("div", { class: "editor" }, h("div", {}, label, h("div", { class: "lines" }, this.#gutter, this.#area), this.#faults), fields);
  }

  get text(): string {
    return this.#area.value;
  }

  set text(text: string) {
    this.#area.value = text;
    this.tell([]);
    this.#read();
  }

  /** Show what is wrong: each fault is a way to its place in the text. */
  tell(faults: readonly Fault[]): void {
    this.#wrong = faults;
    this.#area.setAttribute("aria-invalid", String(faults.length > 0));
    this.#number();
    renew(
      this.#faults,
      ...faults.map((one) =>
        h(
          "li",
          { data: { key: JSON.stringify(one) } },
          h("button", { class: "place", attributes: { type: "button", "aria-label": `Line ${one.line}, column ${one.column}` }, on: { click: () => this.#show(one) } }, `${one.line}:${one.column}`),
          h("span", {}, one.path === "$" ? one.message : `${one.path}: ${one.message}`),
        ),
      ),
    );
  }

  /** Put the cursor where a fault is, with the word that is there. */
  #show({ line, column }: Fault): void {
    const from = offsetOf(this.text, line, column);
    const word = /^\S*/.exec(this.text.slice(from))?.[0] ?? "";
    this.#area.focus();
    this.#area.setSelectionRange(from, from + word.length);
  }

  /** Number the lines, and mark those in which something is wrong. */
  #number(): void {
    const lines = Math.max(FEWEST_LINES, this.text.split("\n").length);
    const wrong = new Set(this.#wrong.map((one) => one.line));
    this.#area.rows = lines;
    renew(this.#gutter, ...Array.from({ length: lines }, (_, at) => h("span", wrong.has(at + 1) ? { data: { wrong: "true" } } : {}, `${at + 1}\n`)));
  }

  /** Let the fields say what the text does. */
  #read(): void {
    for (const [key, field] of this.#fields) {
      const value = valueOf(this.text, key);
      field.value = key === "severity" ? value || "warning" : value;
    }
  }
}

/** A text that can be copied, with a button that does so where the browser lets it. */
export function copied(text: string): HTMLElement {
  const said = h("span", { class: "quiet", attributes: { role: "status" } });
  const area = h("textarea", { class: "copy", attributes: { readonly: "", wrap: "off", "aria-label": "The rule to copy" } });
  area.value = text;
  area.rows = text.split("\n").length;
  const copy = async () => {
    area.select();
    try {
      await navigator.clipboard.writeText(text);
      show(said, "Copied.");
    } catch {
      show(said, "Your browser lets no page copy here: press Ctrl+C, it is selected.");
    }
  };
  return h("div", {}, area, h("p", { class: "buttons" }, h("button", { attributes: { type: "button" }, on: { click: () => void copy() } }, "Copy as YAML"), said));
}
