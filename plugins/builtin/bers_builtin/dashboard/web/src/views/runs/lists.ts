// The lists of runs, by kind: what goes on now first, then what has ended, page by page.

import { h, type Row, table } from "../../dom";
import { formatted, moment, span } from "../../format";
import type { Kind } from "../../runs";
import { HEADINGS, isRollback, marked, measured, named, sources, texts, type Told } from "./told";
import { small } from "./waterfall";

const COLUMNS: Record<Kind, readonly string[]> = {
  build: ["Run", "Outcome", "#Took", "Phases", "#Size", "Environment", "Source", "When"],
  validation: ["Run", "Outcome", "#Took", "Tests", "Source", "When"],
  deployment: ["Run", "Outcome", "#Took", "Environment", "#Lead time", "Source", "When"],
};

/** How far each suite is that runs, by its id. */
export type Progress = ReadonlyMap<string, string>;

export function list(kind: Kind, runs: readonly Told[], progress: Progress): HTMLElement {
  if (!runs.length) return h("p", { class: "none" }, "None is known.");
  const rows = runs.map((run) => row(run, progress));
  const used = COLUMNS[kind].map((_, at) => rows.some((one) => one.cells[at] !== "–")); // What nobody tells needs no column.
  const only = <T>(all: readonly T[]) => all.filter((_, at) => used[at]);
  return table(HEADINGS[kind], only(COLUMNS[kind]), rows.map((one) => ({ ...one, cells: only(one.cells) })));
}

function row(run: Told, progress: Progress): Row {
  const common = {
    outcome: h(
      "span",
      {},
      marked(run),
      isRollback(run) ? h("span", { class: "tag" }, "rollback") : null,
      run.event.reason ? h("span", { class: "quiet" }, ` ${run.event.reason}`) : null,
    ),
    took: took(run),
    when: moment(run.endedAt ?? run.startedAt ?? run.event.timestamp),
  };
  const { environment } = run.event;
  const cells = {
    build: [named(run), common.outcome, common.took, small(run), size(run), environment ?? "–", sources(run), common.when],
    validation: [named(run), common.outcome, common.took, progress.get(run.id) && run.state === "running" ? h("span", {}, progress.get(run.id)) : tests(run), sources(run), common.when],
    deployment: [deployed(run), common.outcome, common.took, environment ?? "–", formatted(measured(run, "deployment_lead_time"), "ms"), sources(run), common.when],
  }[run.kind];
  return { cells, data: { key: run.id, state: run.state } };
}

const deployed = (run: Told) => h("span", {}, named(run), run.event.version ? h("span", { class: "quiet" }, ` ${run.event.version}`) : null);

/** How long it took, or has been taking: `count` goes on with it. */
export function took(run: Told): HTMLElement | string {
  if (run.state !== "running" || run.startedAt === null) return formatted(run.event.duration_ms, "ms");
  return h("span", { data: { since: String(run.startedAt) } }, span(Date.now() - run.startedAt));
}

function size(run: Told): HTMLElement | string {
  const [raw, gzip] = ["raw", "gzip"].map((kind) => measured(run, "bundle_size_total", "kind", kind));
  if (raw === undefined && gzip === undefined) return "–";
  return h("span", { attributes: gzip === undefined ? {} : { title: `${formatted(gzip, "By")} with gzip` } }, formatted(raw ?? gzip, "By"));
}

const COUNTED = ["passed", "failed", "errored", "flaky", "skipped"] as const;

/** How many tests came to what; the names are with the run. */
export function tests(run: Told): HTMLElement | string {
  const count = (status: string) => measured(run, "test_count", "status", status) ?? (status === "flaky" ? texts(run.event.data?.flaky).length : 0);
  const told = COUNTED.map((status) => [status, count(status)] as const).filter(([status, number]) => number || status === "passed");
  if (!run.parts.some((part) => "test_count" in part.measures)) return "–";
  const [failed = "", ...more] = [...texts(run.event.data?.failed), ...texts(run.event.data?.flaky)];
  return h(
    "span",
    {},
    ...told.flatMap(([status, number], at) => [at ? ", " : null, h("span", { class: BAD[status] ? "strong" : "", data: { status: BAD[status] } }, `${formatted(number)} ${status}`)]),
    failed ? h("span", { class: "quiet", attributes: { title: [failed, ...more].join("\n") } }, ` ${brief(failed)}${more.length ? ` and ${more.length} more` : ""}`) : null,
  );
}

const BAD: Record<string, string> = { failed: "unhealthy", errored: "unhealthy", flaky: "degraded" };

/** The end of a test's name says which it is. */
export const brief = (name: string): string => name.split("::").pop() ?? name;

/** Count on what runs, every second. */
export function count(place: Element): void {
  for (const node of place.querySelectorAll<HTMLElement>("[data-since]")) node.textContent = span(Date.now() - Number(node.dataset.since));
}
