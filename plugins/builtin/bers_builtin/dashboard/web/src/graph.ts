// The running graph as a picture: places in columns, from the way in to the sinks, and what passes between them.

import { formatted } from "./format";
import { drawn } from "./strip";

export interface Place {
  id: string;
  /** How it is, as a mark says it. */
  status: string;
  /** What stands below its name: how much passes, and what is the matter. */
  says: string;
  /** Whether what passes it is looked at now. */
  open: boolean;
}

export interface Edge {
  from: string;
  to: string;
  rate: number;
}

const WIDE = 126;
const HIGH = 38;
const GAP = { x: 26, y: 8 };
const MOST_LETTERS = 20;

/** Each place one column to the right of what it is fed by, beside those it shares that with. */
export function graph(places: readonly Place[], edges: readonly Edge[], open: (id: string) => void, along: (edge: Edge) => void): SVGElement {
  const at = laidOut(places, edges);
  const columns = Math.max(0, ...[...at.values()].map(([x]) => x)) + 1;
  const rows = Math.max(0, ...[...at.values()].map(([, y]) => y)) + 1;
  const [wide, high] = [columns * (WIDE + GAP.x) - GAP.x, rows * (HIGH + GAP.y)];
  const left = (id: string) => (at.get(id)?.[0] ?? 0) * (WIDE + GAP.x);
  const top = (id: string) => (at.get(id)?.[1] ?? 0) * (HIGH + GAP.y);
  const known = edges.filter((edge) => at.has(edge.from) && at.has(edge.to));
  return drawn(
    "svg",
    { class: "graph", viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "group", "aria-label": "The running graph; the tables below say the same" },
    ...known.map((edge) => way(edge, [left(edge.from) + WIDE, top(edge.from) + HIGH / 2, left(edge.to), top(edge.to) + HIGH / 2], along)),
    ...places.map((place) => node(place, left(place.id), top(place.id), open)),
  );
}

/** A line that is easy to hit: the keyboard has the places at its ends. */
function way(edge: Edge, [x, y, toX, toY]: [number, number, number, number], along: (edge: Edge) => void): SVGElement {
  const middle = (x + toX) / 2;
  const d = `M${x} ${y}C${middle} ${y} ${middle} ${toY} ${toX} ${toY}`;
  const group = drawn(
    "g",
    { class: "way", "data-edge": `${edge.from} ${edge.to}`, "data-key": `${edge.from} ${edge.to}` },
    drawn("title", {}, `${edge.from} to ${edge.to}: ${formatted(edge.rate)} in a second. A click shows them`),
    drawn("path", { class: "hit", d }),
    drawn("path", { class: "edge", d, "stroke-width": (1 + Math.min(6, Math.log2(1 + edge.rate) / 1.5)).toFixed(2), "data-still": String(edge.rate === 0) }),
  );
  group.addEventListener("click", () => along(edge));
  return group;
}

function node(place: Place, x: number, y: number, open: (id: string) => void): SVGElement {
  const word = place.id.split("/").pop() ?? place.id;
  const short = word.length > MOST_LETTERS ? `${word.slice(0, MOST_LETTERS - 1)}…` : word;
  const group = drawn(
    "g",
    { class: "place", "data-status": place.status, "data-open": String(place.open), "data-key": place.id, tabindex: 0, role: "button" },
    drawn("title", {}, `${place.id}, ${place.status}, ${place.says}: see what passes`),
    drawn("rect", { x: x + 1, y: y + 1, width: WIDE - 2, height: HIGH - 2, rx: 5 }),
    drawn("text", { x: x + 8, y: y + 16 }, short),
    drawn("text", { class: "says", x: x + 8, y: y + 30 }, place.says.length > MOST_LETTERS + 4 ? `${place.says.slice(0, MOST_LETTERS + 3)}…` : place.says),
  );
  group.addEventListener("click", () => open(place.id));
  group.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    open(place.id);
  });
  return group;
}

/** Column and row of each place: the column is the longest way to it. */
function laidOut(places: readonly Place[], edges: readonly Edge[]): Map<string, [number, number]> {
  const column = new Map(places.map((place) => [place.id, 0]));
  for (let turn = 0; turn < places.length; turn++) {
    let moved = false;
    for (const { from, to } of edges) {
      const least = (column.get(from) ?? 0) + 1;
      if (column.has(from) && column.has(to) && (column.get(to) ?? 0) < least && least < places.length) {
        column.set(to, least);
        moved = true;
      }
    }
    if (!moved) break;
  }
  // A place stands beside what feeds it: pipelines keep a row of their own for all that follows in them.
  const taken = new Map<number, number>();
  const found = new Map<string, [number, number]>();
  for (const { id } of [...places].sort((a, b) => (column.get(a.id) ?? 0) - (column.get(b.id) ?? 0))) {
    const at = column.get(id) ?? 0;
    const beside = Math.min(...edges.filter((edge) => edge.to === id).map((edge) => found.get(edge.from)?.[1] ?? 0));
    const row = Math.max(taken.get(at) ?? 0, Number.isFinite(beside) ? beside : 0);
    found.set(id, [at, row]);
    taken.set(at, row + 1);
  }
  return found;
}
