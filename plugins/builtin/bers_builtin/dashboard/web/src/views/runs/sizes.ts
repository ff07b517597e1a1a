// How large what a build delivers is over time: all of it, and each of its largest files.

import { h, renew } from "../../dom";
import { formatted, localText } from "../../format";
import { plot, type Row } from "../../plot";
import { complain } from "../../view";
import { history, measured, outcome, statusOf, type Told } from "./told";

const SIZES = ["raw", "gzip", "brotli"] as const;
const MOST_FILES = 7;

interface Asset {
  name: string;
  raw?: number;
  gzip?: number;
  brotli?: number;
  initial?: boolean;
  entry?: boolean;
}

export const assets = (run: Told): Asset[] =>
  (Array.isArray(run.event.data?.assets) ? run.event.data.assets : []).filter((one): one is Asset => typeof one?.name === "string");

/** Pictures for whatever build is chosen, of those that deliver something. */
export function sizes(place: HTMLElement): (runs: readonly Told[]) => Promise<void> {
  let [name, size] = ["", "raw"];
  let told: readonly Told[] = [];

  async function draw(): Promise<void> {
    const names = [...new Set(told.filter((run) => run.parts.some((part) => "bundle_size_total" in part.measures)).map((run) => run.name))];
    if (!names.length) return renew(place);
    const often = (one: string) => told.filter((run) => run.name === one).length;
    if (!names.includes(name)) name = names.sort((a, b) => often(b) - often(a))[0] ?? "";
    const runs = await history("build", name);
    const whole: Row = { name: "everything", dots: dots(runs, (run) => measured(run, "bundle_size_total", "kind", size)) };
    const largest = new Map<string, number>();
    for (const one of runs.flatMap(assets)) largest.set(one.name, Math.max(largest.get(one.name) ?? 0, one[size as "raw"] ?? 0));
    const files = [...largest].sort((a, b) => b[1] - a[1]).slice(0, MOST_FILES);
    const each = files.map(([file]) => ({ name: file, dots: dots(runs, (run) => assets(run).find((one) => one.name === file)?.[size as "raw"]) }));
    const rows = [whole, ...each].filter((row) => row.dots.length);
    const [first, last] = [whole.dots[0], whole.dots.at(-1)];
    const change = first && last && first !== last && first.value ? ` · ${formatted(last.value, "By")} now, ${signed((100 * (last.value - first.value)) / first.value)} since the first of these` : "";
    return renew(
      place,
      h("h3", {}, `How large ${name} is`, h("span", { class: "quiet" }, change)),
      h(
        "p",
        { class: "controls" },
        names.length > 1 ? choice("Build", names, name, (one) => void ((name = one), draw().catch(complain))) : null,
        choice("As", SIZES, size, (one) => void ((size = one), draw().catch(complain))),
      ),
      rows.length ? plot(`Sizes of ${name}, ${size}`, rows, "By") : h("p", { class: "none" }, `No build said how large it is ${size}.`),
    );
  }

  return (runs) => ((told = runs), draw());
}

const dots = (runs: readonly Told[], value: (run: Told) => number | undefined) =>
  runs
    .flatMap((run) => {
      const size = value(run);
      if (size === undefined) return [];
      const at = run.endedAt ?? 0;
      return [{ at, value: size, status: statusOf(run), says: `${run.id}: ${formatted(size, "By")} at ${localText(new Date(at))}, ${outcome(run)}` }];
    })
    .reverse();

export const signed = (percent: number): string => `${percent > 0 ? "+" : ""}${formatted(percent, "%")}`;

function choice(label: string, all: readonly string[], chosen: string, react: (one: string) => void): HTMLElement {
  const select = h("select", { data: { key: label }, on: { change: (event) => react((event.target as HTMLSelectElement).value) } });
  for (const one of all) select.append(h("option", { attributes: { value: one, ...(one === chosen ? { selected: "" } : {}) } }, one));
  return h("label", {}, label, select);
}
