// What stands above every view: how everything is, on which server, and since when. The title of the page says it, too.

import { ask, type HealthReport } from "./api";
import { byId, show } from "./dom";
import { span } from "./format";
import type { Live } from "./live";
import { announce } from "./news";
import { inOrder } from "./view";

const TOGETHER = 500; // Milliseconds in which checks that end are asked for in one go.

export class Head {
  #reacts: ((report: HealthReport) => void)[] = [];
  #due: ReturnType<typeof setTimeout> | undefined;
  #status = byId("overall").textContent ?? "";
  #alerts = 0;
  #known: Set<string> | undefined;
  readonly #title: string;
  readonly #ask = inOrder();

  constructor() {
    const view = document.querySelector("header ~ nav [aria-current]")?.textContent ?? "";
    this.#title = [view, document.querySelector("h1")?.textContent ?? ""].filter(Boolean).join(" · ");
  }

  /** Be told of every report of health. */
  on(react: (report: HealthReport) => void): void {
    this.#reacts.push(react);
  }

  load = async (): Promise<void> => {
    const isNews = this.#ask();
    const report = await ask<HealthReport>("health", { always: "true" });
    if (!isNews()) return;
    this.#status = report.overallStatus;
    byId("overall").dataset.status = report.overallStatus;
    show(byId("overall"), report.overallStatus);
    show(byId("environment"), report.environment);
    show(byId("version"), report.version);
    show(byId("uptime"), span(report.uptime));
    this.#entitle();
    for (const react of this.#reacts) react(report);
  };

  listen(live: Live): void {
    live.on("health_status", () => {
      this.#due ??= setTimeout(() => {
        this.#due = undefined;
        void this.load().catch(() => undefined); // Whoever polls says that the server does not answer.
      }, TOGETHER);
    });
    live.on("active_alerts", (frame) => {
      this.#alerts = frame.total;
      this.#entitle();
      const active = frame.alerts.filter((alert) => alert.status === "active");
      for (const alert of active) if (this.#known && !this.#known.has(alert.id)) announce(`${alert.severity}: ${alert.title}`);
      this.#known = new Set(active.map((alert) => alert.id));
    });
  }

  #entitle(): void {
    const count = this.#alerts ? `(${this.#alerts}) ` : "";
    const title = `${count}${this.#status} · ${this.#title}`;
    if (document.title !== title) document.title = title;
  }
}
