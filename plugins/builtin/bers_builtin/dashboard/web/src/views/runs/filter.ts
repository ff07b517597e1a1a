// What of all runs is looked at: the fields above the lists, and what they offer.

import { byId, h, renew } from "../../dom";
import type { Chosen, Told } from "./told";

const FIELDS = ["name", "service", "environment", "branch", "outcome"] as const;

/** As the address says it. */
export function read(asked: URLSearchParams): Chosen {
  return Object.fromEntries(FIELDS.map((field) => [field, asked.get(field) ?? ""])) as Chosen;
}

export const isFiltered = (chosen: Chosen): boolean => FIELDS.some((field) => chosen[field]);

export function keep(chosen: Chosen): void {
  const wanted = new URLSearchParams(FIELDS.filter((field) => chosen[field]).map((field) => [field, chosen[field]]));
  history.replaceState(null, "", wanted.size ? `?${wanted}` : location.pathname);
}

/** What is looked at, as it was asked for; a change is looked at when it is entered. */
export function form(chosen: Chosen, changed: () => void): void {
  const place = byId("filter") as HTMLFormElement;
  place.hidden = false;
  for (const field of FIELDS) (place.elements.namedItem(field) as HTMLInputElement | HTMLSelectElement).value = chosen[field];
  const take = () => {
    for (const field of FIELDS) chosen[field] = (place.elements.namedItem(field) as HTMLInputElement).value.trim();
    changed();
  };
  place.addEventListener("submit", (event) => {
    event.preventDefault();
    take();
  });
  place.addEventListener("change", take);
  place.addEventListener("reset", () => queueMicrotask(() => {
    for (const field of FIELDS) (place.elements.namedItem(field) as HTMLInputElement).value = "";
    take();
  }));
}

/** Offer what was found. */
export function suggest(runs: readonly Told[]): void {
  const found: Record<string, (run: Told) => string | undefined> = {
    name: (run) => run.name,
    service: (run) => run.event.service,
    environment: (run) => run.event.environment,
    branch: (run) => run.event.vcs?.ref,
  };
  for (const [field, of] of Object.entries(found)) {
    const words = [...new Set(runs.map(of).filter((word): word is string => Boolean(word)))].sort();
    renew(byId(`known-${field}`), ...words.map((word) => h("option", { attributes: { value: word } })));
  }
}
