// What changes the server: asked before it is done, and shown with what was answered and what the audit says of it.

import { ask, tell } from "./api";
import { asked } from "./dialog";
import { h } from "./dom";
import { reload } from "./view";

interface Deed {
  title: string;
  says: string;
  verb: string;
  method?: "POST" | "DELETE";
  path: string;
  body?: unknown;
  /** What came of it, in a sentence. */
  told: (answer: never) => string;
}

/** The same done to several, one after another; the first that is refused ends it. */
interface Deeds extends Omit<Deed, "path" | "told"> {
  paths: readonly string[];
  told: (answers: never[]) => string;
}

export interface Entry {
  id: number;
  time: number;
  principal: string;
  address: string;
  operator: string;
  action: string;
  target: string;
  notes: string;
  outcome: string;
}

const MOST_SHOWN = 5;

/** Whether the reader's key has a scope. */
export const may = (scope: string): boolean => (document.body.dataset.may ?? "").split(" ").includes(scope);

/** A button for it; for who may not do it there is none. */
export function button(deed: Deed, key = deed.path): HTMLElement | null {
  const { path, told, ...rest } = deed;
  const deeds: Deeds = { ...rest, paths: [path], told: ([answer]: never[]) => told(answer as never) };
  return several(deed.verb, () => deeds, key);
}

/** A button that asks for a deed when it is pressed: by then it is known to what it is done. */
export function several(verb: string, deed: () => Deeds | undefined, key: string): HTMLButtonElement | null {
  if (!may("admin")) return null;
  const press = () => {
    const wanted = deed();
    if (wanted) void done(wanted);
  };
  return h("button", { data: { key: `${verb} ${key}` }, attributes: { type: "button" }, on: { click: press } }, verb);
}

export const buttons = (...all: (HTMLElement | null)[]): HTMLElement => h("span", { class: "buttons" }, ...all);

async function done(deed: Deeds): Promise<void> {
  const method = deed.method ?? "POST";
  let known = 0; // The newest row of the audit from before it was done.
  await asked({
    title: deed.title,
    says: deed.says,
    verb: deed.verb,
    act: async () => {
      known = (await ask<Entry[]>("audit", { limit: 1 }))[0]?.id ?? 0;
      const answers: never[] = [];
      for (const path of deed.paths) answers.push((await tell(method, path, deed.body ?? {})) as never);
      return deed.told(answers);
    },
    noted: () => entries(known, deed.paths.map((path) => `${method} /api/monitoring/${path}`)),
  });
  await reload(); // Where it was refused, too: that may be shown as well, as the faults of a configuration are.
}

/** What the audit has of it since: all of it, where somebody else did the same at the same time. */
async function entries(after: number, actions: readonly string[]): Promise<string> {
  const wanted = new Set(actions.flatMap((action) => [action, decodeURIComponent(action)]));
  const found = (await ask<Entry[]>("audit", { limit: 200 })).filter((one) => one.id > after && wanted.has(one.action)).reverse();
  const more = found.length - MOST_SHOWN;
  const said = found.slice(0, MOST_SHOWN).map((one) => `Audit ${one.id}: ${who(one)}, ${one.outcome.replaceAll("_", " ")}.`);
  return [...said, more > 0 ? `And ${more} more.` : ""].filter(Boolean).join(" ");
}

export const who = (one: Entry): string => [one.operator || one.principal, one.address && `from ${one.address}`].filter(Boolean).join(" ");
