// One metric among many: its newest value, and a small chart that is asked for when it comes into sight.

import { ask, type MetricAnswer, Refused } from "./api";
import { Chart, columns, GAP } from "./chart";
import { show } from "./dom";
import { formatted } from "./format";

const FRACTION = 4; // A line that would move by less than this part of a pixel is not drawn anew.
const HEIGHT = 56;
const PIXELS = 2; // Of the chart's width, to one point.

export class Tile {
  readonly name: string;
  /** Whether it can be seen, or nearly. */
  isSeen = false;
  /** Over how long it looks back, and when that was asked for last; never yet, or not for this span, is 0. */
  #period = 0;
  #asked = 0;
  #drawn = 0;
  #told = 0; // When the value was measured that is shown.
  readonly #unit: string;
  #chart: Chart | undefined;
  #step = 1000; // Between two points that the server has made, and those that are added, in milliseconds.
  #apart = 1000;
  #data: (number | null)[][] = [[], []];

  constructor(readonly node: HTMLElement) {
    this.name = node.dataset.metric ?? "";
    this.#unit = node.dataset.unit ?? "";
  }

  /** Look back over so many milliseconds from now on. */
  over(period: number): void {
    if (period !== this.#period) this.#asked = 0;
    this.#period = period;
  }

  /** Whether it has to be asked for: it never was, or so long ago that what the server makes of it looks different. */
  isDue(now: number): boolean {
    return this.isSeen && now - this.#asked > Math.max(60_000, this.#period / 100);
  }

  async load(): Promise<void> {
    const place = this.node.querySelector<HTMLElement>(".chart")!;
    const period = this.#period;
    this.#asked = Date.now();
    const points = Math.max(60, Math.round(place.clientWidth / PIXELS));
    let answer: MetricAnswer;
    try {
      answer = await ask<MetricAnswer>(`metrics/${encodeURIComponent(this.name)}`, { period, by: "", fields: "average", points });
    } catch (why) {
      this.#asked = 0;
      if (why instanceof Refused) return; // One that is too large to be read over so long does not keep the others from it.
      throw why;
    }
    if (period !== this.#period) return;
    this.#step = answer.stepMs;
    this.#apart = Math.max(1000, period / points);
    this.#data = columns(answer.overall, 1, answer.stepMs);
    this.#chart ??= new Chart(place, { height: HEIGHT, unit: this.#unit, lines: [{ label: this.name, colour: 1 }], target: answer.target, small: true });
    this.#draw(answer.to);
  }

  /** What the stream tells: shown at once, and drawn where that can be seen. */
  add(at: number, value: number): void {
    this.value(value, at);
    const [times, values] = this.#data;
    if (!times || !values) return;
    const seconds = at / 1000;
    const [before, last] = [times.at(-2) ?? 0, times.at(-1) ?? 0];
    if (seconds <= last) return;
    if (last && seconds - last > (GAP * Math.max(this.#step, this.#apart)) / 1000) {
      times.push(last + this.#apart / 1000); // Nothing was measured, or nothing was heard: that is a gap.
      values.push(null);
    } else if (before && seconds - before < this.#apart / 1000) {
      times.pop(); // There are no pixels for both: the newest point moves until it is far enough from the one before.
      values.pop();
    }
    times.push(seconds);
    values.push(value);
    const gone = times.findIndex((time) => (time ?? 0) * 1000 >= at - this.#period) - 1;
    if (gone > 0) for (const column of this.#data) column.splice(0, gone);
    if (at - this.#drawn >= this.#period / Math.max(60, this.node.clientWidth) / FRACTION) this.#draw(at);
  }

  /** The newest value, and when it was measured: an answer may be older than what the stream told meanwhile. */
  value(value: number | null, at: number | null): void {
    if ((at ?? 0) < this.#told) return;
    this.#told = at ?? 0;
    show(this.node.querySelector('[data-field="current"]'), formatted(value, this.#unit));
  }

  #draw(to: number): void {
    if (!this.#chart) return;
    this.#drawn = to;
    this.#chart.set(this.#data as never, to - this.#period, to);
  }
}
