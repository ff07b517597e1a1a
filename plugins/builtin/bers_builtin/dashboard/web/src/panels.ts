// Parts of a view that plugins draw: each a module of its own, with a place of its own, whose faults are its own.

import { ask } from "./api";
import { button, buttons, may } from "./deeds";
import { worded } from "./dialog";
import { h, link, mark, renew, table } from "./dom";
import { formatted, moment, span } from "./format";
import type { Live } from "./live";
import { plot } from "./plot";

/** What a panel is handed to draw with, so that it looks as the rest of the page does. */
const tools = { ask, button, buttons, formatted, h, link, mark, may, moment, plot, renew, span, table };

interface Hearing {
  /** Hear what begins and ends runs, as CloudEvents. */
  on: (react: (event: unknown) => unknown) => void;
}

interface Module {
  panel: (place: HTMLElement, lent: typeof tools & Hearing) => () => Promise<unknown> | unknown;
}

const PATIENCE = 10_000; // Milliseconds that a panel may take to draw before that is said.

/** Draw the panels of this view, and each of them anew so many milliseconds after it was drawn. */
export function panels(every: number, live: Live): void {
  const nodes = [...document.querySelectorAll<HTMLElement>("[data-panel]")];
  const hearing: ((event: unknown) => void)[] = [];
  if (nodes.length) live.on("event", (event) => hearing.forEach((hear) => hear(event)));
  for (const node of nodes) void panel(node, every, hearing);
}

async function panel(node: HTMLElement, every: number, hearing: ((event: unknown) => void)[]): Promise<void> {
  const place = node.querySelector("div") ?? node;
  const fault = (why: unknown) => {
    console.warn(`the panel ${node.dataset.panel} failed`, why);
    place.replaceChildren(h("p", { class: "missing" }, `It could not be drawn: ${worded(why)}`));
  };
  const safely = (work: () => unknown) => within(Promise.resolve().then(work)).catch(fault);
  try {
    const module = (await import(/* @vite-ignore */ node.dataset.panel ?? "")) as Partial<Module>;
    if (typeof module.panel !== "function") throw new Error("its module exports no function `panel`");
    const on = (react: (event: unknown) => unknown) => void hearing.push((event) => void safely(() => react(event)));
    const draw = module.panel(place, { ...tools, on });
    if (typeof draw !== "function") throw new Error("`panel` returns no function that draws");
    for (;;) {
      if (!document.hidden) await safely(draw);
      await new Promise((resolve) => setTimeout(resolve, every));
    }
  } catch (why) {
    fault(why);
  }
}

/** What does not come to an end is a fault as well; it is asked again nevertheless. */
const within = (work: Promise<unknown>): Promise<unknown> =>
  Promise.race([work, new Promise((_, refuse) => setTimeout(() => refuse(new Error(`it has been drawing for ${PATIENCE / 1000} s`)), PATIENCE))]);
