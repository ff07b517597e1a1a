// What changes the server: asked before it is done, and shown with what was answered and what the audit says of it.

import { ask, tell } from "./api";
import { asked } from "./dialog";
import { h } from "./dom";
import { reload } from "./view";

export interface Deed {
  title: string;
  says: string;
  verb: string;
  method?: "POST" | "DELETE";
  path: string;
  body?: unknown;
  /** What came of it, in a sentence. */
  told: (answer: never) => string;
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

/** Whether the reader's key has a scope. */
export const may = (scope: string): boolean => (document.body.dataset.may ?? "").split(" ").includes(scope);

/** A button for it; for who may not do it there is none. */
export function button(deed: Deed, key = deed.path): HTMLElement | null {
  if (!may("admin")) return null;
  return h("button", { data: { key: `${deed.verb} ${key}` }, attributes: { type: "button" }, on: { click: () => void done(deed) } }, deed.verb);
}

async function done(deed: Deed): Promise<void> {
  const method = deed.method ?? "POST";
  await asked({
    title: deed.title,
    says: deed.says,
    verb: deed.verb,
    act: async () => deed.told((await tell(method, deed.path, deed.body ?? {})) as never),
    noted: () => entry(`${method} /api/monitoring/${deed.path}`),
  });
  await reload(); // Where it was refused, too: that may be shown as well, as the faults of a configuration are.
}

async function entry(action: string): Promise<string> {
  const wanted = decodeURIComponent(action);
  const found = (await ask<Entry[]>("audit", { limit: 20 })).find((one) => one.action === wanted || one.action === action);
  return found ? `Audit ${found.id}: ${who(found)}, ${found.outcome.replaceAll("_", " ")}.` : "";
}

export const who = (one: Entry): string => [one.operator || one.principal, one.address && `from ${one.address}`].filter(Boolean).join(" ");
