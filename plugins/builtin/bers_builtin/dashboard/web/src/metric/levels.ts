// Horizontal lines in a chart: the thresholds of rules, beside the target.

import type uPlot from "uplot";
import { colour } from "../chart";

export interface Level {
  value: number | null;
  /** The name of the colour in the style sheet. */
  colour: string;
}

export function levels(all: () => readonly Level[]): uPlot.Plugin {
  return {
    hooks: {
      draw: (plot: uPlot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
        for (const { value, colour: name } of all()) {
          const y = value === null ? -1 : plot.valToPos(value, "y", true);
          if (y < bbox.top || y > bbox.top + bbox.height) continue;
          ctx.strokeStyle = colour(name);
          ctx.beginPath();
          ctx.moveTo(bbox.left, y);
          ctx.lineTo(bbox.left + bbox.width, y);
          ctx.stroke();
        }
        ctx.restore();
      },
    },
  };
}
