// Light and dark: as the reader's system says, until the reader says otherwise.

import { byId, show } from "./dom";
import { recall, remember } from "./kept";

const NEXT = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT;

export function theme(): void {
  const button = byId("theme");
  button.hidden = false;
  const said = recall("theme");
  let now: Theme = said === "light" || said === "dark" ? said : "system";
  apply(now);
  button.addEventListener("click", () => {
    now = NEXT[now];
    remember("theme", now);
    apply(now);
    document.dispatchEvent(new Event("bers:theme"));
  });
}

function apply(name: Theme): void {
  document.documentElement.dataset.theme = name;
  show(byId("theme"), `Theme: ${name}`);
}
