// How everything is: the indicators, what is wrong and what to do about it, and the last runs.

import "../overview.css";
import { toAlert } from "../alerts/chosen";
import { type Alert, ask, envelope, type HealthReport, type Stored, type Summary } from "../api";
import { availability } from "../available";
import { byId, h, link, mark, renew, severity, show } from "../dom";
import { formatted, moment, sentence, span } from "../format";
import type { Head } from "../head";
import type { Live } from "../live";
import { MINUTE } from "../metric/chosen";
import { atMost } from "../pace";
import { isRun, joined, KINDS, type Run, runOf, runRow } from "../runs";
import { Tile } from "../tile";
import { Unstored } from "../unstored";
import { inOrder, type View } from "../view";

const PAST = 15 * MINUTE;
const MOST_RUNS = 60; // How many are known of each kind; the newest are shown.
const AGAIN = 250; // Milliseconds between two drawings of the runs, however many there are.
const VERDICTS: Record<string, string> = { healthy: "on target", degraded: "at risk", unhealthy: "off target" };
const TRENDS: Record<string, string> = { improving: "improving", stable: "steady", degrading: "getting worse" };
const WORST_FIRST = ["unhealthy", "degraded", "unknown", "healthy"];

export function overview(main: HTMLElement, head: Head): View {
  const cards = [...main.querySelectorAll<HTMLElement>("[data-metric]")].map((node) => new Card(node));
  const runs = new Map<string, Run[]>(KINDS.map((kind) => [kind, []]));
  const asked = new Set<string>(); // The kinds of runs of which it is known what there is.
  const unstored = new Unstored<Run>();
  const turns = new Map<string, () => () => boolean>(KINDS.map((kind) => [kind, inOrder()]));
  let frames = 0; // How often the stream has told all alerts.
  const shown = new Map(KINDS.map((kind): [string, () => void] => [kind, atMost(AGAIN, () => showRuns(kind))]));
  head.on(health);

  async function load(): Promise<void> {
    const [metrics] = await Promise.all([
      ask<Record<string, Summary>>("metrics"),
      loadAlerts(), // They wait for nothing else: what is firing is shown though there is no store.
      availability(),
      ...KINDS.map(loadRuns),
      ...cards.map((card) => card.tile.load()),
    ]);
    for (const card of cards) card.judge(metrics[card.tile.name]);
  }

  async function loadAlerts(): Promise<void> {
    const before = frames;
    try {
      const { data, meta } = await envelope<Alert[]>("alerts", { limit: 100 });
      if (frames === before) alerts(data, typeof meta?.total === "number" ? meta.total : data.length); // What was told meanwhile is newer.
    } catch (fault) {
      advise(ofHealth, ofAlerts ?? null);
      throw fault;
    }
  }

  async function loadRuns(kind: string): Promise<void> {
    const types = { build: "build.*", validation: "testsuiterun.*", deployment: "deployment.*" }[kind] ?? "";
    const isNews = turns.get(kind)?.();
    const records = await ask<Stored[]>("records", { type: types, limit: MOST_RUNS });
    if (!isNews?.()) return;
    const stored = records.map((record) => runOf(record.type, record.timestamp, record.subject, record.id, record));
    runs.set(kind, joined([...stored, ...unstored.of(kind)]).slice(0, MOST_RUNS));
    asked.add(kind);
    showRuns(kind);
  }

  function showRuns(kind: string): void {
    const list = runs.get(kind) ?? [];
    renew(byId(kind), ...list.slice(0, 8).map(runRow));
    byId(kind).closest("table")!.hidden = list.length === 0;
    byId(`no-${kind}`).hidden = list.length > 0;
    const isAny = [...runs.values()].some((one) => one.length > 0);
    if (isAny || asked.size === KINDS.length) byId("begin").hidden = isAny;
    found(kind);
  }

  return {
    load,
    every: 15_000, // The stream tells the newest values; percentiles and verdicts are REST's.
    listen(live: Live) {
      live.on("performance_metrics", (frame) => {
        for (const card of cards) {
          const value = frame.metrics[card.tile.name];
          if (value) card.tile.add(value.lastUpdated, value.current);
        }
      });
      live.on("active_alerts", (frame) => {
        frames += 1;
        alerts(frame.alerts, frame.total);
      });
      live.on("event", (event) => {
        const kind = isRun(event.type);
        if (!kind) return;
        const run = runOf(event.type, Date.parse(event.time), event.subject, event.id, event.data ?? {});
        unstored.add(kind, run);
        runs.set(kind, joined([run, ...(runs.get(kind) ?? [])]).slice(0, MOST_RUNS));
        shown.get(kind)?.();
      });
    },
  };
}

/** One indicator: how it stands to its target, beside its newest value and the last minutes. */
class Card {
  readonly tile: Tile;

  constructor(private readonly node: HTMLElement) {
    this.tile = new Tile(node);
    this.tile.over(PAST);
  }

  judge(summary: Summary | undefined): void {
    if (!summary) return;
    const judged = typeof summary.target === "number";
    this.tile.value(summary.current, summary.lastUpdated);
    show(this.#field("p95"), formatted(summary.p95, summary.unit));
    show(this.#field("trend"), TRENDS[summary.trend] ?? "–");
    const status = this.#field("status");
    if (status) status.dataset.status = judged ? summary.healthStatus : "unknown";
    const none = summary.current !== null && !judged ? "no target" : "no data";
    show(status, (judged && VERDICTS[summary.healthStatus]) || none);
  }

  #field(name: string): HTMLElement | null {
    return this.node.querySelector(`[data-field="${name}"]`);
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
        h("p", { class: "quiet" }, sentence(check.message, check.remediation)),
      ),
    ),
  );
  const worst = ["unhealthy", "degraded"].flatMap((status) => report.checks.filter((check) => check.status === status))[0];
  advise(worst ? `${worst.name}: ${sentence(worst.message, worst.remediation)}` : "", ofAlerts);
}

const worstFirst = (checks: HealthReport["checks"]) =>
  [...checks].sort((a, b) => WORST_FIRST.indexOf(a.status) - WORST_FIRST.indexOf(b.status));

// What each asks for: nothing where all is well, null where it cannot be asked, and undefined before it was.
let ofHealth: string | undefined;
let ofAlerts: string | null | undefined;

/** What is to be done about what is worst: a check that is not well, or an alert that nobody looks after. */
function advise(health: string | undefined, alerts: string | null | undefined): void {
  ofHealth = health;
  ofAlerts = alerts;
  if (health || alerts) show(byId("advice"), health || alerts || "");
  else if (alerts === null) show(byId("advice"), "Whether anything is firing is not known.");
  else if (health !== undefined && alerts !== undefined) show(byId("advice"), "Nothing has to be done.");
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
  advise(ofHealth, open ? `${open.title}: ${open.annotations.step ?? open.message}` : "");
  renew(
    byId("alerts"),
    ...list.slice(0, 20).map((alert) =>
      h(
        "li",
        { data: { severity: alert.severity } },
        h("p", {}, severity(alert.severity), " ", link(toAlert(alert.id), alert.title)),
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
