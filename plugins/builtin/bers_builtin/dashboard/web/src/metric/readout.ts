// What a chart shows where the pointer is: the time, each line's value, and what happened there.

import type uPlot from "uplot";
import type { Note } from "../chart";
import { renew } from "../dom";
import { formatted, localText } from "../format";

const NEAR = 6; // Pixels.
const FAR = 30;
const MOST = 8;

interface Shown {
  unit: string;
  lines: readonly { label: string }[];
  notes: readonly Note[];
}

/** Write into `place` what is at the pointer; `rest` where it is not over the chart. */
export function readout(place: HTMLElement, rest: string, shown: () => Shown): uPlot.Plugin {
  return {
    hooks: {
      setCursor: (plot: uPlot) => {
        const { idx, left = -1 } = plot.cursor;
        if (idx === null || idx === undefined || left < 0) return renew(place, rest);
        const { unit, lines, notes } = shown();
        const at = plot.data[0]?.[idx];
        if (at === undefined) return renew(place, rest);
        const isFar = Math.abs(plot.valToPos(at, "x") - left) > FAR;
        const values = isFar ? [] : lines.flatMap(({ label }, line) => {
          const value = plot.data[line + 1]?.[idx];
          return typeof value === "number" ? [`${label} ${formatted(value, unit)}`] : [];
        });
        const more = values.length > MOST ? [`${values.length - MOST} more`] : [];
        const near = notes.filter((note) => Math.abs(plot.valToPos(note.at / 1000, "x") - left) < NEAR).map((note) => note.text);
        return renew(place, [localText(new Date((isFar ? plot.posToVal(left, "x") : at) * 1000)), ...(values.length ? values.slice(0, MOST) : ["nothing was measured"]), ...more, ...near.slice(0, 3)].join(" · "));
      },
    },
  };
}
