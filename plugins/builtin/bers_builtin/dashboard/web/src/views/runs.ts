// Builds, suites and deployments: each with what it measured, and DORA's figures.

import { ask, type Stored } from "../api";
import { byId, h, renew, table } from "../dom";
import { formatted, localText, moment } from "../format";
import type { Live } from "../live";
import { atMost } from "../pace";
import { plot, type Row } from "../plot";
import { isRun, joined, outcome, outcomeMark, type Run, runOf, statusOf } from "../runs";
import type { View } from "../view";

const TYPES = { build: "build.*", validation: "testsuiterun.*", deployment: "deployment.*" } as const;
const MOST_ROWS = 8;
const MOST_RUNS = 500; // How many are known of each kind.
const AGAIN = 500; // Milliseconds between two drawings of rows, however many runs there are.
const PICTURES_AGAIN = 5000; // The same for what shows hundreds of them.
const TITLES: Record<string, string> = { build: "Builds", validation: "Test suites", deployment: "Deployments" };

interface Figure {
  value: number | null;
  unit: string;
  n: number;
  method: string;
  band: string | null;
  completeness: string[];
}

export function runs(): View {
  const all = new Map<string, Run[]>();
  const phases = new Map<string, Record<string, number>>(); // Of each build, how long each took; a phase is an event of its own.
  const sizes = new Map<string, number>(); // Of what each build made, as it was before anything compressed it.

  const each = (pause: number, show: (kind: string) => void) => new Map(Object.keys(TYPES).map((kind) => [kind, atMost(pause, () => show(kind))]));
  const drawn = each(AGAIN, draw);
  const pictured = each(PICTURES_AGAIN, picture);

  async function load(): Promise<void> {
    await Promise.all([...Object.entries(TYPES).map(([kind, type]) => runsOf(kind, type)), dora()]);
  }

  async function runsOf(kind: string, type: string): Promise<void> {
    const records = await ask<Stored[]>("records", { type, limit: MOST_RUNS });
    all.set(kind, joined(records.map((one) => runOf(one.type, one.timestamp, one.subject, one.id, one))));
    for (const { subject, measures, labels } of [...records].sort((a, b) => (a.seq ?? 0) - (b.seq ?? 0))) {
      const size = measures?.bundle_size_total;
      if (subject && size !== undefined && labels?.kind === "raw") sizes.set(subject, size);
      const took = measures?.build_phase_time;
      if (subject && took !== undefined && labels?.phase) phases.set(subject, { ...phases.get(subject), [labels.phase]: took });
    }
    forget();
    draw(kind);
  }

  /** What belongs to runs that are not known any more. */
  function forget(): void {
    const known = new Set([...all.values()].flatMap((list) => list.map((run) => run.name)));
    for (const about of [phases, sizes]) for (const name of about.keys()) if (!known.has(name)) about.delete(name);
  }

  function draw(kind: string): void {
    const place = byId(kind);
    if (!place.querySelector(".rows")) place.replaceChildren(h("h2", {}, TITLES[kind] ?? kind), h("div", { class: "rows" }), h("div", { class: "pictures" }));
    const list = (all.get(kind) ?? []).slice(0, 50);
    renew(
      place.querySelector(".rows")!,
      list.length
        ? table(TITLES[kind] ?? kind, ["Run", "Outcome", "#Took", "Environment", "Phases", "When"], list.map((run) => row(run, phases.get(run.name))))
        : h("p", { class: "none" }, "None yet."),
    );
    pictured.get(kind)?.();
  }

  function picture(kind: string): void {
    renew(document.querySelector(`#${kind} .pictures`)!, ...pictures(all.get(kind) ?? [], (run) => sizes.get(run.name)));
  }

  async function dora(): Promise<void> {
    const answer = await ask<{ metrics: Record<string, Figure> }>("dora", { period: "30d" });
    renew(
      byId("dora"),
      h("h2", {}, "DORA, 30 days"),
      table("DORA's five figures", ["Figure", "#Value", "Band", "#Of", "How"], Object.entries(answer.metrics).map(([name, figure]) => ({
        cells: [worded(name), formatted(figure.value, figure.unit), figure.band ?? "–", figure.n, figure.completeness.length ? `${figure.method} Not complete: ${figure.completeness.join(", ").replaceAll("_", " ")}.` : figure.method],
      }))),
    );
  }

  return {
    load,
    every: 30_000,
    listen(live: Live) {
      live.on("event", (event) => {
        const kind = isRun(event.type);
        if (!kind) return;
        const run = runOf(event.type, Date.parse(event.time), event.subject, event.id, event.data ?? {});
        all.set(kind, joined([run, ...(all.get(kind) ?? [])]).slice(0, MOST_RUNS));
        drawn.get(kind)?.();
      });
    },
  };
}

function row(run: Run, phases: Record<string, number> = {}) {
  const { facts } = run;
  const reason = facts.reason ? h("span", { class: "quiet" }, ` ${facts.reason}`) : null;
  const about = [facts.service, facts.version].filter(Boolean).join(" ");
  return {
    cells: [
      h("span", {}, run.name, about && about !== run.name ? h("span", { class: "quiet" }, ` ${about}`) : null),
      h("span", {}, outcomeMark(run), reason),
      formatted(facts.duration_ms, "ms"),
      facts.environment ?? "–",
      waterfall({ ...phasesOf(facts.measures ?? {}), ...phases }),
      moment(run.at),
    ],
    data: { key: run.name },
  };
}

/** How long runs took over time, and how large what they built was. */
function pictures(runs: readonly Run[], sizeOf: (run: Run) => number | undefined): HTMLElement[] {
  const took = rowsOf(runs, (run) => run.facts.duration_ms, "ms");
  const sizes = rowsOf(runs, sizeOf, "By");
  return [
    ...(took.length ? [h("h3", {}, "How long they took"), plot("Runs", took, "ms")] : []),
    ...(sizes.length ? [h("h3", {}, "How large the bundles are"), plot("Bundles", sizes, "By")] : []),
  ];
}

function rowsOf(runs: readonly Run[], value: (run: Run) => number | undefined, unit: string): Row[] {
  const rows = new Map<string, Run[]>();
  for (const run of runs) if (value(run) !== undefined) rows.set(groupOf(run), [run, ...(rows.get(groupOf(run)) ?? [])]);
  return [...rows].slice(0, MOST_ROWS).map(([name, own]) => ({
    name,
    dots: own.map((run) => ({
      at: run.at,
      value: value(run) ?? 0,
      status: statusOf(run),
      says: `${run.name}: ${formatted(value(run), unit)} at ${localText(new Date(run.at))}, ${outcome(run)}`,
    })),
  }));
}

/** What is built, tested or deployed again and again, whatever each run of it is called. */
function groupOf({ facts, name }: Run): string {
  const labels = facts.labels ?? {};
  return labels.suite ?? labels.build ?? facts.service ?? labels.name ?? name.split("/")[0] ?? name;
}

const PHASE = "build.phase.";
const phasesOf = (measures: Record<string, number>) =>
  Object.fromEntries(Object.entries(measures).filter(([name]) => name.startsWith(PHASE)).map(([name, took]) => [name.slice(PHASE.length), took]));

/** The phases of a build one after another, as wide as they took. */
function waterfall(measured: Record<string, number>): HTMLElement {
  const phases = Object.entries(measured);
  const total = phases.reduce((sum, [, took]) => sum + took, 0);
  const node = h("span", { class: "phases" });
  for (const [word, took] of phases) {
    const bar = h("span", { class: "phase", attributes: { title: `${word}: ${formatted(took, "ms")}` } }, word);
    bar.style.flexGrow = String(Math.max(0.05, took / (total || 1)));
    node.append(bar);
  }
  return node;
}

const worded = (name: string) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/^./, (letter) => letter.toUpperCase());
