// Builds, suites and deployments: what began and what ended, joined.

import type { Facts } from "./api";
import { h, link, mark } from "./dom";
import { formatted, moment } from "./format";

export interface Run {
  name: string;
  kind: string;
  at: number;
  step: string;
  facts: Facts;
}

export const KINDS = ["build", "validation", "deployment"] as const;
export type Kind = (typeof KINDS)[number];

/** The kind of run that an event is about, by the first part of its type. */
const SUBJECTS: Record<string, Kind> = {
  build: "build",
  testsuiterun: "validation",
  validation: "validation",
  deployment: "deployment",
};

const TONES: Record<string, string> = {
  success: "healthy",
  finished: "healthy",
  running: "unknown",
  skip: "unknown",
  cancel: "degraded",
};

/** The kind of run that an event begins or ends; nothing where it does neither. */
export function isRun(type: string): Kind | undefined {
  const [subject = "", step = ""] = type.replace(/^io\.bers\./, "").split(".");
  return ["started", "finished", "lost", "rolledback"].includes(step) ? SUBJECTS[subject] : undefined;
}

export function runOf(type: string, at: number, subject: string | undefined, id: string, facts: Facts): Run {
  const step = type.replace(/^io\.bers\./, "").split(".")[1] ?? "";
  return { name: subject || facts.service || id, kind: isRun(type) ?? "", at, step, facts };
}

/** The newest first; how one ended stands, though it is told late that it began. */
export function joined(runs: readonly Run[]): Run[] {
  const found = new Map<string, Run>();
  for (const run of runs.filter((one) => one.kind).sort((a, b) => a.at - b.at)) {
    const known = found.get(run.name);
    if (known && run.step === "started" && known.step !== "started") continue;
    found.delete(run.name);
    found.set(run.name, run);
  }
  return [...found.values()].reverse();
}

function outcome(run: Run): string {
  if (run.step === "started") return "running";
  return run.step === "lost" ? "lost" : (run.facts.outcome ?? "finished");
}

/** How good it is to have ended so, as a mark shows it. */
export const tone = (outcome: string): string => TONES[outcome] ?? "unhealthy";

export const outcomeMark = (outcome: string): HTMLElement => mark(outcome, tone(outcome));

/** The view of a run, by its id. */
export const address = (id: string): string => `/runs?${new URLSearchParams({ id })}`;

export function runRow(run: Run): HTMLTableRowElement {
  const cell = (label: string, ...content: (Node | string)[]) => h("td", { data: { label } }, ...content);
  const took = cell("Took", formatted(run.facts.duration_ms, "ms"));
  took.className = "n";
  return h(
    "tr",
    { data: { key: run.name } },
    h("th", { attributes: { scope: "row" } }, link(address(run.name), run.name)),
    cell("Outcome", outcomeMark(outcome(run))),
    took,
    cell("Environment", run.facts.environment ?? "–"),
    cell("Time", moment(run.at)),
  );
}
