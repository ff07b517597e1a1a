// A small picture of single measurements over time: one dot each, joined by a line where they belong together.

import { h } from "./dom";
import { formatted, localText } from "./format";
import { drawn } from "./strip";

interface Dot {
  at: number;
  value: number;
  status: string;
  says: string;
}

export interface Row {
  name: string;
  dots: readonly Dot[];
}

const WIDE = 1000; // Units of the picture, which is stretched to its place; strokes are not.
const HIGH = 100;
const COLOURS = 8;

/** Rows of dots below a line that they should not cross. What it shows is said in words, too. */
export function plot(label: string, rows: readonly Row[], unit: string, threshold?: number | null): HTMLElement {
  const dots = rows.flatMap((row) => row.dots);
  const times = dots.map((dot) => dot.at);
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const highest = Math.max(...dots.map((dot) => dot.value));
  const top = Math.max(highest, threshold ?? 0) * 1.1 || 1;
  const x = (at: number) => (to === from ? WIDE / 2 : 10 + ((at - from) / (to - from)) * (WIDE - 20)).toFixed(1);
  const y = (value: number) => (HIGH - (Math.max(0, value) / top) * HIGH).toFixed(1);
  const said = `${label}: ${dots.length} from ${localText(new Date(from))} to ${localText(new Date(to))}, at most ${formatted(highest, unit)}`;
  const picture = drawn(
    "svg",
    { class: "plot", role: "img", "aria-label": said, viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none" },
    ...(typeof threshold === "number" ? [drawn("path", { class: "threshold", d: `M0 ${y(threshold)}H${WIDE}` })] : []),
    ...rows.map((row, at) => drawn("path", { class: "joined", "data-colour": (at % COLOURS) + 1, d: `M${row.dots.map((dot) => `${x(dot.at)} ${y(dot.value)}`).join("L")}` })),
    ...dots.map((dot) => drawn("path", { class: "dot", "data-status": dot.status, d: `M${x(dot.at)} ${y(dot.value)}h0.01` }, drawn("title", {}, dot.says))),
  );
  const key = rows.length > 1 ? rows.map((row, at) => h("li", { data: { colour: String((at % COLOURS) + 1) } }, row.name)) : [];
  const limit = typeof threshold === "number" ? [h("li", { data: { colour: "target" } }, `threshold ${formatted(threshold, unit)}`)] : [];
  const figure = h("figure", {}, h("figcaption", { class: "quiet" }, said), h("ul", { class: "key" }, ...key, ...limit));
  figure.insertBefore(picture, figure.lastChild);
  return figure;
}
