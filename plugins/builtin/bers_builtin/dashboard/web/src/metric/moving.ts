// Another time in a chart: dragged with shift, with the keys, or twice as much with two clicks.

import type uPlot from "uplot";

export interface Moves {
  /** By a share of what is seen. */
  move(share: number): void;
  zoom(factor: number): void;
}

const STEP = 0.25;
const KEYS: Record<string, (moves: Moves) => void> = {
  ArrowLeft: (moves) => moves.move(-STEP),
  ArrowRight: (moves) => moves.move(STEP),
  PageUp: (moves) => moves.move(-1),
  PageDown: (moves) => moves.move(1),
  "+": (moves) => moves.zoom(0.5),
  "-": (moves) => moves.zoom(2),
};

export function moving(moves: Moves): uPlot.Plugin {
  return {
    hooks: {},
    opts: (_, options) => {
      const cursor = (options.cursor ??= {});
      cursor.bind = {
        ...cursor.bind,
        mousedown: (plot, _target, handler) => (event: MouseEvent) => (event.shiftKey ? drag(plot, event, moves) : handler(event)),
        dblclick: () => () => {
          moves.zoom(2);
          return null;
        },
      };
      return options;
    },
  };
}

/** Move what is seen with the pointer, and ask for it when that is let go. */
function drag(plot: uPlot, event: MouseEvent, moves: Moves): null {
  const { min = 0, max = 0 } = plot.scales.x ?? {};
  const wide = plot.over.clientWidth || 1;
  const share = (now: MouseEvent) => (event.clientX - now.clientX) / wide;
  const follow = (now: MouseEvent) => {
    const by = share(now) * (Number(max) - Number(min));
    plot.setScale("x", { min: Number(min) + by, max: Number(max) + by });
  };
  const end = (now: MouseEvent) => {
    removeEventListener("mousemove", follow);
    removeEventListener("mouseup", end);
    moves.move(share(now));
  };
  addEventListener("mousemove", follow);
  addEventListener("mouseup", end);
  return null;
}

/** The same with the keyboard, while the chart has the focus. */
export function movedByKeys(node: HTMLElement, moves: Moves): void {
  node.addEventListener("keydown", (event) => {
    const move = KEYS[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(moves);
  });
}
