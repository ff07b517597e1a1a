// How something was over a span of time, as one strip: each state in its colour, and nothing where nothing is known.

import { plain } from "./dom";

export interface Stretch {
  status: string;
  from: number;
  to: number;
  says: string;
}

const SVG = "http://www.w3.org/2000/svg";

export function drawn<K extends keyof SVGElementTagNameMap>(name: K, attributes: Record<string, string | number>, ...children: (Node | string)[]): SVGElementTagNameMap[K] {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, plain(String(value)));
  node.append(...children.map((child) => (typeof child === "string" ? plain(child) : child)));
  return node;
}

const WIDE = 1000; // Units of the picture; it is as wide as its place.

export function strip(label: string, stretches: readonly Stretch[], from: number, to: number): SVGElement {
  const x = (at: number) => ((Math.min(Math.max(at, from), to) - from) / (to - from)) * WIDE;
  return drawn(
    "svg",
    { class: "strip", role: "img", "aria-label": label, viewBox: `0 0 ${WIDE} 10`, preserveAspectRatio: "none" },
    drawn("rect", { class: "unknown", x: 0, y: 4, width: WIDE, height: 2 }),
    ...stretches
      .filter((one) => one.to > from && one.from < to)
      .map((one) =>
        drawn(
          "rect",
          // What was short is seen as well: it is as wide as it has to be for that.
          { "data-status": one.status, x: x(one.from).toFixed(2), y: 0, width: Math.max(2, x(one.to) - x(one.from)).toFixed(2), height: 10 },
          drawn("title", {}, one.says),
        ),
      ),
  );
}
