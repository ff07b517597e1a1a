// Parts of a view that plugins draw: each a module of its own, with a place of its own, whose faults are its own.

import { ask } from "./api";
import { worded } from "./dialog";
import { h, link, mark, renew, table } from "./dom";
import { formatted, moment, span } from "./format";
import { plot } from "./plot";

/** What a panel is handed to draw with, so that it looks as the rest of the page does. */
const tools = { ask, formatted, h, link, mark, moment, plot, renew, span, table };

interface Module {
  panel: (place: HTMLElement, lent: typeof tools) => () => Promise<unknown> | unknown;
}

/** Draw the panels of this view, and each of them anew so many milliseconds after it was drawn. */
export function panels(every: number): void {
  for (const node of document.querySelectorAll<HTMLElement>("[data-panel]")) void panel(node, every);
}

async function panel(node: HTMLElement, every: number): Promise<void> {
  const place = node.querySelector("div") ?? node;
  const fault = (why: unknown) => {
    console.warn(`the panel ${node.dataset.panel} failed`, why);
    renew(place, h("p", { class: "missing" }, `It could not be drawn: ${worded(why)}`));
  };
  try {
    const module = (await import(/* @vite-ignore */ node.dataset.panel ?? "")) as Module;
    const draw = module.panel(place, tools);
    for (;;) {
      if (!document.hidden) await Promise.resolve().then(draw).catch(fault);
      await new Promise((resolve) => setTimeout(resolve, every));
    }
  } catch (why) {
    fault(why);
  }
}
