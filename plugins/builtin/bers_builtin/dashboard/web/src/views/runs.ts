// Builds, suites and deployments: each with what it measured, and DORA's figures.

import { ask, type Stored } from "../api";
import { byId, h, renew, table } from "../dom";
import { formatted, moment } from "../format";
import type { Live } from "../live";
import { isRun, joined, outcomeMark, type Run, runOf } from "../runs";
import type { View } from "../view";

const TYPES = { build: "build.*", validation: "testsuiterun.*", deployment: "deployment.*" } as const;
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

  async function load(): Promise<void> {
    await Promise.all([...Object.entries(TYPES).map(([kind, type]) => runsOf(kind, type)), dora()]);
  }

  async function runsOf(kind: string, type: string): Promise<void> {
    const records = await ask<Stored[]>("records", { type, limit: 200 });
    all.set(kind, joined(records.map((one) => runOf(one.type, one.timestamp, one.subject, one.id, one))));
    draw(kind);
  }

  function draw(kind: string): void {
    const list = (all.get(kind) ?? []).slice(0, 50);
    renew(
      byId(kind),
      h("h2", {}, TITLES[kind] ?? kind),
      list.length
        ? table(TITLES[kind] ?? kind, ["Run", "Outcome", "#Took", "Environment", "What it measured", "When"], list.map(row))
        : h("p", { class: "none" }, "None yet."),
    );
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
        all.set(kind, joined([runOf(event.type, Date.parse(event.time), event.subject, event.id, event.data ?? {}), ...(all.get(kind) ?? [])]));
        draw(kind);
      });
    },
  };
}

function row(run: Run) {
  const { facts } = run;
  const reason = facts.reason ? h("span", { class: "quiet" }, ` ${facts.reason}`) : null;
  const about = [facts.service, facts.version].filter(Boolean).join(" ");
  return {
    cells: [
      h("span", {}, run.name, about && about !== run.name ? h("span", { class: "quiet" }, ` ${about}`) : null),
      h("span", {}, outcomeMark(run), reason),
      formatted(facts.duration_ms, "ms"),
      facts.environment ?? "–",
      waterfall(facts.measures ?? {}),
      moment(run.at),
    ],
    data: { key: run.name },
  };
}

/** The phases of a build one after another, as wide as they took. */
function waterfall(measures: Record<string, number>): HTMLElement {
  const phases = Object.entries(measures).filter(([name]) => name.startsWith("build.phase."));
  const total = phases.reduce((sum, [, took]) => sum + took, 0);
  const node = h("span", { class: "phases" });
  for (const [name, took] of phases) {
    const word = name.slice("build.phase.".length);
    const bar = h("span", { class: "phase", attributes: { title: `${word}: ${formatted(took, "ms")}` } }, word);
    bar.style.flexGrow = String(Math.max(0.05, took / (total || 1)));
    node.append(bar);
  }
  return node;
}

const worded = (name: string) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/^./, (letter) => letter.toUpperCase());
