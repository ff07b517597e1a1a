// The place where a rule is tried: it is opened from an alert or from the list, edited, and run over what was recorded.

import { ask, Refused, tell } from "../api";
import { worded } from "../dialog";
import { h, renew, severity, show } from "../dom";
import { draft, keepDraft } from "../kept";
import { moment } from "../format";
import { MINUTE, RANGES } from "../metric/chosen";
import { Editor } from "./editor";
import { standing } from "./list";
import { evaluated } from "./evaluated";
import { outcome } from "./outcome";
import type { Story, Trial } from "./rule";

const SPANS = ["1h", "24h", "7d"];
const PATIENCE = 60_000; // Milliseconds: the server takes half of that at most.
const AGAIN = 2_200;
const TURNS = 20;
const NEW = "name: My rule\nmetric: build_performance\nabove: 10s\nfor: 5m\nseverity: warning\n";

const draftOf = (id: string): string => `rule:${id}`;

export class Bench {
  #id = "";
  #story: Story | null = null;
  #over = "24h";
  #turn = 0;
  readonly #title = h("div");
  readonly #editor = new Editor((text) => this.#keep(text));
  readonly #said = h("span", { class: "quiet", attributes: { role: "status" } });
  readonly #found = h("div", { class: "outcome" });
  readonly #try = h("button", { class: "act", attributes: { type: "button" }, on: { click: () => void this.#run() } }, "Try");

  constructor(place: HTMLElement) {
    const spans = SPANS.map((name) => h("button", { data: { over: name }, attributes: { type: "button" }, on: { click: () => this.#choose(name) } }, name));
    const reset = h("button", { attributes: { type: "button" }, on: { click: () => this.#put(this.#story?.source ?? NEW) } }, "As in force");
    place.replaceChildren(
      this.#title,
      this.#editor.node,
      h("div", { class: "controls" }, h("div", { class: "buttons", attributes: { role: "group", "aria-label": "Over the last" } }, h("span", { class: "quiet" }, "Over the last"), ...spans), this.#try, reset, this.#said),
      this.#found,
    );
    this.#choose(this.#over);
  }

  /** Show a rule; what was typed into it before is still there. */
  async open(id: string): Promise<void> {
    if (id !== this.#id) {
      this.#turn++; // What is still asked of the one before is not shown.
      this.#id = id;
      this.#story = null;
      this.#try.disabled = false;
      show(this.#said, "");
      renew(this.#found);
      this.#editor.node.hidden = true;
    }
    if (id === "new") return this.#head(null);
    try {
      const story = await ask<Story>(`alerts/rules/${encodeURIComponent(id)}`);
      if (id === this.#id) this.#head(story);
    } catch (fault) {
      if (!(fault instanceof Refused)) throw fault;
      if (id === this.#id) renew(this.#title, h("p", { class: "missing" }, worded(fault)));
    }
  }

  #head(story: Story | null): void {
    const isNew = this.#editor.node.hidden;
    this.#story = story;
    const isText = story === null || story.source !== "";
    this.#editor.node.hidden = this.#try.hidden = !isText;
    if (isNew && isText) this.#put(draft(draftOf(this.#id)) ?? story?.source ?? NEW);
    if (!story) return renew(this.#title, h("h2", {}, "A new rule"), h("p", { class: "quiet" }, "Try it on what was recorded before it is put into the file."));
    return renew(
      this.#title,
      h("h2", {}, story.name, " ", severity(story.severity), " ", standing(story)),
      h("p", {}, "Looks at ", h("code", {}, story.type), " and fires while ", story.condition, ". ", story.origin === "default" ? "It came with the server. " : "", story.lastEvaluation ? h("span", { class: "quiet" }, "Last looked at ", moment(story.lastEvaluation), ".") : h("span", { class: "quiet" }, "It has not looked at anything yet.")),
      story.hint ? h("p", { class: "missing" }, story.hint) : "",
      isText ? "" : h("p", { class: "none" }, "It follows from an SLO, or from another rule, and is changed there."),
      evaluated(story),
    );
  }

  #put(text: string): void {
    this.#editor.text = text;
    this.#keep(text);
  }

  /** What was typed is still there when the page is left and come back to; what is in force is asked for. */
  #keep(text: string): void {
    keepDraft(draftOf(this.#id), text === (this.#story?.source ?? NEW) ? null : text);
  }

  #choose(over: string): void {
    this.#over = over;
    for (const button of (this.#try.parentElement as HTMLElement).querySelectorAll<HTMLElement>("[data-over]")) button.setAttribute("aria-pressed", String(button.dataset.over === over));
  }

  /** Have it tried; where another one runs, wait for the turn. */
  async #run(): Promise<void> {
    const turn = ++this.#turn;
    const text = this.#editor.text;
    const since = Date.now() - (RANGES[this.#over] ?? 0) * MINUTE;
    this.#try.disabled = true;
    show(this.#said, `Runs over ${this.#over}…`);
    try {
      const trial = await this.#turned({ rule: text, beside: this.#story?.id ?? "", since }, turn);
      if (turn === this.#turn) this.#tell(trial, text);
    } catch (fault) {
      if (turn === this.#turn) show(this.#said, worded(fault));
    }
    if (turn === this.#turn) this.#try.disabled = false;
  }

  async #turned(asked: unknown, turn: number): Promise<Trial> {
    for (let left = TURNS; ; left--) {
      try {
        return await tell<Trial>("POST", "alerts/backtest/rule", asked, PATIENCE);
      } catch (fault) {
        if (!(fault instanceof Refused && fault.status === 429) || left === 0 || turn !== this.#turn) throw fault;
        show(this.#said, "Another back-test runs; this one is next.");
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
  }

  #tell(trial: Trial, text: string): void {
    const { faults } = trial;
    this.#editor.tell(faults);
    if (faults.length) {
      show(this.#said, faults.length === 1 ? "Something is wrong with it." : `${faults.length} things are wrong with it.`);
      return this.#found.replaceChildren();
    }
    show(this.#said, `It would have fired ${trial.would?.fired ?? 0} times.`);
    this.#found.replaceChildren(...outcome(trial, text, this.#story?.threshold ?? null));
    return undefined;
  }
}
