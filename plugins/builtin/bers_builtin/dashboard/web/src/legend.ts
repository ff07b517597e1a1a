// What the lines of a chart are called: each stands out from the others while its name is pointed at, or has the focus.

import type { Chart, Line } from "./chart";
import { h } from "./dom";

/** The names of lines, for a list. Where there is one alone, it has nothing to stand out from. */
export function named(chart: Chart, lines: readonly Line[]): HTMLElement[] {
  const shown = lines.map((line, at): [Line, number] => [line, at]).filter(([line]) => !line.bound);
  return shown.map(([{ label, colour }, at]) => {
    const data = { colour: String(colour), line: String(at), key: label };
    if (shown.length === 1) return h("li", { data }, label);
    const stress = () => chart.stress(at);
    const rest = () => chart.stress(null);
    return h("li", { data, on: { pointerenter: stress, pointerleave: rest, focusin: stress, focusout: rest } }, h("span", { attributes: { tabindex: "0" } }, label));
  });
}

/** Mark the name of the line that the pointer is nearest to. */
export function mark(list: HTMLElement, line: number | null): void {
  for (const item of list.querySelectorAll<HTMLElement>("[data-line]")) item.classList.toggle("near", item.dataset.line === String(line));
}
