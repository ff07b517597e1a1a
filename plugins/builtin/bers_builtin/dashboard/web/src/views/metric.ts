// One metric: its lines, percentile band, target, thresholds and notes; zoomed, moved, filtered and compared, with the numbers as a table.

import "../metric/metric.css";
import { toRule } from "../alerts/chosen";
import { ask, type MetricAnswer, Refused, type Summary } from "../api";
import { Chart, type Line } from "../chart";
import { worded } from "../dialog";
import { byId, h, link, renew, show } from "../dom";
import { formatted } from "../format";
import { mark, named } from "../legend";
import { address, type Bounds, bounds, type Chosen, fieldsOf, moved, read, zoomed } from "../metric/chosen";
import { numbers, summary } from "../metric/figures";
import { offer } from "../metric/labels";
import { drawing, FIELDS, MOST_LINES } from "../metric/lines";
import { movedByKeys, moving, type Moves } from "../metric/moving";
import { happened, type Happened, listed } from "../metric/notes";
import { readout } from "../metric/readout";
import type { Report } from "../rules/rule";
import { drawSoon } from "../pace";
import { complain, reload, type View } from "../view";

const HINT = "Drag over the chart to look closer, with shift to move; two clicks show twice as much. With the keyboard: arrows, + and −.";
const POINT = ["count", ...FIELDS].join(",");
const POINTS = 600; // As many as a chart has room for.

export function metric(main: HTMLElement): View {
  let chosen = read();
  let lines: Line[] = [];
  let notes: Happened[] = [];
  let unit = "";
  let rules: Report[] = [];
  let offered = "";
  const look = ([from, to]: Bounds) => choose({ range: "", from: Math.round(from), to: Math.round(to) });
  const moves: Moves = { move: (share) => look(moved(bounds(chosen), share)), zoom: (factor) => look(zoomed(bounds(chosen), factor)) };
  const chart = new Chart(byId("chart"), {
    height: 360,
    unit: "",
    lines: [],
    onRange: (from, to) => look([from, to]),
    onNear: (line) => mark(byId("key"), line),
    plugins: [
      moving(moves),
      readout(byId("readout"), HINT, () => ({ unit, lines, notes })),
    ],
  });
  show(byId("readout"), HINT);
  movedByKeys(byId("chart"), moves);

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
  for (const button of main.querySelectorAll<HTMLButtonElement>("[data-move], [data-zoom]")) {
    button.addEventListener("click", () => (button.dataset.move ? moves.move(Number(button.dataset.move)) : moves.zoom(Number(button.dataset.zoom))));
  }
  const form = byId("filter") as HTMLFormElement;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => choose({ labels: field(form, "labels").value.trim(), by: field(form, "by").value }));
  (byId("before") as HTMLInputElement).addEventListener("change", (event) => choose({ before: (event.target as HTMLInputElement).checked }));
  (byId("metric") as HTMLSelectElement).addEventListener("change", (event) => choose({ name: (event.target as HTMLSelectElement).value, labels: "", by: "" }));

  /** No more than there are pixels for, of lines that have many neighbours. */
  const points = () => Math.min(POINTS, Math.max(100, Math.round(byId("chart").clientWidth / 2)));

  async function load(): Promise<void> {
    const wanted = chosen;
    const [from, to] = bounds(chosen);
    const whole = { from, to, fields: POINT, lineFields: "average", points: points(), limit: MOST_LINES };
    const fields = { ...whole, ...fieldsOf(chosen) };
    const path = `metrics/${encodeURIComponent(chosen.name)}`;
    const refusals = new Set<string>();
    const refuse = (why: unknown): null => {
      if (!(why instanceof Refused)) throw why;
      refusals.add(worded(why));
      return null;
    };
    controls(chosen);
    if (offered !== chosen.name) void offer((offered = chosen.name), chosen.by);
    const [now, then, found, all] = await Promise.all([
      ask<MetricAnswer>(path, fields).catch(refuse),
      chosen.before ? ask<MetricAnswer>(path, { ...fields, by: "", from: 2 * from - to, to: from }).catch(refuse) : null,
      happened([from, to]),
      ask<Report[]>("alerts/rules").catch(() => []),
    ]);
    if (wanted !== chosen) return; // Something else is looked at by now, and is drawn already or soon.
    downloads(path, from, to);
    byId("fault").hidden = refusals.size === 0;
    show(byId("fault"), [...refusals].join(" · "));
    if (!now) return;
    [unit, notes, rules] = [now.unit, found, all.filter((rule) => rule.type === chosen.name && rule.threshold !== null)];
    draw(now, then, [from, to]);
    show(byId("title"), now.title);
    show(byId("described"), now.description);
    summary(now, then);
    // After the chart, in a frame of its own: it is below, and takes longer.
    drawSoon(() => wanted === chosen && numbers(now));
  }

  function draw(now: MetricAnswer, then: MetricAnswer | null, [from, to]: Bounds): void {
    const isWhole = chosen.by === "";
    const drawn = drawing(now, then, isWhole);
    lines = drawn.lines;
    chart.change({ unit, lines, target: now.target, notes, bands: drawn.bands, levels: rules.map((rule) => ({ value: rule.threshold ?? 0, colour: "--bad" })) });
    chart.set(drawn.data as never, from, to);
    key(now, isWhole);
    renew(byId("happened"), ...(notes.length ? [listed(notes)] : []));
    byId("chart").setAttribute("aria-label", `${now.title}: ${formatted(now.average, unit)} on average, p95 ${formatted(now.p95, unit)}. The numbers stand below as a table.`);
  }

  function key(now: MetricAnswer, isWhole: boolean): void {
    const left = now.seriesCount - now.series.length;
    renew(
      byId("key"),
      ...named(chart, lines),
      ...(isWhole ? [h("li", { data: { colour: "band" } }, "p50 to p95"), h("li", { data: { colour: "outer" } }, "to p99")] : []),
      ...(now.target === null ? [] : [h("li", { data: { colour: "target" } }, `target ${formatted(now.target, unit)}`)]),
      ...rules.map((rule) => h("li", { data: { colour: "threshold" } }, link(toRule(rule.id), rule.name), ` ${rule.condition}`)),
      ...(notes.some((note) => note.kind === "deployment") ? [h("li", { data: { colour: "deployment" } }, "deployment")] : []),
      ...(notes.some((note) => note.kind === "alert") ? [h("li", { data: { colour: "alert" } }, "alert")] : []),
      ...(left > 0 ? [h("li", { class: "quiet" }, `and ${left} more series`)] : []),
    );
  }

  function downloads(path: string, from: number, to: number): void {
    const asked = { ...fieldsOf(chosen), from: String(from), to: String(to), fields: POINT, points: String(POINTS) };
    for (const format of ["csv", "json"]) {
      const query = new URLSearchParams({ ...asked, ...(format === "csv" ? { format } : {}) });
      byId(format).setAttribute("href", `/api/monitoring/${path}?${query}`);
    }
  }

  void names()
    .then((all) => {
      const select = byId("metric") as HTMLSelectElement;
      select.replaceChildren(...all.map((one) => h("option", { attributes: { value: one.type } }, `${one.title} (${one.type})`)));
      select.value = chosen.name;
    })
    .catch(complain);
  return { load, every: 10_000 };
}

async function names(): Promise<Summary[]> {
  return Object.values(await ask<Record<string, Summary>>("metrics")).sort((a, b) => a.title.localeCompare(b.title));
}

function controls(chosen: Chosen): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-range]")) {
    button.setAttribute("aria-pressed", String(button.dataset.range === chosen.range));
  }
  const form = byId("filter") as HTMLFormElement;
  const labels = field(form, "labels");
  if (labels !== document.activeElement) labels.value = chosen.labels;
  field(form, "by").value = chosen.by;
  (byId("before") as HTMLInputElement).checked = chosen.before;
  (byId("metric") as HTMLSelectElement).value = chosen.name;
}

const field = (form: HTMLFormElement, name: string) => form.elements.namedItem(name) as HTMLInputElement;
