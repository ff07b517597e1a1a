// One metric: its lines, percentile band, target and notes; zoomed, filtered and compared, with the numbers as a table.

import { ask, type MetricAnswer, type Point, Refused, type Stored, type Summary } from "../api";
import { Chart, columns, type Note } from "../chart";
import { worded } from "../dialog";
import { byId, h, renew, show, table } from "../dom";
import { formatted, moment } from "../format";
import { reload, type View } from "../view";

const RANGES = { "5m": 5, "15m": 15, "1h": 60, "6h": 360, "24h": 1440, "7d": 10_080, "30d": 43_200 } as const;
const FIELDS = ["average", "min", "max", "p50", "p95", "p99"];
const MOST_LINES = 8;
const MINUTE = 60_000;

interface Chosen {
  name: string;
  range: string;
  from: number | null;
  to: number | null;
  labels: string;
  by: string;
  before: boolean;
}

export function metric(main: HTMLElement): View {
  let chosen = read();
  const chart = new Chart(byId("chart"), { height: 360, unit: "", lines: [], onRange: (from, to) => choose({ range: "", from: Math.round(from), to: Math.round(to) }) });

  function choose(part: Partial<Chosen>): void {
    chosen = { ...chosen, ...part };
    history.pushState(null, "", address(chosen));
    void reload();
  }

  addEventListener("popstate", () => {
    chosen = read();
    void reload();
  });
  for (const button of main.querySelectorAll<HTMLButtonElement>("[data-range]")) {
    button.addEventListener("click", () => choose({ range: button.dataset.range ?? "1h", from: null, to: null }));
  }
  const form = byId("filter") as HTMLFormElement;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    choose({ labels: field(form, "labels").value.trim(), by: field(form, "by").value.trim() });
  });
  (byId("before") as HTMLInputElement).addEventListener("change", (event) => choose({ before: (event.target as HTMLInputElement).checked }));
  (byId("metric") as HTMLSelectElement).addEventListener("change", (event) => choose({ name: (event.target as HTMLSelectElement).value }));

  async function load(): Promise<void> {
    const [from, to] = bounds(chosen);
    const fields: Record<string, string | number> = { from, to, fields: ["count", ...FIELDS].join(","), points: 600, limit: 50 };
    if (chosen.labels) fields.labels = chosen.labels;
    if (chosen.by) fields.by = chosen.by === "-" ? "" : chosen.by;
    const path = `metrics/${encodeURIComponent(chosen.name)}`;
    const [now, then, notes] = await Promise.all([
      ask<MetricAnswer>(path, fields).catch(refuse),
      chosen.before ? ask<MetricAnswer>(path, { ...fields, from: 2 * from - to, to: from }).catch(refuse) : null,
      annotations(from, to),
    ]);
    if (!now) return;
    byId("fault").hidden = true;
    draw(now, then, notes, from, to);
    controls(chosen);
    summary(now);
    numbers(now);
    byId("download").setAttribute("href", `/api/monitoring/${path}?${new URLSearchParams({ from: String(from), to: String(to), format: "csv" })}`);
  }

  function draw(now: MetricAnswer, then: MetricAnswer | null, notes: Note[], from: number, to: number): void {
    const lines = now.series.length > 1 ? now.series.slice(0, MOST_LINES) : [];
    const whole = columns(now.overall, FIELDS.length + 1, now.stepMs);
    const sets: (readonly (number | null)[])[][] = [];
    const drawn = [];
    if (lines.length === 0) {
      // One line, between what 50 % and 95 % stay below, and above that, lighter, what 99 % do.
      sets.push([whole[0] ?? [], whole[2] ?? [], whole[5] ?? [], whole[6] ?? [], whole[7] ?? []]);
      drawn.push({ label: "average", colour: 1, width: 2 }, ...["p50", "p95", "p99"].map((label) => ({ label, colour: 1, bound: true })));
    }
    lines.forEach((series, at) => {
      const found = columns(series.points, FIELDS.length + 1, now.stepMs);
      sets.push([found[0] ?? [], found[2] ?? []]);
      drawn.push({ label: named(series.labels), colour: at + 1, width: 2 });
    });
    if (then) {
      const moved = then.overall.map(([start, ...rest]) => [start + (to - from), ...rest] as Point);
      const found = columns(moved, FIELDS.length + 1, then.stepMs);
      sets.push([found[0] ?? [], found[2] ?? []]);
      drawn.push({ label: "the period before", colour: 0, width: 1 });
    }
    const bands: [number, number][] = lines.length === 0 ? [[3, 2], [4, 3]] : [];
    chart.change({ unit: now.unit, lines: drawn, target: now.target, notes, bands });
    chart.set(merged(sets) as never, from, to);
    renew(
      byId("key"),
      ...drawn.filter((line) => !("bound" in line)).map((line) => h("li", { data: { colour: String(line.colour) } }, line.label)),
      ...(lines.length === 0 ? [h("li", { data: { colour: "band" } }, "p50 to p95"), h("li", { data: { colour: "outer" } }, "to p99")] : []),
      ...(now.target === null ? [] : [h("li", { data: { colour: "target" } }, `target ${formatted(now.target, now.unit)}`)]),
      ...notes.slice(0, 20).map((note) => h("li", { data: { colour: note.kind } }, `${note.text}, `, moment(note.at))),
    );
    byId("chart").setAttribute("aria-label", `${now.title}: ${formatted(now.average, now.unit)} on average, p95 ${formatted(now.p95, now.unit)}. The numbers stand below as a table.`);
  }

  function refuse(fault: unknown): null {
    if (!(fault instanceof Refused)) throw fault;
    byId("fault").hidden = false;
    show(byId("fault"), worded(fault));
    return null;
  }

  void names().then((all) => {
    const select = byId("metric") as HTMLSelectElement;
    select.replaceChildren(...all.map((one) => h("option", { attributes: { value: one.type } }, `${one.title} (${one.type})`)));
    select.value = chosen.name;
  });
  return { load, every: 10_000 };
}

async function names(): Promise<Summary[]> {
  return Object.values(await ask<Record<string, Summary>>("metrics")).sort((a, b) => a.title.localeCompare(b.title));
}

function read(): Chosen {
  const asked = new URLSearchParams(location.search);
  const number = (name: string) => (asked.has(name) ? Number(asked.get(name)) : null);
  return {
    name: decodeURIComponent(location.pathname.split("/")[2] ?? "") || "build_performance",
    range: asked.get("range") ?? (asked.has("from") ? "" : "1h"),
    from: number("from"),
    to: number("to"),
    labels: asked.get("labels") ?? "",
    by: asked.get("by") ?? "",
    before: asked.get("before") === "1",
  };
}

function address(chosen: Chosen): string {
  const asked = new URLSearchParams();
  if (chosen.range) asked.set("range", chosen.range);
  else if (chosen.from !== null && chosen.to !== null) {
    asked.set("from", String(chosen.from));
    asked.set("to", String(chosen.to));
  }
  if (chosen.labels) asked.set("labels", chosen.labels);
  if (chosen.by) asked.set("by", chosen.by);
  if (chosen.before) asked.set("before", "1");
  return `/metric/${encodeURIComponent(chosen.name)}?${asked}`;
}

function bounds(chosen: Chosen): [number, number] {
  if (chosen.from !== null && chosen.to !== null) return [chosen.from, chosen.to];
  const now = Date.now();
  return [now - (RANGES[chosen.range as keyof typeof RANGES] ?? 60) * MINUTE, now];
}

function controls(chosen: Chosen): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-range]")) {
    button.setAttribute("aria-pressed", String(button.dataset.range === chosen.range));
  }
  const form = byId("filter") as HTMLFormElement;
  field(form, "labels").value = chosen.labels;
  field(form, "by").value = chosen.by;
  (byId("before") as HTMLInputElement).checked = chosen.before;
  (byId("metric") as HTMLSelectElement).value = chosen.name;
}

const field = (form: HTMLFormElement, name: string) => form.elements.namedItem(name) as HTMLInputElement;

function summary(now: MetricAnswer): void {
  show(byId("title"), now.title);
  show(byId("described"), now.description);
  const facts: [string, string][] = [
    ["Newest", formatted(now.current, now.unit)],
    ["Average", formatted(now.average, now.unit)],
    ["P50", formatted(now.p50, now.unit)],
    ["P95", formatted(now.p95, now.unit)],
    ["P99", formatted(now.p99, now.unit)],
    ["Samples", formatted(now.count)],
    ["Target", formatted(now.target, now.unit)],
  ];
  renew(byId("summary"), ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function numbers(now: MetricAnswer): void {
  const newest = now.overall.slice(-200).reverse();
  const at = (point: Point, name: string) => point[now.fields.indexOf(name)] ?? null;
  const rows = newest.map((point) => ({
    cells: [moment(point[0]), formatted(at(point, "count")), ...FIELDS.map((name) => formatted(at(point, name), now.unit))],
  }));
  renew(byId("numbers"), table(`${now.title}, the newest first`, ["From", "#Samples", ...FIELDS.map((name) => `#${name}`)], rows));
}

async function annotations(from: number, to: number): Promise<Note[]> {
  const [deployments, alerts] = await Promise.all([
    ask<Stored[]>("records", { type: "deployment.finished", limit: 100, since: Math.round(from) }).catch(() => []),
    ask<{ firedAt: number; title: string }[]>("alerts/history", { period: Math.round(Date.now() - from), limit: 100 }).catch(() => []),
  ]);
  return [
    ...deployments.map((one): Note => ({ at: one.timestamp, text: `Deployed ${one.service ?? one.subject ?? ""} ${one.version ?? ""}`.trim(), kind: "deployment" })),
    ...alerts.map((one): Note => ({ at: one.firedAt, text: one.title, kind: "alert" })),
  ].filter((note) => note.at >= from && note.at <= to);
}

function named(labels: Record<string, string>): string {
  return Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(", ") || "without labels";
}

/** Columns with times of their own, over all of their times together. */
function merged(sets: readonly (readonly (readonly (number | null)[])[])[]): (number | null)[][] {
  const times = [...new Set(sets.flatMap((set) => set[0] as number[]))].sort((a, b) => a - b);
  const at = new Map(times.map((time, index) => [time, index]));
  const found: (number | null | undefined)[][] = [times];
  for (const [own = [], ...values] of sets) {
    for (const column of values) {
      // What is undefined has no value at another line's time, and is no gap.
      const filled = Array<number | null | undefined>(times.length).fill(undefined);
      own.forEach((time, index) => (filled[at.get(time as number) ?? 0] = column[index] ?? null));
      found.push(filled);
    }
  }
  return found as (number | null)[][];
}
