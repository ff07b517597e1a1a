// Dead letters: what is in each, and handing in one, some or all of them again.

import { ask } from "../../api";
import { button, buttons, may, several } from "../../deeds";
import { worded } from "../../dialog";
import { byId, h, renew, table } from "../../dom";
import { formatted, moment } from "../../format";

interface Letter {
  id: number;
  pipeline: string;
  stage: string;
  reason: string;
  attempts: number;
  firstTime: number;
  lastTime: number;
  firstError: string | null;
  lastError: string | null;
  records: number;
  size: number;
}

interface Opened extends Letter {
  events: unknown[];
  windows: unknown[];
}

interface Replayed {
  delivered: number;
  left: number;
  error?: string | null;
}

const MOST = 50;
const RECORDS = 20;

const outcome = ({ delivered, left, error }: Replayed) => `${delivered} delivered, ${left} left${error ? `: ${error}` : "."}`;

export class Letters {
  readonly #chosen = new Set<number>();
  readonly #open = new Map<number, HTMLElement>();
  #letters: readonly Letter[] = [];

  async show(): Promise<void> {
    this.#letters = await ask<Letter[]>("dead-letters", { limit: MOST });
    for (const id of [...this.#chosen, ...this.#open.keys()]) {
      if (this.#letters.some((letter) => letter.id === id)) continue;
      this.#chosen.delete(id);
      this.#open.delete(id);
    }
    this.#draw();
  }

  #draw(): void {
    const found = this.#letters;
    if (found.length === 0) return renew(byId("dead-letters"), h("p", { class: "none" }, "Everything was delivered."));
    renew(
      byId("dead-letters"),
      table("Dead letters", ["Letter", "Where", "Why", "#Records", "#Size", "#Attempts", "Last tried", "Last fault", ""], found.map((one) => this.#row(one))),
      h("div", { data: { key: `open ${[...this.#open.keys()].join(" ")}` } }, ...this.#open.values()),
      buttons(
        several(
          this.#chosen.size ? `Replay ${this.#chosen.size} selected` : "Replay all",
          () => (this.#chosen.size ? this.#selected() : this.#all()),
          "letters",
        ),
        this.#chosen.size
          ? several(
              `Delete ${this.#chosen.size} selected`,
              () => ({
                title: `Forget ${this.#chosen.size} letters`,
                says: "Their records are gone for good.",
                verb: "Delete",
                method: "DELETE" as const,
                paths: this.#paths(""),
                told: (answers: { dropped: number }[]) => `${answers.reduce((sum, one) => sum + one.dropped, 0)} forgotten.`,
              }),
              "letters",
            )
          : null,
      ),
    );
  }

  #paths = (end: string) => [...this.#chosen].sort((a, b) => a - b).map((id) => `dead-letters/${id}${end}`);

  #selected() {
    return {
      title: `Hand in ${this.#chosen.size} letters again`,
      says: `Letters ${[...this.#chosen].sort((a, b) => a - b).join(", ")} go to their stages, the oldest first. Each is gone when its stage takes it.`,
      verb: "Replay",
      paths: this.#paths("/replay"),
      told: (answers: Replayed[]) => outcome(answers.reduce((sum, one) => ({ delivered: sum.delivered + one.delivered, left: sum.left + one.left, error: sum.error ?? one.error ?? null }))),
    };
  }

  #all() {
    return {
      title: "Hand in the newest letters again",
      says: "At most 100 go to their stages, the oldest first.",
      verb: "Replay all",
      paths: ["dead-letters/replay"],
      told: ([answer]: Replayed[]) => (answer ? outcome(answer) : ""),
    };
  }

  #row(one: Letter) {
    const choose = h("input", { data: { key: `choose ${one.id}` }, attributes: { type: "checkbox", "aria-label": `Select letter ${one.id}`, ...(this.#chosen.has(one.id) ? { checked: "" } : {}) } });
    choose.addEventListener("change", () => {
      if (choose.checked) this.#chosen.add(one.id);
      else this.#chosen.delete(one.id);
      this.#draw();
    });
    const isOpen = this.#open.has(one.id);
    const see = h("button", { data: { key: `see ${one.id} ${isOpen}` }, attributes: { type: "button", "aria-expanded": String(isOpen) }, on: { click: () => void this.#see(one.id) } }, isOpen ? "Hide" : "See");
    return {
      cells: [
        h("label", {}, may("admin") ? choose : null, String(one.id)),
        `${one.pipeline}/${one.stage}`,
        one.reason.replaceAll("_", " "),
        one.records,
        formatted(one.size, "By"),
        one.attempts,
        moment(one.lastTime),
        one.lastError ?? "",
        buttons(
          see,
          button({
            title: `Hand in letter ${one.id} again`,
            says: `Its ${one.records} records go to ${one.stage} of ${one.pipeline} alone. It is gone when that takes it.`,
            verb: "Replay",
            path: `dead-letters/${one.id}/replay`,
            told: outcome,
          }),
          button({
            title: `Forget letter ${one.id}`,
            says: `Its ${one.records} records are gone for good.`,
            verb: "Delete",
            method: "DELETE",
            path: `dead-letters/${one.id}`,
            told: (answer: { dropped: number }) => `${answer.dropped} forgotten.`,
          }),
        ),
      ],
      data: { key: String(one.id) },
    };
  }

  /** Show what is in a letter, before anything is done with it; again hides it. */
  async #see(id: number): Promise<void> {
    if (this.#open.delete(id)) return this.#draw();
    const place = h("div", { class: "letter", data: { key: `letter ${id}` } });
    try {
      const one = await ask<Opened>(`dead-letters/${id}`, { limit: RECORDS });
      const shown = [...one.events, ...one.windows];
      place.append(
        h("h3", {}, `Letter ${id}`, h("span", { class: "quiet" }, ` ${shown.length} of ${one.records} records, without secrets; first refused `), moment(one.firstTime), h("span", { class: "quiet" }, one.firstError && one.firstError !== one.lastError ? `: ${one.firstError}` : "")),
        ...shown.map((record) => h("pre", {}, JSON.stringify(record, null, 1))),
      );
    } catch (fault) {
      place.append(h("p", { class: "missing" }, worded(fault)));
    }
    this.#open.set(id, place);
    return this.#draw();
  }
}
