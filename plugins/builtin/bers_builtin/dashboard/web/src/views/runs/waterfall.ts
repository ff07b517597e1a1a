// The phases of a build on one scale of time, where they truly began: those that overlap are seen to.

import { h, link } from "../../dom";
import { formatted } from "../../format";
import { drawn } from "../../strip";
import type { Part, Told } from "./told";

export interface Bar {
  name: string;
  from: number;
  to: number;
  status?: string | undefined;
  href?: string;
}

interface Bars {
  bars: readonly Bar[];
  /** Whether anybody told when each began. */
  placed: boolean;
}

/** The phases of a run; of tools that tell no beginnings they stand one after another. */
export function phases(run: Told): Bars {
  const timeline = (Array.isArray(run.event.data?.timeline) ? run.event.data.timeline : []) as Part[];
  const placed = timeline.filter((one) => Number.isFinite(one?.start) && Number.isFinite(one?.ms));
  if (placed.length) {
    const bars = placed.map((one) => ({ name: String(one.phase), from: one.start, to: one.start + Math.max(0, one.ms) }));
    return { bars: bars.sort((a, b) => a.from - b.from || b.to - a.to), placed: true };
  }
  let at = run.startedAt ?? 0;
  const bars = run.parts
    .filter((part) => part.labels.phase && part.measures.build_phase_time !== undefined)
    .map((part) => {
      const took = Math.max(0, part.measures.build_phase_time ?? 0);
      return { name: part.labels.phase ?? "", from: at, to: (at += took) };
    });
  return { bars, placed: false };
}

const WIDE = 1000;

/** A row of a table has room for one line: each lane is as high as there is place. */
export function small(run: Told): HTMLElement | string {
  const { bars } = phases(run);
  if (!bars.length) return "–";
  const [from, to] = ends(run, bars);
  const x = (at: number) => ((at - from) / (to - from || 1)) * WIDE;
  const lane = 12 / bars.length;
  const says = bars.map((bar) => `${bar.name} ${formatted(bar.to - bar.from, "ms")}`).join(", ");
  return h(
    "span",
    { class: "lanes", attributes: { title: says } },
    drawn(
      "svg",
      { class: "strip", role: "img", "aria-label": says, viewBox: `0 0 ${WIDE} 12`, preserveAspectRatio: "none" },
      drawn("rect", { class: "unknown", x: 0, y: 0, width: WIDE, height: 12 }),
      ...bars.map((bar, at) => drawn("rect", { class: `lane colour-${(at % 8) + 1}`, x: x(bar.from).toFixed(1), y: (at * lane).toFixed(2), width: Math.max(3, x(bar.to) - x(bar.from)).toFixed(1), height: lane.toFixed(2) })),
    ),
  );
}

/** One line for each, with its name, when it began after the start, and how long it took. */
export function waterfall(label: string, bars: readonly Bar[], from: number, to: number): HTMLElement {
  const wide = to - from || 1;
  return h(
    "ol",
    { class: "waterfall", attributes: { "aria-label": label } },
    ...bars.map((bar, at) => {
      const fill = h("span", { class: `bar colour-${(at % 8) + 1}`, data: { status: bar.status } });
      fill.style.marginInlineStart = `min(${(Math.max(0, (bar.from - from) / wide) * 100).toFixed(2)}%, calc(100% - 3px))`;
      fill.style.width = `max(3px, ${(((bar.to - bar.from) / wide) * 100).toFixed(2)}%)`;
      const name = bar.href ? link(bar.href, bar.name) : bar.name;
      return h(
        "li",
        {},
        h("span", { class: "what" }, name),
        h("span", { class: "way" }, fill),
        h("span", { class: "n" }, `+${formatted(Math.max(0, bar.from - from), "ms")}`),
        h("span", { class: "n strong" }, formatted(bar.to - bar.from, "ms")),
      );
    }),
  );
}

export function ends(run: Told, bars: readonly Bar[]): [number, number] {
  const from = Math.min(run.startedAt ?? Infinity, ...bars.map((bar) => bar.from));
  return [from, Math.max(run.endedAt ?? 0, ...bars.map((bar) => bar.to))];
}
