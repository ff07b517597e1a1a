// How everything is: the indicators, what is wrong and what to do about it, and the last runs.

import "../overview.css";
import { type Alert, ask, type HealthReport, type MetricAnswer, type Stored, type Summary } from "../api";
import { availability } from "../available";
import { Chart, columns, GAP } from "../chart";
import { byId, h, link, mark, renew, show } from "../dom";
import { formatted, moment, span } from "../format";
import type { Head } from "../head";
import type { Live } from "../live";
import { atMost } from "../pace";
import { isRun, joined, KINDS, type Run, runOf, runRow } from "../runs";
import type { View } from "../view";

const PAST = "15m";
const PAST_MS = 15 * 60_000;
const MOST_RUNS = 60; // How many are known of each kind; the newest are shown.
const AGAIN = 250; // Milliseconds between two drawings of the runs, however many there are.
const VERDICTS: Record<string, string> = { healthy: "on target", degraded: "at risk", unhealthy: "off target" };
const TRENDS: Record<string, string> = { improving: "improving", stable: "steady", degrading: "getting worse" };
const WORST_FIRST = ["unhealthy", "degraded", "unknown", "healthy"];

export function overview(main: HTMLElement, head: Head): View {
  const cards = [...main.querySelectorAll<HTMLElement>("[data-metric]")].map((node) => new Card(node));
  const runs = new Map<string, Run[]>(KINDS.map((kind) => [kind, []]));
  const shown = new Map(KINDS.map((kind): [string, () => void] => [kind, atMost(AGAIN, () => showRuns(kind))]));
  head.on(health);

  async function load(): Promise<void> {
    const [metrics, list] = await Promise.all([
      ask<Record<string, Summary>>("metrics"),
      ask<Alert[]>("alerts", { limit: 100 }),
      availability(),
      ...KINDS.map(loadRuns),
      ...cards.map((card) => card.past()),
    ]);
    for (const card of cards) card.judge(metrics[card.name]);
    alerts(list, list.length);
  }

  async function loadRuns(kind: string): Promise<void> {
    const types = { build: "build.*", validation: "testsuiterun.*", deployment: "deployment.*" }[kind] ?? "";
    const records = await ask<Stored[]>("records", { type: types, limit: MOST_RUNS });
    runs.set(kind, joined(records.map((record) => runOf(record.type, record.timestamp, record.subject, record.id, record))));
    showRuns(kind);
  }

  function showRuns(kind: string): void {
    const list = runs.get(kind) ?? [];
    renew(byId(kind), ...list.slice(0, 8).map(runRow));
    byId(kind).closest("table")!.hidden = list.length === 0;
    byId(`no-${kind}`).hidden = list.length > 0;
    byId("begin").hidden = [...runs.values()].some((one) => one.length > 0);
    found(kind);
  }

  return {
    load,
    every: 15_000, // The stream tells the newest values; percentiles and verdicts are REST's.
    listen(live: Live) {
      live.on("performance_metrics", (frame) => {
        for (const card of cards) {
          const value = frame.metrics[card.name];
          if (value) card.add(value.lastUpdated, value.current);
        }
      });
      live.on("active_alerts", (frame) => alerts(frame.alerts, frame.total));
      live.on("event", (event) => {
        const kind = isRun(event.type);
        if (!kind) return;
        const run = runOf(event.type, Date.parse(event.time), event.subject, event.id, event.data ?? {});
        runs.set(kind, joined([run, ...(runs.get(kind) ?? [])]).slice(0, MOST_RUNS));
        shown.get(kind)?.();
      });
    },
  };
}

/** One indicator: its newest value, how it stands to its target, and the last minutes. */
class Card {
  readonly name: string;
  #unit: string;
  #chart: Chart | undefined;
  #data: (number | null)[][] = [[], []];
  #step = 1000;

  constructor(readonly node: HTMLElement) {
    this.name = node.dataset.metric ?? "";
    this.#unit = node.dataset.unit ?? "";
  }

  judge(summary: Summary | undefined): void {
    if (!summary) return;
    this.#unit = summary.unit;
    const judged = typeof summary.target === "number";
    this.#show("current", formatted(summary.current, summary.unit));
    this.#show("p95", formatted(summary.p95, summary.unit));
    this.#show("trend", TRENDS[summary.trend] ?? "–");
    const status = this.#field("status");
    if (status) status.dataset.status = judged ? summary.healthStatus : "unknown";
    const none = summary.current !== null && !judged ? "no target" : "no data";
    this.#show("status", (judged && VERDICTS[summary.healthStatus]) || none);
  }

  async past(): Promise<void> {
    const answer = await ask<MetricAnswer>(`metrics/${this.name}`, { period: PAST, by: "", fields: "average", points: 450 });
    this.#step = answer.stepMs;
    this.#data = columns(answer.overall, 1, answer.stepMs);
    this.#chart ??= this.#made(answer.target);
    this.#chart.set(this.#data as never, answer.to - PAST_MS, answer.to);
  }

  add(at: number, value: number): void {
    this.#show("current", formatted(value, this.#unit));
    const [times, values] = this.#data;
    if (!this.#chart || !times || !values) return;
    const seconds = at / 1000;
    const last = times.at(-1) ?? seconds;
    if (times.length && seconds <= last) return;
    if ((seconds - last) * 1000 > this.#step * GAP) {
      times.push(last + this.#step / 1000); // Nothing was measured, or nothing was heard: that is a gap.
      values.push(null);
    }
    times.push(seconds);
    values.push(value);
    // What has left the picture; one more is kept, from which the line comes in.
    const gone = times.findIndex((time) => (time ?? 0) * 1000 >= at - PAST_MS) - 1;
    if (gone > 60) for (const column of this.#data) column.splice(0, gone);
    this.#chart.set(this.#data as never, at - PAST_MS, at);
  }

  #made(target: number | null): Chart {
    const place = this.node.querySelector<HTMLElement>(".chart")!;
    return new Chart(place, { height: 56, unit: this.#unit, lines: [{ label: this.name, colour: 1 }], target, small: true });
  }

  #field(name: string): HTMLElement | null {
    return this.node.querySelector(`[data-field="${name}"]`);
  }

  #show(name: string, text: string): void {
    show(this.#field(name), text);
  }
}

function health(report: HealthReport): void {
  found("checks");
  renew(
    byId("checks"),
    ...worstFirst(report.checks).map((check) =>
      h(
        "li",
        {},
        h("p", {}, mark(check.status, check.status), " ", h("strong", {}, check.name), breaker(check.breaker)),
        h("p", { class: "quiet" }, sentences(check.message, check.remediation)),
      ),
    ),
  );
  const worst = ["unhealthy", "degraded"].flatMap((status) => report.checks.filter((check) => check.status === status))[0];
  advise(worst ? `${worst.name}: ${sentences(worst.message, worst.remediation)}` : "");
}

const worstFirst = (checks: HealthReport["checks"]) =>
  [...checks].sort((a, b) => WORST_FIRST.indexOf(a.status) - WORST_FIRST.indexOf(b.status));

/** What is, and what to do about it, as two sentences. */
function sentences(what: string, remedy: string | null): string {
  if (!remedy) return what;
  return `${what}${/[.!?]$/.test(what) || !what ? "" : "."} ${remedy}`.trim();
}

let ofHealth = "";
let ofAlerts = "";

/** What is to be done about what is worst: a check that is not well, or an alert that nobody looks after. */
function advise(health: string = ofHealth, alerts: string = ofAlerts): void {
  ofHealth = health;
  ofAlerts = alerts;
  show(byId("advice"), health || alerts || "Nothing has to be done.");
}

function breaker(one: HealthReport["checks"][number]["breaker"]): HTMLElement | null {
  if (!one || one.state === "closed") return null;
  const next = one.nextAttempt ? `, tried again in ${span(Math.max(0, one.nextAttempt - Date.now()))}` : "";
  return h("span", { class: "quiet" }, ` breaker ${one.state}${next}`);
}

function alerts(list: readonly Alert[], total: number): void {
  found("alerts");
  show(byId("alert-count"), String(total));
  byId("no-alerts").hidden = total > 0;
  const open = list.find((alert) => alert.status === "active");
  advise(undefined, open ? `${open.title}: ${open.annotations.step ?? open.message}` : "");
  renew(
    byId("alerts"),
    ...list.slice(0, 20).map((alert) =>
      h(
        "li",
        { data: { severity: alert.severity } },
        h("p", {}, h("span", { class: "mark", data: { severity: alert.severity } }, alert.severity), " ", link(`/alerts?id=${encodeURIComponent(alert.id)}`, alert.title)),
        h("p", {}, alert.message),
        alert.annotations.step ? h("p", { class: "step" }, alert.annotations.step) : null,
        h("p", { class: "quiet" }, `${alert.status} since `, moment(alert.timestamp)),
      ),
    ),
  );
}

function found(section: string): void {
  byId(section).closest("section")?.querySelector(".missing")?.remove();
}
