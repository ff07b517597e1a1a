// Charts: lines over time, with bands, targets and notes; where nothing was measured there is a gap.

import uPlot from "uplot";
import type { Point } from "./api";
import { axisTexts, formatted } from "./format";
import { drawSoon } from "./pace";

export interface Line {
  label: string;
  /** Which of the palette's colours. */
  colour: number;
  width?: number;
  /** Whether it only bounds a band. */
  bound?: boolean;
}

export interface Note {
  at: number;
  text: string;
  kind: "deployment" | "alert";
}

interface Level {
  value: number;
  /** The name of the colour in the style sheet. */
  colour: string;
}

export interface Options {
  height: number;
  unit: string;
  lines: readonly Line[];
  target?: number | null;
  /** Pairs of lines, the upper first; what lies between is filled, each pair lighter than the one before. */
  bands?: readonly [number, number][];
  notes?: readonly Note[];
  small?: boolean;
  /** Values besides the target that should be seen, where they are not far off. */
  levels?: readonly Level[];
  plugins?: uPlot.Plugin[];
  onRange?: (from: number, to: number) => void;
  /** Which line the pointer is nearest to; none where it is near to none. */
  onNear?: (line: number | null) => void;
}

export const GAP = 2.5; // Steps without a value before a line is interrupted.

export class Chart {
  /** Those that stand on the page, or did when another one came. */
  static readonly #all = new Set<Chart>();
  readonly node: HTMLElement;
  #plot: uPlot;
  #options: Options;
  #data: uPlot.AlignedData;
  #span: [from: number, to: number] | undefined;
  #isSeen = true;
  #isDue = false;

  constructor(node: HTMLElement, options: Options) {
    this.node = node;
    this.#options = options;
    this.#data = [[], ...options.lines.map(() => [])];
    this.#plot = this.#made();
    new ResizeObserver(() => this.#plot.setSize(this.#size())).observe(node);
    new IntersectionObserver((entries) => this.#look(entries.at(-1)?.isIntersecting ?? true), { rootMargin: "200px" }).observe(node);
    Chart.#forget();
    Chart.#all.add(this);
  }

  /** Draw all of them anew, in the colours of another theme. */
  static recolour(): void {
    Chart.#forget();
    for (const chart of Chart.#all) chart.#anew();
  }

  static #forget(): void {
    for (const chart of Chart.#all) if (!chart.node.isConnected) Chart.#all.delete(chart);
  }

  /** Seconds since 1970, and for each line as many values; null is a gap. It is drawn in the next frame in which it can be seen. */
  set(data: uPlot.AlignedData, from?: number, to?: number): void {
    this.#data = data;
    this.#span = from === undefined || to === undefined ? undefined : [from, to];
    this.#isDue = true;
    if (this.#isSeen) drawSoon(this.#draws);
  }

  change(options: Partial<Options>): void {
    const before = shape(this.#options);
    this.#options = { ...this.#options, ...options };
    if (shape(this.#options) !== before) this.#anew();
    else this.#plot.redraw(false);
  }

  /** Let one line stand out; all are alike again where none is named. */
  stress(line: number | null): void {
    this.#plot.setSeries(line === null ? null : line + 1, { focus: true }, false);
  }

  #look(isSeen: boolean): void {
    this.#isSeen = isSeen;
    if (isSeen && this.#isDue) drawSoon(this.#draws);
  }

  readonly #draws = () => {
    this.#isDue = false;
    // At once, and not when all else is done: what it takes belongs to this frame.
    this.#plot.batch(() => {
      this.#plot.setData(this.#data, this.#span === undefined);
      if (this.#span) this.#plot.setScale("x", { min: this.#span[0] / 1000, max: this.#span[1] / 1000 });
    });
  };

  #anew(): void {
    this.#plot.destroy();
    this.#plot = this.#made();
    if (this.#span) this.set(this.#data, ...this.#span);
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(60, this.node.clientWidth), height: this.#options.height };
  }

  #made(): uPlot {
    const { unit, lines, small, bands = [] } = this.#options;
    const quiet = colour("--quiet");
    const axis: uPlot.Axis = {
      stroke: quiet,
      font: "12px system-ui",
      grid: { stroke: colour("--rule"), width: 1 },
      ticks: { show: false },
    };
    const options: uPlot.Options = {
      ...this.#size(),
      pxAlign: 0,
      cursor: small ? { show: false } : { drag: { x: true, y: false }, y: false, focus: { prox: lines.length > 1 ? 16 : -1 } },
      focus: { alpha: 0.2 },
      legend: { show: false },
      scales: { x: { time: true }, y: { range: (_, low, high) => this.#range(low, high) } },
      axes: small
        ? [{ show: false }, { show: false }]
        : [
            { ...axis, space: 70, values: (_, ticks, __, ___, apart) => axisTexts(ticks, apart) },
            { ...axis, size: 70, values: (_, ticks) => ticks.map((tick) => formatted(tick, unit)) },
          ],
      series: [{}, ...lines.map((line) => this.#series(line))],
      hooks: {
        draw: [(plot) => this.#draw(plot)],
        setSelect: [(plot) => this.#selected(plot)],
        setSeries: [(_, series) => this.#options.onNear?.(series === null ? null : series - 1)],
      },
    };
    options.plugins = this.#options.plugins ?? [];
    options.bands = bands.map((series, at) => ({ series, fill: colour(at ? "--band-outer" : "--band") }));
    return new uPlot(options, this.#data, this.node);
  }

  #series(line: Line): uPlot.Series {
    const stroke = line.bound ? "transparent" : colour(`--line-${line.colour}`);
    return {
      label: line.label,
      stroke,
      width: line.width ?? 1.5,
      spanGaps: false,
      points: { show: (plot, at) => isAlone(plot.data[at] ?? []), size: 4, fill: stroke },
    };
  }

  /** What is measured, and its target where that is not far off: one far away would make everything else a flat line. */
  #range(low: number | null, high: number | null): uPlot.Range.MinMax {
    if (low === null || high === null) return [0, 1];
    const { target, levels = [] } = this.#options;
    const near = [target, ...levels.map((level) => level.value)].filter((level) => typeof level === "number" && level < high * 3) as number[];
    const most = Math.max(high, ...near);
    return [Math.min(0, low), most <= 0 ? 1 : most * 1.1];
  }

  #draw(plot: uPlot): void {
    const { target, notes = [], levels = [] } = this.#options;
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.lineWidth = devicePixelRatio;
    if (typeof target === "number") stroke(ctx, colour("--target"), ...horizontal(bbox, plot.valToPos(target, "y", true)));
    for (const note of notes) {
      stroke(ctx, colour(note.kind === "alert" ? "--bad" : "--line-2"), ...vertical(bbox, plot.valToPos(note.at / 1000, "x", true)));
    }
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const level of levels) stroke(ctx, colour(level.colour), ...horizontal(bbox, plot.valToPos(level.value, "y", true)));
    ctx.restore();
  }

  #selected(plot: uPlot): void {
    if (plot.select.width < 8) return;
    const from = plot.posToVal(plot.select.left, "x") * 1000;
    const to = plot.posToVal(plot.select.left + plot.select.width, "x") * 1000;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.#options.onRange?.(from, to);
  }
}

type Ends = [fromX: number, fromY: number, toX: number, toY: number];

const horizontal = (box: uPlot.BBox, y: number): Ends => [box.left, y, box.left + box.width, y];
const vertical = (box: uPlot.BBox, x: number): Ends => [x, box.top, x, box.top + box.height];

function stroke(ctx: CanvasRenderingContext2D, style: string, fromX: number, fromY: number, toX: number, toY: number): void {
  ctx.strokeStyle = style;
  ctx.beginPath();
  ctx.moveTo(fromX, fromY);
  ctx.lineTo(toX, toY);
  ctx.stroke();
}

/** Whether a line has values with gaps on both sides, which would not be seen without points. */
function isAlone(values: ArrayLike<number | null | undefined>): boolean {
  for (let at = 0; at < values.length; at++) {
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) return true;
  }
  return false;
}

/** The points of a metric as uPlot has them: all columns by time, with a null where a step or more is missing. */
export function columns(points: readonly Point[], fields: number, step: number): (number | null)[][] {
  const found: (number | null)[][] = Array.from({ length: fields + 1 }, () => []);
  let before = Number.NaN;
  for (const point of points) {
    if (point[0] - before > step * GAP) push(found, [(before + step) / 1000, ...Array<null>(fields).fill(null)]);
    push(found, [point[0] / 1000, ...(point.slice(1, fields + 1) as (number | null)[])]);
    before = point[0];
  }
  return found;
}

function push(into: (number | null)[][], values: (number | null)[]): void {
  into.forEach((column, at) => column.push(values[at] ?? null));
}

/** What a chart has to be made anew for, where it changes. */
const shape = ({ height, unit, lines, bands, small }: Options): string => JSON.stringify([height, unit, lines, bands, small]);

const colours = new Map<string, string>();

function recolour(): void {
  colours.clear();
  Chart.recolour();
}

for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) matchMedia(query).addEventListener("change", recolour);
document.addEventListener("bers:theme", recolour);

/** A colour of the style sheet, as the reader's theme has it: a canvas does not know variables. */
function colour(name: string): string {
  let found = colours.get(name);
  if (found === undefined) {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    found = getComputedStyle(probe).color;
    probe.remove();
    colours.set(name, found);
  }
  return found;
}
