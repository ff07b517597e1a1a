// A tap: what passes one place while it does, as it is filtered, until it is stopped.

import { Refused, stream } from "../../api";
import { worded } from "../../dialog";
import { byId, h, show } from "../../dom";
import { formatted, labelled, moment } from "../../format";
import { outcomeMark } from "../../runs";

export interface Looked {
  /** What is looked at, in words. */
  title: string;
  /** `bus`, a pipeline, or PIPELINE/STAGE. */
  at: string;
  /** Types of events, with commas between. */
  pattern: string;
  where: string;
}

const MOST_SHOWN = 50;

interface Line {
  /** What is looked at: told first, once everything that passes from then on is shown. */
  tap?: unknown;
  event?: Record<string, unknown>;
  window?: Record<string, unknown>;
  skipped?: number;
}

/** One at a time: another that is opened ends the one before. */
export class Tap {
  #leaving = new AbortController();
  #looked: Looked | undefined;
  #looks = false; // Whether the server does look; what passed before is not shown.
  #paused = false;
  #waiting: Line[] = [];
  #seen = 0;
  #skipped = 0;

  constructor(private readonly changed: () => void) {
    const form = this.#form;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#looked) this.open({ ...this.#looked, pattern: this.#field("pattern").value.trim(), where: this.#field("where").value.trim() });
    });
    byId("tap-pause").addEventListener("click", () => this.#pause());
    byId("tap-close").addEventListener("click", () => this.close());
  }

  get at(): Looked | undefined {
    return this.#looked;
  }

  open(looked: Looked): void {
    this.#leaving.abort();
    this.#leaving = new AbortController();
    this.#looked = looked;
    [this.#looks, this.#paused, this.#waiting, this.#seen, this.#skipped] = [false, false, [], 0, 0];
    byId("tap").hidden = false;
    show(byId("tap-title"), looked.title);
    for (const name of ["pattern", "where"] as const) this.#field(name).value = looked[name];
    byId("tapped").replaceChildren();
    this.changed();
    this.#tell();
    void this.#read(looked, this.#leaving.signal);
  }

  close(): void {
    this.#leaving.abort();
    this.#looked = undefined;
    byId("tap").hidden = true;
    this.changed();
  }

  get #form(): HTMLFormElement {
    return byId("tap-filter") as HTMLFormElement;
  }

  #field(name: "pattern" | "where"): HTMLInputElement {
    return this.#form.elements.namedItem(name) as HTMLInputElement;
  }

  #pause(): void {
    this.#paused = !this.#paused;
    if (!this.#paused) for (const line of this.#waiting.splice(0)) this.#add(line);
    this.#tell();
  }

  async #read({ at, pattern, where }: Looked, signal: AbortSignal): Promise<void> {
    try {
      const lines = await stream("tap", { at, ...(pattern ? { pattern } : {}), ...(where ? { where } : {}) }, signal);
      for (let text = ""; ; ) {
        const { done, value } = await lines.read();
        if (done) return this.#tell("the server ended it");
        const whole = (text + value).split("\n");
        text = whole.pop() ?? "";
        for (const line of whole) if (line) this.#take(JSON.parse(line) as Line);
        this.#tell();
      }
    } catch (fault) {
      if (!signal.aborted) this.#tell(fault instanceof Refused ? worded(fault) : `it broke off: ${fault instanceof Error ? fault.message : String(fault)}`);
    }
  }

  #take(line: Line): void {
    if (line.tap) this.#looks = true;
    if (line.skipped) this.#skipped += line.skipped;
    if (!line.event && !line.window) return;
    this.#seen += 1;
    if (!this.#paused) return this.#add(line);
    this.#waiting = [...this.#waiting, line].slice(-MOST_SHOWN);
  }

  #add(line: Line): void {
    const shown = byId("tapped");
    shown.prepend(record(line));
    while (shown.childElementCount > MOST_SHOWN) shown.lastElementChild?.remove();
  }

  #tell(word = ""): void {
    const button = byId("tap-pause");
    show(button, this.#paused ? "Go on" : "Pause");
    button.setAttribute("aria-pressed", String(this.#paused));
    const skipped = this.#skipped ? `, ${this.#skipped} passed unseen because they were too many` : "";
    const state = this.#paused ? `paused, ${this.#waiting.length} wait` : this.#seen ? `the newest ${Math.min(this.#seen, MOST_SHOWN)} of ${this.#seen} seen` : this.#looks ? "nothing yet" : "not looking yet";
    show(byId("tap-state"), word ? `${word}; ${state}` : `${state}${skipped}`);
  }
}

/** A line that says what it is, and all of it when it is opened. */
function record({ event, window }: Line): HTMLElement {
  const whole = h("pre", {}, JSON.stringify(event ?? window, null, 1));
  return h("li", {}, h("details", {}, h("summary", {}, ...(event ? ofEvent(event) : ofWindow(window ?? {}))), whole));
}

function ofEvent(event: Record<string, unknown>): (Node | string)[] {
  const at = typeof event.time === "number" ? event.time * 1000 : Date.parse(String(event.time));
  const outcome = event.outcome ? [outcomeMark(String(event.outcome)), " "] : [];
  const measures = Object.entries((event.measures ?? {}) as Record<string, number>).slice(0, 4).map(([name, value]) => `${name} ${formatted(value)}`);
  return [
    Number.isFinite(at) ? moment(at) : "",
    " ",
    h("strong", {}, String(event.type ?? "")),
    ` ${String(event.subject ?? "")} `,
    ...outcome,
    h("span", { class: "quiet" }, [event.reason, ...measures].filter(Boolean).join(", ")),
  ];
}

function ofWindow(window: Record<string, unknown>): (Node | string)[] {
  const labels = labelled((window.labels ?? {}) as Record<string, string>);
  const start = Number(window.start);
  return [
    Number.isFinite(start) ? moment(start * 1000) : "",
    " ",
    h("strong", {}, String(window.metric ?? "")),
    ` ${labels.join(" ")} `,
    h("span", { class: "quiet" }, `${formatted(Number(window.count))} measured, the last ${formatted(Number(window.last))}`),
  ];
}
