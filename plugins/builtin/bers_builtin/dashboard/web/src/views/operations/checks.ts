// The checks, how each was over a day, and their breakers.

import { ask, type Check, type HealthReport } from "../../api";
import { button, buttons } from "../../deeds";
import { byId, h, mark, renew, table } from "../../dom";
import { formatted, localText, moment, sentence } from "../../format";
import { strip } from "../../strip";

interface History {
  percent: number | null;
  spans: { status: string; message: string; from: number; to: number }[];
}

const DAY = 86_400_000;
const HISTORIES_EVERY = 60_000;
const at = encodeURIComponent;

export class Checks {
  #checks: readonly Check[] = [];
  #histories = new Map<string, History>();
  #asked = 0;

  /** Show how they are now. */
  tell({ checks }: HealthReport): void {
    this.#checks = checks;
    this.#draw();
  }

  /** Ask how each was, where that was not asked lately, and show it. */
  async show(): Promise<void> {
    if (Date.now() - this.#asked <= HISTORIES_EVERY) return;
    const found = this.#checks.map(async ({ name }) => [name, await ask<History>(`health/${at(name)}/history`, { period: "24h" })] as const);
    this.#histories = new Map(await Promise.all(found));
    if (this.#checks.length) this.#asked = Date.now();
    this.#draw();
  }

  #draw(): void {
    const now = Date.now();
    renew(
      byId("checks"),
      table("Checks", ["Check", "State", "Breaker", "#Well, 24 h", "As far as known, 24 h at most", "What it found", ""], this.#checks.map((one) => this.#row(one, this.#histories.get(one.name), now))),
      buttons(
        button({
          title: "Close every breaker",
          says: "Every check is asked again at once, also those that failed so often that they are left alone.",
          verb: "Reset all breakers",
          path: "health/circuit-breakers/reset",
          told: (answer: { reset: string[] }) => (answer.reset.length ? `Closed: ${answer.reset.join(", ")}.` : "None was open."),
        }),
      ),
    );
  }

  #row(check: Check, past: History | undefined, now: number) {
    const { breaker } = check;
    const state = breaker?.state ?? "–";
    const well = past?.percent == null ? "–" : formatted(past.percent, "%");
    const stretches = (past?.spans ?? []).map((one) => ({ ...one, says: `${one.status}, ${localText(new Date(one.from))}: ${one.message}` }));
    const reset = button(
      {
        title: `Close the breaker of ${check.name}`,
        says: "It is asked again at once.",
        verb: "Reset",
        path: `health/circuit-breakers/${at(check.name)}/reset`,
        told: (answer: { reset: string[] }) => (answer.reset.length ? "It is closed." : "It was not open."),
      },
    );
    return {
      cells: [
        check.name,
        mark(check.status, check.status),
        breaker?.openedAt ? h("span", {}, `${state} since `, moment(breaker.openedAt), ...(breaker.nextAttempt ? [", asked again ", moment(breaker.nextAttempt)] : [])) : breaker?.failures ? `${state}, failed ${breaker.failures} times` : h("span", { class: "word" }, state),
        well,
        past ? strip(`${check.name}: well for ${well} of what is known of 24 h`, stretches, Math.max(now - DAY, stretches[0]?.from ?? 0), now) : "–",
        h("span", {}, sentence(check.message), check.error ? h("span", { class: "quiet" }, ` ${sentence(check.error)}`) : null, ...(check.remediation ? [" ", h("span", { class: "step" }, check.remediation)] : [])),
        state === "closed" || state === "–" ? null : reset,
      ],
      data: { key: check.name },
    };
  }
}
